package host

import (
	"context"
	"fmt"
	"strings"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// openrc runs services by supervise-daemon, as on Alpine.
type openrc struct{ c ssh.Conn }

func (m *openrc) Kind() string { return InitOpenRC }

func logFile(name string) string { return "/var/log/fairlead/" + name + ".log" }
func pidPath(name string) string { return "/run/fairlead/" + name + ".pid" }
func initFile(name string) string {
	return "/etc/init.d/" + name
}

// initText is the init script. Only the main process is stopped with it, since pods outlive the agent, and containers
// containerd; order is what the service comes after. The service inherits the limits that its script has.
//
// supervise-daemon writes a log, but never begins another; it has loggers from OpenRC 0.51 on only, and logrotate may not
// be there. So it runs the service by way of `fairlead supervise`, which passes signals on, and ends when the service does;
// it gets time for the kill of a service that does not stop.
func initText(s Service, order string) string {
	oom := ""
	if s.LowerOOM {
		oom = "\n\techo -900 2>/dev/null >/proc/self/oom_score_adj || true"
	}
	return fmt.Sprintf(`#!/sbin/openrc-run
# Written by fairlead; the next apply overwrites changes.
description="%s"
supervisor=supervise-daemon
command="%s"
command_args="supervise --once --name %s --log-file %s -- %s"
pidfile="%s"
respawn_delay=1
respawn_max=0
retry="TERM/%d/KILL/5"
rc_cgroup_cleanup=no

depend() {
	want %[8]s
	after %[8]s
}

start_pre() {
	checkpath -d -m 0755 /run/fairlead /var/log/fairlead
	ulimit -n 1048576 2>/dev/null || ulimit -n "$(ulimit -H -n)" || true%[9]s
}
`, s.Description, config.BinaryPath, s.Name, logFile(s.Name), strings.Join(s.Command, " "), pidPath(s.Name), int((stopPatience + killPatience).Seconds()), order, oom)
}

func (m *openrc) Install(ctx context.Context, s Service) (string, error) {
	text := initText(s, "net containerd "+containerdService)
	revision := revisionOf(s, text)
	text += "export " + revisionVariable + "=" + revision + "\n"
	changed, err := place(ctx, m.c, initFile(s.Name), text, 0o755)
	if err != nil {
		return "", err
	}
	line := "rc-update -q add " + s.Name + " default"
	if changed {
		line += refreshOpenRC
	}
	return revision, runQuietly(ctx, m.c, StartTimeout, line)
}

// refreshOpenRC has OpenRC read all scripts: by itself it overlooks one that is no more than a second newer than others.
const refreshOpenRC = " && rc-update -u >&2"

// openrcText defines shell functions: child NAME prints the process that the service's supervisor runs, and stop NAME
// stops the service, and that process too where somebody has killed the supervisor.
const openrcText = `child() { cat "/run/openrc/options/$1/child_pid" 2>/dev/null; }
stop() {
  pid=$(child "$1")
  rc-service --ifstarted "$1" stop >&2 || return
  n=0
  while [ -n "$pid" ] && tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | grep -qx "RC_SVCNAME=$1"; do
    case $n in 0) kill "$pid" ;; 350) kill -9 "$pid" ;; 400) echo "$1 does not stop" >&2; return 1 ;; esac
    n=$((n + 1))
    sleep 0.1
  done
}
`

func (m *openrc) Restart(ctx context.Context, name string) error {
	return runQuietly(ctx, m.c, StopTimeout+StartTimeout, openrcText+"stop "+name+" && rc-service "+name+" start >&2")
}

func (m *openrc) Stop(ctx context.Context, name string) error {
	return runQuietly(ctx, m.c, StopTimeout, openrcText+fmt.Sprintf("[ ! -e %s ] || stop %s", initFile(name), name))
}

func (m *openrc) Remove(ctx context.Context, name string) error {
	return runQuietly(ctx, m.c, StopTimeout, openrcText+fmt.Sprintf(`[ -e %[2]s ] || exit 0
stop %[1]s || exit
rc-update -q delete %[1]s default
rm -rf %[2]s /run/openrc/options/%[1]s /run/openrc/supervise-%[1]s.ctl
rmdir /sys/fs/cgroup/openrc.%[1]s /sys/fs/cgroup/unified/openrc.%[1]s /sys/fs/cgroup/openrc/%[1]s 2>/dev/null || true
rc-update -u >&2`, name, initFile(name)))
}

func (m *openrc) Status(ctx context.Context, name string) (Status, error) {
	line := openrcText + fmt.Sprintf(`pid=0
if [ -e %[2]s ] && rc-service -q %[1]s status >/dev/null 2>&1; then pid=$(child %[1]s || cat %[3]s 2>/dev/null); fi
echo "${pid:-0} $(rc-service %[1]s status 2>&1 | tail -n 1)"
%[4]s`, name, initFile(name), pidPath(name), printRevision)
	out, err := m.c.Run(ctx, ssh.Command{Line: line, Sudo: true})
	return parseStatus(string(out.Stdout)), err
}

func (m *openrc) Logs(ctx context.Context, name string, lines int) (string, error) {
	return tailLog(ctx, m.c, name, lines)
}

// EnsureContainerd runs containerd as a service of our own where its package has none for OpenRC, as Debian's.
func (m *openrc) EnsureContainerd(ctx context.Context) (bool, error) {
	line := containerdAnswers + "if [ -e " + initFile(containerdService) + " ] || { [ ! -e " + initFile("containerd") + " ] && ! answers; }; then command -v containerd; fi"
	out, err := m.c.Run(ctx, ssh.Command{Line: line, Sudo: true})
	if err != nil {
		return false, fmt.Errorf("cannot find containerd on %s: %w", m.c.Host(), err)
	}
	name := "containerd"
	if program := strings.TrimSpace(string(out.Stdout)); program != "" {
		name = containerdService
		s := Service{Name: name, Description: "containerd", Command: []string{program}, LowerOOM: true}
		changed, err := place(ctx, m.c, initFile(name), initText(s, "localmount"), 0o755)
		if err == nil && changed {
			err = m.Stop(ctx, name) // it runs as it was written down before, if it does
		}
		if err != nil {
			return false, err
		}
	}
	return ensureContainerd(ctx, m.c, "rc-update -q add "+name+" default"+refreshOpenRC+"; rc-service "+name+" start >&2 || exit 1")
}

func (m *openrc) ReleaseContainerd(ctx context.Context, started bool) error {
	if err := m.Remove(ctx, containerdService); err != nil || !started {
		return err
	}
	return runQuietly(ctx, m.c, StopTimeout, fmt.Sprintf(`[ -e %s ] || exit 0
rc-update -q delete containerd default
rc-service --ifstarted containerd stop >&2`, initFile("containerd")))
}

func tailLog(ctx context.Context, c ssh.Conn, name string, lines int) (string, error) {
	out, err := c.Run(ctx, ssh.Command{Line: fmt.Sprintf("tail -n %d %s 2>/dev/null || true", lines, logFile(name)), Sudo: true})
	return string(out.Stdout), err
}
