package proxy

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

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
	netlab.Eventually(t, func() error {
		_, _, err := c.a.Ask("tcp", "10.96.0.10:80")
		return err
	})
	k := c.kernel()
	defer k.close()
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
	netlab.Eventually(t, func() error {
		name, _, err := c.a.Ask("tcp", "10.96.0.10:80")
		if err == nil && name != "c" {
			err = fmt.Errorf("answer from %s", name)
		}
		return err
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

// world makes random services; the same seed makes the same sequence.
type world struct {
	r     *rand.Rand
	state *state
}

func (w *world) step() {
	name := fmt.Sprintf("s%d", w.r.IntN(6))
	key := types.NamespacedName{Namespace: "default", Name: name}
	switch w.r.IntN(8) {
	case 0:
		w.state.setService(key, nil)
	case 1:
		w.state.setSlice(types.NamespacedName{Namespace: "default", Name: name + "-1"}, nil)
	case 2, 3, 4:
		s := slice(name, w.endpoints()...)
		w.state.setSlice(types.NamespacedName{Namespace: s.Namespace, Name: s.Name}, s)
	case 5:
		w.state.setNodeAddrs([]netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + w.r.IntN(2))})})
	default:
		w.state.setService(key, w.service(name))
	}
}

func (w *world) endpoints() (eps []string) {
	for i := range w.r.IntN(5) {
		node := []string{"one", "two"}[w.r.IntN(2)]
		flag := []string{"", "", " unready", " terminating"}[w.r.IntN(4)]
		eps = append(eps, fmt.Sprintf("10.244.%d.%d %s%s", 1+w.r.IntN(2), 2+i, node, flag))
	}
	return eps
}

func (w *world) service(name string) *corev1.Service {
	s := service(name, fmt.Sprintf("10.96.0.%d", 10+w.r.IntN(4)), nodePort(int32(30000+w.r.IntN(3))))
	s.CreationTimestamp.Time = time.Unix(int64(w.r.IntN(3)), 0)
	s.Spec.ExternalIPs = []string{fmt.Sprintf("198.51.100.%d", w.r.IntN(3))}
	if w.r.IntN(2) == 0 {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	}
	if w.r.IntN(2) == 0 {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	if w.r.IntN(2) == 0 {
		s.Spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyLocal)
	}
	if w.r.IntN(2) == 0 {
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "198.51.100.9"}}
		s.Spec.LoadBalancerSourceRanges = []string{"192.0.2.0/24", fmt.Sprintf("10.%d.0.0/16", w.r.IntN(3)), "10.0.0.0/15"}
	}
	return s
}

// fresh computes the ledger of the same services from nothing.
func (w *world) fresh() *ledger {
	s := newState(w.state.node)
	for name, svc := range w.state.services {
		s.setService(name, svc)
	}
	for name, slice := range w.state.slices {
		s.setSlice(name, slice)
	}
	for f, c := range s.refresh().frontends {
		s.ledger.set(f, c)
	}
	return s.ledger
}

// After any sequence of changes the kernel holds what a fresh build would have written, element by element.
func TestDifferencesLeadToTheFreshState(t *testing.T) {
	host := netlab.Namespace(t)
	for seed := range uint64(12) {
		w := &world{r: rand.New(rand.NewPCG(seed, 0)), state: newState(topology{nodeName: "one", nodeAddrs: []netip.Addr{netip.MustParseAddr(addrOne)}})}
		var k *kernel
		host.Do(func() (err error) {
			k, err = openKernel(newLayout((&cluster{t: t}).config()))
			if err == nil {
				err = k.replace(change{})
			}
			return err
		})
		for i := range 40 {
			for range 1 + w.r.IntN(3) {
				w.step()
			}
			l := w.state.ledger
			for f, c := range w.state.refresh().frontends {
				l.set(f, c)
			}
			c := l.pending()
			for _, part := range c.chunks(1 + w.r.IntN(12)) {
				if err := k.commit(part); err != nil {
					t.Fatalf("seed %d, step %d: %v", seed, i, err)
				}
			}
			l.committed(c)
		}
		have, pickers, err := k.read()
		k.close()
		if err != nil {
			t.Fatal(err)
		}
		want := w.fresh()
		wantElements, wantPickers := map[elementKey]string{}, map[picker]bool{}
		for key, v := range want.want {
			wantElements[key] = v.value
		}
		for p := range want.wantPick {
			wantPickers[p] = true
		}
		if !maps.Equal(have, wantElements) {
			t.Errorf("seed %d: the kernel has %d elements, a fresh build %d:\n%q\n%q", seed, len(have), len(wantElements), have, wantElements)
		}
		if !maps.Equal(pickers, wantPickers) {
			t.Errorf("seed %d: the kernel has pickers %v, a fresh build %v", seed, pickers, wantPickers)
		}
	}
}

func TestPickerNames(t *testing.T) {
	for _, p := range []picker{{pickAny, 1, 0}, {pickLocal, 20, 0}, {pickSticky, 3, time.Hour}, {pickStickyLocal, 3, time.Second}} {
		if got, ok := parsePicker(p.name()); !ok || got != p {
			t.Errorf("%q is read as %+v, %t", p.name(), got, ok)
		}
	}
	for _, name := range []string{"pick-0", "pick-x", "pick-1-5", "sticky-1", "pick", "services", "pick-01"} {
		if p, ok := parsePicker(name); ok {
			t.Errorf("%q is read as %+v", name, p)
		}
	}
}

// New service to first answer, with 2,000 services of three endpoints standing.
func BenchmarkNewService(b *testing.B) {
	c := newCluster(b)
	const standing = 2000
	for i := range standing {
		name := fmt.Sprintf("standing%d", i)
		c.proxy.SetService(service(name, fmt.Sprintf("10.96.%d.%d", 1+i/250, 1+i%250), nodePort(int32(28000+i))))
		c.proxy.SetEndpointSlice(slice(name, epA, epB, epC))
	}
	begin := time.Now()
	c.sync()
	first := time.Since(begin)
	i := 0
	for b.Loop() {
		name := fmt.Sprintf("new%d", i)
		address := fmt.Sprintf("10.96.%d.%d", 100+i/250, 1+i%250)
		i++
		c.proxy.SetService(service(name, address))
		c.proxy.SetEndpointSlice(slice(name, epB))
		for {
			if _, _, err := c.a.Ask("tcp", address+":80"); err == nil {
				break
			}
		}
	}
	b.ReportMetric(float64(first.Milliseconds()), "ms/first-sync")
}

// The transaction alone.
func BenchmarkCommit(b *testing.B) {
	host := netlab.Namespace(b)
	s := newState(topology{nodeName: "one"})
	var k *kernel
	host.Do(func() (err error) {
		k, err = openKernel(newLayout((&cluster{t: b}).config()))
		return err
	})
	defer k.close()
	add := func(i int) change {
		name := fmt.Sprintf("s%d", i)
		s.setService(types.NamespacedName{Namespace: "default", Name: name}, service(name, fmt.Sprintf("10.96.%d.%d", i/250, 1+i%250)))
		e := slice(name, epA, epB, epC)
		s.setSlice(types.NamespacedName{Namespace: "default", Name: e.Name}, e)
		for f, c := range s.refresh().frontends {
			s.ledger.set(f, c)
		}
		return s.ledger.pending()
	}
	const standing = 2000
	for i := range standing - 1 {
		add(i)
	}
	all := add(standing - 1)
	begin := time.Now()
	if err := k.replace(all); err != nil {
		b.Fatal(err)
	}
	whole := time.Since(begin)
	s.ledger.committed(all)
	for i := standing; b.Loop(); i++ {
		c := add(i % 60000)
		if err := k.commit(c); err != nil {
			b.Fatal(err)
		}
		s.ledger.committed(c)
	}
	b.ReportMetric(float64(whole.Milliseconds()), "ms/replace")
}
