package host

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// debian is what the script prints on a small Debian machine, with things that are odd but happen.
const debian = `time=1800000000
uid=0
hostname=Node-1
os=Linux
kernel=6.1.0-18-amd64
machine=x86_64
release.id=debian
release.version=12
release.like=
release.name=Debian GNU/Linux 12 (bookworm)
memory.kib=1016388
cpus=2
pid1.caps=000001ffffffffff
cgroup=2
cgroup.controllers=cpuset cpu io memory pids
init=systemd
packages=apt-get
containerd.root=/srv/images
disk=64769 10485760 20971520 1000 2000 /var/lib/fairlead
disk=38 1 2 0 0 /srv/my images
address=eth0 192.0.2.11/24
address=- 2001:db8::1
address=fairlead0 10.244.0.1/24
route=eth0 192.0.2.0/24
route=wg0 10.8.0.7
source=192.0.2.11
tool=runc 1.1.5+ds1
tool=nft
feature=nf_tables yes
feature=vxlan no
port=tcp 6443 812 haproxy
port=tcp 6443 812 haproxy
port=udp 8472 0 
kubernetes=kubelet
unheard-of=of a later version
`

func TestParseFacts(t *testing.T) {
	got, err := parseFacts([]byte(debian), time.Unix(1800000000-90, 0))
	if err != nil {
		t.Fatal(err)
	}
	want := &Facts{
		Hostname: "Node-1", OS: "linux", Arch: "amd64", Kernel: "6.1.0-18-amd64",
		Release:       Release{ID: "debian", Version: "12", Name: "Debian GNU/Linux 12 (bookworm)"},
		CgroupVersion: 2, CgroupControllers: []string{"cpuset", "cpu", "io", "memory", "pids"}, Init: "systemd", Capabilities: 0x1ffffffffff,
		MemoryBytes: 1016388 << 10, CPUs: 2, Disks: map[string]Disk{"/var/lib/fairlead": {"64769", 10 << 30, 20 << 30, 1000, 2000}, "/srv/my images": {"38", 1 << 10, 2 << 10, 0, 0}}, ContainerdRoot: "/srv/images", Time: time.Unix(1800000000, 0), Skew: 90 * time.Second,
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.11/24"), netip.MustParsePrefix("2001:db8::1/128"), netip.MustParsePrefix("10.244.0.1/24")},
		Source:    netip.MustParseAddr("192.0.2.11"),
		Networks: []Network{
			{"eth0", netip.MustParsePrefix("192.0.2.0/24"), false}, {"-", netip.MustParsePrefix("2001:db8::1/128"), false},
			{"wg0", netip.MustParsePrefix("10.8.0.7/32"), true},
		},
		Listening: []Socket{{"tcp", 6443, 812, "haproxy"}, {"udp", 8472, 0, ""}}, Root: true,
		PackageManager: "apt-get", Tools: map[string]string{"runc": "1.1.5+ds1", "nft": ""},
		Features: map[string]bool{"nf_tables": true, "vxlan": false}, Kubernetes: []string{"kubelet"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	if !got.HasCapability(CapSysResource) || !got.HasAddress(netip.MustParseAddr("192.0.2.11")) || got.HasAddress(netip.MustParseAddr("192.0.2.1")) {
		t.Error("questions are answered wrong")
	}
	for _, bad := range []string{"", "no equals sign", "os=Linux", debian + "cpus=two\n", debian + "port=tcp 1\n", debian + "source=x\n", debian + "disk=9 1 2 3 /x\n", debian + "disk=9 1 2 3 x /x\n"} {
		if _, err := parseFacts([]byte(bad), time.Now()); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzParseFacts(f *testing.F) {
	f.Add(debian)
	f.Fuzz(func(t *testing.T, out string) {
		if facts, err := parseFacts([]byte(out), time.Unix(0, 0)); err == nil {
			Check(facts, Wants{OS: "linux", Arch: "amd64", Ports: []string{"tcp/6443"}})
		}
	})
}

// elsewhere runs commands in a network namespace of their own, after a script that makes networks there.
type elsewhere struct {
	ssh.Conn
	script string
}

func (e elsewhere) Run(ctx context.Context, c ssh.Command) (ssh.Result, error) {
	c.Line = "unshare -n sh -c " + ssh.Quote(e.script+"\n"+c.Line)
	return e.Conn.Run(ctx, c)
}

// TestNetworks wants the host's networks, and none of ours.
func TestNetworks(t *testing.T) {
	c := ssh.Local(false, slog.New(slog.DiscardHandler))
	defer c.Close()
	f, err := Gather(t.Context(), elsewhere{c, `set -e
ip link add eth0 type bridge; ip addr add 10.42.0.5/16 dev eth0; ip link set eth0 up
ip link add fairlead0 type bridge; ip addr add 10.244.1.1/24 dev fairlead0; ip link set fairlead0 up
ip route add default via 10.42.0.1
ip route add 10.8.0.0/24 via 10.42.0.1
ip route add 10.9.0.9 dev eth0
ip route add blackhole 10.10.0.0/16
ip route add 10.244.2.0/24 via 10.42.0.9 proto 102
set +e`}, nil)
	if err != nil {
		t.Fatal(err)
	}
	network := func(link, prefix string, route bool) Network {
		return Network{link, netip.MustParsePrefix(prefix), route}
	}
	want := []Network{network("eth0", "10.42.0.0/16", false), network("eth0", "10.8.0.0/24", true), network("eth0", "10.9.0.9/32", true), network("-", "10.10.0.0/16", true)}
	if !reflect.DeepEqual(f.Networks, want) {
		t.Errorf("got %v, want %v", f.Networks, want)
	}
}

// TestClock asks hosts whose clocks are off, as the script sees them.
func TestClock(t *testing.T) {
	c := ssh.Local(false, slog.New(slog.DiscardHandler))
	defer c.Close()
	for minutes, says := range map[int]string{-10: "behind", 10: "ahead of"} {
		f, err := Gather(t.Context(), elsewhere{c, fmt.Sprintf(`date() { command date -d "%d minutes" "$@"; }`, minutes)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if off := f.Skew - time.Duration(minutes)*time.Minute; off.Abs() > 10*time.Second {
			t.Errorf("%d minutes: got %v", minutes, f.Skew)
		}
		check := &checker{f: f}
		check.clock()
		if got := check.failures; len(got) != 1 || !strings.Contains(got[0].Found, says) {
			t.Errorf("%d minutes: got %v", minutes, got)
		}
	}
}

// TestGather asks this very machine.
func TestGather(t *testing.T) {
	c := ssh.Local(false, slog.New(slog.DiscardHandler))
	defer c.Close()
	f, err := Gather(t.Context(), c, []string{"tcp/22"})
	if err != nil {
		t.Fatal(err)
	}
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if f.OS != runtime.GOOS || f.Arch != runtime.GOARCH || f.Hostname != name || f.CPUs == 0 || f.MemoryBytes == 0 || !f.Root || f.CgroupVersion == 0 {
		t.Errorf("got %+v", f)
	}
	if f.Skew.Abs() > 5*time.Second {
		t.Errorf("this machine's clock differs from itself by %v", f.Skew)
	}
	for _, tool := range WantedTools {
		if f.Tools[tool] == "" {
			t.Errorf("no version of %s", tool)
		}
	}
	for _, feature := range []string{"nf_tables", "bridge", "veth", "vxlan", "overlay"} {
		if !f.Features[feature] {
			t.Errorf("no %s", feature)
		}
	}
}

func TestGatherWithoutRoot(t *testing.T) {
	c := ssh.NewFake("h")
	c.On("PORTS=", func(_ context.Context, cmd ssh.Command) (string, string, int, error) {
		if cmd.Sudo {
			return "", "", 0, &ssh.SudoError{Host: "h", User: "u", Reason: "sudo is not installed"}
		}
		return strings.Replace(debian, "uid=0", "uid=7", 1), "", 0, nil
	})
	f, err := Gather(t.Context(), c, nil)
	if err != nil || f.Root || f.NoRoot == nil {
		t.Fatalf("got %+v, %v", f, err)
	}
	if failures := Check(f, Wants{OS: "linux", Arch: "amd64"}); len(failures) != 1 || !strings.Contains(failures[0].Found, "sudo is not installed") {
		t.Errorf("got %v", failures)
	}
}
