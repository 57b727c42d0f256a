package registry

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// maxDisruptedPods bounds PodDisruptionBudget.status.disruptedPods, which a stuck controller would let grow.
const maxDisruptedPods = 2000

// bindings is how admission sees the resource by which pods were bound before pods/NAME/binding.
var bindings = &kind.Kind{
	GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Binding"), Plural: "bindings", Singular: "binding", Namespaced: true,
	New: func() kind.Object { return &corev1.Binding{} },
}

// Bind sets a pod's node. It is a conflict when the pod has one, is another pod than the binding's uid says, has another
// version than the binding's, or is being deleted.
func (r *Registry) Bind(ctx context.Context, b *corev1.Binding, w Write) error {
	return r.bind(ctx, b, kind.Of[*corev1.Pod](), "binding", w)
}

// BindOld does what Bind does for a binding that was created as one.
func (r *Registry) BindOld(ctx context.Context, b *corev1.Binding, w Write) error {
	return r.bind(ctx, b, bindings, "", w)
}

// bind asks admission about a create of the resource and subresource.
func (r *Registry) bind(ctx context.Context, b *corev1.Binding, asked *kind.Kind, subresource string, w Write) error {
	k := kind.Of[*corev1.Pod]()
	if errs := validateBinding(b); len(errs) > 0 {
		return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Binding").GroupKind(), b.Name, errs)
	}
	body := &admission.Body{Kind: corev1.SchemeGroupVersion.WithKind("Binding"), Object: b}
	if err := r.AdmitBody(ctx, kind.Create, asked, b.Namespace, b.Name, subresource, body, w); err != nil {
		return err
	}
	_, err := r.change(ctx, k, b.Namespace, b.Name, "binding", w, func(cur kind.Object) (kind.Object, error) {
		pod := cur.(*corev1.Pod)
		switch {
		case b.UID != "" && b.UID != pod.UID:
			return nil, uidConflict(k, cur, string(b.UID))
		case b.ResourceVersion != "" && b.ResourceVersion != pod.ResourceVersion:
			return nil, apierrors.NewConflict(k.GroupResource(), b.Name, fmt.Errorf(
				"Precondition failed: ResourceVersion in precondition: %s, ResourceVersion in object meta: %s", b.ResourceVersion, pod.ResourceVersion))
		case pod.DeletionTimestamp != nil:
			return nil, bindConflict(b, fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", pod.Name))
		case pod.Spec.NodeName != "":
			return nil, bindConflict(b, fmt.Errorf("pod %s is already assigned to node %q", pod.Name, pod.Spec.NodeName))
		case len(pod.Spec.SchedulingGates) > 0:
			return nil, bindConflict(b, fmt.Errorf("pod %s has non-empty .spec.schedulingGates", pod.Name))
		}
		pod = pod.DeepCopy()
		pod.Spec.NodeName, pod.Status.NominatedNodeName = b.Target.Name, ""
		pod.Annotations = merged(pod.Annotations, b.Annotations)
		pod.Labels = merged(pod.Labels, b.Labels)
		setPodScheduled(pod, r.now())
		return pod, nil
	})
	return err
}

func merged(have, more map[string]string) map[string]string {
	if have == nil && len(more) > 0 {
		have = map[string]string{}
	}
	maps.Copy(have, more)
	return have
}

func bindConflict(b *corev1.Binding, err error) error {
	return apierrors.NewConflict(corev1.Resource("pods/binding"), b.Name, err)
}

func validateBinding(b *corev1.Binding) field.ErrorList {
	var errs field.ErrorList
	target := field.NewPath("target")
	if b.Target.Kind != "" && b.Target.Kind != "Node" {
		errs = append(errs, field.NotSupported(target.Child("kind"), b.Target.Kind, []string{"Node", "<empty>"}))
	}
	if b.Target.Name == "" {
		errs = append(errs, field.Required(target.Child("name"), ""))
	} else if len(errs) == 0 {
		for _, text := range apivalidation.NameIsDNSSubdomain(b.Target.Name, false) {
			errs = append(errs, field.Invalid(target.Child("name"), b.Target.Name, text))
		}
	}
	return errs
}

// Evict deletes a pod when the disruption budgets that select it allow one more disruption. Otherwise the
// answer is 429 with the cause DisruptionBudget.
func (r *Registry) Evict(ctx context.Context, namespace, name string, opts *metav1.DeleteOptions, w Write) error {
	k := kind.Of[*corev1.Pod]()
	if opts == nil {
		opts = &metav1.DeleteOptions{}
	}
	if len(opts.DryRun) > 0 {
		w.DryRun = true
	}
	item, err := r.Get(ctx, k, namespace, name, "")
	if err != nil {
		return err
	}
	pod := item.Object.(*corev1.Pod)
	req := r.bodyRequest(ctx, kind.Create, k, namespace, name, "eviction", &admission.Body{
		Kind:   policyv1.SchemeGroupVersion.WithKind("Eviction"),
		Object: &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, DeleteOptions: opts},
	}, w)
	req.Old = pod
	if err := r.admit(ctx, req); err != nil {
		return err
	}
	if err := r.admitLast(ctx, req); err != nil {
		return err
	}
	if !freeToEvict(pod) {
		if err := r.takeDisruption(ctx, pod, w); err != nil {
			return err
		}
	}
	if opts.Preconditions == nil {
		opts.Preconditions = &metav1.Preconditions{UID: &pod.UID}
	}
	_, _, err = r.Delete(ctx, k, namespace, name, opts, w)
	return err
}

// freeToEvict says whether a pod's end disrupts nothing: it is over, never ran, or is going anyway.
func freeToEvict(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded ||
		pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodPending
}

// takeDisruption charges the one budget that selects the pod.
func (r *Registry) takeDisruption(ctx context.Context, pod *corev1.Pod, w Write) error {
	k := r.kinds.ByType(&policyv1.PodDisruptionBudget{})
	if k == nil {
		return nil
	}
	list, err := r.List(ctx, k, ListQuery{Namespace: pod.Namespace})
	if err != nil {
		return err
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
		return nil
	case len(budgets) > 1:
		return apierrors.NewInternalError(fmt.Errorf("this pod has more than one PodDisruptionBudget, which the eviction subresource does not support"))
	}
	b := budgets[0]
	if !ready(pod) && (b.Spec.UnhealthyPodEvictionPolicy != nil && *b.Spec.UnhealthyPodEvictionPolicy == policyv1.AlwaysAllow ||
		b.Status.CurrentHealthy >= b.Status.DesiredHealthy && b.Status.DesiredHealthy > 0) {
		return nil
	}
	_, err = r.change(ctx, k, b.Namespace, b.Name, "status", w, func(cur kind.Object) (kind.Object, error) {
		return chargeBudget(cur.(*policyv1.PodDisruptionBudget), pod, metav1.NewTime(r.now()))
	})
	return err
}

func chargeBudget(cur *policyv1.PodDisruptionBudget, pod *corev1.Pod, now metav1.Time) (kind.Object, error) {
	if cur.Status.ObservedGeneration < cur.Generation {
		return nil, tooDisruptive(cur, fmt.Sprintf("The disruption budget %s is still being processed by the server.", cur.Name))
	}
	if len(cur.Status.DisruptedPods) > maxDisruptedPods {
		return nil, apierrors.NewForbidden(policyv1.Resource("poddisruptionbudget"), cur.Name, fmt.Errorf("DisruptedPods map too big - too many evictions not confirmed by PDB controller"))
	}
	if cur.Status.DisruptionsAllowed <= 0 {
		return nil, tooDisruptive(cur, fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", cur.Name, cur.Status.DesiredHealthy, cur.Status.CurrentHealthy))
	}
	b := cur.DeepCopy()
	b.Status.DisruptionsAllowed--
	if b.Status.DisruptedPods == nil {
		b.Status.DisruptedPods = map[string]metav1.Time{}
	}
	b.Status.DisruptedPods[pod.Name] = now
	return b, nil
}

func tooDisruptive(b *policyv1.PodDisruptionBudget, message string) error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: policyv1.DisruptionBudgetCause, Message: message}}
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

func setPodScheduled(pod *corev1.Pod, now time.Time) {
	scheduled := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Truncate(time.Second))}
	for i, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			scheduled.ObservedGeneration = c.ObservedGeneration
			pod.Status.Conditions[i] = scheduled
			return
		}
	}
	pod.Status.Conditions = append(pod.Status.Conditions, scheduled)
}
