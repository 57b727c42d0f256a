package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
)

// Network is a bridge on this host that machines are plugged into, with a way out through the host.
type Network struct {
	Bridge string
	Prefix netip.Prefix
	link   netlink.Link

	mu   sync.Mutex
	next netip.Addr
}

// NewNetwork makes the bridge with the first address of prefix.
func NewNetwork(bridge string, prefix netip.Prefix) (_ *Network, err error) {
	gateway := prefix.Masked().Addr().Next()
	n := &Network{Bridge: bridge, Prefix: prefix.Masked(), next: gateway.Next()}
	if old, err := netlink.LinkByName(bridge); err == nil {
		if err := netlink.LinkDel(old); err != nil {
			return nil, fmt.Errorf("cannot remove bridge %s of an earlier run: %w", bridge, err)
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bridge
	n.link = &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(n.link); err != nil {
		return nil, fmt.Errorf("cannot add bridge %s: %w", bridge, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: gateway.AsSlice(), Mask: net.CIDRMask(prefix.Bits(), 32)}}
	if err := netlink.AddrAdd(n.link, addr); err != nil {
		return nil, fmt.Errorf("cannot give bridge %s its address: %w", bridge, err)
	}
	if err := netlink.LinkSetUp(n.link); err != nil {
		return nil, fmt.Errorf("cannot set bridge %s up: %w", bridge, err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return nil, fmt.Errorf("cannot enable forwarding: %w", err)
	}
	return n, nft(fmt.Sprintf(`table ip %s
delete table ip %s
table ip %s {
	chain out {
		type nat hook postrouting priority srcnat
		ip saddr %s ip daddr != %s masquerade
	}
}
`, bridge, bridge, bridge, n.Prefix, n.Prefix))
}

// Gateway is the host's address on the network.
func (n *Network) Gateway() netip.Addr { return n.Prefix.Addr().Next() }

// Take returns a free address. It may be called by several at once.
func (n *Network) Take() netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := n.next
	n.next = a.Next()
	return a
}

// Close removes the bridge and its rules.
func (n *Network) Close() error {
	err := nft(fmt.Sprintf("table ip %s\ndelete table ip %s\n", n.Bridge, n.Bridge))
	return errors.Join(err, netlink.LinkDel(n.link))
}

func nft(rules string) error {
	cmd := exec.CommandContext(context.Background(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot set rules: %w: %s", err, out)
	}
	return nil
}
