package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/network/netlab"
)

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
	// The port follows the rules, which are what sync waits for.
	netlab.Eventually(t, func() error {
		conn, err := c.client.Dial("tcp", addrOne+":32001", "")
		if err == nil {
			_ = conn.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return errors.Join(errors.New("the health check port of a service that is gone answers"), err)
		}
		return nil
	})
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
			name, _, err := conn.AskFor(200 * time.Millisecond)
			if err == nil && name != want {
				err = fmt.Errorf("answer from %q, want %s", name, want)
			}
			return err
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
			return errors.Join(errors.New("a service that is gone does not refuse"), err)
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
