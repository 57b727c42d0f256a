package eviction_test

import (
	"strings"
	"testing"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/eviction"
)

func TestParse(t *testing.T) {
	const memory, inodes = 16 << 30, 1000
	for name, tc := range map[string]struct {
		given  map[string]string
		memory int64 // threshold of memory.available
		inodes int64 // of nodefs.inodesFree
		err    string
	}{
		"defaults":     {nil, 100 << 20, 50, ""},
		"quantity":     {map[string]string{"memory.available": "1Gi"}, 1 << 30, 50, ""},
		"percentage":   {map[string]string{"memory.available": "25%", "nodefs.inodesFree": "0.5%"}, 4 << 30, 5, ""},
		"off":          {map[string]string{"memory.available": "0%", "nodefs.inodesFree": "100%"}, 0, 0, ""},
		"no signal":    {map[string]string{"memory.free": "1Gi"}, 0, 0, "memory.free: there is no such signal, only memory.available, nodefs.available"},
		"no quantity":  {map[string]string{"pid.available": "many"}, 0, 0, `pid.available: "many" is neither a quantity nor a percentage`},
		"nothing":      {map[string]string{"memory.available": "0"}, 0, 0, `memory.available: "0" is not more than nothing: 0% turns the signal off`},
		"negative":     {map[string]string{"imagefs.available": "-5%"}, 0, 0, `imagefs.available: "-5%" is not a percentage`},
		"too much":     {map[string]string{"imagefs.inodesFree": "101%"}, 0, 0, `imagefs.inodesFree: "101%" is not a percentage`},
		"not a number": {map[string]string{"imagefs.available": "NaN%"}, 0, 0, `imagefs.available: "NaN%" is not a percentage`},
	} {
		got, err := eviction.Parse(tc.given)
		if tc.err != "" {
			if err == nil || !strings.HasPrefix(err.Error(), tc.err) {
				t.Errorf("%s: error %v", name, err)
			}
			continue
		}
		if err != nil || got[eviction.MemoryAvailable].Of(memory) != tc.memory || got[eviction.NodeFSInodesFree].Of(inodes) != tc.inodes {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
