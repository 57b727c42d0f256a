package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// shmBytes is the size of /dev/shm that a pod's containers share.
const shmBytes = 64 << 20

// SandboxConfig says which namespaces a pod gets of its own.
type SandboxConfig struct {
	UID         types.UID
	Hostname    string
	HostNetwork bool // also keeps the host's UTS namespace
	HostIPC     bool
	Sysctls     map[string]string
}

// Sandbox is a pod's namespaces, as paths that hold them. An empty path means the host's.
type Sandbox struct {
	UID                 types.UID
	NetNS, IPCNS, UTSNS string
	Shm                 string // directory to mount at /dev/shm
	// Fresh says that this call made the namespaces: whatever ran in earlier ones is cut off from the pod.
	Fresh bool
}

func (r *Runtime) sandboxDir(uid types.UID) string {
	return filepath.Join(r.opt.StateDir, "ns", string(uid))
}

// EnsureSandbox makes the pod's namespaces, or finds those that are there. Namespaces that are only half there, as after a
// crash, are made anew.
func (r *Runtime) EnsureSandbox(_ context.Context, cfg SandboxConfig) (_ *Sandbox, err error) {
	if err := checkSysctls(cfg); err != nil {
		return nil, err
	}
	dir := r.sandboxDir(cfg.UID)
	s := &Sandbox{UID: cfg.UID}
	var flags int
	var pins []string
	if !cfg.HostNetwork {
		s.NetNS, s.UTSNS = filepath.Join(dir, "net"), filepath.Join(dir, "uts")
		flags |= unix.CLONE_NEWNET | unix.CLONE_NEWUTS
		pins = append(pins, "net", "uts")
	}
	if cfg.HostIPC {
		s.Shm = "/dev/shm"
	} else {
		s.IPCNS, s.Shm = filepath.Join(dir, "ipc"), filepath.Join(dir, "shm")
		flags |= unix.CLONE_NEWIPC
		pins = append(pins, "ipc")
	}
	if complete(dir, pins, !cfg.HostIPC) {
		return s, nil
	}
	if err := removeSandbox(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, removeSandbox(dir))
		}
	}()
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("cannot make namespaces of pod %s: %w", cfg.UID, err)
	}
	if !cfg.HostIPC {
		if err := mountShm(s.Shm); err != nil {
			return nil, err
		}
	}
	if err := pinNamespaces(dir, flags, pins, cfg); err != nil {
		return nil, fmt.Errorf("cannot make namespaces of pod %s: %w", cfg.UID, err)
	}
	s.Fresh = true
	return s, nil
}

func complete(dir string, pins []string, shm bool) bool {
	for _, p := range pins {
		var st unix.Statfs_t
		if unix.Statfs(filepath.Join(dir, p), &st) != nil || st.Type != unix.NSFS_MAGIC {
			return false
		}
	}
	if shm {
		var st unix.Statfs_t
		if unix.Statfs(filepath.Join(dir, "shm"), &st) != nil || st.Type != unix.TMPFS_MAGIC {
			return false
		}
	}
	if len(pins) == 0 {
		_, err := os.Stat(dir)
		return err == nil
	}
	return true
}

func mountShm(path string) error {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return fmt.Errorf("cannot make shared memory: %w", err)
	}
	err := unix.Mount("shm", path, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV,
		fmt.Sprintf("mode=1777,size=%d", shmBytes))
	if err != nil {
		return fmt.Errorf("cannot mount shared memory at %s: %w", path, err)
	}
	return nil
}

// pinNamespaces makes the namespaces on a thread of its own and binds them to files.
func pinNamespaces(dir string, flags int, pins []string, cfg SandboxConfig) error {
	if flags == 0 {
		return nil
	}
	var err error
	OnThread(func() { err = pinThread(dir, flags, pins, cfg) })
	return err
}

// OnThread runs f on a thread that ends with it, so that f may take the thread into other namespaces, and waits for it. It is
// never the process's first thread: that one can not end, and its namespaces are what the host sees as the process's.
func OnThread(f func()) {
	done := make(chan struct{}) // closed when f has returned
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() != os.Getpid() {
			f()
			return // locked: the thread is not used again
		}
		defer runtime.UnlockOSThread()
		OnThread(f) // elsewhere, since this thread is held meanwhile
	}()
	<-done
}

func pinThread(dir string, flags int, pins []string, cfg SandboxConfig) error {
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("cannot unshare: %w", err)
	}
	if flags&unix.CLONE_NEWUTS != 0 {
		if err := unix.Sethostname([]byte(cfg.Hostname)); err != nil {
			return fmt.Errorf("cannot set hostname %q: %w", cfg.Hostname, err)
		}
	}
	if flags&unix.CLONE_NEWNET != 0 {
		if err := loopbackUp(); err != nil {
			return err
		}
	}
	for name, value := range cfg.Sysctls {
		path := filepath.Join("/proc/sys", sysctlPath(name))
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			return fmt.Errorf("cannot set sysctl %s: %w", name, err)
		}
	}
	for _, p := range pins {
		target := filepath.Join(dir, p)
		if err := os.WriteFile(target, nil, 0o444); err != nil {
			return err
		}
		source := fmt.Sprintf("/proc/%d/task/%d/ns/%s", os.Getpid(), unix.Gettid(), p)
		if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cannot bind %s: %w", target, err)
		}
	}
	return nil
}

func loopbackUp() error {
	// A handle of its own: the package's shared one belongs to the host's namespace.
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("cannot open netlink: %w", err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("cannot find loopback: %w", err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("cannot set loopback up: %w", err)
	}
	return nil
}

// checkSysctls refuses names that reach outside the pod's own namespaces.
func checkSysctls(cfg SandboxConfig) error {
	for name := range cfg.Sysctls {
		n := strings.ReplaceAll(sysctlPath(name), "/", ".")
		net := strings.HasPrefix(n, "net.")
		ipc := strings.HasPrefix(n, "kernel.shm") || strings.HasPrefix(n, "kernel.msg") || n == "kernel.sem" ||
			strings.HasPrefix(n, "fs.mqueue.")
		switch {
		case strings.Contains(name, ".."):
			return fmt.Errorf("cannot set sysctl %q: not a name", name)
		case net && !cfg.HostNetwork, ipc && !cfg.HostIPC:
		default:
			return fmt.Errorf("cannot set sysctl %q: it is not the pod's own", name)
		}
	}
	return nil
}

// sysctlPath turns both spellings (net.ipv4.x and net/ipv4/x, whose components may hold the other separator) into a
// path.
func sysctlPath(name string) string {
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '/' {
		return name
	}
	return strings.ReplaceAll(name, ".", "/")
}

// RemoveSandbox unpins the pod's namespaces. It is idempotent; processes inside keep theirs until they end.
func (r *Runtime) RemoveSandbox(_ context.Context, uid types.UID) error {
	err := removeSandbox(r.sandboxDir(uid))
	if err == nil {
		r.mu.Lock()
		delete(r.pods, uid)
		r.mu.Unlock()
	}
	return err
}

func removeSandbox(dir string) error {
	for _, p := range []string{"net", "ipc", "uts", "shm"} {
		path := filepath.Join(dir, p)
		if err := unmountAll(path); err != nil {
			return fmt.Errorf("cannot unpin %s: %w", path, err)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot unpin namespace: %w", err)
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove namespaces: %w", err)
	}
	return nil
}

// unmountAll unmounts path until nothing is mounted there, and is content when nothing ever was.
func unmountAll(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		switch {
		case err == nil:
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
			return nil
		default:
			return err
		}
	}
}

// Sandboxes returns the pods that have namespaces here.
func (r *Runtime) Sandboxes() ([]types.UID, error) {
	entries, err := os.ReadDir(filepath.Join(r.opt.StateDir, "ns"))
	if err != nil {
		return nil, fmt.Errorf("cannot list namespaces: %w", err)
	}
	uids := make([]types.UID, 0, len(entries))
	for _, e := range entries {
		uids = append(uids, types.UID(e.Name()))
	}
	return uids, nil
}

// NetNS is where the network namespace of a pod is pinned, for a pod that has one of its own.
func (r *Runtime) NetNS(uid types.UID) string { return filepath.Join(r.sandboxDir(uid), "net") }
