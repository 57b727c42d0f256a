package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/host"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// settle is how long a new agent has to stay up: one that cannot read its state ends within that.
const settle = 3 * time.Second

// UpgradeError is an upgrade that failed. RolledBack says that the host runs what it did before.
type UpgradeError struct {
	Host       string
	From, To   string // versions
	RolledBack bool
	Err        error // of the upgrade
	Rollback   error // of the way back, when that failed too
}

func (e *UpgradeError) Error() string {
	msg := fmt.Sprintf("cannot upgrade %s from %s to %s: %v", e.Host, e.From, e.To, e.Err)
	if e.RolledBack {
		return msg + "\nThe host runs " + e.From + " again."
	}
	return fmt.Sprintf("%s\nPutting %s back failed too: %v", msg, e.From, e.Rollback)
}

func (e *UpgradeError) Unwrap() []error { return []error{e.Err, e.Rollback} }

// Upgrade replaces the binary and restarts the service; running pods are untouched. It returns when the
// service is healthy with the new version, or puts the old binary back (*UpgradeError). One that was cut off is
// run again.
func Upgrade(ctx context.Context, c ssh.Conn, bin Binary, p Progress) (*Installed, error) {
	return lockedInstall(ctx, c, "upgrade", func(ctx context.Context) (*Installed, error) { return upgrade(ctx, c, bin, p) })
}

func upgrade(ctx context.Context, c ssh.Conn, bin Binary, p Progress) (*Installed, error) {
	t := newTarget(c, p)
	look := phase{name: "look at the host", timeout: checkTimeout, do: t.lookAsRoot}
	if err := t.run(ctx, look); err != nil {
		return t.installed, err
	}
	was := t.installed
	if !was.Present {
		return was, fmt.Errorf("cannot upgrade %s: nothing is installed there", c.Host())
	}
	w := &work{target: t, role: was.Role, bin: bin}
	if err := w.readFiles(ctx); err != nil {
		return was, err
	}
	err := t.run(ctx, w.keepPrevious(), w.binary(), w.service(), w.serviceHealth())
	if err != nil {
		return t.finish(ctx, w.rollBack(ctx, was, err))
	}
	err = t.run(ctx, phase{name: "remove the previous binary", timeout: checkTimeout, do: func(ctx context.Context) error {
		_, err := c.Run(ctx, ssh.Command{Line: "rm -f " + previousBinary, Sudo: true})
		return err
	}})
	return t.finish(ctx, err)
}

// readFiles takes the configuration from the host, since the revision is made of it.
func (w *work) readFiles(ctx context.Context) error {
	paths := []file{{clusterFile, "", 0o644}, {config.ServerFile, "", 0o600}}
	if w.role == RoleAgent {
		paths = []file{{caFile, "", 0o644}, {clusterFile, "", 0o644}, {config.AgentFile, "", 0o600}}
	}
	for _, f := range paths {
		data, err := w.conn.ReadFile(ctx, f.path)
		if err != nil {
			return err
		}
		f.text = string(data)
		w.files = append(w.files, f)
	}
	return nil
}

// keepPrevious keeps the binary as a second name of the same file. One that is kept already is of an upgrade that
// was cut off: it is what ran last.
func (w *work) keepPrevious() phase {
	return phase{
		name: "keep the previous binary", timeout: checkTimeout,
		done: func(context.Context) (bool, error) { return w.installed.SHA256 == w.bin.SHA256, nil },
		do: func(ctx context.Context) error {
			line := fmt.Sprintf("[ -e %[2]s ] || ln %[1]s %[2]s || cp -p %[1]s %[2]s", config.BinaryPath, previousBinary)
			_, err := w.conn.Run(ctx, ssh.Command{Line: line, Sudo: true})
			return err
		},
	}
}

// serviceHealth waits for what the host alone can tell: a server is ready; an agent serves its port and stays.
func (w *work) serviceHealth() phase {
	if w.role == RoleServer {
		return w.serverHealth(w.installed.APIAddress)
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(config.DefaultAgentPort))
	var since time.Time
	var pid int
	return phase{name: "wait for the agent", timeout: serverTimeout, do: func(ctx context.Context) error {
		return w.awaitHealth(ctx, agentService, func(ctx context.Context) error {
			status, err := w.services.Status(ctx, agentService)
			if err != nil {
				return err
			}
			if !status.Active {
				since = time.Time{}
				return errors.New("it does not run")
			}
			conn, err := w.conn.Dial(ctx, "tcp", address)
			if err != nil {
				return err
			}
			_ = conn.Close()
			if since.IsZero() || pid != status.PID {
				since, pid = time.Now(), status.PID
			}
			if !w.restarted || time.Since(since) >= settle {
				return nil
			}
			return fmt.Errorf("it runs for %v only", time.Since(since).Round(time.Millisecond))
		})
	}}
}

// rollBack puts the previous binary back, whatever became of ctx, and returns the upgrade's error with what came
// of that.
func (w *work) rollBack(ctx context.Context, was *Installed, cause error) error {
	failed := &UpgradeError{Host: w.conn.Host(), From: orUnknown(was.Version), To: orUnknown(w.bin.Version), Err: cause}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), serverTimeout+host.StopTimeout+host.StartTimeout)
	defer cancel()
	back := &work{target: w.target, role: w.role, files: w.files, restart: true}
	back.bin.SHA256 = was.SHA256
	failed.Rollback = w.run(ctx,
		phase{name: "put the previous binary back", timeout: checkTimeout, do: func(ctx context.Context) error {
			line := fmt.Sprintf("[ ! -e %[2]s ] || mv -f %[2]s %[1]s; sha256sum <%[1]s", config.BinaryPath, previousBinary)
			out, err := w.conn.Run(ctx, ssh.Command{Line: line, Sudo: true})
			if len(out.Stdout) >= 64 {
				back.bin.SHA256 = string(out.Stdout[:64])
			}
			return err
		}},
		back.service(), back.serviceHealth())
	failed.RolledBack = failed.Rollback == nil
	return failed
}

func orUnknown(version string) string {
	if version == "" {
		return "an unknown version"
	}
	return version
}
