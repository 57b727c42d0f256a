package residency

import (
	"runtime"
	"runtime/metrics"
	"testing"
)

var sink []byte

// TestHeadroom holds that a small heap is collected no more often than once for each headroom's worth of garbage,
// and that GOGC is as before afterwards.
func TestHeadroom(t *testing.T) {
	const garbage, headroom = 512 << 20, 64 << 20
	runtime.GC()
	before := gogc()
	stop := Headroom(50, headroom)
	runtime.GC()
	// the setting follows a collection in a goroutine of the runtime's
	for gogc() == 50 {
		runtime.Gosched()
	}
	first := collections()
	for range garbage / 4096 {
		sink = make([]byte, 4096)
	}
	if n := collections() - first; n > 2*garbage/headroom {
		t.Errorf("%d collections for %d MiB of garbage, want about %d", n, garbage>>20, garbage/headroom)
	}
	stop()
	if got := gogc(); got != before {
		t.Errorf("GOGC = %d afterwards, want %d", got, before)
	}
}

func collections() uint64 { return read("/gc/cycles/total:gc-cycles") }
func gogc() uint64        { return read("/gc/gogc:percent") }

func read(name string) uint64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
