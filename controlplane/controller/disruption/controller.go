// Package disruption keeps the status of PodDisruptionBudgets, by which evictions are allowed or refused.
package disruption

import (
	"context"
	"fmt"
	"reflect"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/component-helpers/apps/poddisruptionbudget"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/event"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/pods"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// evictionTimeout is how long an evicted pod may take to show a deletion timestamp before its eviction counts as
// not having happened.
const evictionTimeout = 2 * time.Minute

type controller struct {
	client  client.Client
	events  *event.Recorder
	budgets loop.Selectors
	now     func() time.Time
}

// New returns the controller.
func New(c client.Client, events *event.Recorder) loop.Controller {
	r := &controller{client: c, events: events.For("controllermanager"), now: time.Now}
	r.budgets.Of = func(obj kind.Object) labels.Selector {
		s, err := metav1.LabelSelectorAsSelector(obj.(*policyv1.PodDisruptionBudget).Spec.Selector)
		if err != nil {
			return nil
		}
		return s
	}
	return loop.Controller{
		Name: "disruption", For: kind.Of[*policyv1.PodDisruptionBudget](), Reconcile: r.reconcile,
		Also: []loop.Source{
			{Kind: kind.Of[*policyv1.PodDisruptionBudget](), Keys: r.budgets.Note},
			{Kind: kind.Of[*corev1.Pod](), Keys: func(e client.Event) []loop.Key { return r.budgets.Selecting(e.Object) }},
		},
	}
}

func (r *controller) reconcile(ctx context.Context, key loop.Key) (loop.Result, error) {
	b, err := client.Get[*policyv1.PodDisruptionBudget](ctx, r.client, key.Namespace, key.Name)
	if apierrors.IsNotFound(err) {
		return loop.Result{}, nil
	}
	if err != nil {
		return loop.Result{}, err
	}
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil {
		return loop.Result{}, fmt.Errorf("cannot read selector of %s: %w", key, err)
	}
	list, err := client.List[*corev1.Pod](ctx, r.client, client.Query{Namespace: b.Namespace, Labels: selector})
	if err != nil {
		return loop.Result{}, err
	}
	next := b.DeepCopy()
	expected, unmanaged, err := r.expected(ctx, b, list)
	var after time.Duration
	if err == nil {
		after, err = assess(next, list, expected, r.now())
	}
	if err != nil {
		r.events.Warning(b, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: %v", err)
		fail(next, err)
	}
	if len(unmanaged) > 0 {
		r.events.Warning(b, "UnmanagedPods", "Pods selected by this PodDisruptionBudget (selector: %v) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior.", selector)
	}
	if reflect.DeepEqual(next.Status, b.Status) {
		return loop.Result{After: after}, nil
	}
	// with its resourceVersion: an eviction that was granted meanwhile must not be forgotten
	if _, err := client.UpdateStatus(ctx, r.client, next); err != nil && !apierrors.IsNotFound(err) {
		return loop.Result{}, fmt.Errorf("cannot update status of disruption budget %s: %w", key, err)
	}
	return loop.Result{After: after}, nil
}

// expected returns how many pods the controllers of list ask for together; minAvailable as a number counts pods
// as they are. unmanaged are pods without a controller.
func (r *controller) expected(ctx context.Context, b *policyv1.PodDisruptionBudget, list []*corev1.Pod) (n int, unmanaged []*corev1.Pod, err error) {
	if b.Spec.MaxUnavailable == nil && (b.Spec.MinAvailable == nil || b.Spec.MinAvailable.Type == intstr.Int) {
		return len(list), nil, nil
	}
	looked, counted := map[types.UID]bool{}, map[types.UID]bool{}
	for _, p := range list {
		ref := metav1.GetControllerOfNoCopy(p)
		if ref == nil {
			unmanaged = append(unmanaged, p)
			continue
		}
		if looked[ref.UID] {
			continue
		}
		looked[ref.UID] = true
		top, replicas, err := r.scale(ctx, p.Namespace, ref)
		if err != nil {
			return 0, nil, err
		}
		if !counted[top] {
			counted[top] = true
			n += replicas
		}
	}
	return n, unmanaged, nil
}

// scale returns the topmost controller that ref leads to and how many replicas it asks for.
func (r *controller) scale(ctx context.Context, namespace string, ref *metav1.OwnerReference) (types.UID, int, error) {
	var k *kind.Kind
	if gv, err := schema.ParseGroupVersion(ref.APIVersion); err == nil {
		k = kind.Builtin().ByKind(gv.WithKind(ref.Kind))
	}
	if k == nil || k.Scale == nil {
		return "", 0, fmt.Errorf("%s.%s does not implement the scale subresource", ref.Kind, ref.APIVersion)
	}
	obj, err := r.client.Get(ctx, k, namespace, ref.Name)
	if apierrors.IsNotFound(err) || err == nil && obj.GetUID() != ref.UID {
		return ref.UID, 0, nil
	}
	if err != nil {
		return "", 0, err
	}
	if rs, ok := obj.(*appsv1.ReplicaSet); ok {
		if up := metav1.GetControllerOfNoCopy(rs); up != nil {
			return r.scale(ctx, namespace, up)
		}
	}
	replicas, _, _ := k.Scale.Get(obj)
	return obj.GetUID(), int(replicas), nil
}

// assess sets b's status from its pods, and returns when evictions that never happened will be forgotten.
func assess(b *policyv1.PodDisruptionBudget, list []*corev1.Pod, expected int, now time.Time) (time.Duration, error) {
	desired, err := desiredHealthy(b, expected)
	if err != nil {
		return 0, err
	}
	disrupted, after := stillDisrupted(b, list, now)
	healthy := 0
	for _, p := range list {
		if _, ok := disrupted[p.Name]; !ok && p.DeletionTimestamp == nil && pods.Ready(p) {
			healthy++
		}
	}
	allowed := max(0, healthy-desired)
	if expected == 0 {
		allowed = 0
	}
	b.Status.CurrentHealthy, b.Status.DesiredHealthy = int32(healthy), int32(desired)
	b.Status.ExpectedPods, b.Status.DisruptionsAllowed = int32(expected), int32(allowed)
	b.Status.DisruptedPods = disrupted
	b.Status.ObservedGeneration = b.Generation
	poddisruptionbudget.UpdateDisruptionAllowedCondition(b)
	return after, nil
}

func desiredHealthy(b *policyv1.PodDisruptionBudget, expected int) (int, error) {
	switch {
	case b.Spec.MaxUnavailable != nil:
		n, err := intstr.GetScaledValueFromIntOrPercent(b.Spec.MaxUnavailable, expected, true)
		return max(0, expected-n), err
	case b.Spec.MinAvailable != nil:
		return intstr.GetScaledValueFromIntOrPercent(b.Spec.MinAvailable, expected, true)
	default:
		return 1, nil
	}
}

// stillDisrupted keeps the evictions whose pods are there and not yet seen to go.
func stillDisrupted(b *policyv1.PodDisruptionBudget, list []*corev1.Pod, now time.Time) (map[string]metav1.Time, time.Duration) {
	var out map[string]metav1.Time
	var after time.Duration
	for _, p := range list {
		at, ok := b.Status.DisruptedPods[p.Name]
		if !ok || p.DeletionTimestamp != nil {
			continue
		}
		left := at.Add(evictionTimeout).Sub(now)
		if left <= 0 {
			continue
		}
		if out == nil {
			out = map[string]metav1.Time{}
		}
		out[p.Name] = at
		if after == 0 || left < after {
			after = left
		}
	}
	return out, after
}

// fail allows nothing while it is not known what is allowed.
func fail(b *policyv1.PodDisruptionBudget, err error) {
	b.Status.DisruptionsAllowed = 0
	b.Status.ObservedGeneration = b.Generation
	meta.SetStatusCondition(&b.Status.Conditions, metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.SyncFailedReason,
		Message: err.Error(), ObservedGeneration: b.Generation,
	})
}
