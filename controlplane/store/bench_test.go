package store

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// kibibyte is the payload of the config maps that the figures are about.
var kibibyte = strings.Repeat("0123456789abcdef", 64)

// quantiles reports the p50 and p99 of some durations as metrics.
func quantiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkCreate1 is one writer alone.
func BenchmarkCreate1(b *testing.B) { benchmarkCreate(b, 1) }

// BenchmarkCreate32 is 32 writers at once.
func BenchmarkCreate32(b *testing.B) { benchmarkCreate(b, 32) }

func benchmarkCreate(b *testing.B, writers int) {
	s := newStore(b, Options{})
	took := make([]time.Duration, b.N)
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range writers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				start := time.Now()
				item, err := s.Create(b.Context(), configMaps, configMap("bench", numbered(int(i)), kibibyte), 0)
				if err == nil {
					_, err = item.Encoded(JSON)
				}
				if err != nil {
					b.Error(err)
					return
				}
				took[i] = time.Since(start)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	quantiles(b, took)
}

// fill creates n config maps of 1 KiB in ten namespaces.
func fill(b testing.TB, s *Store, n int) {
	b.Helper()
	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			for i := w; i < n; i += 32 {
				cm := configMap(fmt.Sprintf("ns-%d", i%10), numbered(i), kibibyte)
				if _, err := s.Create(b.Context(), configMaps, cm, 0); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkList3000 is a consistent list with the JSON of every item, as an answer concatenates it.
func BenchmarkList3000(b *testing.B) {
	s := newStore(b, Options{})
	fill(b, s, 3000)
	b.ResetTimer()
	for range b.N {
		list, err := s.List(b.Context(), configMaps, ListQuery{})
		if err != nil || len(list.Items) != 3000 {
			b.Fatal(err)
		}
		bytes := 0
		for _, it := range list.Items {
			enc, err := it.Encoded(JSON)
			if err != nil {
				b.Fatal(err)
			}
			bytes += len(enc)
		}
		b.SetBytes(int64(bytes))
	}
}

// BenchmarkGet is a consistent read: what asking etcd for its revision costs.
func BenchmarkGet(b *testing.B) {
	for _, readers := range []int{1, 32} {
		b.Run(fmt.Sprint("readers=", readers), func(b *testing.B) {
			s := newStore(b, Options{})
			fill(b, s, 100)
			b.SetParallelism(readers)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := rand.IntN(100)
					if _, err := s.Get(b.Context(), configMaps, fmt.Sprintf("ns-%d", i%10), numbered(i), ""); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkWatch100 is the time from before a write until each of 100 watchers has the event's JSON.
func BenchmarkWatch100(b *testing.B) {
	const watchers = 100
	s := newStore(b, Options{})
	mustCreate(b, s, configMaps, configMap("bench", "watched", "0"))
	var written atomic.Int64 // when the write began
	took := make([]time.Duration, watchers*b.N)
	var seen sync.WaitGroup
	var ended sync.WaitGroup
	var all []*Watch
	for n := range watchers {
		w, err := s.Watch(b.Context(), configMaps, WatchQuery{Namespace: "bench", ResourceVersion: s.LastWrite(configMaps)})
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, w)
		ended.Go(func() {
			round := 0
			for batch := w.Next(b.Context()); batch != nil; batch = w.Next(b.Context()) {
				for _, ev := range batch {
					if _, err := ev.Item.Encoded(JSON); err != nil {
						b.Error(err)
					}
					took[round*watchers+n] = time.Duration(time.Now().UnixNano() - written.Load())
					round++
					seen.Done()
				}
			}
		})
	}
	b.ResetTimer()
	for i := range b.N {
		seen.Add(watchers)
		written.Store(time.Now().UnixNano())
		if _, err := s.Update(b.Context(), configMaps, "bench", "watched", setValue(fmt.Sprint(i, kibibyte))); err != nil {
			b.Fatal(err)
		}
		seen.Wait()
	}
	b.StopTimer()
	for _, w := range all {
		w.Stop()
	}
	ended.Wait()
	quantiles(b, took)
}

// BenchmarkIdleWatches is the memory of 1,000 watches that nothing happens on.
func BenchmarkIdleWatches(b *testing.B) {
	const watches = 1000
	s := newStore(b, Options{})
	used := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc + m.StackInuse)
	}
	for b.Loop() {
		before := used()
		var open []*Watch
		for i := range watches {
			q := WatchQuery{Namespace: fmt.Sprint("ns-", i), AllowBookmarks: true, ResourceVersion: revision(s.Revision())}
			w, err := s.Watch(b.Context(), configMaps, q)
			if err != nil {
				b.Fatal(err)
			}
			open = append(open, w)
		}
		b.ReportMetric((used()-before)/watches, "B/watch")
		for _, w := range open {
			w.Stop()
		}
	}
}
