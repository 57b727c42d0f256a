package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const protoUDP = unix.IPPROTO_UDP

// udpState is what tracked UDP connections are compared with.
type udpState struct {
	changed   bool
	frontends map[frontend][]netip.AddrPort // endpoints that a connection to the frontend may go to
	gone      []frontend
}

// then merges a later state into one that was not acted upon yet.
func (s udpState) then(later udpState) udpState {
	if !later.changed {
		return s
	}
	later.gone = append(s.gone, later.gone...)
	return later
}

// connections removes tracked UDP connections that lead to where a service no longer is. The kernel translates a packet
// by its connection's entry, not by the rules, for as long as packets come; so a client that keeps sending would reach an
// endpoint that is gone, or no service at all when it began before the service had endpoints. TCP is left alone: its
// connections end by themselves.
//
// Listing all connections can take long, so it is done beside the commits, for the latest state only.
type connections struct {
	handle *netlink.Handle
	log    *slog.Logger
	wake   chan struct{} // capacity 1, never closed

	mu   sync.Mutex
	next udpState
	gone map[frontend]bool
}

func openConnections(log *slog.Logger) (*connections, error) {
	h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("cannot open connection tracking: %w", err)
	}
	return &connections{handle: h, log: log, wake: make(chan struct{}, 1), gone: map[frontend]bool{}}, nil
}

// update hands over a new state; it does not wait.
func (c *connections) update(s udpState) {
	if !s.changed {
		return
	}
	c.mu.Lock()
	c.next = s
	for _, f := range s.gone {
		c.gone[f] = true
	}
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run works until the context ends, and owns the handle.
func (c *connections) run(ctx context.Context) {
	defer c.handle.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		c.mu.Lock()
		filter := staleUDP{frontends: c.next.frontends, gone: c.gone}
		c.gone = map[frontend]bool{}
		c.mu.Unlock()
		n, err := c.handle.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, filter)
		if err != nil {
			c.log.Warn("cannot remove stale UDP connections", "error", err)
		} else if n > 0 {
			c.log.Debug("removed stale UDP connections", "count", n)
		}
	}
}

// staleUDP matches connections whose rules would lead elsewhere today.
type staleUDP struct {
	frontends map[frontend][]netip.AddrPort
	gone      map[frontend]bool
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (s staleUDP) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != protoUDP {
		return false
	}
	to := frontend{ipOf(flow.Forward.DstIP), protoUDP, flow.Forward.DstPort}
	answers := netip.AddrPortFrom(ipOf(flow.Reverse.SrcIP), flow.Reverse.SrcPort)
	if targets, ok := s.frontends[to]; ok {
		return !slices.Contains(targets, answers)
	}
	// A frontend that is no more: only what was translated is stale.
	return s.gone[to] && answers != netip.AddrPortFrom(to.addr, to.port)
}

func ipOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
