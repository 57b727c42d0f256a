package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	"k8s.io/apimachinery/pkg/types"

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

func TestClusterIP(t *testing.T) {
	c := newCluster(t)
	c.proxy.SetService(service("web", "10.96.0.10"))
	c.proxy.SetEndpointSlice(slice("web", epC))
	c.proxy.SetService(service("local", "10.96.0.11"))
	c.proxy.SetEndpointSlice(slice("local", epB))
	c.sync()
	c.answers(c.a, "10.96.0.10:80", "c", addrA)              // pod: its own address
	c.answers(c.a, "10.96.0.11:80", "b", addrA)              // pod to a pod of the same node
	c.answers(c.one, "10.96.0.10:80", "c", addrOne)          // process of the node
	c.answers(c.client, "10.96.0.11:80", "b", "169.254.1.1") // from outside: masqueraded
	c.answers(c.b, "10.96.0.11:80", "b", "169.254.1.1")      // itself: masqueraded
}

func TestNoEndpoints(t *testing.T) {
	c := newCluster(t)
	c.proxy.SetService(service("web", "10.96.0.10", nodePort(30080)))
	c.proxy.SetEndpointSlice(slice("web", epC+" unready"))
	c.sync()
	for _, address := range []string{"10.96.0.10:80", addrOne + ":30080", "10.96.0.10:81", "10.96.77.77:80"} {
		c.refuses(c.a, address)
		c.refuses(c.one, address)
		c.refuses(c.client, address)
	}
}

func TestNodePort(t *testing.T) {
	c := newCluster(t)
	c.one.Address("uplink0", "192.0.2.100/24")
	c.proxy.SetService(service("web", "10.96.0.10", nodePort(30080)))
	c.proxy.SetEndpointSlice(slice("web", epC))
	c.sync()
	c.answers(c.client, addrOne+":30080", "c", addrOne)
	c.answers(c.a, addrOne+":30080", "c", addrA)
	c.answers(c.one, addrOne+":30080", "c", addrOne)
	for _, address := range []string{"127.0.0.1:30080", "192.0.2.100:30080"} {
		if _, _, err := c.one.Ask("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v; want refused, since it is no node port address", address, err)
		}
	}
	c.proxy.SetNodeAddrs([]netip.Addr{netip.MustParseAddr("192.0.2.100")})
	c.sync()
	c.answers(c.client, "192.0.2.100:30080", "c", addrOne)
}

func TestExternalAddresses(t *testing.T) {
	c := newCluster(t)
	c.proxy.SetService(service("web", "10.96.0.10", func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		s.Spec.ExternalIPs = []string{"198.51.100.1"}
		s.Spec.LoadBalancerSourceRanges = []string{"192.0.2.0/29", "192.0.2.1/32"}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "198.51.100.2"}, {IP: "198.51.100.3", IPMode: new(corev1.LoadBalancerIPModeProxy)}}
	}))
	c.proxy.SetEndpointSlice(slice("web", epB))
	c.sync()
	c.two.Route("198.51.100.0/24", addrOne)
	c.answers(c.client, "198.51.100.1:80", "b", "169.254.1.1")
	c.answers(c.two, "198.51.100.2:80", "b", "169.254.1.1") // 192.0.2.2 is in the ranges
	c.drops(c.client, "198.51.100.2:80")                    // 192.0.2.9 is not
	c.proxy.SetService(service("web", "10.96.0.10", func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "198.51.100.2"}}
	}))
	c.sync()
	c.answers(c.client, "198.51.100.2:80", "b", "169.254.1.1")
}

func TestExternalTrafficPolicyLocal(t *testing.T) {
	c := newCluster(t)
	local := func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		s.Spec.HealthCheckNodePort = 32001
	}
	c.proxy.SetService(service("web", "10.96.0.10", nodePort(30080), local))
	c.proxy.SetEndpointSlice(slice("web", epB, epC))
	c.sync()
	for range 8 {
		c.answers(c.client, addrOne+":30080", "b", addrClient) // only the local one, client's address kept
	}
	health := func(status int) {
		t.Helper()
		c.client.Do(func() error {
			conn, err := c.client.Dial("tcp", addrOne+":32001", "")
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			client := http.Client{Timeout: netlab.Timeout, Transport: oneConn{conn}}
			resp, err := client.Get("http://node/healthz")
			if err != nil {
				return err
			}
			defer func() { _ = resp.Body.Close() }()
			body, err := io.ReadAll(resp.Body)
			if resp.StatusCode != status || !strings.Contains(string(body), `"name":"web"`) {
				t.Errorf("health check says %d %s, want %d", resp.StatusCode, body, status)
			}
			return err
		})
	}
	health(http.StatusOK)
	c.proxy.SetEndpointSlice(slice("web", epC))
	c.sync()
	c.drops(c.client, addrOne+":30080")
	c.answers(c.a, addrOne+":30080", "c", addrA) // from within the node: every endpoint
	c.answers(c.one, addrOne+":30080", "c", addrOne)
	health(http.StatusServiceUnavailable)
	c.proxy.DeleteService(types.NamespacedName{Namespace: "default", Name: "web"})
	c.sync()
	if _, err := c.client.Dial("tcp", addrOne+":32001", ""); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("health check port of a service that is gone: %v", err)
	}
}

func TestInternalTrafficPolicyLocal(t *testing.T) {
	c := newCluster(t)
	local := func(s *corev1.Service) { s.Spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyLocal) }
	c.proxy.SetService(service("web", "10.96.0.10", local))
	c.proxy.SetEndpointSlice(slice("web", epB, epC))
	c.proxy.SetService(service("far", "10.96.0.11", local))
	c.proxy.SetEndpointSlice(slice("far", epC))
	c.proxy.SetService(service("none", "10.96.0.12", local))
	c.sync()
	for range 8 {
		c.answers(c.a, "10.96.0.10:80", "b", addrA)
	}
	c.drops(c.a, "10.96.0.11:80")
	c.refuses(c.a, "10.96.0.12:80")
}

func TestSessionAffinity(t *testing.T) {
	c := newCluster(t)
	sticky := func(s *corev1.Service) {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(1))}}
	}
	c.proxy.SetService(service("web", "10.96.0.10", nodePort(30080), sticky))
	c.proxy.SetEndpointSlice(slice("web", epB, epC))
	c.sync()
	names := map[string]string{addrB: "b", addrC: "c"}
	ask := func(from *netlab.NS, address string) string {
		t.Helper()
		name, _, err := from.Ask("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, address := range []string{"10.96.0.10:80", addrOne + ":30080"} {
		for _, from := range []*netlab.NS{c.a, c.one, c.client} {
			first := ask(from, address)
			for range 12 {
				if got := ask(from, address); got != first {
					t.Fatalf("a client of %s goes from %s to %s", address, first, got)
				}
			}
		}
	}
	// Its endpoint goes: another one answers, and that one from then on.
	first := ask(c.a, "10.96.0.10:80")
	stays := epB
	if first == names[addrB] {
		stays = epC
	}
	c.proxy.SetEndpointSlice(slice("web", stays))
	c.sync()
	second := ask(c.a, "10.96.0.10:80")
	if second == first {
		t.Fatalf("%s answers after it has gone", first)
	}
	c.proxy.SetEndpointSlice(slice("web", epB, epC))
	c.sync()
	for range 12 {
		if got := ask(c.a, "10.96.0.10:80"); got != second {
			t.Fatalf("the client goes back from %s to %s", second, got)
		}
	}
	// After the timeout any one may answer.
	deadline := time.Now().Add(20 * time.Second)
	wait := time.NewTicker(1200 * time.Millisecond)
	defer wait.Stop()
	for ask(c.a, "10.96.0.10:80") == second {
		if time.Now().After(deadline) {
			t.Fatal("affinity never ends")
		}
		<-wait.C
	}
}

// KEP-1669: while a service has no ready endpoint, terminating ones that serve go on.
func TestTerminatingEndpoints(t *testing.T) {
	c := newCluster(t)
	c.proxy.SetService(service("web", "10.96.0.10"))
	c.proxy.SetEndpointSlice(slice("web", epB+" terminating", epC))
	c.sync()
	for range 8 {
		c.answers(c.a, "10.96.0.10:80", "c", addrA)
	}
	c.proxy.SetEndpointSlice(slice("web", epB+" terminating", epC+" unready"))
	c.sync()
	for range 8 {
		c.answers(c.a, "10.96.0.10:80", "b", addrA)
	}
}

// A UDP client that never stops sending follows the service; a TCP connection is left where it is.
func TestStaleConnections(t *testing.T) {
	c := newCluster(t)
	// Something else answers on the node port before the service exists.
	c.one.Serve("host", addrOne+":30080")
	c.proxy.SetService(service("web", "10.96.0.10"))
	c.proxy.SetEndpointSlice(slice("web", epB))
	c.sync()
	dial := func(proto, address string) *netlab.Conn {
		t.Helper()
		conn, err := c.client.Dial(proto, address, "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	expect := func(conn *netlab.Conn, want string) {
		t.Helper()
		netlab.Eventually(t, func() error {
			if name, _, err := conn.AskFor(200 * time.Millisecond); err != nil || name != want {
				return fmt.Errorf("answer from %q, %v; want %s", name, err, want)
			}
			return nil
		})
	}
	tcp, udp, early := dial("tcp", "10.96.0.10:80"), dial("udp", "10.96.0.10:80"), dial("udp", addrOne+":30080")
	expect(tcp, "b")
	expect(udp, "b")
	expect(early, "host")
	c.proxy.SetService(service("web", "10.96.0.10", nodePort(30080)))
	c.proxy.SetEndpointSlice(slice("web", epC))
	expect(udp, "c")
	expect(early, "c")
	expect(tcp, "b")
	// A new endpoint beside the old one takes nothing away from it.
	c.proxy.SetEndpointSlice(slice("web", epC, epB))
	c.sync()
	expect(udp, "c")
	c.proxy.DeleteService(types.NamespacedName{Namespace: "default", Name: "web"})
	netlab.Eventually(t, func() error {
		if _, _, err := udp.AskFor(100 * time.Millisecond); !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("a service that is gone: %v", err)
		}
		return nil
	})
}

func TestServicesThatAreNotOurs(t *testing.T) {
	c := newCluster(t)
	c.proxy.SetService(service("headless", corev1.ClusterIPNone))
	c.proxy.SetEndpointSlice(slice("headless", epB))
	c.proxy.SetService(service("other", "198.51.100.9", func(s *corev1.Service) { s.Labels = map[string]string{labelProxyName: "mesh"} }))
	c.proxy.SetEndpointSlice(slice("other", epB))
	c.proxy.SetService(service("external", "", func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.com"
	}))
	c.sync()
	k := c.kernel()
	defer k.close()
	have, _, err := k.read()
	if err != nil {
		t.Fatal(err)
	}
	for key := range have {
		if key.key[:4] != string(netip.MustParseAddr("10.96.255.1").AsSlice()) {
			t.Errorf("unexpected element %+v", key)
		}
	}
}

// oneConn makes HTTP requests over a connection that exists.
type oneConn struct{ *netlab.Conn }

func (c oneConn) RoundTrip(r *http.Request) (*http.Response, error) {
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return c.Conn.Conn, nil }}
	return tr.RoundTrip(r)
}
