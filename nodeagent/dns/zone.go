package dns

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// node holds the records of one name.
type node struct {
	a     []netip.Addr
	srv   []target
	cname string
}

// target is where an SRV record points.
type target struct {
	host string // absolute
	port uint16
}

// zone holds the names of the cluster. It is safe for concurrent use; a change costs as much as the service it concerns.
type zone struct {
	domain string // "cluster.local."

	mu       sync.RWMutex
	synced   bool
	services map[types.NamespacedName]*corev1.Service
	slices   map[types.NamespacedName]*discoveryv1.EndpointSlice
	// byService holds the slices of each service, which may come before the service does.
	byService map[types.NamespacedName]map[types.NamespacedName]*discoveryv1.EndpointSlice
	built     map[types.NamespacedName]built
	names     map[string]*node
	// inner counts the names below a name that has no records of its own: it exists, but is empty (RFC 8020).
	inner   map[string]int
	reverse map[netip.Addr]map[string]bool
}

// built is what one service put into the zone.
type built struct {
	names   map[string]*node
	reverse map[netip.Addr]string
}

func newZone(domain string) *zone {
	return &zone{
		domain:    dns.CanonicalName(domain),
		services:  map[types.NamespacedName]*corev1.Service{},
		slices:    map[types.NamespacedName]*discoveryv1.EndpointSlice{},
		byService: map[types.NamespacedName]map[types.NamespacedName]*discoveryv1.EndpointSlice{},
		built:     map[types.NamespacedName]built{},
		names:     map[string]*node{},
		inner:     map[string]int{},
		reverse:   map[netip.Addr]map[string]bool{},
	}
}

func (z *zone) setService(name types.NamespacedName, svc *corev1.Service) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if svc == nil {
		delete(z.services, name)
	} else {
		z.services[name] = svc
	}
	z.rebuild(name)
}

func (z *zone) setSlice(name types.NamespacedName, slice *discoveryv1.EndpointSlice) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if old := z.slices[name]; old != nil {
		owner := ownerOf(old)
		delete(z.byService[owner], name)
		if len(z.byService[owner]) == 0 {
			delete(z.byService, owner)
		}
		delete(z.slices, name)
		if slice == nil || ownerOf(slice) != owner {
			z.rebuild(owner)
		}
	}
	if slice == nil || slice.Labels[discoveryv1.LabelServiceName] == "" {
		return
	}
	owner := ownerOf(slice)
	if z.byService[owner] == nil {
		z.byService[owner] = map[types.NamespacedName]*discoveryv1.EndpointSlice{}
	}
	z.byService[owner][name], z.slices[name] = slice, slice
	z.rebuild(owner)
}

func ownerOf(slice *discoveryv1.EndpointSlice) types.NamespacedName {
	return types.NamespacedName{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
}

// rebuild replaces the names of one service. The caller holds the lock.
func (z *zone) rebuild(name types.NamespacedName) {
	old := z.built[name]
	for n := range old.names {
		delete(z.names, n)
		z.countInner(n, -1)
	}
	for addr, n := range old.reverse {
		delete(z.reverse[addr], n)
		if len(z.reverse[addr]) == 0 {
			delete(z.reverse, addr)
		}
	}
	delete(z.built, name)
	svc := z.services[name]
	if svc == nil {
		return
	}
	b := build(z.domain, svc, slices.Collect(maps.Values(z.byService[name])))
	for n, records := range b.names {
		z.names[n] = records
		z.countInner(n, 1)
	}
	for addr, n := range b.reverse {
		if z.reverse[addr] == nil {
			z.reverse[addr] = map[string]bool{}
		}
		z.reverse[addr][n] = true
	}
	z.built[name] = b
}

// countInner counts a name at every name between it and the zone.
func (z *zone) countInner(name string, by int) {
	for i, end := dns.NextLabel(name, 0); !end; i, end = dns.NextLabel(name, i) {
		parent := name[i:]
		if parent == z.domain {
			return
		}
		if z.inner[parent] += by; z.inner[parent] == 0 {
			delete(z.inner, parent)
		}
	}
}

// build computes the names of a service (Kubernetes DNS-based service discovery 1.1.0, sections 2.3 to 2.5). It is a
// pure function.
func build(domain string, svc *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice) built {
	b := built{names: map[string]*node{}, reverse: map[netip.Addr]string{}}
	own := strings.ToLower(svc.Name + "." + svc.Namespace + ".svc." + domain)
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		b.names[own] = &node{cname: dns.CanonicalName(svc.Spec.ExternalName)}
		return b
	}
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		b.headless(own, svc, endpointSlices)
		return b
	}
	for _, text := range append([]string{svc.Spec.ClusterIP}, svc.Spec.ClusterIPs...) {
		if ip, err := netip.ParseAddr(text); err == nil && ip.Is4() {
			addAddr(b.at(own), ip)
			b.reverse[ip] = own
		}
	}
	if b.names[own] == nil {
		return b // not allocated yet, or of the other family
	}
	for _, p := range svc.Spec.Ports {
		if p.Name != "" {
			n := b.at(portName(p.Name, p.Protocol, own))
			n.srv = append(n.srv, target{own, uint16(p.Port)})
		}
	}
	return b
}

// headless adds the ready endpoints, each under the service's name and under its own.
func (b *built) headless(own string, svc *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice) {
	slices.SortFunc(endpointSlices, func(x, y *discoveryv1.EndpointSlice) int { return strings.Compare(x.Name, y.Name) })
	for _, s := range endpointSlices {
		if s.AddressType != discoveryv1.AddressTypeIPv4 {
			continue
		}
		for _, e := range s.Endpoints {
			ready := e.Conditions.Ready == nil || *e.Conditions.Ready || svc.Spec.PublishNotReadyAddresses
			if !ready || len(e.Addresses) == 0 {
				continue
			}
			ip, err := netip.ParseAddr(e.Addresses[0])
			if err != nil || !ip.Is4() {
				continue
			}
			host := strings.ReplaceAll(ip.String(), ".", "-")
			if e.Hostname != nil && *e.Hostname != "" {
				host = strings.ToLower(*e.Hostname)
			}
			host += "." + own
			addAddr(b.at(own), ip)
			addAddr(b.at(host), ip)
			b.reverse[ip] = host
			for _, p := range s.Ports {
				if p.Name == nil || *p.Name == "" || p.Port == nil {
					continue
				}
				n := b.at(portName(*p.Name, protocolOf(p.Protocol), own))
				if t := (target{host, uint16(*p.Port)}); !slices.Contains(n.srv, t) {
					n.srv = append(n.srv, t)
				}
			}
		}
	}
}

func (b *built) at(name string) *node {
	if b.names[name] == nil {
		b.names[name] = &node{}
	}
	return b.names[name]
}

func addAddr(n *node, ip netip.Addr) {
	if !slices.Contains(n.a, ip) {
		n.a = append(n.a, ip)
	}
}

func protocolOf(p *corev1.Protocol) corev1.Protocol {
	if p == nil {
		return corev1.ProtocolTCP
	}
	return *p
}

func portName(port string, protocol corev1.Protocol, service string) string {
	if protocol == "" {
		protocol = corev1.ProtocolTCP
	}
	return strings.ToLower("_" + port + "._" + string(protocol) + "." + service)
}

func (z *zone) setSynced() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.synced = true
}

func (z *zone) isSynced() bool {
	z.mu.RLock()
	defer z.mu.RUnlock()
	return z.synced
}

// find returns the records of a name, and whether the name exists at all.
func (z *zone) find(name string) (node, bool) {
	z.mu.RLock()
	defer z.mu.RUnlock()
	if n := z.names[name]; n != nil {
		return *n, true // its slices are never changed, only replaced
	}
	return node{}, z.inner[name] > 0
}

// findReverse returns the names of an address, sorted.
func (z *zone) findReverse(addr netip.Addr) []string {
	z.mu.RLock()
	defer z.mu.RUnlock()
	return slices.Sorted(maps.Keys(z.reverse[addr]))
}
