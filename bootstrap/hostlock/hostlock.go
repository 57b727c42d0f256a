// Package hostlock has one run at a time change a host. The lock is one of the kernel's, held on the host by a shell
// that lives as long as its session does and hears from this process, and by the shell of every command of the run: it
// ends with the run, with its process, and with its connection, as soon as no command of it runs any more, and nothing has
// to be removed by hand.
package hostlock

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

//go:embed hold.sh
var holdScript string

const (
	// askEvery is between two signs of life until the host has answered: a session that has ended shows when
	// something is sent to it.
	askEvery = 200 * time.Millisecond
	// beatEvery is between two afterwards; hold.sh waits for sixty times as long.
	beatEvery = 2 * time.Second
	// endTimeout covers the way of the shell's end, and that of its kill when it does not come.
	endTimeout = 5 * time.Second
)

// LockedError is a host that another run is changing. Nothing was changed there; trying again helps when the other
// run has ended.
type LockedError struct {
	Host string
	File string // on the host
	// Holder is who has it, as it wrote down itself: user and machine, process, what it does and since when. It is
	// empty in the moment before it is written.
	Holder string
	// Own says that it is this process, for something else.
	Own bool
}

func (e *LockedError) Error() string {
	holder := e.Holder
	if holder == "" {
		holder = "who, it has not said yet"
	}
	return fmt.Sprintf("cannot lock %s: another run is changing it: %s", e.Host, holder)
}

// LostError is a lock that ended before its time, such as with its connection; the work under it was cut off.
type LostError struct {
	Host string
	Err  error
}

func (e *LostError) Error() string {
	return fmt.Sprintf("cannot keep the lock of %s: %v", e.Host, e.Err)
}
func (e *LostError) Unwrap() error { return e.Err }

// heldKey is the key of a held lock in the context of what runs under it.
type heldKey struct {
	conn ssh.Conn
	file string
}

// Run runs do while this process alone holds the lock file of the host: the operation names what it does, for others
// who find it locked (*LockedError). Within do the same lock is held already. do's context ends when the lock is
// lost (*LostError). Root commands on c with that context have a part in the lock for as long as they run, which may be
// longer than this process or the connection: a package manager goes on when who started it is gone. The daemons that a
// command leaves behind have no part in it.
func Run(ctx context.Context, c ssh.Conn, file, operation string, do func(context.Context) error) error {
	if ctx.Value(heldKey{c, file}) != nil {
		return do(ctx)
	}
	h, err := hold(ctx, c, file, operation)
	if err != nil {
		return err
	}
	held, cancel := context.WithCancelCause(ssh.Guarded(context.WithValue(ctx, heldKey{c, file}, h), c, guard(file, operation)))
	h.wg.Go(func() {
		<-h.ended
		cancel(&LostError{c.Host(), h.lostBy()})
	})
	defer h.release()
	return do(held)
}

// holder is the shell on the host.
type holder struct {
	stdin *io.PipeWriter
	kill  context.CancelCauseFunc

	held  chan struct{} // closed when the host says so
	done  chan struct{} // closed by release
	ended chan struct{} // closed when the shell has ended; err is set before
	err   error
	wg    sync.WaitGroup

	mu  sync.Mutex
	out bytes.Buffer
}

// identity is this process, as others are told of it.
func identity() string {
	name, machine := "somebody", "somewhere"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		machine = h
	}
	return fmt.Sprintf("%s@%s, process %d", name, machine, os.Getpid())
}

// holderLine is who does the operation, as the lock file's line begins.
func holderLine(operation string) string { return printable(identity() + ", " + operation) }

// guard is how a command takes part in the lock. One that comes too late, when the lock is not its run's any more, is
// not run.
func guard(file, operation string) string {
	return "exec " + ssh.GuardFD + "<" + ssh.Quote(file) + " && flock -n -s " + ssh.GuardFD + " && IFS= read -r holder <&" + ssh.GuardFD + ` || holder=
case $holder in ` + ssh.Quote(holderLine(operation)+"; since ") + `*) ;; *) echo "the run does not have the lock of this host any more" >&2; exit 1 ;; esac`
}

func hold(ctx context.Context, c ssh.Conn, file, operation string) (*holder, error) {
	r, w := io.Pipe()
	h := &holder{stdin: w, held: make(chan struct{}), done: make(chan struct{}), ended: make(chan struct{})}
	run, kill := context.WithCancelCause(context.WithoutCancel(ctx))
	h.kill = kill
	stop := context.AfterFunc(ctx, func() { kill(context.Cause(ctx)) })
	defer stop()
	h.wg.Go(func() {
		defer close(h.ended)
		_, h.err = c.Run(run, ssh.Command{
			Line:   "f=" + ssh.Quote(file) + "\n" + holdScript,
			Stdin:  io.MultiReader(strings.NewReader(holderLine(operation)+"\n"), r),
			Stdout: h, Sudo: true,
		})
		_ = r.Close() // what is sent from now on fails
	})
	h.wg.Go(h.beat)
	select {
	case <-h.held:
		return h, nil
	case <-h.ended:
	}
	h.release()
	return nil, h.refusal(c.Host(), file)
}

// refusal is why the lock is not held. The shell has ended.
func (h *holder) refusal(host, file string) error {
	if h.err != nil {
		return fmt.Errorf("cannot lock %s: %w", host, h.err)
	}
	first, rest, _ := strings.Cut(h.out.String(), "\n")
	if first != "taken" {
		return fmt.Errorf("cannot lock %s: it answers %q", host, first)
	}
	who := printable(strings.TrimSpace(rest))
	return &LockedError{Host: host, File: file, Holder: who, Own: strings.HasPrefix(who, printable(identity())+",")}
}

// printable keeps a text one line, whoever wrote it.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}

// Write gets what the shell prints.
func (h *holder) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	had := bytes.Contains(h.out.Bytes(), []byte("\n"))
	h.out.Write(p)
	if first, _, whole := bytes.Cut(h.out.Bytes(), []byte("\n")); whole && !had {
		if string(first) == "held" {
			close(h.held)
		} else {
			_ = h.stdin.Close() // it reads nothing any more
		}
	}
	return len(p), nil
}

// beat sends signs of life until the shell or the work has ended.
func (h *holder) beat() {
	pause := askEvery
	for {
		select {
		case <-h.held:
			pause = beatEvery
		default:
		}
		select {
		case <-h.ended:
			return
		case <-h.done:
			return
		case <-time.After(pause):
		}
		_, _ = h.stdin.Write([]byte{'.'}) // to one that has ended it fails, which h.ended says
	}
}

func (h *holder) lostBy() error {
	if h.err != nil {
		return h.err
	}
	return errors.New("its process on the host has ended")
}

// release ends the shell, which removes the file, and all that belongs to it here.
func (h *holder) release() {
	close(h.done)
	_ = h.stdin.Close()
	select {
	case <-h.ended:
	case <-time.After(endTimeout):
		h.kill(errors.New("the lock's process did not end"))
	}
	h.wg.Wait()
	h.kill(nil)
}
