package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/supervise"
)

// Timeouts of services. A stop covers the command's own end within stopPatience, the kill that follows, that of its
// supervisor, and killPatience for the rest.
const (
	stopPatience = supervise.DefaultStopTimeout
	killPatience = 5 * time.Second
	StopTimeout  = stopPatience + 3*killPatience
	StartTimeout = 30 * time.Second
)

// revisionVariable is in the environment of a service's process: by it a later run knows whether the process was
// started with the binary and the configuration that are there now, however the run before was cut off.
const revisionVariable = "FAIRLEAD_REVISION"

// Service is a program that the host keeps running.
type Service struct {
	Name        string // such as "fairlead-agent"
	Description string
	Command     []string // absolute program and arguments, without spaces or quotes in them
	// Revision changes with everything that takes a restart: binary, configuration. Install adds the unit's.
	Revision string
	// LowerOOM asks the kernel to spare the process; only for hosts with CapSysResource.
	LowerOOM bool
}

// Status is what a service does now.
type Status struct {
	Active   bool
	PID      int
	Revision string // that the process was started with; "" when unknown
	Detail   string // the service manager's word for its state
}

// ServiceManager installs and runs services. All methods are idempotent.
type ServiceManager interface {
	// Kind is InitSystemd, InitOpenRC, or InitNone.
	Kind() string
	// Install writes the service's definition and has it started with the host, where that is possible. It
	// neither starts nor restarts it. It returns the revision that a process of this definition has.
	Install(ctx context.Context, s Service) (revision string, err error)
	// Restart starts the service, or stops and starts it.
	Restart(ctx context.Context, name string) error
	// Stop stops it; one that is not there is no error.
	Stop(ctx context.Context, name string) error
	// Remove stops it, and removes its definition.
	Remove(ctx context.Context, name string) error
	Status(ctx context.Context, name string) (Status, error)
	// Logs returns its last lines.
	Logs(ctx context.Context, name string, lines int) (string, error)
	// EnsureContainerd has containerd running when it returns; started says that it was not before.
	EnsureContainerd(ctx context.Context) (started bool, err error)
	// ReleaseContainerd undoes it: it stops containerd where that was started, and a service of ours that runs it in any
	// case, since the installation may have ended before anybody knew.
	ReleaseContainerd(ctx context.Context, started bool) error
}

// Services returns the host's service manager.
func Services(c ssh.Conn, init string) ServiceManager {
	switch init {
	case InitSystemd:
		return &systemd{c}
	case InitOpenRC:
		return &openrc{c}
	default:
		return &supervised{c}
	}
}

// revisionOf mixes the definition into the revision.
func revisionOf(s Service, definition string) string {
	h := sha256.Sum256([]byte(s.Revision + "\x00" + definition))
	return hex.EncodeToString(h[:8])
}

// place writes a definition unless it is there already.
func place(ctx context.Context, c ssh.Conn, path, text string, mode fs.FileMode) (changed bool, err error) {
	old, err := c.ReadFile(ctx, path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err == nil && string(old) == text {
		return false, nil
	}
	return true, c.Upload(ctx, strings.NewReader(text), path, mode)
}

// parseStatus reads "PID DETAIL" and a second line with the revision.
func parseStatus(out string) Status {
	first, second, _ := strings.Cut(strings.TrimRight(out, "\n"), "\n")
	number, detail, _ := strings.Cut(first, " ")
	pid, err := strconv.Atoi(number)
	if err != nil || pid < 0 {
		pid = 0
	}
	return Status{Active: pid > 0, PID: pid, Detail: strings.TrimSpace(detail), Revision: strings.TrimSpace(second)}
}

// printRevision is shell text that prints the revision of process $pid.
const printRevision = `[ "${pid:-0}" = 0 ] || tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | sed -n 's/^` + revisionVariable + `=//p'`

// containerdAnswers defines a shell function of that name. Where the client is a package of its own that is not
// there, as on Alpine, the socket has to do.
const containerdAnswers = `answers() {
  [ -S ` + config.DefaultContainerd + ` ] || return 1
  command -v ctr >/dev/null 2>&1 || return 0
  ctr --address ` + config.DefaultContainerd + ` --connect-timeout 1s --timeout 2s version >/dev/null 2>&1
}
`

// awaitContainerd is shell text that waits for containerd to answer, half a minute at most.
const awaitContainerd = `i=0
until answers; do
  i=$((i + 1))
  [ $i -lt 300 ] || { echo "containerd does not answer on ` + config.DefaultContainerd + `" >&2; exit 1; }
  sleep 0.1
done`

// ensureContainerd runs start when containerd does not answer yet.
func ensureContainerd(ctx context.Context, c ssh.Conn, start string) (bool, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, StartTimeout+10*time.Second, errors.New("containerd did not start in time"))
	defer cancel()
	line := containerdAnswers + "if answers; then echo running; exit; fi\n" +
		start + "\n" + awaitContainerd + "\necho started"
	out, err := c.Run(ctx, ssh.Command{Line: line, Sudo: true})
	if err != nil {
		return false, fmt.Errorf("cannot start containerd on %s: %w", c.Host(), err)
	}
	return strings.TrimSpace(string(out.Stdout)) == "started", nil
}

// runQuietly is Run of a root command whose output does not matter.
func runQuietly(ctx context.Context, c ssh.Conn, timeout time.Duration, line string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no end after %v", timeout))
	defer cancel()
	_, err := c.Run(ctx, ssh.Command{Line: line, Sudo: true})
	return err
}
