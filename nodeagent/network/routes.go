package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// NodeRoute is what must be known of a node to reach its pods.
type NodeRoute struct {
	Name    string
	Address netip.Addr   // InternalIP
	PodCIDR netip.Prefix // spec.podCIDR; invalid while the node has none
}

// ensureTunnel makes the tunnel's link, or removes a former one in direct mode.
func (b *Bridge) ensureTunnel() error {
	if b.cfg.Mode == ModeDirect {
		return b.reaper.remove(VXLANName)
	}
	tunnelAddr := b.cfg.NodePodCIDR.Addr()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = VXLANName, b.mtu, hardwareAddr(tunnelAddr)
	want := &netlink.Vxlan{
		LinkAttrs: attrs, VxlanId: vxlanID, Port: vxlanPort, VtepDevIndex: b.uplink.Attrs().Index,
		SrcAddr: b.cfg.NodeAddress.AsSlice(), Learning: false,
	}
	link, err := b.ensureLink(want, func(have netlink.Link) bool {
		v, ok := have.(*netlink.Vxlan)
		return ok && v.VxlanId == want.VxlanId && v.Port == want.Port && v.VtepDevIndex == want.VtepDevIndex &&
			v.SrcAddr.Equal(want.SrcAddr) && !v.Learning
	})
	if err != nil {
		return err
	}
	b.vxlan = link.Attrs().Index
	// The address gives this host's own packets to remote pods a source that the other side routes back here.
	if err := b.ensureAddress(link, netip.PrefixFrom(tunnelAddr, 32)); err != nil {
		return err
	}
	return looseReversePath(VXLANName)
}

// peerState is everything the kernel holds for reaching other nodes' pods, comparable key by key.
type peerState struct {
	routes     map[netip.Prefix]nextHop
	neighbours map[netip.Addr]string // tunnel address -> its MAC
	forwarding map[string]netip.Addr // MAC -> node address
}

type nextHop struct {
	via    netip.Addr
	link   int
	onlink bool
}

// SetNodes makes the pods of exactly these nodes reachable; this node among them is ignored. Only what differs from the
// kernel's state is changed, so a call without news changes nothing, and routes of nodes that are gone are removed.
// After an error the call can be repeated; what could be applied was applied.
func (b *Bridge) SetNodes(ctx context.Context, nodes []NodeRoute) error {
	b.peers.Lock()
	defer b.peers.Unlock()
	b.nodes = slices.Clone(nodes)
	return b.applyNodes(ctx)
}

// restoreRoutes applies the last SetNodes again.
func (b *Bridge) restoreRoutes(ctx context.Context) error {
	b.peers.Lock()
	defer b.peers.Unlock()
	if b.nodes == nil {
		return nil // SetNodes was not called yet: routes of a former process stay
	}
	return errors.Join(b.ensureServiceRoute(), b.applyNodes(ctx))
}

// applyNodes brings the kernel to b.nodes. The caller holds the lock.
func (b *Bridge) applyNodes(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	want, err := b.wantedPeers(b.nodes)
	have, listErr := b.actualPeers()
	if listErr != nil {
		return listErr
	}
	return errors.Join(err, b.applyRoutes(want, have), b.applyTunnel(want, have))
}

func (b *Bridge) wantedPeers(nodes []NodeRoute) (peerState, error) {
	s := peerState{routes: map[netip.Prefix]nextHop{}, neighbours: map[netip.Addr]string{}, forwarding: map[string]netip.Addr{}}
	var errs []error
	for _, n := range nodes {
		if n.Address == b.cfg.NodeAddress || !n.PodCIDR.IsValid() || !n.Address.IsValid() {
			continue
		}
		cidr := n.PodCIDR.Masked()
		switch {
		case !cidr.Addr().Is4() || !n.Address.Is4():
			errs = append(errs, fmt.Errorf("cannot route to node %s: %s at %s is not IPv4", n.Name, cidr, n.Address))
			continue
		case cidr.Overlaps(b.cfg.NodePodCIDR):
			errs = append(errs, fmt.Errorf("cannot route to node %s: its pod range %s overlaps this node's %s", n.Name, cidr, b.cfg.NodePodCIDR))
			continue
		}
		if b.direct(n.Address) {
			s.routes[cidr] = nextHop{via: n.Address, link: b.uplink.Attrs().Index}
			continue
		}
		mac := hardwareAddr(cidr.Addr())
		s.routes[cidr] = nextHop{via: cidr.Addr(), link: b.vxlan, onlink: true}
		s.neighbours[cidr.Addr()] = mac.String()
		s.forwarding[mac.String()] = n.Address
	}
	return s, errors.Join(errs...)
}

// direct says whether a peer is routed to without the tunnel.
func (b *Bridge) direct(peer netip.Addr) bool {
	switch b.cfg.Mode {
	case ModeDirect:
		return true
	case ModeAuto:
		for _, p := range b.onLink {
			if p.Contains(peer) {
				return true
			}
		}
	}
	return false
}

func (b *Bridge) actualPeers() (peerState, error) {
	s := peerState{routes: map[netip.Prefix]nextHop{}, neighbours: map[netip.Addr]string{}, forwarding: map[string]netip.Addr{}}
	routes, err := b.handle.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return s, fmt.Errorf("cannot list routes: %w", err)
	}
	for _, r := range routes {
		if r.Gw == nil || r.Dst == nil {
			continue // the service range's
		}
		s.routes[prefixOf(r.Dst)] = nextHop{via: addrOf(r.Gw), link: r.LinkIndex, onlink: r.Flags&int(netlink.FLAG_ONLINK) != 0}
	}
	if b.vxlan == 0 {
		return s, nil
	}
	neighbours, err := b.handle.NeighList(b.vxlan, unix.AF_INET)
	if err != nil {
		return s, fmt.Errorf("cannot list neighbours of %s: %w", VXLANName, err)
	}
	for _, n := range neighbours {
		if n.State&netlink.NUD_PERMANENT != 0 {
			s.neighbours[addrOf(n.IP)] = n.HardwareAddr.String()
		}
	}
	entries, err := b.handle.NeighList(b.vxlan, unix.AF_BRIDGE)
	if err != nil {
		return s, fmt.Errorf("cannot list forwarding entries of %s: %w", VXLANName, err)
	}
	for _, n := range entries {
		if n.IP != nil {
			s.forwarding[n.HardwareAddr.String()] = addrOf(n.IP)
		}
	}
	return s, nil
}

func (b *Bridge) applyRoutes(want, have peerState) error {
	var errs []error
	for cidr, hop := range want.routes {
		if have.routes[cidr] == hop {
			continue
		}
		r := &netlink.Route{LinkIndex: hop.link, Dst: ipNet(cidr), Gw: hop.via.AsSlice(), Protocol: routeProtocol}
		if hop.onlink {
			r.SetFlag(netlink.FLAG_ONLINK)
		}
		if err := b.handle.RouteReplace(r); err != nil {
			errs = append(errs, fmt.Errorf("cannot route %s via %s: %w", cidr, hop.via, err))
		}
	}
	for cidr, hop := range have.routes {
		if _, ok := want.routes[cidr]; ok {
			continue
		}
		r := &netlink.Route{LinkIndex: hop.link, Dst: ipNet(cidr), Gw: hop.via.AsSlice(), Protocol: routeProtocol}
		if err := b.handle.RouteDel(r); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("cannot remove route %s via %s: %w", cidr, hop.via, err))
		}
	}
	return errors.Join(errs...)
}

func (b *Bridge) applyTunnel(want, have peerState) error {
	var errs []error
	note := func(what string, err error) {
		if err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("cannot %s: %w", what, err))
		}
	}
	for ip, mac := range want.neighbours {
		if have.neighbours[ip] != mac {
			note("set tunnel neighbour "+ip.String(), b.handle.NeighSet(b.neighbour(ip, mac)))
		}
	}
	for mac, node := range want.forwarding {
		if have.forwarding[mac] != node {
			note("set tunnel forwarding to "+node.String(), b.handle.NeighSet(b.forwardingEntry(mac, node)))
		}
	}
	for ip, mac := range have.neighbours {
		if _, ok := want.neighbours[ip]; !ok {
			note("remove tunnel neighbour "+ip.String(), b.handle.NeighDel(b.neighbour(ip, mac)))
		}
	}
	for mac, node := range have.forwarding {
		if _, ok := want.forwarding[mac]; !ok {
			note("remove tunnel forwarding to "+node.String(), b.handle.NeighDel(b.forwardingEntry(mac, node)))
		}
	}
	return errors.Join(errs...)
}

func (b *Bridge) neighbour(ip netip.Addr, mac string) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: b.vxlan, Family: unix.AF_INET, State: netlink.NUD_PERMANENT, Type: unix.RTN_UNICAST,
		IP: ip.AsSlice(), HardwareAddr: parseMAC(mac),
	}
}

func (b *Bridge) forwardingEntry(mac string, node netip.Addr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: b.vxlan, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT, Flags: netlink.NTF_SELF,
		IP: node.AsSlice(), HardwareAddr: parseMAC(mac),
	}
}

// parseMAC undoes net.HardwareAddr.String, which is all that it is given.
func parseMAC(s string) net.HardwareAddr {
	mac, _ := net.ParseMAC(s)
	return mac
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func prefixOf(n *net.IPNet) netip.Prefix {
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addrOf(n.IP), ones)
}
