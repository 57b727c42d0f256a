// Package system keeps what every cluster has: its four namespaces, the system's two priority classes, and the
// service "kubernetes" by which pods reach the API.
package system

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const (
	serviceName = "kubernetes"
	portName    = "https"
	servicePort = 443
	// skipMirror keeps clients from deriving a second slice from the Endpoints object.
	skipMirror = "endpointslice.kubernetes.io/skip-mirror"
)

// namespaces are made in this order; the service needs the first.
var namespaces = []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease}

type controller struct {
	client    client.Client
	clusterIP netip.Addr
	addresses []netip.AddrPort
}

// New returns the controller. The service's cluster IP is the first of services; addresses are where the API
// servers listen, all on one port.
func New(c client.Client, services netip.Prefix, addresses []netip.AddrPort) loop.Controller {
	r := &controller{client: c, clusterIP: services.Masked().Addr().Next(), addresses: slices.Clone(addresses)}
	slices.SortFunc(r.addresses, netip.AddrPort.Compare)
	everything := loop.Key{Name: "system"}
	lost := func(namespace string, names ...string) func(client.Event) []loop.Key {
		return func(e client.Event) []loop.Key {
			if e.Type == watch.Added || e.Object.GetNamespace() != namespace || !slices.Contains(names, e.Object.GetName()) {
				return nil
			}
			return []loop.Key{everything}
		}
	}
	return loop.Controller{
		Name: "system", Initial: []loop.Key{everything}, Reconcile: r.reconcile,
		Also: []loop.Source{
			{Kind: kind.Of[*corev1.Namespace](), Keys: lost("", namespaces...)},
			{Kind: kind.Of[*schedulingv1.PriorityClass](), Keys: lost("", slices.Collect(maps.Keys(kind.SystemPriorities))...)},
			{Kind: kind.Of[*corev1.Service](), Keys: lost(metav1.NamespaceDefault, serviceName)},
			{Kind: kind.Of[*corev1.Endpoints](), Keys: lost(metav1.NamespaceDefault, serviceName)},
			{Kind: kind.Of[*discoveryv1.EndpointSlice](), Keys: lost(metav1.NamespaceDefault, serviceName)},
		},
	}
}

func (r *controller) reconcile(ctx context.Context, _ loop.Key) (loop.Result, error) {
	for _, name := range namespaces {
		if err := r.namespace(ctx, name); err != nil {
			return loop.Result{}, err
		}
	}
	for name, value := range kind.SystemPriorities {
		if err := r.priorityClass(ctx, name, value); err != nil {
			return loop.Result{}, err
		}
	}
	if err := r.service(ctx); err != nil {
		return loop.Result{}, err
	}
	if len(r.addresses) == 0 {
		return loop.Result{}, nil
	}
	if err := ensure(ctx, r.client, r.slice(), func(have, want *discoveryv1.EndpointSlice) bool {
		if reflect.DeepEqual(have.Endpoints, want.Endpoints) && reflect.DeepEqual(have.Ports, want.Ports) {
			return false
		}
		have.Endpoints, have.Ports = want.Endpoints, want.Ports
		return true
	}); err != nil {
		return loop.Result{}, err
	}
	return loop.Result{}, ensure(ctx, r.client, r.legacy(), func(have, want *corev1.Endpoints) bool {
		if reflect.DeepEqual(have.Subsets, want.Subsets) {
			return false
		}
		have.Subsets = want.Subsets
		return true
	})
}

func (r *controller) namespace(ctx context.Context, name string) error {
	want := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	return ensure(ctx, r.client, want, func(_, _ *corev1.Namespace) bool { return false })
}

// systemClassText says what each of the system's priority classes is for.
var systemClassText = map[string]string{
	"system-node-critical":    "Used for system critical pods that must not be moved from their current node.",
	"system-cluster-critical": "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
}

func (r *controller) priorityClass(ctx context.Context, name string, value int32) error {
	want := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value, Description: systemClassText[name]}
	return ensure(ctx, r.client, want, func(_, _ *schedulingv1.PriorityClass) bool { return false })
}

func (r *controller) service(ctx context.Context) error {
	want := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: serviceName, Namespace: metav1.NamespaceDefault,
			Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"},
		},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: r.clusterIP.String(), ClusterIPs: []string{r.clusterIP.String()},
			SessionAffinity: corev1.ServiceAffinityNone,
			Ports:           []corev1.ServicePort{{Name: portName, Port: servicePort, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(r.port())}},
		},
	}
	return ensure(ctx, r.client, want, func(have, want *corev1.Service) bool {
		if len(have.Spec.Ports) == 1 && have.Spec.Ports[0].Port == servicePort && have.Spec.Ports[0].TargetPort == want.Spec.Ports[0].TargetPort {
			return false
		}
		have.Spec.Ports = want.Spec.Ports
		return true
	})
}

func (r *controller) port() int32 {
	if len(r.addresses) == 0 {
		return servicePort
	}
	return int32(r.addresses[0].Port())
}

func (r *controller) slice() *discoveryv1.EndpointSlice {
	name, port, protocol, ready := portName, r.port(), corev1.ProtocolTCP, true
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: serviceName, Namespace: metav1.NamespaceDefault, Labels: map[string]string{discoveryv1.LabelServiceName: serviceName},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
	}
	for _, a := range r.addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a.Addr().String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}})
	}
	return s
}

func (r *controller) legacy() *corev1.Endpoints {
	subset := corev1.EndpointSubset{Ports: []corev1.EndpointPort{{Name: portName, Port: r.port(), Protocol: corev1.ProtocolTCP}}}
	for _, a := range r.addresses {
		subset.Addresses = append(subset.Addresses, corev1.EndpointAddress{IP: a.Addr().String()})
	}
	return &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Name: serviceName, Namespace: metav1.NamespaceDefault, Labels: map[string]string{skipMirror: "true"}},
		Subsets:    []corev1.EndpointSubset{subset},
	}
}

// ensure creates want, or lets correct change a copy of what is there; correct says whether it did.
func ensure[T kind.Object](ctx context.Context, c client.Client, want T, correct func(have, want T) bool) error {
	k := kind.Of[T]()
	have, err := client.Get[T](ctx, c, want.GetNamespace(), want.GetName())
	if apierrors.IsNotFound(err) {
		if _, err = client.Create(ctx, c, want); apierrors.IsAlreadyExists(err) {
			return nil
		}
	} else if err == nil {
		next := have.DeepCopyObject().(T)
		if !correct(next, want) {
			return nil
		}
		_, err = client.Update(ctx, c, next)
	}
	if err != nil {
		return fmt.Errorf("cannot ensure %s %s: %w", k.Singular, want.GetName(), err)
	}
	return nil
}
