package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"testing"

	mdns "github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/dns"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/network"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/network/netlab"
)

// worker is a node as an agent makes it: pod network, proxy and DNS.
type worker struct {
	*netlab.NS
	t       *testing.T
	name    string
	address netip.Addr
	cidr    netip.Prefix
	bridge  *network.Bridge
	proxy   *Proxy
	dns     *dns.Server
}

var (
	podCIDR     = netip.MustParsePrefix("10.244.0.0/16")
	serviceCIDR = netip.MustParsePrefix("10.96.0.0/16")
)

func newWorker(t *testing.T, host *netlab.NS, name, address, cidr string) *worker {
	t.Helper()
	w := &worker{NS: host, t: t, name: name, address: netip.MustParseAddr(address), cidr: netip.MustParsePrefix(cidr)}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	w.Do(func() (err error) {
		if w.bridge, err = network.New(network.Config{NodePodCIDR: w.cidr, PodCIDR: podCIDR, ServiceCIDR: serviceCIDR, NodeAddress: w.address, DataDir: t.TempDir(), Logger: log}); err != nil {
			return err
		}
		if w.proxy, err = New(Config{NodeName: name, NodeAddrs: []netip.Addr{w.address}, PodCIDR: podCIDR, ServiceCIDR: serviceCIDR, NodePodCIDR: w.cidr, Logger: log}); err != nil {
			return err
		}
		w.dns, err = dns.New(dns.Config{Address: netip.MustParseAddr("169.254.20.10"), Domain: "cluster.local", PodCIDR: podCIDR, ServiceCIDR: serviceCIDR,
			HostFile: "/nonexistent", Logger: log})
		return err
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- w.Try(func() error { return w.proxy.Run(ctx) }) }()
	go func() { done <- w.dns.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range cap(done) {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		w.bridge.Close()
	})
	return w
}

func (w *worker) pod(name string) (*netlab.NS, string) {
	w.t.Helper()
	ns := netlab.Namespace(w.t)
	addrs, err := w.bridge.Attach(w.t.Context(), network.Pod{UID: types.UID(name), Namespace: "default", Name: name}, ns.Path())
	if err != nil {
		w.t.Fatal(err)
	}
	ns.Serve(name, "0.0.0.0:8080")
	return ns, addrs[0].String()
}

// The three parts together, on hosts without a default route, with and without br_netfilter's help (whose hooks see bridged
// packets and change the way of translated ones).
func TestNodesTogether(t *testing.T) {
	for _, bridgeHooks := range []string{"0", "1"} {
		t.Run("bridge-nf-call-iptables="+bridgeHooks, func(t *testing.T) {
			lab := netlab.New(t)
			one := newWorker(t, lab.Host("192.0.2.1/24"), "one", "192.0.2.1", "10.244.1.0/24")
			two := newWorker(t, lab.Host("192.0.2.2/24"), "two", "192.0.2.2", "10.244.2.0/24")
			client := lab.Host("192.0.2.9/24")
			a, addrA := one.pod("a")
			b, addrB := one.pod("b")
			_, addrC := two.pod("c")
			for _, w := range []*worker{one, two} {
				w.Do(func() error { return setBridgeHooks(bridgeHooks) })
				nodes := []network.NodeRoute{{Name: "one", Address: one.address, PodCIDR: one.cidr}, {Name: "two", Address: two.address, PodCIDR: two.cidr}}
				if err := w.bridge.SetNodes(t.Context(), nodes); err != nil {
					t.Fatal(err)
				}
				give(w, service("near", "10.96.0.10"), addrB+" one")
				give(w, service("far", "10.96.0.11", nodePort(30080)), addrC+" two")
				give(w, service("self", "10.96.0.12"), addrA+" one")
				give(w, service("none", "10.96.0.13"))
				give(w, service("node", "10.96.0.14"), "192.0.2.2 two")
				w.dns.SetSynced()
				w.proxy.SetSynced()
				<-w.proxy.Synced()
			}
			two.Serve("two", "192.0.2.2:8080")
			c := &cluster{t: t, one: one.NS}
			c.answers(a, "10.96.0.10:80", "b", addrA)
			c.answers(b, "10.96.0.10:80", "b", "10.244.1.1")
			c.answers(a, "10.96.0.11:80", "c", addrA)
			c.answers(a, "10.96.0.12:80", "a", "10.244.1.1")
			c.answers(a, "10.96.0.14:80", "two", "192.0.2.1")
			c.answers(a, "192.0.2.1:30080", "c", addrA)
			c.answers(one.NS, "10.96.0.10:80", "b", "10.244.1.1")
			c.answers(one.NS, "10.96.0.11:80", "c", "10.244.1.1")
			c.answers(one.NS, "10.96.0.14:80", "two", "192.0.2.1")
			c.answers(two.NS, "10.96.0.14:80", "two", "192.0.2.2")
			c.answers(client, "192.0.2.1:30080", "c", "10.244.1.0")
			c.answers(client, "192.0.2.2:30080", "c", "10.244.2.1")
			c.refuses(a, "10.96.0.13:80")
			c.refuses(a, "10.96.99.99:80")
			if _, _, err := one.Ask("tcp", "10.96.0.13:80"); err == nil {
				t.Error("a service without endpoints answers a process of the node")
			}
			for _, from := range []*netlab.NS{a, one.NS} {
				for _, proto := range []string{"udp", "tcp"} {
					from.Do(func() error { return resolve(proto, "near.default.svc.cluster.local.", "10.96.0.10") })
				}
			}
		})
	}
}

func give(w *worker, svc *corev1.Service, endpoints ...string) {
	eps := slice(svc.Name, endpoints...)
	w.proxy.SetService(svc)
	w.proxy.SetEndpointSlice(eps)
	w.dns.SetService(svc)
	w.dns.SetEndpointSlice(eps)
}

// setBridgeHooks switches br_netfilter for this network namespace. A kernel without it behaves as with "0".
func setBridgeHooks(value string) error {
	err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte(value), 0)
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

func resolve(proto, name, want string) error {
	m := new(mdns.Msg)
	m.SetQuestion(name, mdns.TypeA)
	client := mdns.Client{Net: proto, Timeout: netlab.Timeout}
	r, _, err := client.Exchange(m, "169.254.20.10:53")
	if err != nil {
		return err
	}
	if len(r.Answer) != 1 || r.Answer[0].(*mdns.A).A.String() != want {
		return fmt.Errorf("%s is %v, want %s", name, r, want)
	}
	return nil
}
