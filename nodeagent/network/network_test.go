package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/network/netlab"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a host of the lab with a Bridge on it.
type node struct {
	*netlab.NS
	bridge *Bridge
	cfg    Config
}

func startNode(t *testing.T, host *netlab.NS, address, cidr string, mode Mode) *node {
	t.Helper()
	n := &node{NS: host, cfg: Config{
		NodePodCIDR: netip.MustParsePrefix(cidr), PodCIDR: netip.MustParsePrefix("10.244.0.0/16"),
		ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"),
		NodeAddress: netip.MustParseAddr(address), DataDir: t.TempDir(), Mode: mode,
	}}
	n.start(t)
	t.Cleanup(func() { n.bridge.Close() })
	return n
}

func (n *node) start(t *testing.T) {
	t.Helper()
	n.Do(func() (err error) {
		n.bridge, err = New(n.cfg)
		return err
	})
}

func (n *node) pod(t *testing.T, uid string, ports ...PortMapping) (*netlab.NS, netip.Addr) {
	t.Helper()
	ns := netlab.Namespace(t)
	addrs, err := n.bridge.Attach(t.Context(), Pod{UID: types.UID(uid), Namespace: "default", Name: uid, Ports: ports}, ns.Path())
	if err != nil {
		t.Fatal(err)
	}
	return ns, addrs[0]
}

// ask checks that a connection is answered, and by which source address.
func ask(t *testing.T, from *netlab.NS, address string, source netip.Addr) {
	t.Helper()
	for _, proto := range []string{"tcp", "udp"} {
		_, seen, err := from.Ask(proto, address)
		if err != nil {
			t.Fatalf("%s %s for %s: %v", proto, address, source, err)
		}
		if seen != source {
			t.Errorf("%s %s: server saw %s, want %s", proto, address, seen, source)
		}
	}
}

func TestPodsOfOneNode(t *testing.T) {
	n := startNode(t, netlab.New(t).Host("192.0.2.1/24"), "192.0.2.1", "10.244.1.0/24", "")
	a, aAddr := n.pod(t, "a")
	b, bAddr := n.pod(t, "b")
	b.Serve("b", "0.0.0.0:80")
	n.Serve("host", "192.0.2.1:81")

	ask(t, a, bAddr.String()+":80", aAddr)
	ask(t, n.NS, bAddr.String()+":80", netip.MustParseAddr("10.244.1.1"))
	ask(t, a, "192.0.2.1:81", aAddr)
	ask(t, b, "127.0.0.1:80", netip.MustParseAddr("127.0.0.1"))
}

func TestPodsOfTwoNodes(t *testing.T) {
	for _, mode := range []Mode{ModeVXLAN, ModeDirect, ModeAuto} {
		t.Run(string(mode), func(t *testing.T) {
			lab := netlab.New(t)
			one := startNode(t, lab.Host("192.0.2.1/24"), "192.0.2.1", "10.244.1.0/24", mode)
			two := startNode(t, lab.Host("192.0.2.2/24"), "192.0.2.2", "10.244.2.0/24", mode)
			routes := []NodeRoute{
				{"one", one.cfg.NodeAddress, one.cfg.NodePodCIDR}, {"two", two.cfg.NodeAddress, two.cfg.NodePodCIDR},
				{"new", netip.MustParseAddr("192.0.2.3"), netip.Prefix{}},
			}
			for _, n := range []*node{one, two} {
				if err := n.bridge.SetNodes(t.Context(), routes); err != nil {
					t.Fatal(err)
				}
			}
			a, aAddr := one.pod(t, "a")
			b, bAddr := two.pod(t, "b")
			b.Serve("b", "0.0.0.0:80")
			two.Serve("host", "192.0.2.2:81")

			ask(t, a, bAddr.String()+":80", aAddr)
			source := netip.MustParseAddr("10.244.1.0")
			if mode != ModeVXLAN {
				source = one.cfg.NodeAddress
			}
			ask(t, one.NS, bAddr.String()+":80", source)
			ask(t, a, "192.0.2.2:81", one.cfg.NodeAddress) // outside the cluster's pods: masqueraded
		})
	}
}

// Peers that are gone leave nothing behind; peers that stay are not touched.
func TestSetNodesAppliesDifferences(t *testing.T) {
	n := startNode(t, netlab.New(t).Host("192.0.2.1/24"), "192.0.2.1", "10.244.1.0/24", ModeVXLAN)
	peer := func(i int) NodeRoute {
		return NodeRoute{fmt.Sprint(i), netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(i), 0}), 24)}
	}
	moved := peer(3)
	moved.Address = netip.MustParseAddr("192.0.2.33")
	for _, nodes := range [][]NodeRoute{{peer(2), peer(3)}, {peer(2), moved, peer(4)}, {peer(4)}, {}} {
		if err := n.bridge.SetNodes(t.Context(), nodes); err != nil {
			t.Fatal(err)
		}
		want, err := n.bridge.wantedPeers(nodes)
		if err != nil {
			t.Fatal(err)
		}
		have, err := n.bridge.actualPeers()
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(have) != fmt.Sprint(want) {
			t.Errorf("after %v the kernel has\n%v, want\n%v", nodes, have, want)
		}
	}
	// A link that goes down takes its routes along, and they come back.
	if err := n.bridge.SetNodes(t.Context(), []NodeRoute{peer(2)}); err != nil {
		t.Fatal(err)
	}
	n.Do(func() error {
		link, err := netlink.LinkByName(VXLANName)
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetDown(link), netlink.LinkSetUp(link))
	})
	if err := n.bridge.restoreRoutes(t.Context()); err != nil {
		t.Fatal(err)
	}
	if have, err := n.bridge.actualPeers(); err != nil || len(have.routes) != 1 || len(have.forwarding) != 1 || len(have.neighbours) != 1 {
		t.Errorf("after a link went down and up: %+v, %v", have, err)
	}
	overlapping := peer(2)
	overlapping.PodCIDR = n.cfg.NodePodCIDR
	if err := n.bridge.SetNodes(t.Context(), []NodeRoute{overlapping, peer(5)}); err == nil {
		t.Error("a peer with this node's own range is accepted")
	}
	if have, err := n.bridge.actualPeers(); err != nil || len(have.routes) != 1 {
		t.Errorf("one bad peer keeps a good one out: %v, %v", have.routes, err)
	}
}

func TestAttachIsIdempotentAndSurvivesRestart(t *testing.T) {
	n := startNode(t, netlab.New(t).Host("192.0.2.1/24"), "192.0.2.1", "10.244.1.0/24", "")
	pod, addr := n.pod(t, "a")
	_, other := n.pod(t, "b")
	pod.Serve("a", "0.0.0.0:80")
	conn, err := n.Dial("tcp", addr.String()+":80", "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()

	n.bridge.Close()
	n.start(t)
	again, err := n.bridge.Attach(t.Context(), Pod{UID: "a", Namespace: "default", Name: "a"}, pod.Path())
	if err != nil || again[0] != addr {
		t.Fatalf("Attach after restart = %v, %v; want %s", again, err, addr)
	}
	if _, _, err := conn.Ask(); err != nil {
		t.Errorf("a connection of before the restart is dead: %v", err)
	}
	_, third := n.pod(t, "c")
	if third == addr || third == other {
		t.Errorf("address %s is given twice", third)
	}
	// The host rebooted, or the pod's sandbox was made anew: the same address in another namespace.
	fresh := netlab.Namespace(t)
	moved, err := n.bridge.Attach(t.Context(), Pod{UID: "a"}, fresh.Path())
	if err != nil || moved[0] != addr {
		t.Fatalf("Attach to a new namespace = %v, %v; want %s", moved, err, addr)
	}
	fresh.Serve("new", "0.0.0.0:80")
	if name, _, err := n.Ask("tcp", addr.String()+":80"); err != nil || name != "new" {
		t.Errorf("answer from %q, %v; want the new namespace", name, err)
	}
}

func TestDetach(t *testing.T) {
	n := startNode(t, netlab.New(t).Host("192.0.2.1/24"), "192.0.2.1", "10.244.1.0/24", "")
	pod, _ := n.pod(t, "a", PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "TCP"})
	pod.Delete() // the namespace is gone before Detach
	for range 2 {
		if err := n.bridge.Detach(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if got := n.bridge.Attached(); len(got) != 0 {
		t.Errorf("Attached = %v after Detach", got)
	}
	if files, err := os.ReadDir(n.cfg.recordDir()); err != nil || len(files) != 0 {
		t.Errorf("records left: %v, %v", files, err)
	}
	n.Do(func() error {
		if _, err := netlink.LinkByName(vethName("a")); !isNotFound(err) {
			t.Errorf("link left: %v", err)
		}
		return nil
	})
}

// What a kill between any two steps leaves is mended by the next start or attach.
func TestLeftoversAreMended(t *testing.T) {
	n := startNode(t, netlab.New(t).Host("192.0.2.1/24"), "192.0.2.1", "10.244.1.0/24", "")
	_, _ = n.pod(t, "stray")
	n.bridge.Close()
	if err := os.Remove(n.bridge.records.path("stray")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.cfg.recordDir(), ".new-123"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeRecord(n.bridge.records.path("half"), record{UID: "half", Address: netip.MustParseAddr("10.244.1.77")}); err != nil {
		t.Fatal(err)
	}
	n.start(t)
	n.Do(func() error {
		if _, err := netlink.LinkByName(vethName("stray")); !isNotFound(err) {
			t.Errorf("stray link left: %v", err)
		}
		return nil
	})
	if _, addr := n.pod(t, "half"); addr.String() != "10.244.1.77" {
		t.Errorf("the recorded address is not used: %s", addr)
	}
}

func TestAttachInParallelUntilExhausted(t *testing.T) {
	n := startNode(t, netlab.New(t).Host("192.0.2.1/24"), "192.0.2.1", "10.244.1.0/28", "")
	const free = 13 // 16 without tunnel, gateway and broadcast
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[netip.Addr]bool{}
	exhausted := 0
	for i := range free + 2 {
		ns := netlab.Namespace(t)
		wg.Go(func() {
			addrs, err := n.bridge.Attach(context.Background(), Pod{UID: types.UID(fmt.Sprint(i))}, ns.Path())
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, ErrExhausted):
				exhausted++
			case err != nil:
				t.Error(err)
			case seen[addrs[0]]:
				t.Errorf("address %s is given twice", addrs[0])
			default:
				seen[addrs[0]] = true
			}
		})
	}
	wg.Wait()
	if len(seen) != free || exhausted != 2 {
		t.Errorf("%d addresses given, %d refused; want %d, 2", len(seen), exhausted, free)
	}
}

func TestCleanupLeavesNothing(t *testing.T) {
	host := netlab.New(t).Host("192.0.2.1/24")
	state := func() (s string) {
		host.Do(func() error {
			links, err := netlink.LinkList()
			if err != nil {
				return err
			}
			for _, l := range links {
				s += l.Attrs().Name + " "
			}
			routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
			s += fmt.Sprint(routes)
			for _, key := range slices.Sorted(maps.Keys(hostSettings)) {
				value, sysErr := readSysctl(key)
				s += " " + value
				err = errors.Join(err, sysErr)
			}
			return err
		})
		return s
	}
	before := state()
	n := startNode(t, host, "192.0.2.1", "10.244.1.0/24", "")
	_, _ = n.pod(t, "a", PortMapping{HostPort: 8080, ContainerPort: 80})
	if err := n.bridge.SetNodes(t.Context(), []NodeRoute{{"two", netip.MustParseAddr("192.0.2.2"), netip.MustParsePrefix("10.244.2.0/24")}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		host.Do(func() error { return Cleanup(n.cfg.DataDir, n.cfg.PodCIDR) })
	}
	if after := state(); after != before {
		t.Errorf("host before %s\nafter cleanup %s", before, after)
	}
	if entries, err := os.ReadDir(n.cfg.DataDir); err != nil || len(entries) != 0 {
		t.Errorf("data directory keeps %v, %v", entries, err)
	}
}
