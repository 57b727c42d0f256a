package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/network/netlab"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The lab of every test: two nodes and a client on one link, pods behind the nodes, the proxy on node "one".
//
//	client 192.0.2.9   one 192.0.2.1 (pods 10.244.1.0/24: a .2, b .3)   two 192.0.2.2 (pods 10.244.2.0/24: c .2)
type cluster struct {
	t           testing.TB
	lab         *netlab.Lab
	one, two    *netlab.NS
	client      *netlab.NS
	a, b, c     *netlab.NS
	proxy       *Proxy
	stop        func()
	changeCount int
}

const (
	addrClient = "192.0.2.9"
	addrOne    = "192.0.2.1"
	addrA      = "10.244.1.2"
	addrB      = "10.244.1.3"
	addrC      = "10.244.2.2"
)

func newCluster(t testing.TB) *cluster {
	lab := netlab.New(t)
	c := &cluster{t: t, lab: lab, one: lab.Host(addrOne + "/24"), two: lab.Host("192.0.2.2/24"), client: lab.Host(addrClient + "/24")}
	c.a, c.b, c.c = c.one.Pod("pod-a", addrA), c.one.Pod("pod-b", addrB), c.two.Pod("pod-c", addrC)
	c.one.Route("10.244.2.0/24", "192.0.2.2")
	c.two.Route("10.244.1.0/24", addrOne)
	c.client.Route("default", addrOne) // also for service addresses
	c.one.Route("10.96.0.0/16", "192.0.2.2")
	c.a.Serve("a", "0.0.0.0:8080")
	c.b.Serve("b", "0.0.0.0:8080")
	c.c.Serve("c", "0.0.0.0:8080")
	c.start()
	t.Cleanup(func() { c.stop() })
	return c
}

func (c *cluster) config() Config {
	return Config{
		NodeName: "one", NodeAddrs: []netip.Addr{netip.MustParseAddr(addrOne)},
		PodCIDR: netip.MustParsePrefix("10.244.0.0/16"), NodePodCIDR: netip.MustParsePrefix("10.244.1.0/24"),
		ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"), CheckEvery: 50 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(c.t.Output(), nil)),
	}
}

// start runs a proxy on node one; it is not synced yet.
func (c *cluster) start() {
	c.t.Helper()
	c.one.Do(func() (err error) {
		c.proxy, err = New(c.config())
		return err
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	p := c.proxy
	go func() { done <- c.one.Try(func() error { return p.Run(ctx) }) }()
	c.stop = func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
		c.stop = func() {}
	}
}

// sync waits until everything given so far is in the kernel.
func (c *cluster) sync() {
	c.t.Helper()
	c.proxy.SetSynced()
	c.changeCount++
	// A service that nobody uses, on an own address: once it refuses connections, all before it is committed.
	port := int32(20000 + c.changeCount)
	c.proxy.SetService(service("sync", "10.96.255.1", func(s *corev1.Service) { s.Spec.Ports[0].Port = port }))
	select {
	case <-c.proxy.Synced():
	case <-time.After(netlab.Timeout):
		c.t.Fatal("the proxy is not synced in time")
	}
	key := frontend{netip.MustParseAddr("10.96.255.1"), 6, uint16(port)}.bytes()
	k := c.kernel()
	defer k.close()
	netlab.Eventually(c.t, func() error {
		have, _, err := k.read()
		if _, ok := have[elementKey{set: setServices, key: key}]; err == nil && !ok {
			return errors.New("the last change is not in the kernel")
		}
		return err
	})
}

// kernel opens a second view of node one's table.
func (c *cluster) kernel() (k *kernel) {
	c.t.Helper()
	c.one.Do(func() (err error) {
		k, err = openKernel(newLayout(c.config()))
		return err
	})
	return k
}

func service(name, ip string, change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, Ports: []corev1.ServicePort{
			{Name: "tcp", Protocol: corev1.ProtocolTCP, Port: 80, NodePort: 0},
			{Name: "udp", Protocol: corev1.ProtocolUDP, Port: 80},
		}},
	}
	for _, f := range change {
		f(s)
	}
	return s
}

func nodePort(port int32) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeNodePort
		for i := range s.Spec.Ports {
			s.Spec.Ports[i].NodePort = port
		}
	}
}

// slice makes a slice of endpoints, each written as "ADDRESS NODE" with optional " terminating", " unready".
func slice(service string, eps ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{
			{Name: new("tcp"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolTCP)},
			{Name: new("udp"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolUDP)},
		},
	}
	for _, text := range eps {
		f := strings.Fields(text)
		e := discoveryv1.Endpoint{Addresses: f[:1], NodeName: &f[1]}
		for _, flag := range f[2:] {
			e.Conditions.Ready = new(false)
			e.Conditions.Serving = new(flag == "terminating")
			e.Conditions.Terminating = new(flag == "terminating")
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

const (
	epA = addrA + " one"
	epB = addrB + " one"
	epC = addrC + " two"
)

// answers checks who answers, over TCP and UDP, and which client address it sees.
func (c *cluster) answers(from *netlab.NS, address, server, source string) {
	c.t.Helper()
	for _, proto := range []string{"tcp", "udp"} {
		name, seen, err := from.Ask(proto, address)
		if err != nil {
			c.t.Errorf("%s %s: %v", proto, address, err)
			continue
		}
		if name != server || seen.String() != source {
			c.t.Errorf("%s %s is answered by %s, which sees %s; want %s, %s", proto, address, name, seen, server, source)
		}
	}
}

// refuses checks that a connection is refused at once: TCP by reset, UDP by ICMP. The kernel tells a process of the node
// itself EPERM for a UDP packet that it refuses to send.
func (c *cluster) refuses(from *netlab.NS, address string) {
	c.t.Helper()
	for _, proto := range []string{"tcp", "udp"} {
		_, _, err := from.Ask(proto, address)
		if proto == "udp" && from == c.one && errors.Is(err, syscall.EPERM) {
			continue
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			c.t.Errorf("%s %s: %v, want connection refused", proto, address, err)
		}
	}
}

// drops checks that nothing comes back.
func (c *cluster) drops(from *netlab.NS, address string) {
	c.t.Helper()
	conn, err := from.Dial("udp", address, "")
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	// A bound below the lab's: this waits for something not to happen.
	if _, _, err := conn.AskFor(300 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
		c.t.Errorf("udp %s: %v, want no answer", address, err)
	}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// oneConn makes HTTP requests over a connection that exists.
type oneConn struct{ *netlab.Conn }

func (c oneConn) RoundTrip(r *http.Request) (*http.Response, error) {
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return c.Conn.Conn, nil }}
	return tr.RoundTrip(r)
}
