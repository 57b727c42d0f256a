package hostlock_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/hostlock"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh/sshtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is this machine as a host, over SSH and locally, with a lock file of its own.
type rig struct {
	config ssh.Config
	file   string
}

func newRig(t *testing.T) *rig {
	key := sshtest.NewKey(t, "ed25519", "")
	s := sshtest.Start(t, sshtest.Options{Authorized: []*sshtest.Key{key}})
	return &rig{
		config: ssh.Config{Address: s.Address, Port: s.Port, HostKey: s.HostKeys[0].Authorized, PrivateKey: key.PEM},
		file:   filepath.Join(t.TempDir(), "it's the lock"),
	}
}

func (r *rig) dial(t *testing.T) ssh.Conn {
	t.Helper()
	c, err := ssh.Dial(t.Context(), r.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// holder is the process that has taken the lock; 0 when none has.
func (r *rig) holder(t *testing.T) int {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/fd/9")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && to == r.file {
			pid, _ := strconv.Atoi(strings.Split(l, "/")[2])
			return pid
		}
	}
	return 0
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so: %s", what)
		}
	}
}

var echo = ssh.Command{Line: "echo done", Sudo: true}

func nothing(context.Context) error { return nil }

// free fails the test when the lock is taken, or its file is left.
func (r *rig) free(t *testing.T, c ssh.Conn) {
	t.Helper()
	if err := hostlock.Run(t.Context(), c, r.file, "check", nothing); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(r.file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file of the lock is left: %v", err)
	}
}

func TestOneAtATime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	remote, other, local := r.dial(t), r.dial(t), ssh.Local(false, nil)
	defer local.Close()
	for name, c := range map[string]ssh.Conn{"over SSH": remote, "local": local} {
		t.Run(name, func(t *testing.T) {
			failed := errors.New("the work failed")
			var late context.Context
			err := hostlock.Run(t.Context(), c, r.file, "install\nit", func(ctx context.Context) error {
				if err := hostlock.Run(ctx, c, r.file, "a part of it", nothing); err != nil {
					t.Errorf("a part of the work: %v", err)
				}
				if out, err := c.Run(ctx, echo); err != nil || string(out.Stdout) != "done\n" {
					t.Errorf("a command under the lock: %q, %v", out.Stdout, err)
				}
				late = context.WithoutCancel(ctx)
				var locked *hostlock.LockedError
				err := hostlock.Run(t.Context(), other, r.file, "remove", func(context.Context) error {
					t.Error("two have the lock")
					return nil
				})
				if !errors.As(err, &locked) || !locked.Own || locked.Host != "127.0.0.1" || !strings.Contains(locked.Holder, ", installit; since 20") {
					t.Errorf("got %v, want who has the lock", err)
				}
				return failed
			})
			if err != failed {
				t.Errorf("got %v, want what the work ended with", err)
			}
			r.free(t, other)
			// A command that the run left on its way is not done beside another run, nor without any.
			if out, err := c.Run(late, echo); err == nil {
				t.Errorf("a command was run without the lock: %q", out.Stdout)
			}
			err = hostlock.Run(t.Context(), other, r.file, "remove", func(context.Context) error {
				_, err := c.Run(late, echo)
				return err
			})
			if err == nil || !strings.Contains(err.Error(), "does not have the lock") {
				t.Errorf("a command under another's lock: %v", err)
			}
		})
	}
	// A file that an older run left is no lock, and a removed one no way around it.
	if err := os.WriteFile(r.file, []byte("somebody, long ago\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.free(t, remote)
}

// TestEndsWithTheConnection has the connection of a holder go away, and its process on the host, and sees the work cut
// off and the lock free.
func TestEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, r *rig, c ssh.Conn){
		"connection": func(_ *testing.T, _ *rig, c ssh.Conn) { go c.Close() },
		"process": func(t *testing.T, r *rig, _ ssh.Conn) {
			pid := r.holder(t)
			if pid == 0 {
				t.Fatal("nobody has the lock")
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			c := r.dial(t)
			err := hostlock.Run(t.Context(), c, r.file, "install", func(ctx context.Context) error {
				end(t, r, c)
				<-ctx.Done()
				return context.Cause(ctx)
			})
			var lost *hostlock.LostError
			if !errors.As(err, &lost) {
				t.Errorf("got %v, want a lost lock", err)
			}
			r.free(t, r.dial(t))
		})
	}
}

// TestCommandThatOutlivesItsRun has the connection of a run go away while a command of it runs: the lock is the run's until
// the command has ended, and a daemon that the command has started does not have it.
func TestCommandThatOutlivesItsRun(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, other := r.dial(t), r.dial(t)
	gate, daemon := filepath.Join(t.TempDir(), "gate"), filepath.Join(t.TempDir(), "daemon")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	var under context.Context
	err := hostlock.Run(t.Context(), c, r.file, "install", func(ctx context.Context) error {
		under = context.WithoutCancel(ctx)
		started, w := io.Pipe()
		go func() {
			line := "sleep 1000 </dev/null >/dev/null 2>&1 &\necho $! >" + ssh.Quote(daemon) + "; echo started\ncat " + ssh.Quote(gate) + " >/dev/null\ntrue"
			_, _ = c.Run(under, ssh.Command{Line: line, Stdout: w, Sudo: true})
		}()
		if _, err := io.ReadFull(started, make([]byte, len("started\n"))); err != nil {
			return err
		}
		go c.Close()
		<-ctx.Done()
		return context.Cause(ctx)
	})
	var lost *hostlock.LostError
	if !errors.As(err, &lost) {
		t.Fatalf("got %v, want a lost lock", err)
	}
	t.Cleanup(func() {
		pid, err := os.ReadFile(daemon)
		if err != nil {
			t.Error(err)
		} else if n, err := strconv.Atoi(strings.TrimSpace(string(pid))); err != nil || syscall.Kill(n, syscall.SIGKILL) != nil {
			t.Errorf("the daemon was not there: %q, %v", pid, err)
		}
	})
	eventually(t, "the lock's own process has ended", func() bool { return r.holder(t) == 0 })
	var locked *hostlock.LockedError
	if err := hostlock.Run(t.Context(), other, r.file, "remove", nothing); !errors.As(err, &locked) || !strings.Contains(locked.Holder, ", install; since 20") {
		t.Errorf("got %v, want who has the lock", err)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lock is free", func() bool { return hostlock.Run(t.Context(), other, r.file, "remove", nothing) == nil })
	r.free(t, other)
}

func TestUnusableHosts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.dial(t)
	closed := r.dial(t)
	_ = closed.Close()
	guest := r.config
	guest.User = sshtest.NewUser(t, "flt-lock").Name
	noRoot, err := ssh.Dial(t.Context(), guest)
	if err != nil {
		t.Fatal(err)
	}
	defer noRoot.Close()
	var lost *ssh.ConnError
	var sudo *ssh.SudoError
	for name, test := range map[string]struct {
		conn ssh.Conn
		file string
		as   any
		says string
	}{
		"no folder":     {c, "/nonexistent/lock", nil, "nonexistent"},
		"no connection": {closed, r.file, &lost, "connection is closed"},
		"no root":       {noRoot, r.file, &sudo, "is not root"},
	} {
		t.Run(name, func(t *testing.T) {
			err := hostlock.Run(t.Context(), test.conn, test.file, "install", nothing)
			if err == nil || test.as != nil && !errors.As(err, test.as) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %q", err, test.says)
			}
		})
	}
	// A run that is interrupted while it waits for the lock ends at once.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	enough := errors.New("enough")
	err = hostlock.Run(ctx, c, r.file, "install", func(context.Context) error {
		waiting, stop := context.WithCancelCause(ctx)
		stop(enough)
		return hostlock.Run(waiting, c, r.file+"2", "remove", nothing)
	})
	if !errors.Is(err, enough) {
		t.Errorf("got %v, want the cause of the end", err)
	}
}

// TestFlockOfOthers is a lock that another program holds, such as `fairlead cleanup`.
func TestFlockOfOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f, err := os.Create(r.file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	var locked *hostlock.LockedError
	err = hostlock.Run(t.Context(), r.dial(t), r.file, "install", nothing)
	if !errors.As(err, &locked) || locked.Own || locked.Holder != "" || !strings.Contains(err.Error(), "has not said yet") {
		t.Errorf("got %v", err)
	}
}
