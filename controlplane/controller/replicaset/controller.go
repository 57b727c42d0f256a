// Package replicaset keeps as many pods of a template as a ReplicaSet or a ReplicationController asks for.
package replicaset

import (
	"context"
	"fmt"
	"reflect"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/event"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const workers = 4

type controller struct {
	of      workload
	client  client.Client
	events  *event.Recorder
	orphans loop.Orphans
	sets    loop.Selectors
	now     func() time.Time
}

// New returns the controller of ReplicaSets.
func New(c client.Client, events *event.Recorder) loop.Controller {
	return newController(c, events.For("replicaset-controller"), replicaSets())
}

// Replication returns the controller of ReplicationControllers.
func Replication(c client.Client, events *event.Recorder) loop.Controller {
	return newController(c, events.For("replication-controller"), replicationControllers())
}

func newController(c client.Client, events *event.Recorder, of workload) loop.Controller {
	r := &controller{of: of, client: c, events: events, now: time.Now}
	r.sets.Of = r.selectorOf
	return loop.Controller{
		Name: of.name, For: of.kind, Workers: workers, Reconcile: r.reconcile,
		Also: []loop.Source{
			{Kind: of.kind, Keys: r.sets.Note},
			{Kind: kind.Of[*corev1.Pod](), Keys: r.podChanged},
		},
	}
}

func (r *controller) podChanged(e client.Event) []loop.Key {
	r.orphans.Note(e)
	return r.sets.OwnersOf(e, r.of.kind.GroupVersionKind.Kind)
}

func (r *controller) reconcile(ctx context.Context, key loop.Key) (loop.Result, error) {
	obj, err := r.client.Get(ctx, r.of.kind, key.Namespace, key.Name)
	if apierrors.IsNotFound(err) {
		return loop.Result{}, nil
	}
	if err != nil {
		return loop.Result{}, err
	}
	rs := r.of.set(obj)
	owned, err := r.claim(ctx, rs)
	if err != nil {
		return loop.Result{}, err
	}
	related, err := r.related(ctx, rs, owned)
	if err != nil {
		return loop.Result{}, err
	}
	p := reconcile(rs, owned, related, r.now())
	failure, err := r.carryOut(ctx, obj, rs, p)
	if p.Create > 0 || len(p.Delete) > 0 {
		// the cache has what was written, so the status need not wait for the next round
		var listErr error
		if owned, listErr = r.controlled(ctx, rs); listErr != nil {
			return loop.Result{}, listErr
		}
	}
	after, statusErr := r.updateStatus(ctx, obj, rs, owned, failure)
	if err == nil {
		err = statusErr
	}
	return loop.Result{After: after}, err
}

func (r *controller) controlled(ctx context.Context, rs *appsv1.ReplicaSet) ([]*corev1.Pod, error) {
	all, err := loop.Owned[*corev1.Pod](ctx, r.client, rs.Namespace, rs.UID)
	if err != nil {
		return nil, err
	}
	out := all[:0]
	for _, p := range all {
		if metav1.IsControlledBy(p, rs) {
			out = append(out, p)
		}
	}
	return out, nil
}

// claim adopts and releases pods, and returns those that rs controls.
func (r *controller) claim(ctx context.Context, rs *appsv1.ReplicaSet) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("cannot read selector of %s/%s: %w", rs.Namespace, rs.Name, err)
	}
	candidates, err := loop.Owned[*corev1.Pod](ctx, r.client, rs.Namespace, rs.UID)
	if err != nil {
		return nil, err
	}
	for _, obj := range r.orphans.In(rs.Namespace) {
		candidates = append(candidates, obj.(*corev1.Pod))
	}
	claims := loop.Claim(rs, selector, candidates)
	k := kind.Of[*corev1.Pod]()
	for _, p := range claims.Release {
		if err := loop.Release(ctx, r.client, k, rs.UID, p); err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
	}
	adopted, err := loop.Adopt(ctx, r.client, r.of.kind, rs, claims.Adopt)
	return append(claims.Keep, adopted...), err
}

// related counts the pods of all sets of rs's Deployment by node; only a set that shrinks needs to know.
func (r *controller) related(ctx context.Context, rs *appsv1.ReplicaSet, owned []*corev1.Pod) (map[string]int, error) {
	if len(owned) <= int(wanted(rs)) {
		return nil, nil
	}
	groups := [][]*corev1.Pod{owned}
	if ref := metav1.GetControllerOfNoCopy(rs); ref != nil {
		siblings, err := loop.Owned[*appsv1.ReplicaSet](ctx, r.client, rs.Namespace, ref.UID)
		if err != nil {
			return nil, err
		}
		for _, s := range siblings {
			if s.UID == rs.UID {
				continue
			}
			group, err := r.controlled(ctx, s)
			if err != nil {
				return nil, err
			}
			groups = append(groups, group)
		}
	}
	return relatedOn(groups...), nil
}

// carryOut makes and deletes pods; failure is the condition that an error leaves behind.
func (r *controller) carryOut(ctx context.Context, obj kind.Object, rs *appsv1.ReplicaSet, p plan) (failure *appsv1.ReplicaSetCondition, err error) {
	owner := loop.ControllerRef(r.of.kind, rs)
	if p.Create > 0 {
		_, err = loop.SlowStart(p.Create, func() error { return r.create(ctx, obj, rs, owner) })
		if err != nil && apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil, nil // the set goes with its namespace
		}
		return r.failed("FailedCreate", err), err
	}
	err = loop.Parallel(len(p.Delete), func(i int) error { return r.delete(ctx, obj, p.Delete[i]) })
	return r.failed("FailedDelete", err), err
}

func (r *controller) failed(reason string, err error) *appsv1.ReplicaSetCondition {
	if err == nil {
		return nil
	}
	return &appsv1.ReplicaSetCondition{
		Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: reason, Message: err.Error(),
		LastTransitionTime: metav1.NewTime(r.now()),
	}
}

func (r *controller) create(ctx context.Context, obj kind.Object, rs *appsv1.ReplicaSet, owner metav1.OwnerReference) error {
	pod, err := client.Create(ctx, r.client, newPod(rs, owner))
	if err != nil {
		if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			r.events.Warning(obj, "FailedCreate", "Error creating: %v", err)
		}
		return err
	}
	r.events.Normal(obj, "SuccessfulCreate", "Created pod: %s", pod.Name)
	return nil
}

func (r *controller) delete(ctx context.Context, obj kind.Object, pod *corev1.Pod) error {
	opts := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}}
	err := client.Delete[*corev1.Pod](ctx, r.client, pod.Namespace, pod.Name, opts)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		r.events.Warning(obj, "FailedDelete", "Error deleting: %v", err)
		return fmt.Errorf("cannot delete pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	r.events.Normal(obj, "SuccessfulDelete", "Deleted pod: %s", pod.Name)
	return nil
}

func (r *controller) updateStatus(ctx context.Context, obj kind.Object, rs *appsv1.ReplicaSet, owned []*corev1.Pod, failure *appsv1.ReplicaSetCondition) (time.Duration, error) {
	next, after := status(rs, owned, failure, r.now())
	if !r.of.terminating {
		next.TerminatingReplicas = nil
	}
	if reflect.DeepEqual(next, rs.Status) {
		return after, nil
	}
	obj = r.of.withStatus(obj, &next)
	// no precondition: the status is this controller's alone, and observedGeneration says what it is true for
	obj.SetResourceVersion("")
	_, err := r.client.Update(ctx, r.of.kind, obj, "status")
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	return after, err
}

// selectorOf returns a set's selector; an invalid one, which validation does not let through, selects nothing.
func (r *controller) selectorOf(obj kind.Object) labels.Selector {
	s, err := metav1.LabelSelectorAsSelector(r.of.set(obj).Spec.Selector)
	if err != nil {
		return nil
	}
	return s
}
