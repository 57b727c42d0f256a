package host

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/eviction"
)

// good is a host with which nothing is wrong.
func good() *Facts {
	return &Facts{
		Host: "h", Hostname: "h", OS: "linux", Arch: "amd64", Kernel: "6.1.0-18-amd64", CgroupVersion: 2,
		CgroupControllers: []string{"cpu", "memory", "pids"}, Init: InitSystemd, MemoryBytes: 1 << 30, Root: true,
		Disks: map[string]Disk{
			"/var/lib/fairlead": {"1", 4 << 30, 8 << 30, 0, 0}, "/var/lib/fairlead/agent": {"2", 4 << 30, 8 << 30, 0, 0}, "/etc": {"3", 4 << 30, 8 << 30, 0, 0},
			"/images": {"4", 5 << 30, 10 << 30, 5000, 20000},
		},
		ContainerdRoot: "/images", PackageManager: "apt-get",
		Tools: map[string]string{"flock": ""}, Time: time.Unix(1800000000, 0),
		Features: map[string]bool{"vxlan": true},
	}
}

func TestCheck(t *testing.T) {
	wants := Wants{OS: "linux", Arch: "amd64", Ports: []string{"tcp/6443", "udp/8472"}}
	ours := wants
	ours.Ours = true
	ranges := wants
	ranges.Ranges = []Range{{"pod_cidr", netip.MustParsePrefix("10.244.0.0/16")}, {"service_cidr", netip.MustParsePrefix("10.96.0.0/16")}}
	network := func(link, prefix string, route bool) Network {
		return Network{link, netip.MustParsePrefix(prefix), route}
	}
	// node runs pods, with the thresholds that it is given.
	node := func(thresholds map[string]string) Wants {
		w := wants
		var err error
		if w.Eviction, err = eviction.Parse(thresholds); err != nil {
			t.Fatal(err)
		}
		return w
	}
	ourNode := node(nil)
	ourNode.Ours, ourNode.RunsPods = true, true
	oursWithoutPods := node(nil) // which is to run some
	oursWithoutPods.Ours = true
	disk := func(dir string, d Disk) *Facts { f := good(); f.Disks[dir] = d; return f }
	oneDisk := func(d Disk) *Facts { f := disk("/var/lib/fairlead/agent", d); f.Disks["/images"] = d; return f }
	set := func(change func(*Facts)) *Facts { f := good(); change(f); return f }
	tests := map[string]struct {
		facts *Facts
		wants Wants
		check string // that fails; empty for none
		text  string // that its message contains
	}{
		"good":                 {good(), wants, "", ""},
		"operating system":     {set(func(f *Facts) { f.OS = "freebsd" }), wants, "operating system", "only Linux"},
		"architecture":         {set(func(f *Facts) { f.Arch = "arm64" }), wants, "architecture", "releases = { linux_arm64"},
		"no root":              {set(func(f *Facts) { f.Root = false }), wants, "root", "sudo = true"},
		"old kernel":           {set(func(f *Facts) { f.Kernel = "4.19.0" }), wants, "kernel", "5.4"},
		"5.3":                  {set(func(f *Facts) { f.Kernel = "5.3.18-lp152" }), wants, "kernel", "5.3.18"},
		"5.4":                  {set(func(f *Facts) { f.Kernel = "5.4.0" }), wants, "", ""},
		"6.1+":                 {set(func(f *Facts) { f.Kernel = "6.1+" }), wants, "", ""},
		"no cgroups":           {set(func(f *Facts) { f.CgroupVersion = 0 }), wants, "cgroups", "cgroup2"},
		"no memory controller": {set(func(f *Facts) { f.CgroupControllers = []string{"cpu", "pids"} }), wants, "cgroups", "cgroup_enable=memory"},
		"kernel feature":       {set(func(f *Facts) { f.Features["vxlan"] = false }), wants, "kernel feature", "vxlan"},
		"little memory":        {set(func(f *Facts) { f.MemoryBytes = 256 << 20 }), wants, "memory", "256 MiB"},
		"full data disk":       {set(func(f *Facts) { f.Disks["/var/lib/fairlead"] = Disk{"5", 1 << 30, 8 << 30, 0, 0} }), wants, "disk", "1024 MiB are free for /var/lib/fairlead"},
		"both on a full disk":  {oneDisk(Disk{"5", 1 << 30, 8 << 30, 0, 0}), node(nil), "disk", "1024 MiB are free for /var/lib/fairlead/agent; at least 2048 MiB"},
		"filling data disk":    {set(func(f *Facts) { f.Disks["/var/lib/fairlead"] = Disk{"5", 1 << 30, 8 << 30, 0, 0} }), ours, "", ""},
		"full, of a node":      {set(func(f *Facts) { f.Disks["/var/lib/fairlead"] = Disk{"5", 1 << 20, 8 << 30, 0, 0} }), ours, "disk", "1 MiB are free"},
		"full root disk":       {set(func(f *Facts) { f.Disks["/etc"] = Disk{"5", 1 << 20, 8 << 30, 0, 0} }), wants, "disk", "/etc"},
		"node":                 {good(), node(nil), "", ""},
		"node's disk": {disk("/var/lib/fairlead/agent", Disk{"5", 11 << 30, 110 << 30, 0, 0}), node(nil), "disk",
			"11264 of 112640 MiB are free for /var/lib/fairlead/agent, and a node runs no pods with nodefs.available below 10%; have at least 11776 MiB free, or"},
		"just enough":                   {disk("/var/lib/fairlead/agent", Disk{"5", 11<<30 + InstallSize, 110 << 30, 0, 0}), node(nil), "", ""},
		"images' disk":                  {disk("/images", Disk{"5", 4 << 30, 40 << 30, 0, 0}), node(nil), "disk", "for /images, and a node runs no pods with imagefs.available below 15%"},
		"images' files":                 {disk("/images", Disk{"5", 4 << 30, 8 << 30, 3999, 40000}), node(nil), "disk", "3999 of 40000 inodes are free for /images, and a node runs no pods with imagefs.inodesFree below 5%; have at least 4000 inodes free"},
		"one disk":                      {oneDisk(Disk{"5", 4 << 30, 100 << 30, 0, 0}), node(nil), "disk", "imagefs.available below 15%"},
		"one disk, other thresholds":    {oneDisk(Disk{"5", 4 << 30, 100 << 30, 0, 0}), node(map[string]string{"nodefs.available": "20Gi"}), "disk", "nodefs.available below 20Gi"},
		"lower thresholds":              {oneDisk(Disk{"5", 4 << 30, 100 << 30, 0, 0}), node(map[string]string{"nodefs.available": "1%", "imagefs.available": "0%"}), "", ""},
		"disk of a node that runs":      {oneDisk(Disk{"5", 4 << 30, 100 << 30, 0, 0}), ourNode, "", ""},
		"disk of a node that is to run": {oneDisk(Disk{"5", 4 << 30, 100 << 30, 0, 0}), oursWithoutPods, "disk", "imagefs.available below 15%"},
		"disk without pods":             {oneDisk(Disk{"5", 4 << 30, 100 << 30, 0, 0}), wants, "", ""},
		"ahead":                         {set(func(f *Facts) { f.Skew = 40 * time.Second }), wants, "clock", "it says 2027-01-15 08:00:00 UTC, which is 40s ahead of this machine's 2027-01-15 07:59:20 UTC"},
		"behind":                        {set(func(f *Facts) { f.Skew = -time.Hour }), wants, "clock", "it says 2027-01-15 08:00:00 UTC, which is 60m behind this machine's 2027-01-15 09:00:00 UTC"},
		"a little behind":               {set(func(f *Facts) { f.Skew = -MaxSkew }), wants, "", ""},
		"no package manager":            {set(func(f *Facts) { f.PackageManager = "" }), wants, "packages", "containerd, runc, nft missing"},
		"no need for packages": {set(func(f *Facts) {
			f.PackageManager, f.Tools = "", map[string]string{"containerd": "", "runc": "", "nft": "", "flock": ""}
		}), wants, "", ""},
		"no flock": {set(func(f *Facts) { delete(f.Tools, "flock") }), wants, "packages", "flock is missing"},
		"port":     {set(func(f *Facts) { f.Listening = []Socket{{"tcp", 6443, 12, "haproxy"}} }), wants, "port", "tcp/6443 is taken by haproxy (PID 12)"},
		"resolver": {set(func(f *Facts) { f.Listening = []Socket{{"udp", 53, 12, "dnsmasq"}} }), Wants{OS: "linux", Arch: "amd64", Ports: []string{"udp/53"}}, "port",
			"udp/53 is taken by dnsmasq (PID 12); let it listen on addresses of its own"},
		"kernel's port":        {set(func(f *Facts) { f.Listening = []Socket{{"udp", 8472, 0, ""}} }), wants, "port", "kernel"},
		"port of no matter":    {set(func(f *Facts) { f.Listening = []Socket{{"tcp", 22, 1, "sshd"}} }), wants, "", ""},
		"our ports":            {set(func(f *Facts) { f.Listening = []Socket{{"tcp", 6443, 12, "fairlead"}, {"udp", 8472, 0, ""}} }), ours, "", ""},
		"another's port":       {set(func(f *Facts) { f.Listening = []Socket{{"tcp", 6443, 12, "haproxy"}} }), ours, "port", "haproxy"},
		"in the pods' range":   {set(func(f *Facts) { f.Networks = []Network{network("eth0", "10.244.3.0/24", false)} }), ranges, "address range", "the host is in 10.244.3.0/24 by eth0, which overlaps pod_cidr 10.244.0.0/16 of the cluster; set pod_cidr"},
		"around the range":     {set(func(f *Facts) { f.Networks = []Network{network("eth0", "10.192.0.0/10", false)} }), ranges, "address range", "10.192.0.0/10 by eth0"},
		"route into the range": {set(func(f *Facts) { f.Networks = []Network{network("wg0", "10.96.7.0/24", true)} }), ranges, "address range", "a route to 10.96.7.0/24 by wg0, which overlaps service_cidr"},
		"route around it":      {set(func(f *Facts) { f.Networks = []Network{network("wg0", "10.0.0.0/8", true)} }), ranges, "", ""},
		"other networks": {set(func(f *Facts) {
			f.Networks = []Network{network("eth0", "192.0.2.0/24", false), network("eth0", "fd00::/8", false)}
		}), ranges, "", ""},
		"another node software": {set(func(f *Facts) { f.Kubernetes = []string{"k3s-agent"} }), wants, "other cluster", "k3s-agent"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := Check(test.facts, test.wants)
			switch {
			case test.check == "" && len(got) > 0:
				t.Errorf("got %v", got)
			case test.check != "" && (len(got) != 1 || got[0].Check != test.check || !strings.Contains(got[0].String(), test.text)):
				t.Errorf("got %v, want one of %q with %q", got, test.check, test.text)
			}
		})
	}
}
