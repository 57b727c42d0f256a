package host

import (
	"context"
	"fmt"
	"strings"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// openrc runs services by supervise-daemon, as on Alpine.
type openrc struct{ c ssh.Conn }

func (m *openrc) Kind() string { return InitOpenRC }

func logFile(name string) string { return "/var/log/fairlead/" + name + ".log" }
func pidPath(name string) string { return "/run/fairlead/" + name + ".pid" }
func initFile(name string) string {
	return "/etc/init.d/" + name
}

func initText(s Service) string {
	return fmt.Sprintf(`#!/sbin/openrc-run
# Written by fairlead; the next apply overwrites changes.
description="%s"
supervisor=supervise-daemon
command="%s"
command_args="%s"
pidfile="%s"
output_log="%s"
error_log="%[5]s"
respawn_delay=1
respawn_max=0
retry="TERM/%d/KILL/5"
rc_ulimit="-n 1048576"

depend() {
	want net containerd
	after net containerd
}

start_pre() {
	checkpath -d -m 0755 /run/fairlead /var/log/fairlead
}
`, s.Description, s.Command[0], strings.Join(s.Command[1:], " "), pidPath(s.Name), logFile(s.Name), int(stopPatience.Seconds()))
}

func (m *openrc) Install(ctx context.Context, s Service) (string, error) {
	text := initText(s)
	revision := revisionOf(s, text)
	text += "export " + revisionVariable + "=" + revision + "\n"
	if _, err := place(ctx, m.c, initFile(s.Name), text, 0o755); err != nil {
		return "", err
	}
	return revision, runQuietly(ctx, m.c, StartTimeout, "rc-update -q add "+s.Name+" default")
}

func (m *openrc) Restart(ctx context.Context, name string) error {
	return runQuietly(ctx, m.c, StopTimeout+StartTimeout, "rc-service "+name+" restart >&2")
}

func (m *openrc) Stop(ctx context.Context, name string) error {
	return runQuietly(ctx, m.c, StopTimeout, fmt.Sprintf("[ ! -e %s ] || rc-service --ifstarted %s stop >&2", initFile(name), name))
}

func (m *openrc) Remove(ctx context.Context, name string) error {
	return runQuietly(ctx, m.c, StopTimeout, fmt.Sprintf(`[ -e %[2]s ] || exit 0
rc-service --ifstarted %[1]s stop >&2
rc-update -q delete %[1]s default
rm -f %[2]s`, name, initFile(name)))
}

func (m *openrc) Status(ctx context.Context, name string) (Status, error) {
	line := fmt.Sprintf(`pid=0
if [ -e %[2]s ] && rc-service -q %[1]s status >/dev/null 2>&1; then pid=$(cat %[3]s 2>/dev/null); fi
echo "${pid:-0} $(rc-service %[1]s status 2>&1 | tail -n 1)"
%[4]s`, name, initFile(name), pidPath(name), printRevision)
	out, err := m.c.Run(ctx, ssh.Command{Line: line, Sudo: true})
	return parseStatus(string(out.Stdout)), err
}

func (m *openrc) Logs(ctx context.Context, name string, lines int) (string, error) {
	return tailLog(ctx, m.c, name, lines)
}

func (m *openrc) EnsureContainerd(ctx context.Context) (bool, error) {
	return ensureContainerd(ctx, m.c, "rc-update -q add containerd default; rc-service containerd start >&2 || exit 1")
}

func tailLog(ctx context.Context, c ssh.Conn, name string, lines int) (string, error) {
	out, err := c.Run(ctx, ssh.Command{Line: fmt.Sprintf("tail -n %d %s 2>/dev/null || true", lines, logFile(name)), Sudo: true})
	return string(out.Stdout), err
}
