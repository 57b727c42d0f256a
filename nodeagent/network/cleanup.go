package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Cleanup removes everything that this package ever made on the host, in whatever state it is: links, routes, rules,
// tracked connections of podCIDR (when valid), records; and restores the host's settings. It needs no Bridge, does not stop at an
// error, and can be repeated.
func Cleanup(dataDir string, podCIDR netip.Prefix) error {
	return errors.Join(
		removeTable(),
		removeRoutes(),
		removeLinks(),
		removeConnections(podCIDR),
		restoreSettings(dataDir),
		os.RemoveAll(filepath.Join(dataDir, "network")),
	)
}

func removeTable() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("cannot open nftables: %w", err)
	}
	conn.AddTable(table) // deleting a table that is not there would be an error
	conn.DelTable(table)
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("cannot remove table %s: %w", TableName, err)
	}
	return nil
}

func removeRoutes() error {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("cannot list routes: %w", err)
	}
	var errs []error
	for _, r := range routes {
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("cannot remove route %s: %w", r.Dst, err))
		}
	}
	return errors.Join(errs...)
}

func removeLinks() error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("cannot list links: %w", err)
	}
	var errs []error
	for _, l := range links {
		name := l.Attrs().Name
		if name != BridgeName && name != VXLANName && (l.Type() != "veth" || !strings.HasPrefix(name, vethPrefix)) {
			continue
		}
		if err := netlink.LinkDel(l); err != nil && !isNotFound(err) {
			errs = append(errs, fmt.Errorf("cannot remove link %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// within matches tracked connections with an address of the prefix at either end.
type within netip.Prefix

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (w within) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	for _, ip := range []net.IP{f.Forward.SrcIP, f.Forward.DstIP, f.Reverse.SrcIP, f.Reverse.DstIP} {
		if netip.Prefix(w).Contains(addrOf(ip)) {
			return true
		}
	}
	return false
}

func removeConnections(podCIDR netip.Prefix) error {
	if !podCIDR.IsValid() {
		return nil
	}
	if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, within(podCIDR)); err != nil {
		return fmt.Errorf("cannot remove tracked connections of pods: %w", err)
	}
	return nil
}
