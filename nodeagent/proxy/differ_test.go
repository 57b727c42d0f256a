package proxy

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/network/netlab"
)

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

// imitation applies transactions as the kernel does, and fails where the kernel would.
type imitation struct {
	elements map[elementKey]string
	pickers  map[picker]bool
}

func (k *imitation) commit(c change) error {
	for _, p := range c.addPickers {
		k.pickers[p] = true
	}
	for _, e := range c.del {
		if have, ok := k.elements[e.elementKey]; !ok || have != e.value {
			return fmt.Errorf("cannot delete %q: have %q, %t", e, have, ok)
		}
		delete(k.elements, e.elementKey)
	}
	for _, e := range c.add {
		if _, ok := k.elements[e.elementKey]; ok {
			return fmt.Errorf("cannot add %q: it exists", e)
		}
		k.elements[e.elementKey] = e.value
	}
	for _, p := range c.delPickers {
		delete(k.pickers, p)
	}
	for key, value := range k.elements {
		if key.set != setServices && key.set != setExternal || value == verdictDrop || value == rejectChain {
			continue
		}
		if p, ok := parsePicker(value); !ok || !k.pickers[p] {
			return fmt.Errorf("%q leads to %s, which does not exist", key, value)
		}
	}
	return nil
}

// FuzzDifferences is TestDifferencesLeadToTheFreshState without a kernel: every transaction, also a part of one, is one that a
// kernel takes.
func FuzzDifferences(f *testing.F) {
	f.Add(uint64(1), uint8(3))
	f.Add(uint64(2), uint8(200))
	f.Fuzz(func(t *testing.T, seed uint64, size uint8) {
		w := &world{r: rand.New(rand.NewPCG(seed, 1)), state: newState(topology{nodeName: "one", nodeAddrs: []netip.Addr{netip.MustParseAddr(addrOne)}})}
		k := &imitation{map[elementKey]string{}, map[picker]bool{}}
		l := w.state.ledger
		for i := range 30 {
			w.step()
			for f, c := range w.state.refresh().frontends {
				l.set(f, c)
			}
			if i%10 == 9 { // a restart, or an error: everything is compared
				l.observed(maps.Clone(k.elements), maps.Clone(k.pickers))
			}
			c := l.pending()
			for _, part := range c.chunks(1 + int(size)) {
				if err := k.commit(part); err != nil {
					t.Fatal(err)
				}
			}
			l.committed(c)
		}
		want := map[elementKey]string{}
		for key, v := range w.fresh().want {
			want[key] = v.value
		}
		if !maps.Equal(k.elements, want) || len(k.pickers) != len(w.fresh().wantPick) {
			t.Errorf("have %q, a fresh build %q", k.elements, want)
		}
	})
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
