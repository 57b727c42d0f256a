package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const (
	// maxDisruptedPods bounds PodDisruptionBudget.status.disruptedPods, which a stuck controller would let grow.
	maxDisruptedPods = 2000
	// evictionTries bounds how often an eviction looks again at a pod that changes meanwhile; kube-apiserver has the same.
	evictionTries = 20
	// processedAfter is after how many seconds a client should ask again when a budget is being processed.
	processedAfter = 10
)

// Evict deletes a pod when the disruption budgets that select it allow one more disruption. Otherwise the
// answer is 429 with the cause DisruptionBudget. The pod's condition DisruptionTarget says who ended it.
//
// What is evicted without a budget's word, because it does not run or is not ready, must still be so when it goes.
func (r *Registry) Evict(ctx context.Context, namespace, name string, opts *metav1.DeleteOptions, w Write) error {
	if opts == nil {
		opts = &metav1.DeleteOptions{}
	}
	if len(opts.DryRun) > 0 {
		w.DryRun = true
	}
	pod, err := r.pod(ctx, namespace, name)
	if err != nil {
		return err
	}
	if err := r.admitEviction(ctx, pod, opts, w); err != nil {
		return err
	}
	w.admitted = true
	asked := opts.Preconditions != nil && opts.Preconditions.ResourceVersion != nil
	for try := 1; ; try++ {
		free, unguarded, budget := freeToEvict(pod), mayYetRun(pod), ""
		if !free {
			if budget, unguarded, err = r.takeDisruption(ctx, pod, w); err != nil {
				return err
			}
		}
		err = r.endEvicted(ctx, pod, opts, unguarded && !asked, w)
		if !apierrors.IsConflict(err) || !unguarded || asked {
			return err
		}
		if !free {
			return beingProcessed(budget)
		}
		if try == evictionTries {
			return err
		}
		if pod, err = r.pod(ctx, namespace, name); err != nil {
			return err
		}
	}
}

func (r *Registry) pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	item, err := r.Get(ctx, kind.Of[*corev1.Pod](), namespace, name, "")
	if err != nil {
		return nil, err
	}
	return item.Object.(*corev1.Pod), nil
}

// admitEviction asks admission about the eviction; about the pod's end it is not asked again.
func (r *Registry) admitEviction(ctx context.Context, pod *corev1.Pod, opts *metav1.DeleteOptions, w Write) error {
	req := r.bodyRequest(ctx, kind.Create, kind.Of[*corev1.Pod](), pod.Namespace, pod.Name, "eviction", &admission.Body{
		Kind:   policyv1.SchemeGroupVersion.WithKind("Eviction"),
		Object: &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}, DeleteOptions: opts},
	}, w)
	req.Old = pod
	if err := r.admit(ctx, req); err != nil {
		return err
	}
	return r.admitLast(ctx, req)
}

// freeToEvict says whether a pod's end disrupts nothing: it is over, never ran, or is going anyway.
func freeToEvict(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded ||
		pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodPending
}

// mayYetRun says whether a pod that is free to be evicted may yet come to run.
func mayYetRun(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && pod.Status.Phase == corev1.PodPending
}

// endEvicted says on the pod why it ends and deletes it; if same is set, only as it was seen.
func (r *Registry) endEvicted(ctx context.Context, pod *corev1.Pod, opts *metav1.DeleteOptions, same bool, w Write) error {
	k := kind.Of[*corev1.Pod]()
	opts = opts.DeepCopy()
	if opts.Preconditions == nil {
		opts.Preconditions = &metav1.Preconditions{UID: &pod.UID}
	}
	if same {
		opts.Preconditions.ResourceVersion = &pod.ResourceVersion
	}
	if !w.DryRun {
		says := w
		says.Preconditions = opts.Preconditions
		marked, err := r.change(ctx, k, pod.Namespace, pod.Name, "eviction", says, func(cur kind.Object) (kind.Object, error) {
			pod := cur.DeepCopyObject().(*corev1.Pod)
			setPodCondition(pod, corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
			}, r.now())
			return pod, nil
		})
		if err != nil {
			return err
		}
		if opts.Preconditions.ResourceVersion != nil {
			version := marked.item.Object.GetResourceVersion()
			opts.Preconditions.ResourceVersion = &version
		}
	}
	_, _, err := r.Delete(ctx, k, pod.Namespace, pod.Name, opts, w)
	return err
}

// takeDisruption charges the one budget that selects the pod, and names it. A pod that is not ready may be evicted
// without a charge.
func (r *Registry) takeDisruption(ctx context.Context, pod *corev1.Pod, w Write) (budget string, unguarded bool, err error) {
	k := r.kinds.ByType(&policyv1.PodDisruptionBudget{})
	if k == nil {
		return "", false, nil
	}
	list, err := r.List(ctx, k, ListQuery{Namespace: pod.Namespace})
	if err != nil {
		return "", false, err
	}
	var budgets []*policyv1.PodDisruptionBudget
	for _, item := range list.Items {
		b := item.Object.(*policyv1.PodDisruptionBudget)
		sel, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err == nil && sel.Matches(labels.Set(pod.Labels)) {
			budgets = append(budgets, b)
		}
	}
	switch {
	case len(budgets) == 0:
		return "", false, nil
	case len(budgets) > 1:
		return "", false, &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusInternalServerError,
			Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
		}}
	}
	b := budgets[0]
	if !ready(pod) && (b.Spec.UnhealthyPodEvictionPolicy != nil && *b.Spec.UnhealthyPodEvictionPolicy == policyv1.AlwaysAllow ||
		b.Status.CurrentHealthy >= b.Status.DesiredHealthy && b.Status.DesiredHealthy > 0) {
		return b.Name, true, nil
	}
	_, err = r.change(ctx, k, b.Namespace, b.Name, "status", w, func(cur kind.Object) (kind.Object, error) {
		return chargeBudget(cur.(*policyv1.PodDisruptionBudget), pod, metav1.NewTime(r.now()))
	})
	return b.Name, false, err
}

func chargeBudget(cur *policyv1.PodDisruptionBudget, pod *corev1.Pod, now metav1.Time) (kind.Object, error) {
	switch st := &cur.Status; {
	case st.ObservedGeneration < cur.Generation:
		return nil, beingProcessed(cur.Name)
	case st.DisruptionsAllowed < 0:
		return nil, broken(cur, "pdb disruptions allowed is negative", "pdb disruptions allowed is negative")
	case len(st.DisruptedPods) > maxDisruptedPods:
		return nil, broken(cur, "DisruptedPods map too big - too many evictions not confirmed by PDB controller", "too many pending evictions not confirmed by PDB controller")
	case st.DisruptionsAllowed == 0:
		return nil, tooDisruptive(whyNone(cur), 0)
	}
	b := cur.DeepCopy()
	if b.Status.DisruptionsAllowed--; b.Status.DisruptionsAllowed == 0 {
		meta.SetStatusCondition(&b.Status.Conditions, metav1.Condition{
			Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.InsufficientPodsReason,
			ObservedGeneration: b.Status.ObservedGeneration, LastTransitionTime: now,
		})
	}
	if b.Status.DisruptedPods == nil {
		b.Status.DisruptedPods = map[string]metav1.Time{}
	}
	b.Status.DisruptedPods[pod.Name] = now
	return b, nil
}

// whyNone says why a budget allows no disruption.
func whyNone(b *policyv1.PodDisruptionBudget) string {
	c := meta.FindStatusCondition(b.Status.Conditions, policyv1.DisruptionAllowedCondition)
	said := c != nil && c.Status == metav1.ConditionFalse && c.Message != ""
	switch {
	case said && c.Reason == policyv1.SyncFailedReason: // what it counts is not true then
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently because it failed sync: %s", b.Name, c.Message)
	case b.Status.CurrentHealthy <= b.Status.DesiredHealthy:
		return fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, b.Status.DesiredHealthy, b.Status.CurrentHealthy)
	case said:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently (%s): %s", b.Name, c.Reason, c.Message)
	}
	return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently", b.Name)
}

func beingProcessed(budget string) error {
	return tooDisruptive(fmt.Sprintf("The disruption budget %s is still being processed by the server.", budget), processedAfter)
}

func tooDisruptive(why string, retryAfter int) error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", retryAfter)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: policyv1.DisruptionBudgetCause, Message: why}}
	return err
}

// broken is the answer when a budget's status cannot be true.
func broken(b *policyv1.PodDisruptionBudget, what, why string) error {
	err := apierrors.NewForbidden(policyv1.Resource("poddisruptionbudget"), b.Name, errors.New(what))
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type: policyv1.DisruptionBudgetCause, Message: fmt.Sprintf("The disruption budget %s does not allow evicting pods currently: %s", b.Name, why),
	}}
	return err
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
