package endpoints

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// maxAddresses is how many addresses an Endpoints object may list; beyond it the annotation says so.
	maxAddresses = 1000
	// legacyManager labels the Endpoints objects that this controller writes.
	legacyManagerLabel = "endpoints.kubernetes.io/managed-by"
	legacyManager      = "endpoint-controller"
)

// legacyFor returns the Endpoints object that says what groups say, to clients that read no slices. Pods that
// end are not in it.
func legacyFor(svc *corev1.Service, groups map[string]*group) *corev1.Endpoints {
	out := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: svc.Name, Namespace: svc.Namespace, Labels: map[string]string{}}}
	for k, v := range svc.Labels {
		out.Labels[k] = v
	}
	out.Labels[legacyManagerLabel] = legacyManager
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		out.Labels[corev1.IsHeadlessService] = ""
	}
	left := maxAddresses
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		g := groups[key]
		subset := corev1.EndpointSubset{Ports: legacyPorts(g.ports)}
		for _, address := range slices.Sorted(maps.Keys(g.endpoints)) {
			e := g.endpoints[address]
			if deref(e.Conditions.Terminating) && !svc.Spec.PublishNotReadyAddresses {
				continue
			}
			if left == 0 {
				out.Annotations = map[string]string{corev1.EndpointsOverCapacity: "truncated"}
				break
			}
			left--
			a := corev1.EndpointAddress{IP: address, NodeName: e.NodeName, TargetRef: e.TargetRef, Hostname: deref(e.Hostname)}
			if deref(e.Conditions.Ready) {
				subset.Addresses = append(subset.Addresses, a)
			} else {
				subset.NotReadyAddresses = append(subset.NotReadyAddresses, a)
			}
		}
		if len(subset.Addresses)+len(subset.NotReadyAddresses) > 0 {
			out.Subsets = append(out.Subsets, subset)
		}
	}
	return out
}

func legacyPorts(ports []discoveryv1.EndpointPort) []corev1.EndpointPort {
	var out []corev1.EndpointPort
	for i := range ports {
		p := &ports[i]
		out = append(out, corev1.EndpointPort{Name: deref(p.Name), Port: deref(p.Port), Protocol: deref(p.Protocol), AppProtocol: p.AppProtocol})
	}
	slices.SortFunc(out, func(a, b corev1.EndpointPort) int { return strings.Compare(a.Name, b.Name) })
	return out
}
