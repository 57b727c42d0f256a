package network

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
)

// Names of what this package makes on a host. Nothing else may use them.
const (
	BridgeName = "fairlead0"
	VXLANName  = "fairlead-vxlan"
	// TableName is the nftables table (family ip) of masquerading and host ports. The services have a table of
	// their own, so that neither writer can disturb the other.
	TableName = "fairlead-pods"

	vethPrefix = "flv"
	podLink    = "eth0"

	vxlanID   = 4096
	vxlanPort = 8472
	// vxlanOverhead is outer Ethernet 14 + IPv4 20 + UDP 8 + VXLAN 8 (RFC 7348).
	vxlanOverhead = 50
	// routeProtocol marks our routes, so that those of others are never touched (values above 4 are free for
	// routing daemons, see rtnetlink(7)).
	routeProtocol = 102
)

// Mode says how packets reach pods of other nodes.
type Mode string

const (
	// ModeVXLAN encapsulates always. It works wherever nodes reach each other by UDP and is the default.
	ModeVXLAN Mode = "vxlan"
	// ModeDirect routes always; every node must be on one link.
	ModeDirect Mode = "direct"
	// ModeAuto routes directly to peers on this node's own link and encapsulates to all others. Clouds that
	// drop packets with foreign source addresses between neighbours need ModeVXLAN.
	ModeAuto Mode = "auto"
)

// Config configures New.
type Config struct {
	// NodePodCIDR is this node's pod range. Its first address is kept for the tunnel, its second is the gateway
	// of the pods; the last is kept as broadcast address.
	NodePodCIDR netip.Prefix
	// PodCIDR is the range of the whole cluster: what leaves it is masqueraded.
	PodCIDR netip.Prefix
	// ServiceCIDR, when valid, gets a route to the bridge, so that processes on a host without a default route
	// reach services too, from the gateway's address. Packets never take it: the proxy translates or refuses them.
	ServiceCIDR netip.Prefix
	// NodeAddress is the address that other nodes reach this one at; its link carries the tunnel.
	NodeAddress netip.Addr
	// DataDir is the agent's directory; records live in DataDir/network.
	DataDir string
	Mode    Mode
	// MTU of pods; 0 derives it from the link of NodeAddress.
	MTU    int
	Logger *slog.Logger
}

func (c *Config) complete() error {
	if c.Mode == "" {
		c.Mode = ModeVXLAN
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	switch {
	case c.Mode != ModeVXLAN && c.Mode != ModeDirect && c.Mode != ModeAuto:
		return fmt.Errorf("cannot use network mode %q: want auto, vxlan or direct", c.Mode)
	case !c.NodePodCIDR.IsValid() || !c.NodePodCIDR.Addr().Is4() || c.NodePodCIDR.Bits() > 29:
		return fmt.Errorf("cannot use pod range %s of the node: want an IPv4 prefix of at most 29 bits", c.NodePodCIDR)
	case !c.PodCIDR.IsValid() || !c.PodCIDR.Contains(c.NodePodCIDR.Addr()):
		return fmt.Errorf("cannot use pod range %s of the node: it is outside the cluster's %s", c.NodePodCIDR, c.PodCIDR)
	case !c.NodeAddress.Is4():
		return fmt.Errorf("cannot use node address %s: want IPv4", c.NodeAddress)
	case c.DataDir == "":
		return fmt.Errorf("cannot keep network records: no data directory is configured")
	}
	c.NodePodCIDR, c.PodCIDR = c.NodePodCIDR.Masked(), c.PodCIDR.Masked()
	return nil
}

func (c *Config) recordDir() string { return filepath.Join(c.DataDir, "network", "pods") }

// gateway is the bridge's own address.
func (c *Config) gateway() netip.Addr { return c.NodePodCIDR.Addr().Next() }

// hardwareAddr derives a stable, locally administered MAC from an address: an address that goes from one pod to the
// next keeps its MAC, so that no neighbour cache is ever wrong, and nodes know each other's tunnel MAC unasked.
func hardwareAddr(addr netip.Addr) net.HardwareAddr {
	b := addr.As4()
	return net.HardwareAddr{0x0a, 0x58, b[0], b[1], b[2], b[3]}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
