package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// vethName is the host side's name of a pod's link.
func vethName(uid types.UID) string {
	sum := sha256.Sum256([]byte(uid))
	return vethPrefix + hex.EncodeToString(sum[:])[:unix.IFNAMSIZ-1-len(vethPrefix)]
}

// Attach implements Network.
func (b *Bridge) Attach(ctx context.Context, pod Pod, path string) (_ []netip.Addr, err error) {
	defer b.pods.lock(pod.UID)()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	rec, isNew, err := b.records.acquire(pod)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && isNew {
			err = errors.Join(err, b.detach(pod.UID))
		}
	}()
	if err := b.connect(rec, path); err != nil {
		return nil, fmt.Errorf("cannot attach pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	if err := b.rules.open(rec); err != nil {
		return nil, fmt.Errorf("cannot open host ports of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return []netip.Addr{rec.Address}, nil
}

// Detach implements Network.
func (b *Bridge) Detach(_ context.Context, pod types.UID) error {
	defer b.pods.lock(pod)()
	return b.detach(pod)
}

// detach frees the address last: until then nothing of the pod may be left that uses it. The caller holds the pod's lock.
func (b *Bridge) detach(uid types.UID) error {
	if err := b.rules.closePorts(uid); err != nil {
		return fmt.Errorf("cannot close host ports of pod %s: %w", uid, err)
	}
	if err := b.reaper.remove(vethName(uid)); err != nil {
		return err
	}
	return b.records.release(uid)
}

// Attached implements Network.
func (b *Bridge) Attached() map[types.UID][]netip.Addr {
	all := b.records.all()
	out := make(map[types.UID][]netip.Addr, len(all))
	for _, rec := range all {
		out[rec.UID] = []netip.Addr{rec.Address}
	}
	return out
}

// connect makes the pod's link unless it is there already.
func (b *Bridge) connect(rec record, path string) error {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("cannot open network namespace %s: %w", path, err)
	}
	defer func() { _ = ns.Close() }()
	inside, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("cannot enter network namespace %s: %w", path, err)
	}
	defer inside.Close()

	name := vethName(rec.UID)
	connected, err := b.connected(rec, name, inside)
	if err != nil || connected {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex, attrs.Flags = name, b.mtu, b.bridge, net.FlagUp
	veth := &netlink.Veth{
		LinkAttrs: attrs, PeerName: podLink, PeerNamespace: netlink.NsFd(ns), PeerMTU: uint32(b.mtu),
		PeerHardwareAddr: hardwareAddr(rec.Address), PeerTxQLen: -1,
	}
	if err := b.handle.LinkAdd(veth); err != nil {
		return fmt.Errorf("cannot add link %s: %w", name, err)
	}
	// Where the host has br_netfilter on, a packet translated between two pods is bridged, not routed: then a pod that
	// reaches itself needs its packets back on their own port. (For the same reason ports can not be isolated.)
	if err := b.handle.LinkSetHairpin(veth, true); err != nil {
		return fmt.Errorf("cannot set hairpin mode of link %s: %w", name, err)
	}
	return b.configure(rec, inside)
}

// connected says whether the pod's link is whole. What is left of a half-made one, or of one to a former namespace of
// the pod, is removed.
func (b *Bridge) connected(rec record, name string, inside *netlink.Handle) (bool, error) {
	_, outErr := b.handle.LinkByName(name)
	if outErr != nil && !isNotFound(outErr) {
		return false, fmt.Errorf("cannot read link %s: %w", name, outErr)
	}
	eth, inErr := inside.LinkByName(podLink)
	if inErr != nil && !isNotFound(inErr) {
		return false, fmt.Errorf("cannot read the pod's link: %w", inErr)
	}
	if outErr == nil && inErr == nil && slices.Equal(eth.Attrs().HardwareAddr, hardwareAddr(rec.Address)) {
		return true, b.configure(rec, inside)
	}
	if inErr == nil {
		if err := inside.LinkDel(eth); err != nil && !isNotFound(err) {
			return false, fmt.Errorf("cannot remove the pod's former link: %w", err)
		}
	}
	return false, b.reaper.remove(name)
}

// configure sets addresses and routes inside the pod; each step may have been done before.
func (b *Bridge) configure(rec record, inside *netlink.Handle) error {
	lo, err := inside.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("cannot find the pod's loopback: %w", err)
	}
	if err := inside.LinkSetUp(lo); err != nil {
		return fmt.Errorf("cannot bring the pod's loopback up: %w", err)
	}
	eth, err := inside.LinkByName(podLink)
	if err != nil {
		return fmt.Errorf("cannot find the pod's link: %w", err)
	}
	address := ipNet(netip.PrefixFrom(rec.Address, 32))
	if err := inside.AddrAdd(eth, &netlink.Addr{IPNet: address}); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("cannot add address %s: %w", rec.Address, err)
	}
	if err := inside.LinkSetUp(eth); err != nil {
		return fmt.Errorf("cannot bring the pod's link up: %w", err)
	}
	gateway := b.cfg.gateway()
	routes := []*netlink.Route{
		{LinkIndex: eth.Attrs().Index, Dst: ipNet(netip.PrefixFrom(gateway, 32)), Scope: netlink.SCOPE_LINK},
		{LinkIndex: eth.Attrs().Index, Gw: gateway.AsSlice()},
	}
	for _, route := range routes {
		if err := inside.RouteReplace(route); err != nil {
			return fmt.Errorf("cannot add the pod's route %s: %w", route, err)
		}
	}
	return nil
}
