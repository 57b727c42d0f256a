package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// Bridge is the Network of a node. All traffic of pods passes the host's IP layer: a pod has a /32 address and no
// neighbour but the gateway, so that connection tracking sees both directions of a translated connection between two
// pods of one node, without the br_netfilter module.
//
// Every field is either fixed after New or guarded; all methods are safe for concurrent use.
type Bridge struct {
	cfg     Config
	handle  *netlink.Handle // bound to the network namespace that New ran in
	reaper  *reaper
	rules   *rules
	records *records
	mtu     int
	bridge  int // link index
	vxlan   int // link index; 0 in direct mode
	uplink  netlink.Link
	onLink  []netip.Prefix // what uplink reaches without a router

	pods  keyedLock
	peers sync.Mutex  // held while the node's routes are compared and changed
	nodes []NodeRoute // of the last SetNodes; nil before the first; guarded by peers
}

var _ Network = (*Bridge)(nil)

// New prepares the host: bridge, tunnel, forwarding and rules. It takes over whatever a former process left, without
// disturbing pods that are connected. It acts in the network namespace of the calling thread and stays with it.
func New(cfg Config) (_ *Bridge, err error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	b := &Bridge{cfg: cfg, pods: keyedLock{held: map[types.UID]*podLock{}}}
	if b.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, fmt.Errorf("cannot open netlink: %w", err)
	}
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	if b.reaper, err = openReaper(b.handle); err != nil {
		return nil, err
	}
	if b.records, err = openRecords(cfg.recordDir(), cfg.NodePodCIDR); err != nil {
		return nil, err
	}
	steps := []func() error{b.findUplink, b.setHost, b.ensureBridge, b.ensureTunnel, b.ensureServiceRoute, b.removeStray}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if b.rules, err = openRules(cfg, b.records.all()); err != nil {
		return nil, err
	}
	b.warnOfFirewalls()
	return b, nil
}

// Close releases sockets. Links, addresses and rules stay: running pods keep their network.
func (b *Bridge) Close() {
	b.handle.Close()
	if b.reaper != nil {
		b.reaper.close()
	}
	if b.rules != nil {
		b.rules.close()
	}
}

// checkEvery is how often Run looks whether somebody else removed rules or routes: a link that goes down, say, takes its
// routes along.
const checkEvery = 10 * time.Second

// Run looks after what others on the host may remove, until the context ends. Attach and Detach work without it.
func (b *Bridge) Run(ctx context.Context) error {
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-check.C:
			if err := errors.Join(b.rules.ensure(), b.restoreRoutes(ctx)); err != nil && ctx.Err() == nil {
				b.cfg.Logger.Error("cannot look after the pod network", "error", err)
			}
		}
	}
}

// MTU is that of the pods' links.
func (b *Bridge) MTU() int { return b.mtu }

// findUplink finds the link that carries the node's address.
func (b *Bridge) findUplink() error {
	addrs, err := b.handle.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("cannot list addresses: %w", err)
	}
	index := 0
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok && ip == b.cfg.NodeAddress {
			index = a.LinkIndex
		}
	}
	if index == 0 {
		return fmt.Errorf("cannot find node address %s on any link", b.cfg.NodeAddress)
	}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok && a.LinkIndex == index {
			ones, _ := a.Mask.Size()
			b.onLink = append(b.onLink, netip.PrefixFrom(ip, ones).Masked())
		}
	}
	if b.uplink, err = b.handle.LinkByIndex(index); err != nil {
		return fmt.Errorf("cannot read link of node address %s: %w", b.cfg.NodeAddress, err)
	}
	b.mtu = b.cfg.MTU
	if b.mtu == 0 {
		b.mtu = b.uplink.Attrs().MTU
		if b.cfg.Mode != ModeDirect {
			b.mtu -= vxlanOverhead
		}
		b.mtu = min(b.mtu, 65535) // loopback as uplink, on a cluster of one machine, has 65536
	}
	return nil
}

func (b *Bridge) ensureBridge() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = BridgeName, b.mtu
	// A MAC of our own choice: otherwise the bridge takes its ports' lowest and changes it when pods come and go.
	attrs.HardwareAddr = hardwareAddr(b.cfg.gateway())
	snooping := false
	link, err := b.ensureLink(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}, func(have netlink.Link) bool {
		return have.Type() == "bridge"
	})
	if err != nil {
		return err
	}
	b.bridge = link.Attrs().Index
	if err := b.ensureAddress(link, netip.PrefixFrom(b.cfg.gateway(), b.cfg.NodePodCIDR.Bits())); err != nil {
		return err
	}
	return errors.Join(looseReversePath(BridgeName), noRedirects(BridgeName))
}

// ensureLink makes the link, or keeps the one that exists when fits says so, and brings it up with the wanted MTU and MAC.
func (b *Bridge) ensureLink(want netlink.Link, fits func(netlink.Link) bool) (netlink.Link, error) {
	attrs := want.Attrs()
	have, err := b.handle.LinkByName(attrs.Name)
	if err == nil && !fits(have) {
		if err := b.handle.LinkDel(have); err != nil {
			return nil, fmt.Errorf("cannot remove unfit link %s: %w", attrs.Name, err)
		}
		err = netlink.LinkNotFoundError{}
	}
	if isNotFound(err) {
		if err := b.handle.LinkAdd(want); err != nil {
			return nil, fmt.Errorf("cannot add link %s: %w", attrs.Name, err)
		}
		have, err = b.handle.LinkByName(attrs.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read link %s: %w", attrs.Name, err)
	}
	if have.Attrs().MTU != attrs.MTU {
		if err := b.handle.LinkSetMTU(have, attrs.MTU); err != nil {
			return nil, fmt.Errorf("cannot set MTU %d of link %s: %w", attrs.MTU, attrs.Name, err)
		}
	}
	if !slices.Equal(have.Attrs().HardwareAddr, attrs.HardwareAddr) {
		if err := b.handle.LinkSetHardwareAddr(have, attrs.HardwareAddr); err != nil {
			return nil, fmt.Errorf("cannot set MAC of link %s: %w", attrs.Name, err)
		}
	}
	if err := b.handle.LinkSetUp(have); err != nil {
		return nil, fmt.Errorf("cannot bring link %s up: %w", attrs.Name, err)
	}
	return have, nil
}

// ensureAddress leaves exactly one IPv4 address on one of our own links.
func (b *Bridge) ensureAddress(link netlink.Link, want netip.Prefix) error {
	name := link.Attrs().Name
	addrs, err := b.handle.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("cannot list addresses of link %s: %w", name, err)
	}
	found := false
	for _, a := range addrs {
		if a.IPNet.String() == want.String() {
			found = true
		} else if err := b.handle.AddrDel(link, &a); err != nil {
			return fmt.Errorf("cannot remove address %s of link %s: %w", a.IPNet, name, err)
		}
	}
	if found {
		return nil
	}
	if err := b.handle.AddrAdd(link, &netlink.Addr{IPNet: ipNet(want)}); err != nil {
		return fmt.Errorf("cannot add address %s to link %s: %w", want, name, err)
	}
	return nil
}

func (b *Bridge) ensureServiceRoute() error {
	if !b.cfg.ServiceCIDR.IsValid() {
		return nil
	}
	route := &netlink.Route{
		LinkIndex: b.bridge, Dst: ipNet(b.cfg.ServiceCIDR.Masked()), Src: net.IP(b.cfg.gateway().AsSlice()),
		Scope: netlink.SCOPE_LINK, Protocol: routeProtocol,
	}
	if err := b.handle.RouteReplace(route); err != nil {
		return fmt.Errorf("cannot route service range %s: %w", b.cfg.ServiceCIDR, err)
	}
	return nil
}

// removeStray removes pod links that have no record: their removal was under way when a former process died.
func (b *Bridge) removeStray() error {
	known := map[string]bool{}
	for _, rec := range b.records.all() {
		known[vethName(rec.UID)] = true
	}
	links, err := b.handle.LinkList()
	if err != nil {
		return fmt.Errorf("cannot list links: %w", err)
	}
	for _, l := range links {
		if name := l.Attrs().Name; l.Type() == "veth" && strings.HasPrefix(name, vethPrefix) && !known[name] {
			b.cfg.Logger.Info("removing a pod's link that has no record", "link", name)
			if err := b.handle.LinkDel(l); err != nil && !isNotFound(err) {
				return fmt.Errorf("cannot remove stray link %s: %w", name, err)
			}
		}
	}
	return nil
}

func isNotFound(err error) bool {
	var missing netlink.LinkNotFoundError
	return errors.As(err, &missing) || errors.Is(err, unix.ENODEV)
}
