package endpoints

import (
	"context"
	"maps"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// mirroredBy is what slices of the mirror are labelled with, the name that Kubernetes' own has.
const mirroredBy = "endpointslicemirroring-controller.k8s.io"

// leaderAnnotation marks Endpoints that are no endpoints but a lock, as elections once were held.
const leaderAnnotation = "control-plane.alpha.kubernetes.io/leader"

type mirror struct{ client client.Client }

// Mirror returns the controller that writes slices for Endpoints which somebody else wrote for a service without a selector:
// what reads slices then finds them too.
func Mirror(c client.Client) loop.Controller {
	m := &mirror{c}
	return loop.Controller{
		Name: "endpoints-mirror", Workers: workers, Reconcile: m.reconcile,
		Also: []loop.Source{
			{Kind: kind.Of[*corev1.Endpoints](), Keys: writtenByOthers},
			{Kind: kind.Of[*corev1.Service](), Keys: selectorChanged},
			{Kind: kind.Of[*discoveryv1.EndpointSlice](), Keys: sliceChanged(mirroredBy)},
		},
	}
}

func writtenByOthers(e client.Event) []loop.Key {
	if e.Object.GetLabels()[legacyManagerLabel] == legacyManager {
		return nil // of a service with a selector; when it got that, selectorChanged said so
	}
	return []loop.Key{loop.KeyOf(e.Object)}
}

func selectorChanged(e client.Event) []loop.Key {
	without := func(o kind.Object) bool { return o != nil && o.(*corev1.Service).Spec.Selector == nil }
	if e.Type == watch.Modified && without(e.Object) == without(e.Old) || !without(e.Object) && !without(e.Old) {
		return nil
	}
	return []loop.Key{loop.KeyOf(e.Object)}
}

func (m *mirror) reconcile(ctx context.Context, key loop.Key) (loop.Result, error) {
	have, err := slicesOf(ctx, m.client, key.Namespace, key.Name, mirroredBy)
	if err != nil {
		return loop.Result{}, err
	}
	from, err := m.original(ctx, key)
	if err != nil {
		return loop.Result{}, err
	}
	plan := slicePlan{delete: have}
	switch {
	case from == nil:
	case from.DeletionTimestamp != nil:
		return loop.Result{}, nil // the slices go with it
	default:
		plan = planSlices(ofEndpoints(from), mirrored(from), have)
	}
	err = carryOut(ctx, m.client, plan)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return loop.Result{}, nil
	}
	return loop.Result{}, err
}

// original returns the Endpoints to mirror under a name; nil when there are none.
func (m *mirror) original(ctx context.Context, key loop.Key) (*corev1.Endpoints, error) {
	svc, err := client.Get[*corev1.Service](ctx, m.client, key.Namespace, key.Name)
	if apierrors.IsNotFound(err) || err == nil && svc.Spec.Selector != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	from, err := client.Get[*corev1.Endpoints](ctx, m.client, key.Namespace, key.Name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if _, lock := from.Annotations[leaderAnnotation]; lock || from.Labels[discoveryv1.LabelSkipMirror] == "true" {
		return nil, nil
	}
	return from, nil
}

func ofEndpoints(from *corev1.Endpoints) origin {
	o := origin{
		namespace: from.Namespace, name: from.Name, owner: loop.ControllerRef(kind.Of[*corev1.Endpoints](), from),
		labels: map[string]string{}, annotations: map[string]string{},
	}
	maps.Copy(o.labels, from.Labels)
	o.labels[discoveryv1.LabelServiceName], o.labels[discoveryv1.LabelManagedBy] = from.Name, mirroredBy
	for k, v := range from.Annotations {
		if k != corev1.EndpointsLastChangeTriggerTime && k != corev1.LastAppliedConfigAnnotation {
			o.annotations[k] = v
		}
	}
	return o
}

// mirrored groups the addresses by their ports. An address that is ready in one subset and not in another is ready, as clients
// of Endpoints have it. Addresses of IPv6 lead nowhere in a cluster of IPv4, and are left out.
func mirrored(from *corev1.Endpoints) map[string]*group {
	out := map[string]*group{}
	for i := range from.Subsets {
		subset := &from.Subsets[i]
		ports := slicePorts(subset.Ports)
		key := portKey(ports)
		g := out[key]
		if g == nil {
			g = &group{ports: ports, endpoints: map[string]discoveryv1.Endpoint{}}
		}
		add := func(list []corev1.EndpointAddress, ready bool) {
			for _, a := range list {
				ip, err := netip.ParseAddr(a.IP)
				if err != nil || !ip.Is4() || !ready && deref(g.endpoints[a.IP].Conditions.Ready) {
					continue
				}
				e := discoveryv1.Endpoint{
					Addresses: []string{a.IP}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}, NodeName: a.NodeName, TargetRef: a.TargetRef,
				}
				if a.Hostname != "" {
					e.Hostname = &a.Hostname
				}
				g.endpoints[a.IP] = e
				out[key] = g
			}
		}
		add(subset.Addresses, true)
		add(subset.NotReadyAddresses, false)
	}
	return out
}

func slicePorts(ports []corev1.EndpointPort) []discoveryv1.EndpointPort {
	out := make([]discoveryv1.EndpointPort, len(ports))
	for i := range ports {
		p := &ports[i]
		out[i] = discoveryv1.EndpointPort{Name: &p.Name, Port: &p.Port, Protocol: &p.Protocol, AppProtocol: p.AppProtocol}
	}
	return out
}
