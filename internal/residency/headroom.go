package residency

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// Headroom lets the heap grow between two collections by percent of what lives in it, as GOGC does, but by no less
// than this many bytes. It follows the heap, once for each collection, until stop is called, which restores what
// was set before. Only one Headroom may be in force in a process.
func Headroom(percent int, least uint64) (stop func()) {
	h := &headroom{percent: percent, least: least, set: percent}
	before := debug.SetGCPercent(percent)
	h.adjust()
	h.arm()
	return func() {
		h.stopped.Store(true)
		debug.SetGCPercent(before)
	}
}

type headroom struct {
	percent int
	least   uint64
	set     int // GOGC as it is now
	stopped atomic.Bool
}

// collected dies at each collection. It must not be allocated together with others, as objects without pointers of
// less than 16 bytes are.
type collected struct{ _ [2]uintptr }

// arm has adjust called after the next collection. Finalizers run one at a time.
func (h *headroom) arm() {
	runtime.SetFinalizer(&collected{}, func(*collected) {
		if !h.stopped.Load() {
			h.adjust()
			h.arm()
		}
	})
}

// adjust sets GOGC so that the headroom is at least what it should be. Setting it stops the world for a moment, so
// small differences are let be.
func (h *headroom) adjust() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	want := h.percent
	if n := live[0].Value.Uint64(); n > 0 {
		want = max(want, int(min(h.least*100/n, math.MaxInt32)))
	}
	if diff := want - h.set; diff*10 > h.set || -diff*10 > h.set {
		debug.SetGCPercent(want)
		h.set = want
	}
}
