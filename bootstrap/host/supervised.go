package host

import (
	"context"
	"fmt"
	"strings"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// supervised runs services where there is no init, as in a container: `fairlead supervise` keeps each running.
// Nothing starts them after a restart of the host: there is nothing there that could.
type supervised struct{ c ssh.Conn }

func (m *supervised) Kind() string { return InitNone }

// definitionFile is a script that becomes the supervisor.
func definitionFile(name string) string { return "/etc/fairlead/services/" + name }

func definitionText(s Service) string {
	return fmt.Sprintf(`#!/bin/sh
# %s
# Written by fairlead; the next apply overwrites changes.
exec %s supervise --name %s --pid-file %s --log-file %s -- %s
`, s.Description, config.BinaryPath, s.Name, pidPath(s.Name), logFile(s.Name), strings.Join(s.Command, " "))
}

func (m *supervised) Install(ctx context.Context, s Service) (string, error) {
	text := definitionText(s)
	revision := revisionOf(s, text)
	text = strings.Replace(text, "exec ", "export "+revisionVariable+"="+revision+"\nexec ", 1)
	_, err := place(ctx, m.c, definitionFile(s.Name), text, 0o755)
	return revision, err
}

// superviseText defines shell functions: running NAME sets pid to the supervisor's, 0 without; a PID file
// whose number another program has got meanwhile does not count. stop NAME stops it, and start NAME starts it.
const superviseText = `running() {
  pid=$(cat "/run/fairlead/$1.pid" 2>/dev/null) || pid=0
  [ -n "$pid" ] && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q " supervise --name $1 " || pid=0
  [ "$pid" != 0 ]
}
stop() {
  running "$1" || return 0
  kill "$pid"; n=0
  while [ -d "/proc/$pid" ]; do
    n=$((n + 1))
    if [ $n -ge 400 ]; then echo "$1 does not stop" >&2; return 1; fi
    sleep 0.1
  done
}
start() {
  running "$1" && return 0
  setsid "/etc/fairlead/services/$1" </dev/null >/dev/null 2>&1 &
  n=0
  until running "$1"; do
    n=$((n + 1))
    if [ $n -ge 100 ]; then echo "$1 does not start" >&2; return 1; fi
    sleep 0.1
  done
}
`

func (m *supervised) Restart(ctx context.Context, name string) error {
	return runQuietly(ctx, m.c, StopTimeout+StartTimeout, superviseText+"stop "+name+" && start "+name)
}

func (m *supervised) Stop(ctx context.Context, name string) error {
	return runQuietly(ctx, m.c, StopTimeout, superviseText+"stop "+name)
}

func (m *supervised) Remove(ctx context.Context, name string) error {
	return runQuietly(ctx, m.c, StopTimeout, superviseText+"stop "+name+" && rm -f "+definitionFile(name))
}

func (m *supervised) Status(ctx context.Context, name string) (Status, error) {
	line := superviseText + fmt.Sprintf(`detail=stopped; running %s && detail=supervised
echo "$pid $detail"
%s`, name, printRevision)
	out, err := m.c.Run(ctx, ssh.Command{Line: line, Sudo: true})
	return parseStatus(string(out.Stdout)), err
}

func (m *supervised) Logs(ctx context.Context, name string, lines int) (string, error) {
	return tailLog(ctx, m.c, name, lines)
}

// containerdService is containerd's name where nobody but us runs it.
const containerdService = "fairlead-containerd"

func (m *supervised) EnsureContainerd(ctx context.Context) (bool, error) {
	out, err := m.c.Run(ctx, ssh.Command{Line: "command -v containerd", Sudo: true})
	if err != nil {
		return false, fmt.Errorf("cannot find containerd on %s: %w", m.c.Host(), err)
	}
	s := Service{Name: containerdService, Description: "containerd", Command: []string{strings.TrimSpace(string(out.Stdout))}}
	text := definitionText(s)
	if _, err := place(ctx, m.c, definitionFile(s.Name), text, 0o755); err != nil {
		return false, err
	}
	return ensureContainerd(ctx, m.c, superviseText+"start "+s.Name+" || exit 1")
}

func (m *supervised) ReleaseContainerd(ctx context.Context, _ bool) error {
	return m.Remove(ctx, containerdService)
}
