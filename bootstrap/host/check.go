package host

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/eviction"
)

// Limits of the checks.
const (
	MinDisk      = 2 << 30   // bytes, where containers and data go
	MinDiskLater = 256 << 20 // bytes, the same on a host that was installed, and elsewhere
	MinMemory    = 400 << 20
	// InstallSize and InstallFiles are what a node has to have free beyond its thresholds: packages, program, etcd and
	// first images take it.
	InstallSize  = 512 << 20 // bytes
	InstallFiles = 2000
	// MaxSkew may a host's clock be ahead of ours or behind; two hosts differ by twice as much, and certificates begin
	// some minutes before they are made.
	MaxSkew = 30 * time.Second
	// MinKernel is the first with all that the pod network's rules use.
	MinKernelMajor, MinKernelMinor = 5, 4
)

// Failure is one thing that is wrong with a host, and what to do about it.
type Failure struct {
	Host  string
	Check string // such as "port" or "disk"
	Found string // what was found
	Fix   string // what to do; empty when Found says it
	// Setting is the setting that does not fit the host, such as "pod_cidr"; mostly empty.
	Setting string
}

func (f Failure) String() string {
	if f.Fix == "" {
		return fmt.Sprintf("%s: %s: %s", f.Host, f.Check, f.Found)
	}
	return fmt.Sprintf("%s: %s: %s; %s", f.Host, f.Check, f.Found, f.Fix)
}

// Wants is what a host is going to be.
type Wants struct {
	OS, Arch string   // of the binary
	Ports    []string // such as "tcp/6443"
	// Ours says that fairlead runs there already: ports and memory that it takes are its own.
	Ours bool
	// RunsPods says that its node is there already.
	RunsPods bool
	// Eviction are the thresholds of a node that runs pods; nil for a host that does not.
	Eviction eviction.Thresholds
	// Ranges are the cluster's ranges of addresses.
	Ranges []Range
}

// Range is a range of addresses that a cluster takes for itself, under the name that its setting has.
type Range struct {
	Setting string
	Prefix  netip.Prefix
}

// Programs that a host needs, by the names that Facts.Tools has for them. Conntrack is wanted where it can be
// had, and not needed.
var (
	NeededTools = []string{"containerd", "runc", "nft"}
	WantedTools = []string{"containerd", "runc", "nft", "conntrack"}
)

// Check returns everything that is wrong with the host, in a fixed order.
func Check(f *Facts, w Wants) []Failure {
	c := &checker{f: f}
	c.platform(w)
	if !c.root() {
		return c.failures // the rest would be guesses
	}
	c.kernel()
	c.resources(w)
	c.pressure(w)
	c.clock()
	c.tools()
	c.ports(w)
	c.ranges(w)
	c.neighbours()
	return c.failures
}

type checker struct {
	f        *Facts
	failures []Failure
}

func (c *checker) fail(check, found, fix string) {
	c.failures = append(c.failures, Failure{Host: c.f.Host, Check: check, Found: found, Fix: fix})
}

func (c *checker) platform(w Wants) {
	if c.f.OS != "linux" {
		c.fail("operating system", c.f.OS, "only Linux hosts can be nodes")
		return
	}
	if w.Arch != "" && (c.f.OS != w.OS || c.f.Arch != w.Arch) {
		c.fail("architecture", fmt.Sprintf("the host is %s/%s and the fairlead binary is %s/%s", c.f.OS, c.f.Arch, w.OS, w.Arch),
			fmt.Sprintf("name the release file for it in the provider block: releases = { %s_%s = { path = …, sha256 = … } }", c.f.OS, c.f.Arch))
	}
}

func (c *checker) root() bool {
	if c.f.Root {
		return true
	}
	if c.f.NoRoot != nil { // it says what to do
		c.fail("root", c.f.NoRoot.Error(), "")
		return false
	}
	c.fail("root", "the user is not root", "log in as root, or set sudo = true for a user with a NOPASSWD rule")
	return false
}

func (c *checker) kernel() {
	major, minor, ok := kernelVersion(c.f.Kernel)
	if ok && (major < MinKernelMajor || major == MinKernelMajor && minor < MinKernelMinor) {
		c.fail("kernel", "version "+c.f.Kernel, fmt.Sprintf("version %d.%d or newer is needed", MinKernelMajor, MinKernelMinor))
	}
	if c.f.CgroupVersion == 0 {
		c.fail("cgroups", "no cgroup file system is mounted", "mount cgroup2 on /sys/fs/cgroup; with OpenRC, by its service cgroups")
	} else {
		for _, name := range []string{"cpu", "memory", "pids"} {
			if !slices.Contains(c.f.CgroupControllers, name) {
				c.fail("cgroups", "the "+name+" controller is missing", "turn it on, such as by cgroup_enable="+name+" on the kernel's command line")
			}
		}
	}
	for _, name := range []string{"nf_tables", "overlay", "bridge", "veth", "vxlan"} {
		if has, known := c.f.Features[name]; known && !has {
			c.fail("kernel feature", name+" is missing", "install the kernel's module "+name)
		}
	}
}

// kernelVersion reads the first two numbers of a release such as 6.1.0-18-amd64.
func kernelVersion(release string) (major, minor int, ok bool) {
	parts := strings.SplitN(release, ".", 3)
	if len(parts) < 2 {
		return 0, 0, false
	}
	major, err := strconv.Atoi(parts[0])
	if err != nil {
		return 0, 0, false
	}
	digits := parts[1][:len(parts[1])-len(strings.TrimLeft(parts[1], "0123456789"))]
	minor, err = strconv.Atoi(digits)
	return major, minor, err == nil
}

func (c *checker) resources(w Wants) {
	if c.f.MemoryBytes > 0 && c.f.MemoryBytes < MinMemory {
		c.fail("memory", mib(c.f.MemoryBytes), "at least "+mib(MinMemory)+" are needed")
	}
	least := int64(MinDisk)
	if w.Ours {
		least = MinDiskLater
	}
	disks := map[string]bool{} // that were found wanting
	for _, d := range []struct {
		dir   string
		least int64
	}{
		{"/var/lib/fairlead", least}, {config.DefaultAgentDir, least}, {c.f.ContainerdRoot, least},
		{"/usr/local/bin", MinDiskLater}, {"/etc", MinDiskLater}, {"/var/log", MinDiskLater},
	} {
		disk := c.f.Disks[d.dir]
		if disk.Size > 0 && disk.Free < d.least && !disks[disk.Device] {
			c.fail("disk", mib(disk.Free)+" are free for "+d.dir, "at least "+mib(d.least)+" are needed")
			disks[disk.Device] = true
		}
	}
}

// pressure looks for what would have a node take no pods as soon as it has joined: a disk that is nearer to its thresholds
// than what is installed takes. A node that runs already reports that itself, in its conditions.
func (c *checker) pressure(w Wants) {
	if w.RunsPods || w.Eviction == nil {
		return
	}
	nodeFS, imageFS := config.DefaultAgentDir, c.f.ContainerdRoot
	oneDisk := c.f.Disks[nodeFS].Device == c.f.Disks[imageFS].Device
	for _, r := range []struct {
		node, image eviction.Signal
		of          func(Disk) (free, all int64)
		taken       int64 // by what is installed
		reported    int64 // that less is wrong was said already
		unit        string
		shift       int // of a number for people
	}{
		{eviction.NodeFSAvailable, eviction.ImageFSAvailable, func(d Disk) (int64, int64) { return d.Free, d.Size }, InstallSize, MinDisk, "MiB", 20},
		{eviction.NodeFSInodesFree, eviction.ImageFSInodesFree, func(d Disk) (int64, int64) { return d.FreeInodes, d.Inodes }, InstallFiles, 0, "inodes", 0},
	} {
		check := func(s eviction.Signal, dir string) {
			free, all := r.of(c.f.Disks[dir])
			t, set := w.Eviction[s]
			if least := t.Of(all) + r.taken; set && all > 0 && free >= r.reported && free < least {
				c.failures = append(c.failures, Failure{
					Host: c.f.Host, Check: "disk", Setting: "eviction_hard",
					Found: fmt.Sprintf("%d of %d %s are free for %s, and a node runs no pods with %s below %s", free>>r.shift, all>>r.shift, r.unit, dir, s, t),
					Fix:   fmt.Sprintf("have at least %d %s free, or set a lower threshold by eviction_hard", least>>r.shift, r.unit),
				})
			}
		}
		// Of one disk the higher threshold says it all.
		_, all := r.of(c.f.Disks[nodeFS])
		imageFirst := w.Eviction[r.image].Of(all) >= w.Eviction[r.node].Of(all)
		if !oneDisk || !imageFirst {
			check(r.node, nodeFS)
		}
		if !oneDisk || imageFirst {
			check(r.image, imageFS)
		}
	}
}

func mib(n int64) string { return strconv.FormatInt(n>>20, 10) + " MiB" }

func (c *checker) clock() {
	if c.f.Skew.Abs() <= MaxSkew {
		return
	}
	way := "ahead of"
	if c.f.Skew < 0 {
		way = "behind"
	}
	c.fail("clock", fmt.Sprintf("it says %s, which is %s %s this machine's %s", clockTime(c.f.Time), duration.HumanDuration(c.f.Skew.Abs()), way,
		clockTime(c.f.Time.Add(-c.f.Skew))), "let both follow a time server: certificates need clocks that agree")
}

func clockTime(t time.Time) string { return t.UTC().Format(time.DateTime) + " UTC" }

func (c *checker) tools() {
	if len(c.f.Missing([]string{"flock"})) > 0 {
		c.fail("packages", "the command flock is missing, by which one run at a time changes a host", "install util-linux")
	}
	if c.f.PackageManager != "" {
		return
	}
	if missing := c.f.Missing(NeededTools); len(missing) > 0 {
		c.fail("packages", strings.Join(missing, ", ")+" missing, and none of apt-get, dnf, apk is there to install it",
			"install it by hand")
	}
}

// Missing returns those of the tools that the host lacks.
func (f *Facts) Missing(tools []string) []string {
	var missing []string
	for _, t := range tools {
		if _, ok := f.Tools[t]; !ok {
			missing = append(missing, t)
		}
	}
	return missing
}

func (c *checker) ports(w Wants) {
	for _, s := range c.f.Listening {
		name := s.Protocol + "/" + strconv.Itoa(s.Port)
		if !slices.Contains(w.Ports, name) || w.Ours && (s.Command == "fairlead" || s.PID == 0) {
			continue
		}
		by := "the kernel or a hidden process"
		if s.PID != 0 {
			by = fmt.Sprintf("%s (PID %d)", s.Command, s.PID)
		}
		fix := "stop it, or let it listen elsewhere"
		if s.Port == 53 {
			fix = "let it listen on addresses of its own, such as by bind-interfaces of dnsmasq: a node answers DNS at " + config.DefaultDNSAddress
		}
		c.fail("port", name+" is taken by "+by, fix)
	}
}

// ranges looks for networks of the host that would be hidden by the cluster's, or hide them: those that it has an
// address in, and routes into a part of the range. A wider route does no harm, since the cluster's routes are narrower.
func (c *checker) ranges(w Wants) {
	if w.Ours {
		return // it was looked at, and a range does not change
	}
	for _, r := range w.Ranges {
		for _, n := range c.f.Networks {
			if !n.Prefix.Overlaps(r.Prefix) || n.Route && n.Prefix.Bits() < r.Prefix.Bits() {
				continue
			}
			has := fmt.Sprintf("the host is in %s by %s", n.Prefix, n.Link)
			if n.Route {
				has = fmt.Sprintf("the host has a route to %s by %s", n.Prefix, n.Link)
			}
			c.failures = append(c.failures, Failure{
				Host: c.f.Host, Check: "address range", Found: fmt.Sprintf("%s, which overlaps %s %s of the cluster", has, r.Setting, r.Prefix),
				Fix: "set " + r.Setting + " of the cluster to a range that no network around it uses", Setting: r.Setting,
			})
		}
	}
}

func (c *checker) neighbours() {
	for _, name := range c.f.Kubernetes {
		c.fail("other cluster", name+" runs on the host", "remove it first: two node agents would fight over the host's network")
	}
}
