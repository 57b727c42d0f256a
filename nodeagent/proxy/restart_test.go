package proxy

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/google/nftables"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/network/netlab"
)

// While the proxy stops, starts and takes over, every connection of a client that never pauses is answered: there is no
// moment without rules. Connections that stand are not touched.
func TestRestartLeavesNoGap(t *testing.T) {
	c := newCluster(t)
	give := func() {
		c.proxy.SetService(service("web", "10.96.0.10"))
		c.proxy.SetEndpointSlice(slice("web", epB, epC))
	}
	give()
	c.sync()
	standing, err := c.a.Dial("tcp", "10.96.0.10:80", "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = standing.Close() }()
	server, _, err := standing.Ask()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	halt := make(chan struct{})
	asked := 0
	wg.Go(func() {
		for {
			select {
			case <-halt:
				return
			default:
			}
			if _, _, err := c.a.Ask("tcp", "10.96.0.10:80"); err != nil {
				t.Errorf("after %d answers: %v", asked, err)
				return
			}
			asked++
		}
	})
	for range 3 {
		c.stop()
		c.start()
		give()
		c.sync()
	}
	// A version with another layout takes over: the table is replaced in one transaction.
	c.stop()
	renameMarker(t, c)
	c.start()
	give()
	c.sync()
	close(halt)
	wg.Wait()
	if asked < 10 {
		t.Errorf("only %d connections were made meanwhile", asked)
	}
	if again, _, err := standing.Ask(); err != nil || again != server {
		t.Errorf("the standing connection: %s, %v; want %s", again, err, server)
	}
}

func TestRestartKeepsAffinity(t *testing.T) {
	c := newCluster(t)
	give := func() {
		c.proxy.SetService(service("web", "10.96.0.10", func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP }))
		c.proxy.SetEndpointSlice(slice("web", epB, epC))
	}
	give()
	c.sync()
	first, _, err := c.a.Ask("tcp", "10.96.0.10:80")
	if err != nil {
		t.Fatal(err)
	}
	c.stop()
	c.start()
	give()
	c.sync()
	for range 12 {
		if again, _, err := c.a.Ask("tcp", "10.96.0.10:80"); err != nil || again != first {
			t.Fatalf("after a restart %s, %v; want %s", again, err, first)
		}
	}
}

// renameMarker makes the table look like that of another version.
func renameMarker(t *testing.T, c *cluster) {
	t.Helper()
	k := c.kernel()
	defer k.close()
	k.conn.DelChain(&nftables.Chain{Table: k.layout.table, Name: k.layout.marker()})
	if err := k.flush(); err != nil {
		t.Fatal(err)
	}
}

// What others do to the table is mended: removal as a whole soon, damage with the first change that fails on it.
func TestDamageIsMended(t *testing.T) {
	c := newCluster(t)
	c.proxy.SetService(service("web", "10.96.0.10"))
	c.proxy.SetEndpointSlice(slice("web", epB))
	c.sync()
	c.one.Do(Cleanup)
	k := c.kernel()
	defer k.close()
	netlab.Eventually(t, func() error {
		ok, err := k.present()
		if err == nil && !ok {
			err = errors.New("the table does not come back")
		}
		return err
	})
	c.answers(c.a, "10.96.0.10:80", "b", addrA)
	have, _, err := k.read()
	if err != nil {
		t.Fatal(err)
	}
	for key := range have {
		if err := k.commit(change{del: []element{{elementKey: key}}}); err != nil {
			t.Fatal(err)
		}
	}
	c.proxy.SetEndpointSlice(slice("web", epC))
	c.sync()
	c.answers(c.a, "10.96.0.10:80", "c", addrA)
}

// The nft of a distribution lists the table: not everything that the kernel takes can be shown.
func TestTableCanBeListed(t *testing.T) {
	c := newCluster(t)
	c.proxy.SetService(service("web", "10.96.0.10", nodePort(30080), func(s *corev1.Service) {
		s.Spec.Type, s.Spec.SessionAffinity = corev1.ServiceTypeLoadBalancer, corev1.ServiceAffinityClientIP
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		s.Spec.LoadBalancerSourceRanges = []string{"192.0.2.0/24"}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "198.51.100.3"}}
	}))
	c.proxy.SetEndpointSlice(slice("web", epB, epC))
	c.proxy.SetService(service("plain", "10.96.0.11"))
	c.proxy.SetEndpointSlice(slice("plain", epB, epC))
	c.sync()
	c.one.Do(func() error {
		out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "10.96.0.11 . tcp . 80 : goto pick-2") {
			return fmt.Errorf("nft list ruleset: %w\n%s", err, out)
		}
		return nil
	})
}

func TestCleanupRemovesTheTable(t *testing.T) {
	c := newCluster(t)
	c.sync()
	c.stop()
	for range 2 {
		c.one.Do(Cleanup)
	}
	k := c.kernel()
	defer k.close()
	if ok, err := k.present(); ok || err != nil {
		t.Errorf("table is there: %t, %v", ok, err)
	}
}
