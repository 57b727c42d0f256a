package endpoints

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/pods"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// managedBy is what slices of this controller are labelled with, the name that Kubernetes' own has.
const managedBy = "endpointslice-controller.k8s.io"

// maxPerSlice is how many endpoints a slice holds, as Kubernetes' default.
const maxPerSlice = 100

// group is the endpoints that serve the same ports: a named port may be another number in each pod.
type group struct {
	ports     []discoveryv1.EndpointPort
	endpoints map[string]discoveryv1.Endpoint // by address
}

// endpointsOf groups svc's pods by the ports that they serve. zone returns a node's zone, "" when not known. A
// service with no matching port in any pod, or with no pods, yields no group.
func endpointsOf(svc *corev1.Service, list []*corev1.Pod, zone func(node string) string) map[string]*group {
	out := map[string]*group{}
	for _, p := range list {
		if p.Status.PodIP == "" || pods.Terminal(p) {
			continue
		}
		ports := portsOf(svc, p)
		if len(ports) == 0 && len(svc.Spec.Ports) > 0 && svc.Spec.ClusterIP != corev1.ClusterIPNone {
			continue
		}
		key := portKey(ports)
		g := out[key]
		if g == nil {
			g = &group{ports: ports, endpoints: map[string]discoveryv1.Endpoint{}}
			out[key] = g
		}
		g.endpoints[p.Status.PodIP] = endpointOf(svc, p, zone(p.Spec.NodeName))
	}
	return out
}

func endpointOf(svc *corev1.Service, p *corev1.Pod, zone string) discoveryv1.Endpoint {
	serving := pods.Ready(p)
	terminating := p.DeletionTimestamp != nil
	ready := svc.Spec.PublishNotReadyAddresses || serving && !terminating
	e := discoveryv1.Endpoint{
		Addresses:  []string{p.Status.PodIP},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
	}
	if p.Spec.NodeName != "" {
		e.NodeName = &p.Spec.NodeName
	}
	if zone != "" {
		e.Zone = &zone
	}
	if p.Spec.Hostname != "" && p.Spec.Subdomain == svc.Name {
		e.Hostname = &p.Spec.Hostname
	}
	return e
}

// portsOf returns the ports of svc as p serves them; a named port that p does not have is left out.
func portsOf(svc *corev1.Service, p *corev1.Pod) []discoveryv1.EndpointPort {
	out := make([]discoveryv1.EndpointPort, 0, len(svc.Spec.Ports))
	for i := range svc.Spec.Ports {
		sp := &svc.Spec.Ports[i]
		number, ok := targetPort(sp, p)
		if !ok {
			continue
		}
		protocol := sp.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		out = append(out, discoveryv1.EndpointPort{Name: &sp.Name, Port: &number, Protocol: &protocol, AppProtocol: sp.AppProtocol})
	}
	return out
}

func targetPort(sp *corev1.ServicePort, p *corev1.Pod) (int32, bool) {
	if sp.TargetPort.Type == intstr.Int {
		if n := sp.TargetPort.IntVal; n != 0 {
			return n, true
		}
		return sp.Port, true
	}
	protocol := cmp.Or(sp.Protocol, corev1.ProtocolTCP)
	find := func(containers []corev1.Container, sidecarsOnly bool) (int32, bool) {
		for i := range containers {
			c := &containers[i]
			if sidecarsOnly && (c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways) {
				continue
			}
			for j := range c.Ports {
				if c.Ports[j].Name == sp.TargetPort.StrVal && cmp.Or(c.Ports[j].Protocol, corev1.ProtocolTCP) == protocol {
					return c.Ports[j].ContainerPort, true
				}
			}
		}
		return 0, false
	}
	if n, ok := find(p.Spec.Containers, false); ok {
		return n, true
	}
	return find(p.Spec.InitContainers, true)
}

func portKey(ports []discoveryv1.EndpointPort) string {
	parts := make([]string, len(ports))
	for i := range ports {
		p := &ports[i]
		parts[i] = strings.Join([]string{deref(p.Name), string(deref(p.Protocol)), strconv.Itoa(int(deref(p.Port))), deref(p.AppProtocol)}, "/")
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// slicePlan is the writes that bring a service's slices to what they should be.
type slicePlan struct {
	create []*discoveryv1.EndpointSlice
	update []*discoveryv1.EndpointSlice
	delete []*discoveryv1.EndpointSlice
}

// origin is the object that slices are written for.
type origin struct {
	namespace, name string
	owner           metav1.OwnerReference
	labels          map[string]string // as its slices have them
	annotations     map[string]string // likewise; nil leaves to others what annotations there are
}

func ofService(svc *corev1.Service) origin {
	return origin{
		namespace: svc.Namespace, name: svc.Name, owner: loop.ControllerRef(kind.Of[*corev1.Service](), svc), labels: sliceLabels(svc),
	}
}

// planService plans the slices of a service: at least one, which says that the service is known, and may be empty.
func planService(svc *corev1.Service, groups map[string]*group, have []*discoveryv1.EndpointSlice) slicePlan {
	if len(groups) == 0 {
		groups = map[string]*group{"": {ports: []discoveryv1.EndpointPort{}}}
	}
	return planSlices(ofService(svc), groups, have)
}

// planSlices changes as few slices as it can: an endpoint stays in the slice that has it, new ones fill what
// has room, and an emptied slice goes unless it is the last of its group.
func planSlices(o origin, groups map[string]*group, have []*discoveryv1.EndpointSlice) slicePlan {
	var p slicePlan
	byPorts := map[string][]*discoveryv1.EndpointSlice{}
	for _, s := range have {
		key := portKey(s.Ports)
		if s.AddressType != discoveryv1.AddressTypeIPv4 || groups[key] == nil {
			p.delete = append(p.delete, s)
			continue
		}
		byPorts[key] = append(byPorts[key], s)
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		p.planGroup(o, groups[key], byPorts[key])
	}
	return p
}

func (p *slicePlan) planGroup(o origin, g *group, have []*discoveryv1.EndpointSlice) {
	slices.SortFunc(have, func(a, b *discoveryv1.EndpointSlice) int { return strings.Compare(a.Name, b.Name) })
	missing := maps.Clone(g.endpoints)
	kept := make([][]discoveryv1.Endpoint, len(have))
	for i, s := range have {
		for j := range s.Endpoints {
			if len(s.Endpoints[j].Addresses) != 1 {
				continue
			}
			address := s.Endpoints[j].Addresses[0]
			if e, ok := missing[address]; ok {
				kept[i] = append(kept[i], e)
				delete(missing, address)
			}
		}
	}
	rest := slices.Sorted(maps.Keys(missing))
	remaining := 0
	for i, s := range have {
		n := min(len(rest), maxPerSlice-len(kept[i]))
		for _, address := range rest[:max(0, n)] {
			kept[i] = append(kept[i], missing[address])
		}
		rest = rest[max(0, n):]
		if len(kept[i]) == 0 && (len(g.endpoints) > 0 || remaining > 0) {
			p.delete = append(p.delete, s)
			continue
		}
		remaining++
		if next := sliceFor(o, g, kept[i], s); next != s {
			p.update = append(p.update, next)
		}
	}
	for len(rest) > 0 || remaining == 0 {
		n := min(len(rest), maxPerSlice)
		var endpoints []discoveryv1.Endpoint
		for _, address := range rest[:n] {
			endpoints = append(endpoints, missing[address])
		}
		rest = rest[n:]
		remaining++
		p.create = append(p.create, sliceFor(o, g, endpoints, nil))
	}
}

// sliceFor returns old with these endpoints, old itself when they are the same, or a new slice.
func sliceFor(o origin, g *group, endpoints []discoveryv1.Endpoint, old *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	if endpoints == nil {
		endpoints = []discoveryv1.Endpoint{}
	}
	owners := []metav1.OwnerReference{o.owner}
	if old == nil {
		return &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{
				GenerateName: o.name + "-", Namespace: o.namespace, Labels: o.labels, Annotations: o.annotations, OwnerReferences: owners,
			},
			AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints, Ports: g.ports,
		}
	}
	ref := metav1.GetControllerOfNoCopy(old)
	owned := ref != nil && ref.UID == o.owner.UID
	if owned && maps.Equal(o.labels, old.Labels) && (o.annotations == nil || maps.Equal(o.annotations, old.Annotations)) && sameEndpoints(endpoints, old.Endpoints) {
		return old
	}
	next := old.DeepCopy()
	next.Labels, next.Endpoints, next.OwnerReferences = o.labels, endpoints, owners
	if o.annotations != nil {
		next.Annotations = o.annotations
	}
	return next
}

func sameEndpoints(a, b []discoveryv1.Endpoint) bool {
	return len(a) == len(b) && (len(a) == 0 || reflect.DeepEqual(a, b))
}

func sliceLabels(svc *corev1.Service) map[string]string {
	out := map[string]string{}
	for k, v := range svc.Labels {
		if k != discoveryv1.LabelServiceName && k != discoveryv1.LabelManagedBy && k != corev1.IsHeadlessService {
			out[k] = v
		}
	}
	out[discoveryv1.LabelServiceName] = svc.Name
	out[discoveryv1.LabelManagedBy] = managedBy
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		out[corev1.IsHeadlessService] = ""
	}
	return out
}
