package host

import (
	"context"
	"fmt"
	"strings"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// systemd runs services as units.
type systemd struct{ c ssh.Conn }

func (m *systemd) Kind() string { return InitSystemd }

// unitText is the unit. Only the main process is stopped with it, since pods outlive the agent; what would give
// it mounts of its own (ProtectSystem, PrivateTmp and their like) is left out, since containerd has to see the
// volumes that it mounts.
func unitText(s Service) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Written by fairlead; the next apply overwrites changes.
[Unit]
Description=%s
Documentation=https://github.com/fairlead-io/terraform-provider-fairlead
Wants=network-online.target
After=network-online.target containerd.service
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=%s
Restart=always
RestartSec=1
KillMode=process
TimeoutStopSec=%d
Delegate=yes
LimitNOFILE=1048576
LimitNPROC=infinity
TasksMax=infinity
LockPersonality=yes
SystemCallArchitectures=native
`, s.Description, strings.Join(s.Command, " "), int(stopPatience.Seconds()))
	if s.LowerOOM {
		b.WriteString("OOMScoreAdjust=-900\n")
	}
	return b.String()
}

func unitFile(name string) string { return "/etc/systemd/system/" + name + ".service" }

func (m *systemd) Install(ctx context.Context, s Service) (string, error) {
	text := unitText(s)
	revision := revisionOf(s, text)
	text += "Environment=" + revisionVariable + "=" + revision + "\n\n[Install]\nWantedBy=multi-user.target\n"
	if _, err := place(ctx, m.c, unitFile(s.Name), text, 0o644); err != nil {
		return "", err
	}
	// Also when the file was there: an earlier run may have ended right after writing it.
	line := fmt.Sprintf(`set -e
[ "$(systemctl show -p NeedDaemonReload --value %[1]s)" = no ] || systemctl daemon-reload
systemctl is-enabled -q %[1]s || systemctl enable -q %[1]s`, s.Name)
	return revision, runQuietly(ctx, m.c, StartTimeout, line)
}

// Restart does not wait for what the unit comes after at boot: containerd runs already, and the network is there
// since we came over it, though network-online.target may take its time to agree.
func (m *systemd) Restart(ctx context.Context, name string) error {
	return runQuietly(ctx, m.c, StopTimeout+StartTimeout, "systemctl reset-failed "+name+" 2>/dev/null; systemctl restart --job-mode=ignore-dependencies "+name)
}

func (m *systemd) Stop(ctx context.Context, name string) error {
	return runQuietly(ctx, m.c, StopTimeout, fmt.Sprintf("[ ! -e %s ] || systemctl stop %s", unitFile(name), name))
}

func (m *systemd) Remove(ctx context.Context, name string) error {
	return runQuietly(ctx, m.c, StopTimeout+StartTimeout, fmt.Sprintf(`[ -e %[2]s ] || exit 0
systemctl disable -q --now %[1]s && rm -f %[2]s && systemctl daemon-reload
systemctl reset-failed %[1]s 2>/dev/null || true`, name, unitFile(name)))
}

func (m *systemd) Status(ctx context.Context, name string) (Status, error) {
	line := fmt.Sprintf(`pid=$(systemctl show -p MainPID --value %[1]s)
echo "${pid:-0} $(systemctl show -p ActiveState -p SubState -p Result -p ExecMainStatus --value %[1]s | tr '\n' ' ')"
%[2]s`, name, printRevision)
	out, err := m.c.Run(ctx, ssh.Command{Line: line, Sudo: true})
	if err != nil {
		return Status{}, err
	}
	st := parseStatus(string(out.Stdout))
	st.Active = st.Active && strings.Contains(" "+st.Detail+" ", " active ")
	return st, nil
}

func (m *systemd) Logs(ctx context.Context, name string, lines int) (string, error) {
	out, err := m.c.Run(ctx, ssh.Command{Line: fmt.Sprintf("journalctl -q --no-pager -o cat -n %d -u %s", lines, name), Sudo: true})
	return string(out.Stdout), err
}

func (m *systemd) EnsureContainerd(ctx context.Context) (bool, error) {
	return ensureContainerd(ctx, m.c, "systemctl enable -q containerd >&2; systemctl start containerd >&2 || exit 1")
}

func (m *systemd) ReleaseContainerd(ctx context.Context, started bool) error {
	if !started {
		return nil
	}
	return runQuietly(ctx, m.c, StopTimeout+StartTimeout, "systemctl disable -q --now containerd")
}
