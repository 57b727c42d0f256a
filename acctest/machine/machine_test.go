package machine

import (
	"net/netip"
	"os"
	"strings"
	"testing"
)

func TestMachineLives(t *testing.T) {
	dir, err := os.MkdirTemp("/var/tmp", "flm-")
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewFleet(t.Context(), dir, CacheDir(), "flm0", netip.MustParsePrefix("10.78.9.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	m, err := f.Start(t.Context(), "flm-a")
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.Run(t.Context(), "hostname; touch /var/lib/kept; mkdir /sys/fs/cgroup/memory/try; systemctl is-system-running --wait")
	if !strings.HasPrefix(out, "flm-a\n") {
		t.Fatalf("%q, %v", out, err)
	}
	m.PowerCut()
	if err := m.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Run(t.Context(), "test -e /var/lib/kept"); err != nil {
		t.Errorf("the disk was lost with the power: %v", err)
	}
}
