package bootstrap_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/acctest/machine"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// machines are two Debian machines with systemd, for a test of everything in the order of a cluster's life.
type machines struct {
	fleet           *machine.Fleet
	control, worker *machine.Machine
}

func startMachines(t *testing.T) *machines {
	t.Helper()
	f := startFleet(t)
	m := &machines{fleet: f}
	for name, at := range map[string]**machine.Machine{"flf-control": &m.control, "flf-worker": &m.worker} {
		var err error
		if *at, err = f.Start(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func startFleet(t *testing.T) *machine.Fleet {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	f, err := machine.NewFleet(ctx, "flf", netip.MustParsePrefix("198.18.77.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (m *machines) dial(t *testing.T, to *machine.Machine, user string) ssh.Conn {
	t.Helper()
	c, err := ssh.Dial(t.Context(), ssh.Config{
		User: user, Address: to.Address.String(), HostKey: to.HostKey, PrivateKeyFile: m.fleet.KeyFile, Sudo: user != "root",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// buildStub builds the stand-in for the binary.
func buildStub(t *testing.T, version string) bootstrap.Binary {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fairlead")
	cmd := exec.Command("go", "build", "-ldflags", "-X main.version="+version, "-o", path, "./internal/stub")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the stand-in: %v: %s", err, out)
	}
	return binaryAt(t, path, version)
}

// run is what a machine prints.
func run(t *testing.T, m *machine.Machine, line string) string {
	t.Helper()
	out, err := m.Run(t.Context(), line)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func progressTo(t *testing.T) bootstrap.Progress {
	begin := time.Now()
	return func(host, step string) { t.Logf("%6.2fs %s: %s", time.Since(begin).Seconds(), host, step) }
}

func TestLifeOnMachines(t *testing.T) {
	v1, v2, broken := buildStub(t, "v1"), buildStub(t, "v2"), buildStub(t, "broken")
	m := startMachines(t)
	control, worker := m.dial(t, m.control, "root"), m.dial(t, m.worker, machine.Ops)
	ctx, p := t.Context(), progressTo(t)
	cluster := bootstrap.Cluster{Name: "test"}
	cp := bootstrap.ControlPlane{Cluster: cluster, Pods: true}
	node := bootstrap.Node{Labels: map[string]string{"zone": "a"}}
	const state = "systemctl show -p MainPID,ActiveEnterTimestampMonotonic fairlead-server fairlead-agent; " +
		"stat -c '%n %Y %i' /etc/fairlead/* /usr/local/bin/fairlead /etc/systemd/system/fairlead-* /var/lib/fairlead/installed"

	t.Run("guest", func(t *testing.T) {
		guest := m.dial(t, m.control, machine.Guest)
		err := bootstrap.Preflight(ctx, cluster, v1, []bootstrap.Target{{Conn: guest, Role: "server"}, {Conn: worker, Role: "agent", Node: bootstrap.Node{Name: "flf-control"}}})
		var failed *bootstrap.PreflightError
		if !errors.As(err, &failed) || len(failed.Failures) != 2 || failed.Failures[0].Check != "root" || failed.Failures[1].Check != "node name" {
			t.Fatalf("got %v", err)
		}
	})
	disks := map[*machine.Machine]string{m.control: "/var/lib/fairlead", m.worker: "/var/lib/fairlead/agent"}
	for at, dir := range disks {
		run(t, at, "mkdir -p "+dir+"; mount -t tmpfs -o mode=0700 disk "+dir+"; mkdir "+dir+"/lost+found; echo found > "+dir+"/lost+found/1")
	}
	run(t, m.control, "mkdir /var/lib/fairlead/backup; mount -t tmpfs backup /var/lib/fairlead/backup; echo kept > /var/lib/fairlead/backup/1")
	before := map[*machine.Machine]string{}
	const tree = "find /etc /usr/local /var/lib /var/log /run /opt -xdev ! -path '/var/lib/apt/*' ! -path '/var/lib/dpkg/*' ! -path '/var/log/journal/*' ! -path '/var/log/apt/*' ! -path '/run/systemd/*' ! -path '/run/user*' ! -path '/run/udev/*' ! -path '/var/lib/systemd/*' ! -path '/run/sudo/*' | sort"
	for _, at := range []*machine.Machine{m.control, m.worker} {
		before[at] = run(t, at, tree)
	}
	if err := bootstrap.Preflight(ctx, cluster, v1, []bootstrap.Target{{Conn: control, Role: "server"}, {Conn: worker, Role: "agent"}}); err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		was := ""
		if round > 0 {
			was = run(t, m.control, state)
		}
		in, err := bootstrap.InstallServer(ctx, control, cp, v1, p)
		if err != nil {
			t.Fatal(err)
		}
		if !in.Healthy || in.Role != "server" || in.Version != "v1" || in.Cluster != "test" || in.NodeName != "flf-control" || in.Address != m.control.Address.String() || len(in.CA) == 0 {
			t.Fatalf("got %+v", in)
		}
		if now := run(t, m.control, state); was != "" && now != was {
			t.Errorf("a second installation changed\n%s\nto\n%s", was, now)
		}
	}
	for round := range 2 {
		was := ""
		if round > 0 {
			was = run(t, m.worker, state)
		}
		in, err := bootstrap.JoinNode(ctx, control, worker, cluster, node, v1, p)
		if err != nil {
			t.Fatal(err)
		}
		if !in.Healthy || in.Role != "agent" || in.Version != "v1" || in.Cluster != "test" || in.NodeName != "flf-worker" {
			t.Fatalf("got %+v", in)
		}
		if now := run(t, m.worker, state); was != "" && now != was {
			t.Errorf("a second join changed\n%s\nto\n%s", was, now)
		}
	}
	for _, c := range []ssh.Conn{control, worker} {
		in, err := bootstrap.Upgrade(ctx, c, v2, p)
		if err != nil || in.Version != "v2" || !in.Healthy {
			t.Fatalf("upgrade of %s: %+v, %v", c.Host(), in, err)
		}
		in, err = bootstrap.Upgrade(ctx, c, broken, p)
		var failed *bootstrap.UpgradeError
		if !errors.As(err, &failed) || !failed.RolledBack || !strings.Contains(err.Error(), "cannot read its data") || in.Version != "v2" || !in.Healthy {
			t.Fatalf("broken upgrade of %s: %+v, %v", c.Host(), in, err)
		}
	}
	for at, c := range map[*machine.Machine]ssh.Conn{m.control: control, m.worker: worker} {
		for range 2 {
			if err := bootstrap.Uninstall(ctx, c, true, p); err != nil {
				t.Fatal(err)
			}
		}
		if in, err := bootstrap.Inspect(ctx, c); err != nil || in.Present || in.SHA256 != "" {
			t.Errorf("after removal: %+v, %v", in, err)
		}
		if at == m.control {
			run(t, at, "mountpoint -q /var/lib/fairlead/backup && grep -q kept /var/lib/fairlead/backup/1 && umount /var/lib/fairlead/backup && rmdir /var/lib/fairlead/backup")
		}
		if got := run(t, at, "mountpoint -q "+disks[at]+" && cd "+disks[at]+" && find . ! -type d"); got != "./lost+found/1" {
			t.Errorf("the disk in %s of %s has %q", disks[at], at.Name, got)
		}
		if now := run(t, at, tree); now != before[at] {
			t.Errorf("removal left of %s:\n%s", at.Name, difference(before[at], now))
		}
	}
}

// bareScript runs an sshd in namespaces where no init is to be seen, as in a container.
const bareScript = `cat >/var/tmp/bare.sh <<'END'
mount -t tmpfs tmpfs /run
mkdir /run/sshd
exec /usr/sbin/sshd -D -p 2222
END
setsid unshare --mount --pid --fork --mount-proc sh /var/tmp/bare.sh </dev/null >/dev/null 2>&1 &
for i in $(seq 100); do ss -Hltn | grep -q :2222 && exit 0; sleep 0.1; done
exit 1`

func TestLifeWithoutInit(t *testing.T) {
	v1, v2 := buildStub(t, "v1"), buildStub(t, "v2")
	f := startFleet(t)
	m, err := f.Start(t.Context(), "flf-bare")
	if err != nil {
		t.Fatal(err)
	}
	run(t, m, bareScript)
	c, err := ssh.Dial(t.Context(), ssh.Config{Address: m.Address.String(), Port: 2222, HostKey: m.HostKey, PrivateKeyFile: f.KeyFile})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, p := t.Context(), progressTo(t)
	cp := bootstrap.ControlPlane{Cluster: bootstrap.Cluster{Name: "bare"}, Pods: true}
	inside := func(line string) string {
		t.Helper()
		out, err := c.Run(ctx, ssh.Command{Line: line})
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out.Stdout))
	}
	const serverPID = "pgrep -xf '/usr/local/bin/fairlead server .*'"
	for round := range 2 {
		was := ""
		if round > 0 {
			was = inside(serverPID)
		}
		in, err := bootstrap.InstallServer(ctx, c, cp, v1, p)
		if err != nil || !in.Healthy {
			t.Fatalf("got %+v, %v", in, err)
		}
		if now := inside(serverPID); was != "" && now != was {
			t.Errorf("a second installation restarted process %s as %s", was, now)
		}
	}
	was := inside(serverPID)
	inside("kill -9 " + was)
	if in, err := bootstrap.InstallServer(ctx, c, cp, v1, p); err != nil || !in.Healthy {
		t.Fatalf("after a crash: %+v, %v", in, err)
	}
	if now := inside(serverPID); now == was {
		t.Error("the killed process is still there")
	}
	if in, err := bootstrap.Upgrade(ctx, c, v2, p); err != nil || in.Version != "v2" || !in.Healthy {
		t.Fatalf("upgrade: %+v, %v", in, err)
	}
	if err := bootstrap.Uninstall(ctx, c, true, p); err != nil {
		t.Fatal(err)
	}
	if left := inside("pgrep -af 'fairlead|containerd' | grep -v pgrep || true; ls -d /etc/fairlead* /run/fairlead* /var/lib/fairlead* /var/log/fairlead* 2>/dev/null || true"); left != "" {
		t.Errorf("left: %s", left)
	}
}

// difference lists lines of one text that the other lacks.
func difference(before, after string) string {
	var b strings.Builder
	have := map[string]bool{}
	for l := range strings.Lines(before + "\n") {
		have[strings.TrimSpace(l)] = true
	}
	for l := range strings.Lines(after + "\n") {
		if l = strings.TrimSpace(l); !have[l] {
			b.WriteString("+ " + l + "\n")
		}
		delete(have, l)
	}
	for l := range have {
		b.WriteString("- " + l + "\n")
	}
	return b.String()
}
