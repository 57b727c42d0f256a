package network

import (
	"context"
	"net/netip"
	"strconv"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/network/netlab"
)

func benchBridge(b *testing.B) *Bridge {
	b.Helper()
	cfg := Config{NodePodCIDR: netip.MustParsePrefix("10.244.1.0/24"), PodCIDR: netip.MustParsePrefix("10.244.0.0/16"),
		NodeAddress: netip.MustParseAddr("192.0.2.1"), DataDir: b.TempDir()}
	var bridge *Bridge
	netlab.New(b).Host("192.0.2.1/24").Do(func() (err error) {
		bridge, err = New(cfg)
		return err
	})
	b.Cleanup(bridge.Close)
	return bridge
}

// each runs f for n pods at once.
func each(b *testing.B, n int, f func(types.UID) error) {
	b.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := f(types.UID(strconv.Itoa(i))); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
}

// BenchmarkAttach and BenchmarkDetach measure one pod, and thirty at once.
func BenchmarkAttach(b *testing.B) { bench(b, true) }
func BenchmarkDetach(b *testing.B) { bench(b, false) }

func bench(b *testing.B, attach bool) {
	for _, n := range []int{1, 30} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			bridge := benchBridge(b)
			for b.Loop() {
				b.StopTimer()
				paths := map[types.UID]*netlab.NS{}
				for i := range n {
					paths[types.UID(strconv.Itoa(i))] = netlab.Namespace(b)
				}
				timed := func(yes bool, f func(types.UID) error) {
					if yes {
						b.StartTimer()
						defer b.StopTimer()
					}
					each(b, n, f)
				}
				timed(attach, func(uid types.UID) error {
					_, err := bridge.Attach(context.Background(), Pod{UID: uid}, paths[uid].Path())
					return err
				})
				timed(!attach, func(uid types.UID) error { return bridge.Detach(context.Background(), uid) })
				b.StartTimer()
			}
		})
	}
}
