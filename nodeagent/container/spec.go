package container

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// buildSpec turns a container's description into an OCI specification. What it returns to be unmounted are the binds of
// subpaths, which are needed until the task has been created.
func (r *Runtime) buildSpec(ctx context.Context, c *Config) (_ *specs.Spec, binds []string, err error) {
	defer func() {
		if err != nil {
			unmountBinds(binds)
			binds = nil
		}
	}()
	args, err := processArgs(c)
	if err != nil {
		return nil, nil, err
	}
	s := &specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: "rootfs", Readonly: readOnlyRoot(c)},
		Process: &specs.Process{
			Args: args, Env: processEnv(c), Cwd: workingDir(c), Terminal: c.Container.TTY,
		},
		Annotations: map[string]string{
			// The shim groups by this: all containers of a pod share one.
			"io.kubernetes.cri.sandbox-id": string(c.PodUID),
		},
		Linux: &specs.Linux{
			CgroupsPath: r.cgroupOf(c.PodUID, c.ID),
			Resources:   r.resources(c),
		},
	}
	if score := c.OOMScoreAdj; score >= r.host.minOOMScore {
		s.Process.OOMScoreAdj = &score
	}
	if s.Linux.Namespaces, err = r.namespaces(ctx, c); err != nil {
		return nil, nil, err
	}
	if s.Process.User, err = r.user(ctx, c); err != nil {
		return nil, nil, err
	}
	if err = r.secure(s, c); err != nil {
		return nil, nil, err
	}
	s.Mounts = r.systemMounts(c)
	var own []specs.Mount
	own, binds, err = bindMounts(c)
	s.Mounts = append(s.Mounts, own...)
	return s, binds, err
}

// processArgs merges the image's entrypoint and command with the container's: a command of the container replaces
// both of the image's.
func processArgs(c *Config) ([]string, error) {
	command, args := c.Command, c.Args
	if len(command) == 0 {
		command = c.Image.Config.Entrypoint
		if len(args) == 0 {
			args = c.Image.Config.Cmd
		}
	}
	all := append(append([]string(nil), command...), args...)
	if len(all) == 0 {
		return nil, configErrorf("no command specified")
	}
	return all, nil
}

// processEnv lays the container's environment over the image's; a later value of a name wins.
func processEnv(c *Config) []string {
	var order []string
	values := map[string]string{}
	add := func(kv string) {
		name, _, _ := strings.Cut(kv, "=")
		if _, ok := values[name]; !ok {
			order = append(order, name)
		}
		values[name] = kv
	}
	add(defaultPath)
	if c.Container.TTY {
		add("TERM=xterm")
	}
	if c.Hostname != "" {
		add("HOSTNAME=" + c.Hostname)
	}
	for _, kv := range c.Image.Config.Env {
		add(kv)
	}
	for _, kv := range c.Env {
		add(kv)
	}
	env := make([]string, len(order))
	for i, name := range order {
		env[i] = values[name]
	}
	return env
}

func workingDir(c *Config) string {
	dir := c.Container.WorkingDir
	if dir == "" {
		dir = c.Image.Config.WorkingDir
	}
	return path.Join("/", dir)
}

func (r *Runtime) namespaces(ctx context.Context, c *Config) ([]specs.LinuxNamespace, error) {
	ns := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	for _, pin := range []specs.LinuxNamespace{
		{Type: specs.NetworkNamespace, Path: c.Sandbox.NetNS},
		{Type: specs.IPCNamespace, Path: c.Sandbox.IPCNS},
		{Type: specs.UTSNamespace, Path: c.Sandbox.UTSNS},
	} {
		if pin.Path != "" {
			ns = append(ns, pin)
		}
	}
	if r.cgroup.v2 {
		ns = append(ns, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	switch {
	case c.HostPID:
	case c.JoinPID != "":
		st, err := r.Inspect(ctx, c.JoinPID)
		if err != nil {
			return nil, err
		}
		if st.Status != Running {
			return nil, fmt.Errorf("cannot share the process namespace of container %s: it does not run", c.JoinPID)
		}
		ns = append(ns, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: fmt.Sprintf("/proc/%d/ns/pid", st.PID)})
	default:
		ns = append(ns, specs.LinuxNamespace{Type: specs.PIDNamespace})
	}
	return ns, nil
}

// resources are what the container may use by itself; the pod's limits are set on the cgroup above.
func (r *Runtime) resources(c *Config) *specs.LinuxResources {
	out := r.limits(c.Container.Resources, c.PodUID)
	out.Devices = []specs.LinuxDeviceCgroup{{Allow: privileged(c), Access: "rwm"}}
	return out
}

// limits are the processor and memory of a container of the pod uid.
func (r *Runtime) limits(res corev1.ResourceRequirements, uid types.UID) *specs.LinuxResources {
	cpuReq, cpuLimit := res.Requests.Cpu().MilliValue(), res.Limits.Cpu().MilliValue()
	if _, asked := res.Requests[corev1.ResourceCPU]; !asked {
		cpuReq = cpuLimit
	}
	sh := uint64(shares(cpuReq))
	out := &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &sh}}
	if cpuLimit > 0 {
		q, p := quota(cpuLimit), uint64(cpuPeriod)
		out.CPU.Quota, out.CPU.Period = &q, &p
	}
	if limit := res.Limits.Memory().Value(); limit > 0 {
		out.Memory = &specs.LinuxMemory{Limit: &limit}
		if r.cgroup.canLimitSwap(uid) {
			out.Memory.Swap = &limit
		}
	}
	return out
}

// systemMounts are the file systems of the kernel's that every container has.
func (r *Runtime) systemMounts(c *Config) []specs.Mount {
	access := "ro"
	if privileged(c) {
		access = "rw"
	}
	m := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		// It shows the queues of the IPC namespace, the host's too, whether or not the host has it mounted.
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", access}},
	}
	if c.HostPID {
		m[0] = specs.Mount{Destination: "/proc", Type: "bind", Source: "/proc", Options: []string{"rbind", "nosuid", "noexec", "nodev"}}
	}
	if !mountedBy(c, "/dev/shm") {
		m = append(m, specs.Mount{Destination: "/dev/shm", Type: "bind", Source: c.Sandbox.Shm, Options: []string{"rbind", "nosuid", "nodev", "noexec"}})
	}
	return m
}

func mountedBy(c *Config, dest string) bool {
	for _, m := range c.Mounts {
		if path.Clean(m.ContainerPath) == dest {
			return true
		}
	}
	return false
}

// bindMounts are the pod's volumes and files, outer directories before inner ones.
func bindMounts(c *Config) (out []specs.Mount, binds []string, err error) {
	mounts := append([]Mount(nil), c.Mounts...)
	sortMounts(mounts)
	for i, m := range mounts {
		source := m.HostPath
		if m.SubPath != "" {
			target := filepath.Join(c.ScratchDir, "subpath", c.ID, fmt.Sprint(i))
			if err := bindSubPath(m.HostPath, m.SubPath, target); err != nil {
				return nil, binds, &ConfigError{err}
			}
			binds = append(binds, target)
			source = target
		} else if _, err := os.Stat(source); err != nil {
			return nil, binds, fmt.Errorf("cannot mount %s: %w", m.ContainerPath, err)
		}
		out = append(out, specs.Mount{
			Destination: path.Join("/", m.ContainerPath), Type: "bind", Source: source,
			Options: bindOptions(m),
		})
	}
	return out, binds, nil
}

func bindOptions(m Mount) []string {
	opts := []string{"rbind", "rw"}
	if m.ReadOnly {
		opts[1] = "ro"
	}
	switch m.Propagation {
	case corev1.MountPropagationBidirectional:
		return append(opts, "rshared")
	case corev1.MountPropagationHostToContainer:
		return append(opts, "rslave")
	default:
		return append(opts, "rprivate")
	}
}

func sortMounts(m []Mount) {
	depth := func(m Mount) int { return strings.Count(path.Join("/", m.ContainerPath), "/") }
	slices.SortStableFunc(m, func(a, b Mount) int { return depth(a) - depth(b) })
}

// rootfsPropagation lets mounts of the host through when a volume asks for that.
func rootfsPropagation(c *Config) string {
	p := ""
	for _, m := range c.Mounts {
		switch m.Propagation {
		case corev1.MountPropagationBidirectional:
			return "rshared"
		case corev1.MountPropagationHostToContainer:
			p = "rslave"
		}
	}
	return p
}

func unmountBinds(binds []string) {
	for _, b := range binds {
		// What stays mounted is found again when the pod's directory is removed.
		if unmountAll(b) == nil {
			_ = os.Remove(b)
		}
	}
	if len(binds) > 0 {
		_ = os.Remove(filepath.Dir(binds[0]))
	}
}
