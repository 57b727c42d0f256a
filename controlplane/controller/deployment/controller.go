// Package deployment rolls a Deployment's pods from one template to the next, by way of a ReplicaSet a template.
package deployment

import (
	"context"
	"errors"
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
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/pods"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const workers = 4

type controller struct {
	client      client.Client
	events      *event.Recorder
	orphans     loop.Orphans
	deployments loop.Selectors
	now         func() time.Time
}

// New returns the controller.
func New(c client.Client, events *event.Recorder) loop.Controller {
	r := &controller{client: c, events: events.For("deployment-controller"), now: time.Now}
	r.deployments.Of = selectorOf
	return loop.Controller{
		Name: "deployment", For: kind.Of[*appsv1.Deployment](), Workers: workers, Reconcile: r.reconcile,
		Also: []loop.Source{
			{Kind: kind.Of[*appsv1.Deployment](), Keys: r.deployments.Note},
			{Kind: kind.Of[*appsv1.ReplicaSet](), Keys: r.setChanged},
		},
	}
}

func (r *controller) setChanged(e client.Event) []loop.Key {
	r.orphans.Note(e)
	return r.deployments.OwnersOf(e, "Deployment")
}

// selectorOf returns a Deployment's selector. One that selects everything would take over the whole namespace,
// and selects nothing instead, as in Kubernetes.
func selectorOf(obj kind.Object) labels.Selector {
	s, err := metav1.LabelSelectorAsSelector(obj.(*appsv1.Deployment).Spec.Selector)
	if err != nil || s.Empty() {
		return nil
	}
	return s
}

func (r *controller) reconcile(ctx context.Context, key loop.Key) (loop.Result, error) {
	d, err := client.Get[*appsv1.Deployment](ctx, r.client, key.Namespace, key.Name)
	if apierrors.IsNotFound(err) {
		return loop.Result{}, nil
	}
	if err != nil {
		return loop.Result{}, err
	}
	selector := selectorOf(d)
	if selector == nil {
		r.events.Warning(d, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.")
		return loop.Result{}, nil
	}
	sets, err := r.claim(ctx, d, selector)
	if err != nil {
		return loop.Result{}, err
	}
	oldPods := false
	if !rolling(d) {
		if oldPods, err = r.oldPods(ctx, d, sets); err != nil {
			return loop.Result{}, err
		}
	}
	p, err := decide(d, sets, oldPods, r.now())
	if err != nil {
		return loop.Result{}, err
	}
	if err := r.carryOut(ctx, d, p); err != nil {
		return loop.Result{}, err
	}
	return loop.Result{After: p.after}, nil
}

// claim adopts and releases sets, and returns those that d controls.
func (r *controller) claim(ctx context.Context, d *appsv1.Deployment, selector labels.Selector) ([]*appsv1.ReplicaSet, error) {
	candidates, err := loop.Owned[*appsv1.ReplicaSet](ctx, r.client, d.Namespace, d.UID)
	if err != nil {
		return nil, err
	}
	for _, obj := range r.orphans.In(d.Namespace) {
		candidates = append(candidates, obj.(*appsv1.ReplicaSet))
	}
	claims := loop.Claim(d, selector, candidates)
	k := kind.Of[*appsv1.ReplicaSet]()
	for _, rs := range claims.Release {
		if err := loop.Release(ctx, r.client, k, d.UID, rs); err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
	}
	adopted, err := loop.Adopt(ctx, r.client, kind.Of[*appsv1.Deployment](), d, claims.Adopt)
	return append(claims.Keep, adopted...), err
}

// oldPods says whether a pod of an earlier template still runs, or still ends.
func (r *controller) oldPods(ctx context.Context, d *appsv1.Deployment, sets []*appsv1.ReplicaSet) (bool, error) {
	_, old := split(d, sets)
	for _, rs := range old {
		list, err := loop.Owned[*corev1.Pod](ctx, r.client, d.Namespace, rs.UID)
		if err != nil {
			return false, err
		}
		for _, p := range list {
			if !pods.Terminal(p) {
				return true, nil
			}
		}
	}
	return false, nil
}

func (r *controller) carryOut(ctx context.Context, d *appsv1.Deployment, p plan) error {
	if p.create != nil {
		if err := r.create(ctx, d, &p); err != nil {
			return err
		}
	}
	for _, c := range p.update {
		if _, err := client.Update(ctx, r.client, c.new); err != nil {
			return fmt.Errorf("cannot scale replica set %s/%s: %w", c.new.Namespace, c.new.Name, err)
		}
		if c.resized() {
			r.scaled(d, c.new.Name, wanted(c.old.Spec.Replicas), wanted(c.new.Spec.Replicas))
		}
	}
	for _, rs := range p.delete {
		opts := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &rs.UID, ResourceVersion: &rs.ResourceVersion}}
		if err := client.Delete[*appsv1.ReplicaSet](ctx, r.client, rs.Namespace, rs.Name, opts); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("cannot delete replica set %s/%s: %w", rs.Namespace, rs.Name, err)
		}
	}
	d, err := r.annotate(ctx, d, p.revision)
	if err != nil {
		return err
	}
	return r.updateStatus(ctx, d, p.status)
}

func (r *controller) scaled(d *appsv1.Deployment, set string, from, to int32) {
	direction := "up"
	if to < from {
		direction = "down"
	}
	r.events.Normal(d, "ScalingReplicaSet", "Scaled %s replica set %s from %d to %d", direction, set, from, to)
}

// create makes p's new set. A name that is taken by a set of another template, or of another owner, is a
// collision of hashes: it is counted, and the next look finds another name.
func (r *controller) create(ctx context.Context, d *appsv1.Deployment, p *plan) error {
	rs, err := client.Create(ctx, r.client, p.create)
	switch {
	case err == nil:
		if n := wanted(rs.Spec.Replicas); n > 0 {
			r.scaled(d, rs.Name, 0, n)
		}
		return nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	case apierrors.IsAlreadyExists(err):
		return r.collided(ctx, d, p.create)
	}
	message := fmt.Sprintf("Failed to create new replica set %q: %v", p.create.Name, err)
	r.events.Warning(d, reasonFailedCreate, "%s", message)
	status := *d.Status.DeepCopy()
	status.ObservedGeneration = d.Generation
	if hasDeadline(d) {
		setCondition(&status, appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonFailedCreate, message, r.now())
	}
	return errors.Join(fmt.Errorf("cannot create replica set %s/%s: %w", p.create.Namespace, p.create.Name, err), r.updateStatus(ctx, d, status))
}

func (r *controller) collided(ctx context.Context, d *appsv1.Deployment, want *appsv1.ReplicaSet) error {
	there, err := client.Get[*appsv1.ReplicaSet](ctx, r.client, want.Namespace, want.Name)
	if err != nil {
		return err
	}
	if metav1.IsControlledBy(there, d) && sameTemplate(&there.Spec.Template, &d.Spec.Template) {
		return nil // it was made by an earlier look whose answer was lost
	}
	status := *d.Status.DeepCopy()
	n := int32(1)
	if status.CollisionCount != nil {
		n = *status.CollisionCount + 1
	}
	status.CollisionCount = &n
	if err := r.updateStatus(ctx, d, status); err != nil {
		return err
	}
	return fmt.Errorf("cannot create replica set %s/%s: its name is taken, %d so far", want.Namespace, want.Name, n)
}

// annotate gives d its revision, as a part of its status: it is no new wish.
func (r *controller) annotate(ctx context.Context, d *appsv1.Deployment, revision string) (*appsv1.Deployment, error) {
	if revision == "" || d.Annotations[revisionAnnotation] == revision {
		return d, nil
	}
	d = d.DeepCopy()
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[revisionAnnotation] = revision
	got, err := client.UpdateStatus(ctx, r.client, d)
	if err != nil {
		return nil, fmt.Errorf("cannot annotate deployment %s/%s: %w", d.Namespace, d.Name, err)
	}
	return got, nil
}

func (r *controller) updateStatus(ctx context.Context, d *appsv1.Deployment, status appsv1.DeploymentStatus) error {
	if reflect.DeepEqual(status, d.Status) {
		return nil
	}
	d = d.DeepCopy()
	d.Status = status
	_, err := client.UpdateStatus(ctx, r.client, d)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot update status of deployment %s/%s: %w", d.Namespace, d.Name, err)
	}
	return nil
}
