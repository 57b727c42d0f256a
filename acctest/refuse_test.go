package acctest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/fairlead-io/terraform-provider-fairlead/acctest/machine"
)

// TestRefused puts everything in the way of an installation that commonly is. Each obstacle is named on the
// attribute that has to do with it, with nothing in state and nothing on the machine, and the apply after it goes
// well: as another user with sudo, through a bastion.
func TestRefused(t *testing.T) {
	t.Parallel() // beside TestVirtualMachine
	m, err := fleet.Start(t.Context(), prefix+"-4")
	if err != nil {
		t.Fatal(err)
	}
	bastion, err := fleet.Start(t.Context(), prefix+"-5")
	if err != nil {
		t.Fatal(err)
	}
	before := listing(t, m)
	r := &refusal{machine: m, bastion: bastion, second: fleet.Net.Take()}
	for _, c := range []struct {
		name string
		run  func(*testing.T, *refusal)
	}{
		{"WrongHostKey", wrongHostKey},
		{"UnknownHostKey", unknownHostKey},
		{"WrongKey", wrongKey},
		{"HostDown", hostDown},
		{"NoSudo", noSudo},
		{"FullDiskAndTakenPort", fullDiskAndTakenPort},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.w = workspace(t, "host.tf", map[string]any{"ssh": sshVar(), "address": m.Address.String(), "host_key": m.HostKey})
			c.run(t, r)
			inState(t, r.w)
			bare(t, m, before)
		})
	}
	t.Run("Interrupted", func(t *testing.T) { interrupted(t, r, before) })
	t.Run("Owned", func(t *testing.T) { owned(t, r) })
	t.Run("Lost", func(t *testing.T) { lost(t, r) })
}

// TestOneHostInTwoProviderBlocks wants the second resource refused at plan, though each provider knows of its own alone.
func TestOneHostInTwoProviderBlocks(t *testing.T) {
	t.Parallel()
	_, out, err := workspace(t, "twice.tf", nil).Plan(t.Context())
	var failed *Error
	if !errors.As(err, &failed) {
		t.Fatalf("the plan was not refused: %v\n%s", err, out)
	}
	says(t, out, "Error: Two resources with one host", "Host 192.0.2.11:22 is that of a fairlead_", "of another provider block in this configuration")
}

// refusal is a machine that is not to be installed on.
type refusal struct {
	w                *Workspace
	machine, bastion *machine.Machine
	second           netip.Addr // for the machine
}

func (r *refusal) set(t *testing.T, vars map[string]any) {
	t.Helper()
	if err := r.w.Set(vars); err != nil {
		t.Fatal(err)
	}
}

func wrongHostKey(t *testing.T, r *refusal) {
	r.set(t, map[string]any{"host_key": r.bastion.HostKey})
	refused(t, r.w, "Error: Host key not verified", "with fairlead_cluster.main", "host_key", r.machine.Address.String())
}

func unknownHostKey(t *testing.T, r *refusal) {
	vars := sshVar()
	vars["known_hosts_file"] = filepath.Join(r.w.Dir, "known_hosts")
	if err := r.w.Write("known_hosts", ""); err != nil {
		t.Fatal(err)
	}
	r.set(t, map[string]any{"host_key": nil, "ssh": vars})
	refused(t, r.w, "Error: Host key not verified", "with fairlead_cluster.main", r.machine.Address.String())
}

func wrongKey(t *testing.T, r *refusal) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(block))
	r.set(t, map[string]any{"ssh": map[string]any{"user": "root", "private_key": text}})
	out := refused(t, r.w, "Error: SSH login refused", "with fairlead_cluster.main", "address", r.machine.Address.String(), "authorized_keys")
	if strings.Contains(out, strings.Split(text, "\n")[1]) {
		t.Error("the diagnostic shows the private key")
	}
}

func hostDown(t *testing.T, r *refusal) {
	nobody := fleet.Net.Take().String()
	r.set(t, map[string]any{"address": nobody})
	start := time.Now()
	refused(t, r.w, "Error: Host can not be reached", "with fairlead_cluster.main", nobody)
	if took := time.Since(start); took > time.Minute {
		t.Errorf("the failure took %v to show", took)
	}
}

func noSudo(t *testing.T, r *refusal) {
	r.set(t, map[string]any{"ssh": map[string]any{"user": machine.Guest, "private_key_file": fleet.KeyFile, "sudo": true}})
	refused(t, r.w, "Error: Host is not ready", "with fairlead_cluster.main", "root", "sudo", "Nothing was changed there")
}

// fullDiskAndTakenPort wants both in one diagnostic: nobody likes to learn of obstacles one by one. The plan shows them already.
func fullDiskAndTakenPort(t *testing.T, r *refusal) {
	command(t, r.machine, `mkdir -p /var/lib/fairlead && mount -t tmpfs -o size=64m none /var/lib/fairlead
systemd-run -q --unit=taken --socket-property=ListenStream=6443 --service-type=simple /bin/true`)
	if _, out, err := r.w.Plan(t.Context()); err != nil {
		t.Errorf("the plan was refused: %v\n%s", err, out)
	} else {
		says(t, out, "Warning: Host is not ready: "+r.machine.Address.String(), "with fairlead_cluster.main", "for 2 reasons", "port: tcp/6443 is taken by")
	}
	refused(t, r.w, "Error: Host is not ready", "with fairlead_cluster.main", "for 2 reasons", "disk: 64 MiB are free for /var/lib/fairlead", "port: tcp/6443 is taken by", "Nothing was changed there")
	command(t, r.machine, "systemctl stop taken.socket; systemctl reset-failed; umount /var/lib/fairlead && rmdir /var/lib/fairlead")
}

// interrupted ends applies in the middle: by Ctrl-C, by a disk that gets full, and by a kill of Terraform and the provider, so that
// nothing is in state. What was begun is undone by a destroy, and finished by another apply.
func interrupted(t *testing.T, r *refusal, before []string) {
	r.w = workspace(t, "host.tf", map[string]any{
		"address": r.machine.Address.String(), "host_key": r.machine.HostKey,
		"ssh": map[string]any{
			"user": machine.Ops, "private_key_file": fleet.KeyFile, "sudo": true,
			"bastion": map[string]any{"address": r.bastion.Address.String(), "host_key": r.bastion.HostKey},
		},
	})
	interruptWhen(t, r, "test -e /var/lib/fairlead/installed")
	if _, err := r.w.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	bare(t, r.machine, before)

	interruptWhen(t, r, "test -e /etc/fairlead/server.yaml")
	apply(t, r.w)
	r.finished(t, before)

	command(t, r.machine, "mount -t tmpfs -o size=2g none /usr/local/bin")
	fullWhen(t, r, "test -e /var/lib/fairlead/installed")
	apply(t, r.w)
	r.finished(t, before, regexp.MustCompile(`^(mount /usr/local/bin|unit usr-local-bin\.mount)$`))
	command(t, r.machine, "umount /usr/local/bin")

	killWhen(t, r, "test -e /etc/fairlead/server.yaml")
	inState(t, r.w)
	// What the killed run had started on the machine may still run, under its lock.
	eventually(t, time.Minute, "an apply after a killed one", func(ctx context.Context) error {
		out, err := r.w.Apply(ctx)
		if err != nil && !strings.Contains(out, "Host is being changed by another run") {
			t.Fatal(err)
		}
		return err
	})
	r.finished(t, before)
}

// finished wants the cluster to be there, and removes it.
func (r *refusal) finished(t *testing.T, before []string, allowed ...*regexp.Regexp) {
	t.Helper()
	inState(t, r.w, "data.fairlead_nodes.all", "fairlead_cluster.main")
	planEmpty(t, r.w)
	if got, err := r.w.Output(t.Context(), "nodes"); err != nil || got != r.machine.Name {
		t.Errorf("nodes are %q, %v", got, err)
	}
	if _, err := r.w.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	bare(t, r.machine, before, allowed...)
}

// fullWhen applies, and fills the disk of the program as soon as a command succeeds on the machine.
func fullWhen(t *testing.T, r *refusal, reached string) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { _, err := r.w.Apply(t.Context()); ended <- err }()
	const filler = "/usr/local/bin/filler"
	eventually(t, 5*time.Minute, "the machine is "+reached, func(ctx context.Context) error {
		_, err := r.machine.Run(ctx, reached+" && fallocate -l $(df -B 1 --output=avail /usr/local/bin | tail -n 1) "+filler)
		return err
	})
	var failed *Error
	if err := <-ended; !errors.As(err, &failed) {
		t.Fatalf("the apply with a full disk ended with %v", err)
	}
	says(t, failed.Output, "Error: Control plane not installed", "with fairlead_cluster.main", "/usr/local/bin", "No space left on device")
	inState(t, r.w, "fairlead_cluster.main")
	command(t, r.machine, "rm "+filler)
}

// interruptWhen applies, and interrupts Terraform as soon as a command succeeds on the machine.
func interruptWhen(t *testing.T, r *refusal, reached string) {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	ended := make(chan error, 1) // the apply's end, which may come first
	go func() { _, err := r.w.Apply(ctx); ended <- err }()
	start := time.Now()
	eventually(t, 5*time.Minute, "the machine is "+reached, func(ctx context.Context) error {
		_, err := r.machine.Run(ctx, reached)
		return err
	})
	interrupt()
	var failed *Error
	select {
	case err := <-ended:
		if !errors.As(err, &failed) {
			t.Fatalf("the interrupted apply ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the interrupted apply does not end")
	}
	says(t, failed.Output, "with fairlead_cluster.main", "context canceled")
	t.Logf("interrupted after %v", time.Since(start).Round(time.Millisecond))
	if _, err := os.Stat(filepath.Join(r.w.Dir, ".terraform.tfstate.lock.info")); err == nil {
		t.Error("the state is still locked")
	}
	inState(t, r.w, "fairlead_cluster.main")
}

// killWhen applies, and kills Terraform and the provider as soon as a command succeeds on the machine.
func killWhen(t *testing.T, r *refusal, reached string) {
	t.Helper()
	cmd := r.w.command(t.Context(), []string{"apply", "-auto-approve", "-no-color"})
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Minute, "the machine is "+reached, func(ctx context.Context) error {
		_, err := r.machine.Run(ctx, reached)
		return err
	})
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Fatalf("the killed apply ended with %v", err)
	}
}

// owned has the host taken by a second configuration with the same cluster, and under another address: neither may, and
// both are told whose it is. The first configuration takes it again when its state is lost.
func owned(t *testing.T, r *refusal) {
	command(t, r.machine, "ip address add "+r.second.String()+"/24 dev host0")
	says := func(w *Workspace, want ...string) {
		t.Helper()
		refused(t, w, append(want, "Error: Host is not ready", "with fairlead_cluster.main", `owner: it is the control plane of cluster "alone" and of a resource with the address `+
			r.machine.Address.String()+":22, since", "applied it in "+r.w.Dir, "Nothing was changed there")...)
		inState(t, w)
	}
	r.w = workspace(t, "host.tf", map[string]any{"ssh": sshVar(), "address": r.machine.Address.String(), "host_key": r.machine.HostKey})
	apply(t, r.w)
	says(workspace(t, "host.tf", r.w.vars), "import it here")
	state := filepath.Join(r.w.Dir, "terraform.tfstate")
	if err := os.Rename(state, state+".lost"); err != nil {
		t.Fatal(err)
	}
	r.set(t, map[string]any{"address": r.second.String()})
	says(r.w, "it has two addresses in this configuration")
	r.set(t, map[string]any{"address": r.machine.Address.String()})
	apply(t, r.w)
	planEmpty(t, r.w)
}

// lost takes the only control-plane host of a cluster away for good. Terraform says what can be done about it, and
// does it when it is told to: what the cluster held is gone with it.
func lost(t *testing.T, r *refusal) {
	if err := r.w.Write("inside.tf", `resource "fairlead_config_map" "inside" {
  cluster  = fairlead_cluster.main.id
  metadata = { name = "inside" }
}
`); err != nil {
		t.Fatal(err)
	}
	apply(t, r.w)
	r.machine.PowerCut()
	out, err := r.w.Destroy(t.Context())
	var failed *Error
	if !errors.As(err, &failed) {
		t.Fatalf("the destroy of a cluster that does not answer ended with %v\n%s", err, out)
	}
	says(t, out, `lost_clusters = ["alone"]`)
	r.set(t, map[string]any{"lost": []string{"alone"}})
	if _, err = r.w.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	inState(t, r.w)
}
