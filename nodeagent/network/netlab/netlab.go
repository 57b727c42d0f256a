// Package netlab makes small networks of real network namespaces for tests: hosts that are joined by one switch, with
// pods behind them. Nothing of it touches the namespace that the test runs in. It needs root.
package netlab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Timeout bounds every single network operation of a lab.
const Timeout = 3 * time.Second

// Lab is a switch and the hosts on it.
type Lab struct {
	t     testing.TB
	wire  *NS
	count int
}

// NS is one network namespace.
type NS struct {
	t  testing.TB
	ns netns.NsHandle
}

// New makes a lab without hosts; it goes away with the test.
func New(t testing.TB) *Lab {
	t.Helper()
	l := &Lab{t: t, wire: Namespace(t)}
	l.wire.Do(func() error {
		return errors.Join(
			netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs("wire")}),
			up("wire"),
		)
	})
	return l
}

// Namespace makes an empty network namespace with its loopback up.
func Namespace(t testing.TB) *NS {
	t.Helper()
	n := &NS{t: t}
	onThread(t, func() error {
		var err error
		if n.ns, err = netns.New(); err != nil {
			return fmt.Errorf("cannot make network namespace: %w", err)
		}
		return up("lo")
	})
	t.Cleanup(func() { _ = n.ns.Close() })
	return n
}

// Host adds a host with the given address on the switch, on link "uplink0". It has no default route.
func (l *Lab) Host(address string) *NS {
	l.t.Helper()
	h := Namespace(l.t)
	l.count++
	name := fmt.Sprintf("port%d", l.count)
	l.wire.Do(func() error {
		veth := &netlink.Veth{LinkAttrs: attrs(name), PeerName: "uplink0", PeerNamespace: netlink.NsFd(h.ns)}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("cannot add %s: %w", name, err)
		}
		wire, err := netlink.LinkByName("wire")
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetMaster(veth, wire), up(name))
	})
	h.Address("uplink0", address)
	return h
}

// Pod joins a pod to the host by a routed link, without the package under test in network: address on its side, a route on the host's.
func (n *NS) Pod(name, address string) *NS {
	n.t.Helper()
	p := Namespace(n.t)
	gateway := &net.IPNet{IP: net.IPv4(169, 254, 1, 1), Mask: net.CIDRMask(32, 32)}
	n.Do(func() error {
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs(name), PeerName: "eth0", PeerNamespace: netlink.NsFd(p.ns)}); err != nil {
			return fmt.Errorf("cannot add pod link %s: %w", name, err)
		}
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return errors.Join(up(name), netlink.AddrAdd(link, &netlink.Addr{IPNet: gateway}),
			netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: hostNet(address), Scope: netlink.SCOPE_LINK}),
			os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0))
	})
	p.Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return errors.Join(netlink.AddrAdd(link, &netlink.Addr{IPNet: hostNet(address)}), up("eth0"),
			netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: gateway, Scope: netlink.SCOPE_LINK}),
			netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway.IP}))
	})
	return p
}

// Address adds an address to a link and brings it up.
func (n *NS) Address(link, address string) {
	n.t.Helper()
	n.Do(func() error {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		return errors.Join(netlink.AddrAdd(l, a), up(link))
	})
}

// Route adds a route to a prefix ("default" too) by way of a neighbour.
func (n *NS) Route(prefix, via string) {
	n.t.Helper()
	n.Do(func() error {
		r := &netlink.Route{Gw: net.ParseIP(via)}
		if prefix != "default" {
			p := netip.MustParsePrefix(prefix)
			r.Dst = &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
		}
		return netlink.RouteAdd(r)
	})
}

// Path names the namespace in the file system.
func (n *NS) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(n.ns)) }

// FD is the namespace's file descriptor.
func (n *NS) FD() int { return int(n.ns) }

// Delete closes the last reference to the namespace; links in it go with it.
func (n *NS) Delete() { _ = n.ns.Close() }

// Do runs f in the namespace, on a thread of its own, and fails the test when f fails. Sockets and netlink handles that f
// opens belong to the namespace for as long as they live.
func (n *NS) Do(f func() error) {
	n.t.Helper()
	if err := n.Try(f); err != nil {
		n.t.Fatal(err)
	}
}

// Try is Do that returns the error.
func (n *NS) Try(f func() error) error {
	return runOnThread(func() error {
		if err := netns.Set(n.ns); err != nil {
			return fmt.Errorf("cannot enter network namespace: %w", err)
		}
		return f()
	})
}

func onThread(t testing.TB, f func() error) {
	t.Helper()
	if err := runOnThread(f); err != nil {
		t.Fatal(err)
	}
}

// runOnThread runs f on a thread that ends with it, so that no other goroutine ever sees the namespace that f switched to.
func runOnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with this goroutine
		done <- f()
	}()
	return <-done
}

// Serve answers on address ("0.0.0.0:80"), TCP and UDP, with one line: "NAME PEER", where PEER is the client's address
// as the server sees it. TCP connections stay open and answer one line for each line. It stops with the test.
func (n *NS) Serve(name, address string) {
	n.t.Helper()
	var stop []func()
	n.Do(func() error {
		l, err := net.Listen("tcp4", address)
		if err != nil {
			return err
		}
		stop = append(stop, serveTCP(l, name))
		p, err := net.ListenPacket("udp4", address)
		if err != nil {
			return err
		}
		stop = append(stop, serveUDP(p, name))
		return nil
	})
	n.t.Cleanup(func() {
		for _, s := range stop {
			s()
		}
	})
}

func serveTCP(l net.Listener, name string) (stop func()) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			wg.Go(func() {
				defer func() {
					mu.Lock()
					delete(open, c)
					mu.Unlock()
					_ = c.Close()
				}()
				for s := bufio.NewScanner(c); s.Scan(); {
					if _, err := fmt.Fprintf(c, "%s %s\n", name, c.RemoteAddr()); err != nil {
						return
					}
				}
			})
		}
	})
	return func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	}
}

func serveUDP(p net.PacketConn, name string) (stop func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 512)
		for {
			_, peer, err := p.ReadFrom(buf)
			if err != nil {
				if errors.Is(err, net.ErrClosed) {
					return
				}
				continue
			}
			_, _ = p.WriteTo(fmt.Appendf(nil, "%s %s\n", name, peer), peer)
		}
	})
	return func() { _ = p.Close(); wg.Wait() }
}

// Conn is a client's connection, over which it can ask again and again.
type Conn struct {
	net.Conn
	r *bufio.Reader
}

// Dial connects from the namespace. For UDP nothing is sent yet. laddr may be empty.
func (n *NS) Dial(network, address, laddr string) (*Conn, error) {
	var c net.Conn
	err := n.Try(func() error {
		d := net.Dialer{Timeout: Timeout}
		if laddr != "" && strings.HasPrefix(network, "udp") {
			d.LocalAddr = net.UDPAddrFromAddrPort(netip.MustParseAddrPort(laddr))
		} else if laddr != "" {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(laddr))
		}
		var err error
		c, err = d.DialContext(context.Background(), network, address)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: c, r: bufio.NewReader(c)}, nil
}

// Ask sends a line and returns the server's name and the client's address as the server saw it.
func (c *Conn) Ask() (server string, seen netip.AddrPort, err error) { return c.AskFor(Timeout) }

// AskFor is Ask with a bound of its own.
func (c *Conn) AskFor(d time.Duration) (server string, seen netip.AddrPort, err error) {
	if err := c.SetDeadline(time.Now().Add(d)); err != nil {
		return "", seen, err
	}
	if _, err := io.WriteString(c, "?\n"); err != nil {
		return "", seen, err
	}
	line, err := c.r.ReadString('\n')
	if err != nil {
		return "", seen, err
	}
	name, peer, _ := strings.Cut(strings.TrimSpace(line), " ")
	seen, err = netip.ParseAddrPort(peer)
	return name, seen, err
}

// Ask connects, asks once and closes.
func (n *NS) Ask(network, address string) (server string, seen netip.Addr, err error) {
	c, err := n.Dial(network, address, "")
	if err != nil {
		return "", seen, err
	}
	defer func() { _ = c.Close() }()
	server, peer, err := c.Ask()
	return server, peer.Addr(), err
}

// Eventually polls until check returns nil and fails the test with its last error after Timeout.
func Eventually(t testing.TB, check func() error) {
	t.Helper()
	deadline := time.Now().Add(Timeout)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-tick.C
	}
}

func attrs(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

func up(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("cannot find link %s: %w", name, err)
	}
	return netlink.LinkSetUp(l)
}

func hostNet(address string) *net.IPNet {
	return &net.IPNet{IP: net.ParseIP(address).To4(), Mask: net.CIDRMask(32, 32)}
}
