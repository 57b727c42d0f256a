package machine

import (
	"net/netip"
	"os"
	"strings"
	"testing"
)

// TestVirtualMachineLives wants a kernel of its own, cgroup v2, what a cluster needs of modules, and a disk that
// outlives a power cut.
func TestVirtualMachineLives(t *testing.T) {
	dir, err := os.MkdirTemp("/var/tmp", "flv-")
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewFleet(t.Context(), dir, CacheDir(), "flv1", netip.MustParsePrefix("10.78.41.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	m, err := f.StartVM(t.Context(), "flv-b")
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.Run(t.Context(), `hostname; stat -fc %T /sys/fs/cgroup; uname -r; touch /var/lib/kept && sync
for m in overlay bridge veth vxlan nf_tables nf_conntrack nft_chain_nat tun; do modprobe $m || exit 1; done`)
	if lines := strings.Split(out, "\n"); err != nil || len(lines) < 3 || lines[0] != "flv-b" || lines[1] != "cgroup2fs" || !strings.Contains(lines[2], "cloud") {
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
