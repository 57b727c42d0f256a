package proxy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// labelProxyName names another implementation that answers for a service; such services are not ours.
const labelProxyName = "service.kubernetes.io/service-proxy-name"

// frontend is an address that clients connect to.
type frontend struct {
	addr  netip.Addr
	proto uint8
	port  uint16
}

func (f frontend) String() string { return fmt.Sprintf("%s/%d:%d", f.addr, f.proto, f.port) }

// backend says what happens to a new connection to a frontend.
type backend struct {
	// pool holds the endpoints that may be chosen, sorted. Empty: the connection is refused, or dropped when
	// elsewhere says that only the policy keeps it from being answered.
	pool      []netip.AddrPort
	elsewhere bool
	// external, when split is set, is the pool of clients outside this node, whose address is kept; empty: their
	// packets are dropped, so that a load balancer tries another node.
	split    bool
	external []netip.AddrPort
	// affinity, when not 0, is how long a client stays with an endpoint after its last connection.
	affinity time.Duration
	// sources, when not empty, are the only clients that may connect from outside the node.
	sources []netip.Prefix
	// local are those endpoints of pool and external that are pods of this node.
	local []netip.Addr
}

// topology is what of the node the desired state depends on.
type topology struct {
	nodeName  string
	nodeAddrs []netip.Addr
}

// desired computes the frontends of one service from its endpoint slices. It is a pure function.
func desired(node topology, svc *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice) map[frontend]backend {
	if svc == nil || svc.Spec.Type == corev1.ServiceTypeExternalName || svc.Labels[labelProxyName] != "" {
		return nil
	}
	clusterIPs := parseAll(append([]string{svc.Spec.ClusterIP}, svc.Spec.ClusterIPs...))
	if len(clusterIPs) == 0 {
		return nil // headless, not allocated yet, or of the other family
	}
	clusterIP := clusterIPs[0]
	out := map[frontend]backend{}
	for _, port := range svc.Spec.Ports {
		proto, ok := protocolNumber(port.Protocol)
		if !ok || port.Port < 1 || port.Port > 65535 {
			continue
		}
		eps := endpointsOf(node, port, endpointSlices)
		base := backend{affinity: affinityOf(svc)}

		internal := base
		internal.choose(eps, svc.Spec.InternalTrafficPolicy != nil && *svc.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal)
		out[frontend{clusterIP, proto, uint16(port.Port)}] = internal

		outside := base
		outside.choose(eps, false)
		if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal && len(outside.pool) > 0 {
			outside.split = true
			outside.external = addresses(usable(eps, true))
		}
		for _, addr := range parseAll(svc.Spec.ExternalIPs) {
			out[frontend{addr, proto, uint16(port.Port)}] = outside
		}
		if port.NodePort > 0 {
			for _, addr := range node.nodeAddrs {
				out[frontend{addr, proto, uint16(port.NodePort)}] = outside
			}
		}
		balanced := outside
		balanced.sources = sourceRanges(svc)
		for _, addr := range balancerAddrs(svc) {
			out[frontend{addr, proto, uint16(port.Port)}] = balanced
		}
	}
	return out
}

// choose fills the pool.
func (b *backend) choose(eps []endpoint, onlyLocal bool) {
	chosen := usable(eps, onlyLocal)
	b.pool = addresses(chosen)
	b.elsewhere = onlyLocal && len(chosen) == 0 && len(usable(eps, false)) > 0
	for _, e := range eps {
		if e.local && !slices.Contains(b.local, e.target.Addr()) {
			b.local = append(b.local, e.target.Addr())
		}
	}
}

type endpoint struct {
	target             netip.AddrPort
	local              bool
	ready, terminating bool // terminating: not ready, still serving
}

// usable returns the endpoints that new connections go to: the ready ones or, where there is none, those that
// terminate but still serve (KEP-1669).
func usable(eps []endpoint, onlyLocal bool) []endpoint {
	var ready, terminating []endpoint
	for _, e := range eps {
		switch {
		case onlyLocal && !e.local:
		case e.ready:
			ready = append(ready, e)
		case e.terminating:
			terminating = append(terminating, e)
		}
	}
	if len(ready) > 0 {
		return ready
	}
	return terminating
}

func addresses(eps []endpoint) []netip.AddrPort {
	out := make([]netip.AddrPort, 0, len(eps))
	for _, e := range eps {
		out = append(out, e.target)
	}
	return out
}

// endpointsOf collects the endpoints of one service port, sorted, each once: an endpoint that moves between slices is in
// both for a moment.
func endpointsOf(node topology, port corev1.ServicePort, endpointSlices []*discoveryv1.EndpointSlice) []endpoint {
	byTarget := map[netip.AddrPort]endpoint{}
	for _, s := range endpointSlices {
		if s.AddressType != discoveryv1.AddressTypeIPv4 {
			continue
		}
		for _, p := range s.Ports {
			if p.Port == nil || *p.Port < 1 || *p.Port > 65535 || deref(p.Name, "") != port.Name ||
				deref(p.Protocol, corev1.ProtocolTCP) != cmp.Or(port.Protocol, corev1.ProtocolTCP) {
				continue
			}
			for _, e := range s.Endpoints {
				addEndpoint(byTarget, node, e, uint16(*p.Port))
			}
		}
	}
	out := make([]endpoint, 0, len(byTarget))
	for _, e := range byTarget {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b endpoint) int { return a.target.Compare(b.target) })
	return out
}

func addEndpoint(byTarget map[netip.AddrPort]endpoint, node topology, e discoveryv1.Endpoint, port uint16) {
	if len(e.Addresses) == 0 {
		return
	}
	addr, err := netip.ParseAddr(e.Addresses[0]) // all addresses of an endpoint are the same endpoint
	if err != nil || !addr.Is4() {
		return
	}
	ready := deref(e.Conditions.Ready, true)
	target := netip.AddrPortFrom(addr, port)
	have := byTarget[target]
	byTarget[target] = endpoint{
		target: target,
		local:  have.local || e.NodeName != nil && *e.NodeName == node.nodeName,
		ready:  have.ready || ready,
		terminating: have.terminating ||
			!ready && deref(e.Conditions.Serving, ready) && deref(e.Conditions.Terminating, false),
	}
}

func affinityOf(svc *corev1.Service) time.Duration {
	if svc.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	seconds := corev1.DefaultClientIPServiceAffinitySeconds
	if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil && *c.ClientIP.TimeoutSeconds > 0 {
		seconds = *c.ClientIP.TimeoutSeconds
	}
	return time.Duration(seconds) * time.Second
}

// balancerAddrs are the load balancer's addresses that this node shall answer for (ipMode VIP; Proxy means that packets
// arrive for the node itself).
func balancerAddrs(svc *corev1.Service) []netip.Addr {
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	var ips []string
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if deref(in.IPMode, corev1.LoadBalancerIPModeVIP) == corev1.LoadBalancerIPModeVIP {
			ips = append(ips, in.IP)
		}
	}
	return parseAll(ips)
}

func sourceRanges(svc *corev1.Service) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range svc.Spec.LoadBalancerSourceRanges {
		if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is4() {
			if p.Bits() == 0 {
				return nil
			}
			out = append(out, p.Masked())
		}
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int {
		return cmp.Or(a.Bits()-b.Bits(), a.Addr().Compare(b.Addr()))
	})
	// A range within another one is no news, and the kernel refuses intervals that overlap.
	kept := out[:0]
	for _, p := range out {
		if !slices.ContainsFunc(kept, p.Overlaps) {
			kept = append(kept, p)
		}
	}
	return kept
}

func protocolNumber(p corev1.Protocol) (uint8, bool) {
	switch p {
	case corev1.ProtocolTCP, "":
		return unix.IPPROTO_TCP, true
	case corev1.ProtocolUDP:
		return unix.IPPROTO_UDP, true
	case corev1.ProtocolSCTP:
		return unix.IPPROTO_SCTP, true
	}
	return 0, false
}

// parseAll returns the IPv4 addresses among the strings.
func parseAll(in []string) []netip.Addr {
	var out []netip.Addr
	for _, s := range in {
		if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
			out = append(out, a)
		}
	}
	return out
}

func deref[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
