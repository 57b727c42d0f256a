package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sweepTimeout covers the kernel's taking apart of all processes of some machines.
const sweepTimeout = 10 * time.Second

// sweep ends the machines below dir that an earlier run left when it died, and removes dir.
func sweep(dir string) error {
	dir = filepath.Clean(dir)
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, p := range all {
		args, err := os.ReadFile(filepath.Join(p, "cmdline"))
		program, _, _ := strings.Cut(string(args), "\x00")
		if err != nil || program != "systemd-nspawn" && program != qemuProgram || !strings.Contains(string(args), "\x00"+dir+"/") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(p))
		if err != nil {
			return err
		}
		cut(pid)
		if err := awaitGone(p); err != nil {
			return err
		}
	}
	roots, err := filepath.Glob(filepath.Join(dir, "*", "root"))
	if err != nil {
		return err
	}
	for _, r := range roots {
		// EINVAL: it is not mounted, which is what is wanted.
		for _, mounted := range []string{r, filepath.Join(filepath.Dir(r), diskDir)} {
			if err := unix.Unmount(mounted, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("cannot unmount %s of an earlier run: %w", mounted, err)
			}
		}
		if err := removeCgroups(filepath.Base(filepath.Dir(r))); err != nil {
			return fmt.Errorf("cannot remove cgroups of an earlier run: %w", err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("cannot remove machines of an earlier run: %w", err)
	}
	return nil
}

// cut kills a machine whose nspawn is pid. Its init first: with it goes everything in its PID namespace; nspawn's
// own death alone would leave that to whenever init notices.
func cut(pid int) {
	for _, child := range children(pid) {
		_ = syscall.Kill(child, syscall.SIGKILL)
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL)
}

func awaitGone(proc string) error {
	deadline := time.NewTimer(sweepTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		// A zombie has no command line.
		if args, err := os.ReadFile(filepath.Join(proc, "cmdline")); err != nil || len(args) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return fmt.Errorf("cannot end the machine of an earlier run: %s is still there after %v", proc, sweepTimeout)
		}
	}
}
