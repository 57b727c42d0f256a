package container

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// hostLimits is what containerd's processes may not do on this host. A container that asks for such a thing gets
// the nearest that works, since a pod ought to run inside a restricted machine as well.
type hostLimits struct {
	// minOOMScore is the lowest oom_score_adj that runc can give a process.
	minOOMScore int
	seccomp     bool
}

const capSysResource = 24

// detectLimits looks at the process that listens on containerd's socket: runc will run with its rights, which need
// not be ours. It logs each limit once.
func detectLimits(socket string, log *slog.Logger) hostLimits {
	l := hostLimits{minOOMScore: -1000, seccomp: true}
	if _, err := os.Stat("/proc/sys/kernel/seccomp"); err != nil {
		l.seccomp = false
		log.Warn("kernel has no seccomp filters: containers run without")
	}
	pid, err := peerPID(socket)
	if err != nil {
		log.Debug("cannot look at containerd's rights", "error", err)
		return l
	}
	caps, ok := effectiveCaps(pid)
	if !ok || caps&(1<<capSysResource) != 0 {
		return l
	}
	// A shim runs one above containerd, and what it starts can not go below that without CAP_SYS_RESOURCE.
	l.minOOMScore = 1
	if data, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid)); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil {
			l.minOOMScore = min(n+1, 1000)
		}
	}
	log.Info("CAP_SYS_RESOURCE is missing: containers' oom_score_adj is not lowered", "lowest", l.minOOMScore)
	return l
}

// peerPID returns the process that listens on a unix socket.
func peerPID(socket string) (int, error) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, credErr
	}
	if cred.Pid <= 0 {
		return 0, fmt.Errorf("cannot see the process behind %s", socket)
	}
	return int(cred.Pid), nil
}

func effectiveCaps(pid int) (uint64, bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	sc := bufio.NewScanner(bytes.NewReader(data))
	for sc.Scan() {
		if v, ok := strings.CutPrefix(sc.Text(), "CapEff:"); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			return n, err == nil
		}
	}
	return 0, false
}
