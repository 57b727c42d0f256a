// Package host knows one host by what it answers over a connection: facts, what is wrong with it before anything
// is changed, its package manager, and its service manager.
package host

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

//go:embed facts.sh
var factsScript string

// defaultContainerdRoot is where a containerd keeps images and containers unless its configuration says otherwise.
const defaultContainerdRoot = "/var/lib/containerd"

// Init systems.
const (
	InitSystemd = "systemd"
	InitOpenRC  = "openrc"
	InitNone    = "none"
)

// Facts is what a host is. A zero value of a field means that the host could not say.
type Facts struct {
	Host     string // as in messages: Conn.Host
	Hostname string
	OS       string // as GOOS
	Arch     string // as GOARCH; what Go does not know stays as `uname -m` has it
	Release  Release
	Kernel   string

	CgroupVersion     int // 1, 2; 0 without cgroups
	CgroupControllers []string
	Init              string // InitSystemd, InitOpenRC, InitNone
	Capabilities      uint64 // effective ones of process 1, a bit each

	MemoryBytes int64
	CPUs        int
	Disks       map[string]Disk // by folder; of what will be the folder's file system

	// Time is what the host's clock said, and Skew that minus what ours did, good to about a second.
	Time time.Time
	Skew time.Duration

	Addresses []netip.Prefix // of global scope
	Source    netip.Addr     // that the default route leaves from; may be invalid
	Networks  []Network      // of the host's links and routes, without fairlead's own and the default route

	Listening []Socket // on the ports that were asked for

	Root bool // the commands had root's rights
	// NoRoot is why not.
	NoRoot error

	PackageManager string            // "apt-get", "dnf", "apk"; "" without
	Tools          map[string]string // versions of containerd, runc, nft, conntrack, flock, sudo
	// ContainerdSocket is there (which does not say that it answers).
	ContainerdSocket bool
	ContainerdRoot   string          // folder of its images and containers; the default where it is not installed
	Features         map[string]bool // of the kernel; absent when unknown
	Kubernetes       []string        // running processes of other Kubernetes distributions
}

// Disk is a file system.
type Disk struct {
	Device             string
	Free, Size         int64 // bytes; 0 when they are not known
	FreeInodes, Inodes int64 // 0 when they are not counted
}

// Release is /etc/os-release.
type Release struct{ ID, Version, Like, Name string }

// Network is a range of addresses that the host knows its way to.
type Network struct {
	Link   string
	Prefix netip.Prefix
	// Route says that it is of a route only; else the host has an address in it.
	Route bool
}

// Socket is a port in use.
type Socket struct {
	Protocol string // "tcp" or "udp"
	Port     int
	PID      int // 0: the kernel's, or nobody's that could be seen
	Command  string
}

// CapSysResource is the bit of the capability that lowering oom_score_adj takes.
const CapSysResource = 24

// HasCapability says whether process 1 has the capability; what it lacks, no service gets.
func (f *Facts) HasCapability(bit uint) bool { return f.Capabilities&(1<<bit) != 0 }

// HasAddress says whether an interface of the host has the address.
func (f *Facts) HasAddress(a netip.Addr) bool {
	return slices.ContainsFunc(f.Addresses, func(p netip.Prefix) bool { return p.Addr() == a.Unmap() })
}

// Gather asks the host everything in one command. ports are such as "tcp/6443". It runs as root where it can; a
// host that does not let it is asked again without, and Facts.NoRoot says why.
func Gather(ctx context.Context, c ssh.Conn, ports []string) (*Facts, error) {
	line := "PORTS=" + ssh.Quote(strings.Join(ports, " ")) + "\n" + factsScript
	out := &firstByte{}
	_, err := c.Run(ctx, ssh.Command{Line: line, Sudo: true, Stdout: out})
	var noRoot *ssh.SudoError
	if errors.As(err, &noRoot) {
		out = &firstByte{}
		_, err = c.Run(ctx, ssh.Command{Line: line, Stdout: out})
	}
	if err != nil {
		return nil, fmt.Errorf("cannot gather facts of %s: %w", c.Host(), err)
	}
	f, err := parseFacts(out.b.Bytes(), out.at)
	if err != nil {
		return nil, fmt.Errorf("cannot understand facts of %s: %w", c.Host(), err)
	}
	f.Host = c.Host()
	if noRoot != nil {
		f.NoRoot = noRoot
	}
	return f, nil
}

// firstByte notes when output began, which is when the host looked at its clock.
type firstByte struct {
	mu sync.Mutex
	b  bytes.Buffer
	at time.Time
}

func (f *firstByte) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at.IsZero() {
		f.at = time.Now()
	}
	return f.b.Write(p)
}

var architectures = map[string]string{
	"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64", "armv7l": "arm", "armv6l": "arm",
	"i386": "386", "i686": "386", "riscv64": "riscv64", "ppc64le": "ppc64le", "s390x": "s390x", "loongarch64": "loong64",
}

// Architecture is Go's name of what `uname -m` prints; what Go does not know stays as it is.
func Architecture(machine string) string {
	if a, ok := architectures[machine]; ok {
		return a
	}
	return machine
}

// parseFacts reads what the script printed; at is when it began to.
func parseFacts(out []byte, at time.Time) (*Facts, error) {
	f := &Facts{ContainerdRoot: defaultContainerdRoot, Disks: map[string]Disk{}, Tools: map[string]string{}, Features: map[string]bool{}}
	s := bufio.NewScanner(bytes.NewReader(out))
	for s.Scan() {
		key, value, ok := strings.Cut(s.Text(), "=")
		if !ok {
			return nil, fmt.Errorf("line %q", s.Text())
		}
		if err := f.set(key, value, at); err != nil {
			return nil, fmt.Errorf("line %q: %w", s.Text(), err)
		}
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	if f.OS == "" || f.Init == "" {
		return nil, errors.New("the answer is incomplete")
	}
	return f, nil
}

func (f *Facts) set(key, value string, at time.Time) (err error) {
	if value == "" {
		return nil // the host could not say
	}
	first, rest, _ := strings.Cut(value, " ")
	switch key {
	case "time":
		var now int64
		if now, err = strconv.ParseInt(value, 10, 64); err == nil {
			f.Time = time.Unix(now, 0)
			f.Skew = f.Time.Sub(at.Truncate(time.Second))
		}
	case "uid":
		f.Root = value == "0"
	case "hostname":
		f.Hostname = value
	case "os":
		f.OS = strings.ToLower(value)
	case "kernel":
		f.Kernel = value
	case "machine":
		f.Arch = Architecture(value)
	case "release.id":
		f.Release.ID = value
	case "release.version":
		f.Release.Version = value
	case "release.like":
		f.Release.Like = value
	case "release.name":
		f.Release.Name = value
	case "memory.kib":
		f.MemoryBytes, err = kib(value)
	case "cpus":
		f.CPUs, err = strconv.Atoi(value)
	case "pid1.caps":
		f.Capabilities, err = strconv.ParseUint(value, 16, 64)
	case "cgroup":
		f.CgroupVersion, err = strconv.Atoi(value)
	case "cgroup.controllers":
		f.CgroupControllers = strings.Fields(value)
	case "init":
		f.Init = value
	case "packages":
		f.PackageManager = value
	case "disk":
		return f.setDisk(value)
	case "address":
		if p, perr := netip.ParsePrefix(rest); perr == nil {
			f.Addresses = append(f.Addresses, p)
			f.addNetwork(first, p, false)
		} else if a, perr := netip.ParseAddr(rest); perr == nil {
			f.Addresses = append(f.Addresses, netip.PrefixFrom(a, a.BitLen()))
			f.addNetwork(first, netip.PrefixFrom(a, a.BitLen()), false)
		}
	case "route":
		if p, perr := netip.ParsePrefix(rest); perr == nil {
			f.addNetwork(first, p, true)
		} else if a, perr := netip.ParseAddr(rest); perr == nil {
			f.addNetwork(first, netip.PrefixFrom(a, a.BitLen()), true)
		}
	case "source":
		f.Source, err = netip.ParseAddr(value)
	case "tool":
		f.Tools[first] = rest
	case "containerd.root":
		f.ContainerdRoot = value
	case "containerd.socket":
		f.ContainerdSocket = true
	case "feature":
		f.Features[first] = rest == "yes"
	case "port":
		return f.setPort(strings.Fields(value))
	case "kubernetes":
		f.Kubernetes = append(f.Kubernetes, value)
	}
	return err
}

// addNetwork takes a network once: that of an address mostly has a route too.
func (f *Facts) addNetwork(link string, p netip.Prefix, route bool) {
	p = p.Masked()
	if strings.HasPrefix(link, "fairlead") || slices.ContainsFunc(f.Networks, func(n Network) bool { return n.Prefix == p }) {
		return
	}
	f.Networks = append(f.Networks, Network{link, p, route})
}

func (f *Facts) setPort(w []string) error {
	if len(w) < 3 {
		return errors.New("too few words")
	}
	port, err := strconv.Atoi(w[1])
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(w[2])
	if err != nil {
		return err
	}
	s := Socket{Protocol: w[0], Port: port, PID: pid, Command: strings.Join(w[3:], " ")}
	if !slices.ContainsFunc(f.Listening, func(o Socket) bool { return o.Protocol == s.Protocol && o.Port == s.Port }) {
		f.Listening = append(f.Listening, s) // once for IPv4 and IPv6
	}
	return nil
}

func (f *Facts) setDisk(value string) error {
	w := strings.SplitN(value, " ", 6)
	if len(w) < 6 {
		return errors.New("too few words")
	}
	d := Disk{Device: w[0]}
	var errs [4]error
	d.Free, errs[0] = kib(w[1])
	d.Size, errs[1] = kib(w[2])
	d.FreeInodes, errs[2] = strconv.ParseInt(w[3], 10, 64)
	d.Inodes, errs[3] = strconv.ParseInt(w[4], 10, 64)
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	f.Disks[w[5]] = d
	return nil
}

func kib(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, err
	}
	if n < 0 || n > 1<<52 {
		return 0, errors.New("out of range")
	}
	return n << 10, nil
}
