package machine

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// Users of every machine, all with the network's key: root; Ops, who has sudo without a password; Guest, who has not.
const (
	Ops   = "ops"
	Guest = "guest"
)

// bootTimeout covers a boot with both cores of a small CI machine busy: 2 s when quiet.
const bootTimeout = 60 * time.Second

// Machine is one Debian machine. Its methods are not for concurrent use.
type Machine struct {
	Name    string
	Address netip.Addr
	// HostKey is the machine's SSH host key in authorized_keys form.
	HostKey string

	dir    string // root, and below diskDir what is written; or a virtual machine's vda: all of the machine's
	tree   string // lower layers of the root, as overlayfs names them
	net    *Network
	signer ssh.Signer
	init   initSystem
	power  func() (*exec.Cmd, error) // makes what the machine runs as, ready to start
	// container says that what the machine runs as ends with a shutdown.
	container bool
	slow      time.Duration // what a boot may take
	cmd       *exec.Cmd
	exited    chan struct{} // closed when cmd has ended
	log       *os.File
}

// Fleet makes machines that share a network, a tree and a client key.
type Fleet struct {
	Dir  string
	Tree string
	Net  *Network
	// KeyFile is the private key that opens every machine, in OpenSSH form (0600).
	KeyFile string
	key     ssh.Signer

	// lock is held as long as the fleet is there, and not after the process has died.
	lock *os.File

	mu  sync.Mutex
	all []*Machine
}

// fleets is where fleets are: on a real file system and not below os.TempDir, since overlays do not stack.
const fleets = "/var/tmp/fairlead-machines"

// NewFleet prepares a folder and a network for machines. The name, of at most nine characters, is the folder's, and with
// 0 behind it the bridge's: it belongs to one fleet at a time. Machines that an earlier run of the name left when it died, as
// by a test's timeout, are ended first.
func NewFleet(ctx context.Context, name string, prefix netip.Prefix) (_ *Fleet, err error) {
	tree, err := Tree(ctx, CacheDir())
	if err != nil {
		return nil, err
	}
	lock, err := lockFleet(name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = lock.Close()
		}
	}()
	dir := filepath.Join(fleets, name)
	if err := sweep(dir); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot prepare machines: %w", err)
	}
	keyPEM, signer, err := newKey()
	if err != nil {
		return nil, err
	}
	keyFile := filepath.Join(dir, "id_ed25519")
	if err := os.WriteFile(keyFile, keyPEM, 0o600); err != nil {
		return nil, fmt.Errorf("cannot write client key: %w", err)
	}
	if err := runtimeDir(); err != nil {
		return nil, err
	}
	n, err := NewNetwork(name+"0", prefix)
	if err != nil {
		return nil, err
	}
	return &Fleet{Dir: dir, Tree: tree, Net: n, KeyFile: keyFile, key: signer, lock: lock}, nil
}

// lockFleet has one run at a time use the name.
func lockFleet(name string) (*os.File, error) {
	if err := os.MkdirAll(fleets, 0o755); err != nil {
		return nil, fmt.Errorf("cannot prepare machines: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(fleets, name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot lock machines: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot lock machines %s, which another run has: %w", lock.Name(), err), lock.Close())
	}
	return lock, nil
}

// runtimeDir gives nspawn the tmpfs that it wants for its own sockets, where /run itself is none.
func runtimeDir() error {
	const dir = "/run/systemd/nspawn"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot prepare %s: %w", dir, err)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err == nil && s.Type == unix.TMPFS_MAGIC {
		return nil
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("cannot mount %s: %w", dir, err)
	}
	return nil
}

func newKey() (keyPEM []byte, signer ssh.Signer, err error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make SSH key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return nil, nil, fmt.Errorf("cannot encode SSH key: %w", err)
	}
	signer, err = ssh.NewSignerFromKey(key)
	return pem.EncodeToMemory(block), signer, err
}

// Start makes and boots a machine and returns when SSH answers. Several may be started at once, as may be by StartVM.
func (f *Fleet) Start(ctx context.Context, name string) (*Machine, error) {
	m := f.machine(name, f.Tree)
	m.power, m.container, m.slow = m.nspawn, true, bootTimeout
	if err := m.prepare(); err != nil {
		return nil, err
	}
	return m, m.Boot(ctx)
}

func (f *Fleet) machine(name, tree string) *Machine {
	m := &Machine{Name: name, Address: f.Net.Take(), dir: filepath.Join(f.Dir, name), tree: tree, init: systemd, net: f.Net, signer: f.key}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, m)
	return m
}

// Close ends all machines and removes everything.
func (f *Fleet) Close() error {
	var errs []error
	for _, m := range f.all {
		errs = append(errs, m.Remove())
	}
	errs = append(errs, f.Net.Close(), os.RemoveAll(f.Dir), f.lock.Close())
	return errors.Join(errs...)
}

func (m *Machine) path(parts ...string) string {
	return filepath.Join(append([]string{m.dir}, parts...)...)
}

// A container machine has a disk of its own, in memory: how full this host's is must not put its node under pressure.
const (
	diskDir    = "disk"
	memorySize = "8g"
)

func (m *Machine) prepare() error {
	for _, d := range []string{"root", diskDir} {
		if err := os.MkdirAll(m.path(d), 0o755); err != nil {
			return fmt.Errorf("cannot prepare machine %s: %w", m.Name, err)
		}
	}
	if err := unix.Mount("tmpfs", m.path(diskDir), "tmpfs", 0, "mode=0755,size="+memorySize); err != nil {
		return fmt.Errorf("cannot make the disk of machine %s: %w", m.Name, err)
	}
	for _, d := range []string{"upper", "work", "containerd"} {
		if err := os.Mkdir(m.path(diskDir, d), 0o755); err != nil {
			return fmt.Errorf("cannot prepare machine %s: %w", m.Name, err)
		}
	}
	if err := m.mount(); err != nil {
		return err
	}
	defer m.unmount()
	hostKey, hostSigner, err := newKey()
	if err != nil {
		return err
	}
	m.HostKey = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(hostSigner.PublicKey())))
	authorized := string(ssh.MarshalAuthorizedKey(m.signer.PublicKey()))
	root := m.path("root")
	stale, _ := filepath.Glob(filepath.Join(root, "etc/ssh/ssh_host_*"))
	for _, s := range stale {
		if err := os.Remove(s); err != nil {
			return fmt.Errorf("cannot prepare machine %s: %w", m.Name, err)
		}
	}
	files := append(m.init.files(m), []file{
		{"etc/hostname", m.Name + "\n", 0o644},
		{"etc/hosts", "127.0.0.1 localhost\n127.0.1.1 " + m.Name + "\n", 0o644},
		{"etc/machine-id", "", 0o644},
		{"etc/ssh/ssh_host_ed25519_key", string(hostKey), 0o600},
		{"etc/ssh/ssh_host_ed25519_key.pub", m.HostKey + "\n", 0o644},
		{"etc/sudoers.d/ops", Ops + " ALL=(ALL) NOPASSWD: ALL\n", 0o440},
		{"root/.ssh/authorized_keys", authorized, 0o600},
		{"home/" + Ops + "/.ssh/authorized_keys", authorized, 0o600},
		{"home/" + Guest + "/.ssh/authorized_keys", authorized, 0o600},
	}...)
	for _, f := range files {
		p := filepath.Join(root, f.path)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return fmt.Errorf("cannot prepare machine %s: %w", m.Name, err)
		}
		if err := os.WriteFile(p, []byte(f.content), f.mode); err != nil {
			return fmt.Errorf("cannot prepare machine %s: %w", m.Name, err)
		}
	}
	if resolv, err := os.ReadFile("/etc/resolv.conf"); err == nil {
		if err := os.WriteFile(filepath.Join(root, "etc/resolv.conf"), resolv, 0o644); err != nil {
			return fmt.Errorf("cannot prepare machine %s: %w", m.Name, err)
		}
	}
	script := `set -e
for u in ops guest; do useradd -s /bin/bash -M -d /home/$u $u; chown -R $u /home/$u; chmod 700 /home/$u/.ssh; done
chmod 700 /root/.ssh
` + m.init.enable
	if out, err := exec.Command("chroot", root, "/bin/sh", "-c", script).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot prepare machine %s: %w: %s", m.Name, err, out)
	}
	return nil
}

func (m *Machine) mount() error {
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", m.tree, m.path(diskDir, "upper"), m.path(diskDir, "work"))
	if err := unix.Mount("overlay", m.path("root"), "overlay", 0, opts); err != nil {
		return fmt.Errorf("cannot mount root of machine %s: %w", m.Name, err)
	}
	return nil
}

func (m *Machine) unmount() {
	// EINVAL: it is not mounted, which is what is wanted.
	_ = unix.Unmount(m.path("root"), unix.MNT_DETACH)
}

// Boot starts a machine that is off, with the disk that it had, and returns when SSH answers.
func (m *Machine) Boot(ctx context.Context) error {
	if m.cmd != nil {
		return fmt.Errorf("cannot boot machine %s: it runs", m.Name)
	}
	cmd, err := m.power()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(m.path("console.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("cannot boot machine %s: %w", m.Name, err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("cannot boot machine %s: %w", m.Name, err), log.Close())
	}
	m.cmd, m.log, m.exited = cmd, log, make(chan struct{})
	go func(exited chan struct{}) { _ = cmd.Wait(); close(exited) }(m.exited)
	return m.await(ctx, func(ctx context.Context) error {
		_, err := m.run(ctx, "root", "true")
		return err
	})
}

// nspawn mounts the machine's root and makes the command that runs it.
func (m *Machine) nspawn() (*exec.Cmd, error) {
	m.unmount()
	if err := m.mount(); err != nil {
		return nil, err
	}
	args := withCgroups(m.Name, "systemd-nspawn", "-q", "-D", m.path("root"), "-M", m.Name, "--register=no", "--keep-unit",
		"--network-bridge="+m.net.Bridge, "--capability=all", "--system-call-filter=@known", "--console=read-only",
		"--resolv-conf=off", "--timezone=off", "--kill-signal=SIGRTMIN+4",
		"--bind="+m.path(diskDir, "containerd")+":/var/lib/containerd", "--bind=/dev/net/tun", "--property=DevicePolicy=auto", m.init.program)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_API_VFS_WRITABLE=1", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=0")
	return cmd, nil
}

func (m *Machine) console() string {
	data, _ := os.ReadFile(m.path("console.log"))
	return tail(data)
}

// PowerCut takes the machine's power away: everything in it is killed at once.
func (m *Machine) PowerCut() {
	if m.cmd == nil {
		return
	}
	cut(m.cmd.Process.Pid)
	<-m.exited
	m.removeCable()
	_ = m.log.Close()
	m.cmd = nil
	m.unmount()
	// What can not be removed now is tried again by the next boot or Remove.
	_ = removeCgroups(m.Name)
}

// Tables lists the nftables tables of the machine's network. It takes the program of this host where the machine is a
// container, since tables may outlive the machine's own, and on a virtual machine the one that is there, if any.
func (m *Machine) Tables(ctx context.Context) (string, error) {
	if !m.container {
		return m.Run(ctx, "! command -v nft >/dev/null || nft list tables")
	}
	pid, err := m.inside()
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "nsenter", "-n", "-t", strconv.Itoa(pid), "nft", "list", "tables").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("cannot list the tables of machine %s: %w: %s", m.Name, err, tail(out))
	}
	return string(out), nil
}

// inside finds a process in the machine's network namespace.
func (m *Machine) inside() (int, error) {
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return 0, err
	}
	for look := []int{m.cmd.Process.Pid}; len(look) > 0; look = look[1:] {
		if theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", look[0])); err == nil && theirs != ours {
			return look[0], nil
		}
		look = append(look, children(look[0])...)
	}
	return 0, fmt.Errorf("machine %s has no network of its own", m.Name)
}

func children(pid int) []int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	var pids []int
	for _, f := range strings.Fields(string(data)) {
		if n, err := strconv.Atoi(f); err == nil {
			pids = append(pids, n)
		}
	}
	return pids
}

// cable is the name of this host's end of the machine's cable.
func (m *Machine) cable() string { return "vb-" + m.Name }

func (m *Machine) removeCable() {
	if link, err := netlink.LinkByName(m.cable()); err == nil {
		_ = netlink.LinkDel(link)
	}
}

// Unplug takes the machine's cable out, Plug puts it in again: a partition.
func (m *Machine) Unplug() error { return m.setLink("down") }

// Plug undoes Unplug.
func (m *Machine) Plug() error { return m.setLink("up") }

func (m *Machine) setLink(state string) error {
	out, err := exec.Command("ip", "link", "set", m.cable(), state).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot set link of machine %s %s: %w: %s", m.Name, state, err, out)
	}
	return nil
}

// Remove ends the machine and deletes its disk.
func (m *Machine) Remove() error {
	m.PowerCut()
	m.unmount()
	if err := removeCgroups(m.Name); err != nil {
		return fmt.Errorf("cannot remove machine %s: %w", m.Name, err)
	}
	_ = unix.Unmount(m.path(diskDir), unix.MNT_DETACH) // EINVAL or ENOENT: it has none
	if err := os.RemoveAll(m.dir); err != nil {
		return fmt.Errorf("cannot remove machine %s: %w", m.Name, err)
	}
	return nil
}
