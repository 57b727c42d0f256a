package machine

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMachineLives(t *testing.T) {
	network := netip.MustParsePrefix("10.78.9.0/24")
	f, err := NewFleet(t.Context(), "flm", network)
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

	if _, err := NewFleet(t.Context(), "flm", network); err == nil || !strings.Contains(err.Error(), "another run has") {
		t.Fatalf("a second fleet of the name: %v", err)
	}
	if err := f.lock.Close(); err != nil { // as when this process had died
		t.Fatal(err)
	}
	next, err := NewFleet(t.Context(), "flm", network)
	if err != nil {
		t.Fatal(err)
	}
	f = next
	<-m.exited
	for _, left := range []string{filepath.Join(f.Dir, "flm-a"), filepath.Join(cgroupMount, "memory", "acctest-flm-a")} {
		if _, err := os.Stat(left); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", left, err)
		}
	}
}
