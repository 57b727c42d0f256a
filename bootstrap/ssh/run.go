package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// environment is what every command starts with: messages that can be compared, and the folders that a
// non-login shell leaves out of its path.
const environment = `export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"`

// guardKey is the key of a guard in a context.
type guardKey struct{ conn Conn }

// GuardFD is a file descriptor that a guard may open: the shell of a command keeps it as long as the command runs, and
// no program that the command starts inherits it.
const GuardFD = "8"

// Guarded is a context in which every root command on c begins with guard: shell text that nobody is shown, and that may
// end the command before anything is done.
func Guarded(ctx context.Context, c Conn, guard string) context.Context {
	return context.WithValue(ctx, guardKey{c}, guard)
}

// script is what the shell of a command on a connection gets.
func script(ctx context.Context, on Conn, c Command) string {
	guard, guarded := ctx.Value(guardKey{on}).(string)
	if !guarded || !c.Sudo {
		return environment + "\n" + c.Line
	}
	return environment + "\n" + guard + "\n{\n" + c.Line + "\n} " + GuardFD + "<&-"
}

// Run implements Conn. The remote shell first writes its process id to stderr, behind a marker that is taken
// out again: signals over SSH reach neither root's sessions nor commands behind sudo, a second session does.
func (r *remote) Run(ctx context.Context, c Command) (Result, error) {
	sudo, err := needSudo(c, r.isRoot, r.cfg.Sudo, r.Host(), r.cfg.User)
	if err != nil {
		return Result{}, err
	}
	s, done, err := r.session(ctx)
	if err != nil {
		return Result{}, wrapRun(c, r.Host(), err)
	}
	defer done()
	logCommand(ctx, r.log, c)
	var out, errs bytes.Buffer
	pid := &pidWriter{marker: r.marker, w: &errs, known: make(chan int, 1)}
	s.Stdin, s.Stdout, s.Stderr = c.Stdin, stdoutOf(c, &out), pid
	line := "exec /bin/sh -c " + Quote("echo '"+r.marker+"'$$ >&2\n"+script(ctx, r, c))
	if sudo {
		line = strings.Replace(line, "exec ", "exec sudo -n -- ", 1)
	}
	if err := s.Start(line); err != nil {
		return Result{}, wrapRun(c, r.Host(), r.connError(err))
	}
	ended := make(chan error, 1) // so that the waiter never waits for us
	r.wg.Go(func() { ended <- s.Wait() })
	select {
	case err = <-ended:
	case <-ctx.Done():
		r.kill(ctx, s, pid.known, sudo, ended)
		return Result{}, wrapRun(c, r.Host(), context.Cause(ctx))
	}
	pid.flush()
	return Result{out.Bytes(), errs.Bytes()}, r.explainExit(c, sudo && !pid.seen, errs.Bytes(), err)
}

// explainExit turns the end of a session into the typed error.
func (r *remote) explainExit(c Command, sudoFailed bool, stderr []byte, err error) error {
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && sudoFailed:
		return &SudoError{r.Host(), r.cfg.User, sudoReason(string(stderr))}
	case errors.As(err, &exit):
		return &ExitError{Host: r.Host(), Line: shown(c), Code: exit.ExitStatus(), Stderr: stderr}
	default:
		return wrapRun(c, r.Host(), r.connError(err))
	}
}

// kill ends the command's whole process group, and returns when it has ended or cannot be reached.
func (r *remote) kill(ctx context.Context, s *ssh.Session, known <-chan int, sudo bool, ended <-chan error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
	defer cancel()
	_ = s.Signal(ssh.SIGTERM) // enough where sshd passes it on and the shell has not started yet
	select {
	case pid := <-known:
		if k, err := r.openSession(ctx); err == nil {
			stop := context.AfterFunc(ctx, func() { _ = k.Close() })
			line := "exec /bin/sh -c " + Quote(killScript(pid))
			if sudo {
				line = strings.Replace(line, "exec ", "exec sudo -n -- ", 1)
			}
			_ = k.Run(line)
			stop()
			_ = k.Close()
		}
	case <-ended:
		return
	case <-ctx.Done():
	}
	_ = s.Close()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// killScript ends the process group of pid: two seconds of grace, then by force.
func killScript(pid int) string {
	return fmt.Sprintf(`s=$(cat /proc/%d/stat 2>/dev/null) || exit 0
set -- ${s##*) }
kill -s TERM -- "-$3" 2>/dev/null || exit 0
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  kill -s 0 -- "-$3" 2>/dev/null || exit 0
  sleep 0.1
done
kill -s KILL -- "-$3"`, pid)
}

// needSudo says whether the command has to go through sudo.
func needSudo(c Command, isRoot, allowed bool, host, user string) (bool, error) {
	switch {
	case !c.Sudo || isRoot:
		return false, nil
	case !allowed:
		return false, &SudoError{host, user, "the user is not root and sudo is off: set sudo = true, or log in as root"}
	default:
		return true, nil
	}
}

func stdoutOf(c Command, own io.Writer) io.Writer {
	if c.Stdout != nil {
		return c.Stdout
	}
	return own
}

// shown is the line as logs and errors may have it.
func shown(c Command) string {
	if c.Secret {
		return "(secret command)"
	}
	return c.Line
}

func logCommand(ctx context.Context, log *slog.Logger, c Command) {
	log.DebugContext(ctx, "running command", "line", shown(c), "sudo", c.Sudo)
}

// wrapRun names the command on an error that is not its exit. A ConnError stays one.
func wrapRun(c Command, host string, err error) error {
	var ce *ConnError
	if errors.As(err, &ce) {
		return err
	}
	line := shown(c)
	if first, _, more := strings.Cut(line, "\n"); more {
		line = first + " …"
	}
	return fmt.Errorf("cannot finish %q on %s: %w", line, host, err)
}

// pidWriter passes stderr on without the marker line, whose number it sends to known.
type pidWriter struct {
	marker string
	w      *bytes.Buffer
	known  chan int // capacity 1: the number comes once and may not be asked for

	mu   sync.Mutex
	held []byte // an unfinished line before the marker
	seen bool
}

func (p *pidWriter) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen {
		return p.w.Write(b)
	}
	p.held = append(p.held, b...)
	for !p.seen {
		line, rest, whole := bytes.Cut(p.held, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		p.held = rest
		if number, ok := strings.CutPrefix(string(line), p.marker); ok {
			if pid, err := strconv.Atoi(number); err == nil {
				p.seen = true
				p.known <- pid
				continue
			}
		}
		p.w.Write(line)
		p.w.WriteByte('\n')
	}
	p.w.Write(p.held)
	p.held = nil
	return len(b), nil
}

// flush passes on an unfinished last line. Nobody may write any more.
func (p *pidWriter) flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.w.Write(p.held)
	p.held = nil
}
