package proxy

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// state holds what was told and computes what changed; a change costs as much as the services that it concerns. The
// caller serializes all calls. ledger is not touched by it.
type state struct {
	node     topology
	services map[types.NamespacedName]*corev1.Service
	slices   map[types.NamespacedName]*discoveryv1.EndpointSlice
	// byService holds the slices of each service, which may come before the service does.
	byService map[types.NamespacedName]map[types.NamespacedName]*discoveryv1.EndpointSlice
	dirty     map[types.NamespacedName]bool

	computed map[types.NamespacedName]map[frontend]backend
	// claims holds who wants a frontend: two services may name the same external address and port.
	claims map[frontend]map[types.NamespacedName]backend
	udp    map[frontend][]netip.AddrPort
	health map[types.NamespacedName]healthState

	ledger *ledger
}

// refreshed is what a refresh found.
type refreshed struct {
	frontends map[frontend]compiled // changed ones; gone ones are empty
	udp       udpState
	health    map[types.NamespacedName]healthState // all; shared with no one
}

func newState(node topology) *state {
	return &state{
		node:      node,
		services:  map[types.NamespacedName]*corev1.Service{},
		slices:    map[types.NamespacedName]*discoveryv1.EndpointSlice{},
		byService: map[types.NamespacedName]map[types.NamespacedName]*discoveryv1.EndpointSlice{},
		dirty:     map[types.NamespacedName]bool{},
		computed:  map[types.NamespacedName]map[frontend]backend{},
		claims:    map[frontend]map[types.NamespacedName]backend{},
		udp:       map[frontend][]netip.AddrPort{},
		health:    map[types.NamespacedName]healthState{},
		ledger:    newLedger(),
	}
}

func (s *state) setService(name types.NamespacedName, svc *corev1.Service) {
	if svc == nil {
		delete(s.services, name)
	} else {
		s.services[name] = svc
	}
	s.dirty[name] = true
}

func (s *state) setSlice(name types.NamespacedName, slice *discoveryv1.EndpointSlice) {
	if old := s.slices[name]; old != nil {
		owner := ownerOf(old)
		delete(s.byService[owner], name)
		if len(s.byService[owner]) == 0 {
			delete(s.byService, owner)
		}
		delete(s.slices, name)
		s.dirty[owner] = true
	}
	if slice == nil || slice.Labels[discoveryv1.LabelServiceName] == "" {
		return
	}
	owner := ownerOf(slice)
	if s.byService[owner] == nil {
		s.byService[owner] = map[types.NamespacedName]*discoveryv1.EndpointSlice{}
	}
	s.byService[owner][name], s.slices[name] = slice, slice
	s.dirty[owner] = true
}

func ownerOf(slice *discoveryv1.EndpointSlice) types.NamespacedName {
	return types.NamespacedName{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
}

func (s *state) setNodeAddrs(addrs []netip.Addr) {
	if slices.Equal(addrs, s.node.nodeAddrs) {
		return
	}
	s.node.nodeAddrs = slices.Clone(addrs)
	for name := range s.services {
		s.dirty[name] = true
	}
}

// refresh computes everything that is dirty.
func (s *state) refresh() refreshed {
	out := refreshed{frontends: map[frontend]compiled{}}
	touched := map[frontend]bool{}
	for name := range s.dirty {
		svc := s.services[name]
		own := slices.Collect(maps.Values(s.byService[name]))
		next := desired(s.node, svc, own)
		s.claim(name, next, touched)
		if h, ok := healthOf(s.node, svc, own); ok {
			s.health[name] = h
		} else {
			delete(s.health, name)
		}
	}
	clear(s.dirty)
	udpChanged := false
	for f := range touched {
		winner, ok := s.winner(f)
		if !ok {
			out.frontends[f] = compiled{}
		} else {
			out.frontends[f] = compile(f, winner)
		}
		udpChanged = s.setUDP(f, winner, ok) || udpChanged
	}
	if udpChanged {
		out.udp = udpState{changed: true, frontends: maps.Clone(s.udp)}
		for f := range touched {
			if _, ok := s.udp[f]; !ok && f.proto == protoUDP {
				out.udp.gone = append(out.udp.gone, f)
			}
		}
	}
	out.health = maps.Clone(s.health)
	return out
}

// claim replaces what a service wants.
func (s *state) claim(name types.NamespacedName, next map[frontend]backend, touched map[frontend]bool) {
	for f := range s.computed[name] {
		delete(s.claims[f], name)
		if len(s.claims[f]) == 0 {
			delete(s.claims, f)
		}
		touched[f] = true
	}
	for f, b := range next {
		if s.claims[f] == nil {
			s.claims[f] = map[types.NamespacedName]backend{}
		}
		s.claims[f][name] = b
		touched[f] = true
	}
	if len(next) == 0 {
		delete(s.computed, name)
	} else {
		s.computed[name] = next
	}
}

// winner decides between services that want the same frontend: the oldest has it, whatever the order in which they came.
func (s *state) winner(f frontend) (backend, bool) {
	var best types.NamespacedName
	for name := range s.claims[f] {
		if best.Name == "" || s.older(name, best) {
			best = name
		}
	}
	b, ok := s.claims[f][best]
	return b, ok
}

func (s *state) older(a, b types.NamespacedName) bool {
	ta, tb := s.services[a].CreationTimestamp, s.services[b].CreationTimestamp
	if !ta.Equal(&tb) {
		return ta.Before(&tb)
	}
	return a.String() < b.String()
}

// setUDP keeps the endpoints of UDP frontends and says whether they changed in a way that leaves stale connections.
func (s *state) setUDP(f frontend, b backend, ok bool) bool {
	if f.proto != protoUDP {
		return false
	}
	old, had := s.udp[f]
	if !ok {
		delete(s.udp, f)
		return had
	}
	targets := slices.Concat(b.pool, b.external)
	s.udp[f] = targets
	if len(targets) == 0 {
		return len(old) > 0
	}
	return !had || len(old) == 0 || slices.ContainsFunc(old, func(a netip.AddrPort) bool { return !slices.Contains(targets, a) })
}
