// Package endpoints writes, for each service with a selector, which pods answer for it: EndpointSlices, and the
// Endpoints object of old for clients that know no other.
package endpoints

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/event"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/pods"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const workers = 4

type controller struct {
	client   client.Client
	events   *event.Recorder
	services loop.Selectors

	mu    sync.Mutex
	zones map[string]string // by node
}

// New returns the controller.
func New(c client.Client, events *event.Recorder) loop.Controller {
	r := &controller{client: c, events: events.For("endpoint-slice-controller"), zones: map[string]string{}}
	r.services.Of = func(obj kind.Object) labels.Selector {
		if svc := obj.(*corev1.Service); selects(svc) {
			return labels.SelectorFromSet(svc.Spec.Selector)
		}
		return nil
	}
	return loop.Controller{
		Name: "endpoints", For: kind.Of[*corev1.Service](), Workers: workers, Reconcile: r.reconcile,
		Also: []loop.Source{
			{Kind: kind.Of[*corev1.Service](), Keys: r.services.Note},
			{Kind: kind.Of[*corev1.Pod](), Keys: r.podChanged},
			{Kind: kind.Of[*corev1.Node](), Keys: r.nodeChanged},
			{Kind: kind.Of[*discoveryv1.EndpointSlice](), Keys: sliceChanged(managedBy)},
		},
	}
}

// selects says whether svc's endpoints are this controller's business: without a selector they are the user's.
func selects(svc *corev1.Service) bool {
	return len(svc.Spec.Selector) > 0 && svc.Spec.Type != corev1.ServiceTypeExternalName
}

func (r *controller) podChanged(e client.Event) []loop.Key {
	p := e.Object.(*corev1.Pod)
	if e.Type == watch.Modified {
		old := e.Old.(*corev1.Pod)
		if sameForServices(p, old) {
			return nil
		}
		if !maps.Equal(p.Labels, old.Labels) {
			return append(r.services.Selecting(p), r.services.Selecting(old)...)
		}
	}
	return r.services.Selecting(p)
}

// sameForServices says that nothing changed which an endpoint shows: most changes of a pod are such.
func sameForServices(a, b *corev1.Pod) bool {
	return a.Status.PodIP == b.Status.PodIP &&
		pods.Ready(a) == pods.Ready(b) &&
		pods.Terminal(a) == pods.Terminal(b) &&
		(a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) &&
		a.Spec.NodeName == b.Spec.NodeName &&
		a.UID == b.UID &&
		maps.Equal(a.Labels, b.Labels)
}

func (r *controller) nodeChanged(e client.Event) []loop.Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	name, zone := e.Object.GetName(), e.Object.GetLabels()[corev1.LabelTopologyZone]
	if e.Type == watch.Deleted {
		zone = ""
	}
	if r.zones[name] == zone {
		return nil
	}
	if zone == "" {
		delete(r.zones, name)
	} else {
		r.zones[name] = zone
	}
	// a node's zone changes so rarely that its pods' services are left to the resync
	return nil
}

func (r *controller) zone(node string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.zones[node]
}

// sliceChanged brings back what someone else changed or deleted of a controller's slices.
func sliceChanged(manager string) func(client.Event) []loop.Key {
	return func(e client.Event) []loop.Key {
		l := e.Object.GetLabels()
		if l[discoveryv1.LabelManagedBy] != manager || e.Type == watch.Added {
			return nil
		}
		return []loop.Key{{Namespace: e.Object.GetNamespace(), Name: l[discoveryv1.LabelServiceName]}}
	}
}

func (r *controller) reconcile(ctx context.Context, key loop.Key) (loop.Result, error) {
	svc, err := client.Get[*corev1.Service](ctx, r.client, key.Namespace, key.Name)
	if apierrors.IsNotFound(err) {
		return loop.Result{}, r.removeLegacy(ctx, key) // slices have an owner, and go by garbage collection
	}
	if err != nil {
		return loop.Result{}, err
	}
	if !selects(svc) || svc.DeletionTimestamp != nil {
		return loop.Result{}, nil
	}
	list, err := client.List[*corev1.Pod](ctx, r.client, client.Query{Namespace: svc.Namespace, Labels: labels.SelectorFromSet(svc.Spec.Selector)})
	if err != nil {
		return loop.Result{}, err
	}
	have, err := slicesOf(ctx, r.client, svc.Namespace, svc.Name, managedBy)
	if err != nil {
		return loop.Result{}, err
	}
	groups := endpointsOf(svc, list, r.zone)
	if err := carryOut(ctx, r.client, planService(svc, groups, have)); err != nil {
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return loop.Result{}, nil
		}
		r.events.Warning(svc, "FailedToUpdateEndpointSlices", "Error updating Endpoint Slices for Service %s/%s: %v", svc.Namespace, svc.Name, err)
		return loop.Result{}, err
	}
	return loop.Result{}, r.writeLegacy(ctx, legacyFor(svc, groups))
}

// slicesOf returns the slices of a service that one controller writes.
func slicesOf(ctx context.Context, c client.Client, namespace, service, manager string) ([]*discoveryv1.EndpointSlice, error) {
	return client.List[*discoveryv1.EndpointSlice](ctx, c, client.Query{
		Namespace: namespace,
		Labels:    labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: manager}),
	})
}

func carryOut(ctx context.Context, c client.Client, p slicePlan) error {
	var errs []error
	for _, s := range p.create {
		if _, err := client.Create(ctx, c, s); err != nil {
			errs = append(errs, fmt.Errorf("cannot create endpoint slice of %s: %w", s.GenerateName, err))
		}
	}
	for _, s := range p.update {
		if _, err := client.Update(ctx, c, s); err != nil {
			errs = append(errs, fmt.Errorf("cannot update endpoint slice %s/%s: %w", s.Namespace, s.Name, err))
		}
	}
	for _, s := range p.delete {
		if err := client.Delete[*discoveryv1.EndpointSlice](ctx, c, s.Namespace, s.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("cannot delete endpoint slice %s/%s: %w", s.Namespace, s.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (r *controller) writeLegacy(ctx context.Context, want *corev1.Endpoints) error {
	have, err := client.Get[*corev1.Endpoints](ctx, r.client, want.Namespace, want.Name)
	if apierrors.IsNotFound(err) {
		_, err = client.Create(ctx, r.client, want)
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		return wrap(err, "create", want)
	}
	if err != nil {
		return err
	}
	if maps.Equal(have.Labels, want.Labels) && reflect.DeepEqual(have.Subsets, want.Subsets) &&
		have.Annotations[corev1.EndpointsOverCapacity] == want.Annotations[corev1.EndpointsOverCapacity] {
		return nil
	}
	next := have.DeepCopy()
	next.Labels, next.Subsets = want.Labels, want.Subsets
	delete(next.Annotations, corev1.EndpointsOverCapacity)
	if v, ok := want.Annotations[corev1.EndpointsOverCapacity]; ok {
		if next.Annotations == nil {
			next.Annotations = map[string]string{}
		}
		next.Annotations[corev1.EndpointsOverCapacity] = v
	}
	_, err = client.Update(ctx, r.client, next)
	return wrap(err, "update", want)
}

func wrap(err error, verb string, e *corev1.Endpoints) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot %s endpoints %s/%s: %w", verb, e.Namespace, e.Name, err)
}

// removeLegacy deletes the Endpoints of a service that is gone, if this controller wrote them.
func (r *controller) removeLegacy(ctx context.Context, key loop.Key) error {
	have, err := client.Get[*corev1.Endpoints](ctx, r.client, key.Namespace, key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || have.Labels[legacyManagerLabel] != legacyManager {
		return err
	}
	err = client.Delete[*corev1.Endpoints](ctx, r.client, key.Namespace, key.Name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return wrap(err, "delete", have)
}
