// Package containertest starts a containerd of its own for tests, and makes images on the spot.
package containertest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
)

// Daemon is a containerd with a root, a state directory and a socket below one temporary directory.
type Daemon struct {
	Dir    string
	Socket string
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has been waited for
}

// startTimeout is how long containerd may take to answer: it opens its database and probes its snapshotters.
const startTimeout = 20 * time.Second

// Start makes the directory below /var/lib, where overlayfs works whatever /tmp is, and starts containerd.
func Start() (*Daemon, error) {
	dir, err := os.MkdirTemp("/var/lib", "fairlead-test-")
	if err != nil {
		return nil, fmt.Errorf("cannot start containerd: %w", err)
	}
	d := &Daemon{Dir: dir, Socket: filepath.Join(dir, "c.sock")}
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n[grpc]\naddress = %q\n",
		filepath.Join(dir, "root"), filepath.Join(dir, "state"), d.Socket)
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(config), 0o600); err != nil {
		return nil, fmt.Errorf("cannot start containerd: %w", err)
	}
	if err := d.Restart(); err != nil {
		return nil, errors.Join(err, d.Stop())
	}
	return d, nil
}

// Restart starts containerd, which must have ended, with what it left behind.
func (d *Daemon) Restart() error {
	log, err := os.OpenFile(filepath.Join(d.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cannot start containerd: %w", err)
	}
	defer log.Close()
	cmd := exec.Command("containerd", "-c", filepath.Join(d.Dir, "config.toml"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start containerd: %w", err)
	}
	d.cmd, d.exited = cmd, make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed, which is no news
		close(d.exited)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	r, err := container.New(ctx, container.Options{Socket: d.Socket, StateDir: d.StateDir(), Namespace: "probe"})
	if err != nil {
		data, _ := os.ReadFile(filepath.Join(d.Dir, "log"))
		return fmt.Errorf("cannot start containerd: %w\n%s", err, tail(data, 2000))
	}
	return r.Close()
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// StateDir is for the runtime's pinned namespaces and FIFOs.
func (d *Daemon) StateDir() string { return filepath.Join(d.Dir, "run") }

// CgroupRoot is for the runtime's cgroups; no other daemon has it.
func (d *Daemon) CgroupRoot() string { return "/" + filepath.Base(d.Dir) }

// Kill ends containerd with SIGKILL and leaves its shims and containers.
func (d *Daemon) Kill() {
	_ = d.cmd.Process.Kill()
	<-d.exited
}

// Stop ends containerd and whatever it started, unmounts and removes everything below the directory.
func (d *Daemon) Stop() error {
	if d.cmd != nil {
		d.Kill()
	}
	killShims(d.Socket)
	var errs []error
	mounts, err := mountsBelow(d.Dir)
	if err != nil {
		return err
	}
	for _, m := range mounts {
		errs = append(errs, unix.Unmount(m, unix.MNT_DETACH))
	}
	return errors.Join(append(errs, os.RemoveAll(d.Dir))...)
}

// Shims counts the shims that belong to this containerd.
func (d *Daemon) Shims() int { return len(shims(d.Socket)) }

// KillShims kills the shims that belong to this containerd, with the containers' processes.
func (d *Daemon) KillShims() { killShims(d.Socket) }

func shims(socket string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		cmdline, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || !strings.Contains(string(cmdline), "containerd-shim") || !strings.Contains(string(cmdline), socket) {
			continue
		}
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// killShims kills the shims that belong to the socket, and the containers' processes, their children.
func killShims(socket string) {
	for _, pid := range shims(socket) {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		_ = syscall.Kill(pid, syscall.SIGKILL)
		for _, c := range strings.Fields(string(children)) {
			if child, err := strconv.Atoi(c); err == nil {
				_ = syscall.Kill(child, syscall.SIGKILL)
			}
		}
	}
}

func mountsBelow(dir string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot list mounts: %w", err)
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			out = append(out, f[4])
		}
	}
	slices.Reverse(out)
	return out, nil
}

// PowerOff ends everything as a loss of power does: containerd, shims, containers, mounts, and the runtime's state
// directory, which is in memory on a real host. Restart is the next boot.
func (d *Daemon) PowerOff() {
	d.Kill()
	killShims(d.Socket)
	mounts, err := mountsBelow(d.Dir)
	if err != nil {
		return
	}
	for _, m := range mounts {
		_ = unix.Unmount(m, unix.MNT_DETACH)
	}
	_ = os.RemoveAll(d.StateDir())
	_ = os.RemoveAll(filepath.Join(d.Dir, "state"))
}
