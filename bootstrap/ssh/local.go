package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// killGrace is between SIGTERM and SIGKILL for a local command.
const killGrace = 2 * time.Second

// local is a Conn to this machine.
type local struct {
	sudo   bool
	log    *slog.Logger
	ctx    context.Context // ended by Close: it kills what runs
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	mu     sync.Mutex // orders wg.Add before wg.Wait
}

// Local is a connection to this machine without SSH, with the same behaviour otherwise. sudo is as in Config; a
// nil logger is slog.Default().
func Local(sudo bool, log *slog.Logger) Conn {
	if log == nil {
		log = slog.Default()
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	return &local{sudo: sudo, log: log.With("host", LocalAddress), ctx: ctx, cancel: cancel}
}

func (l *local) Host() string    { return LocalAddress }
func (l *local) HostKey() string { return "" }

func (l *local) Close() error {
	l.mu.Lock()
	l.cancel(ErrClosed)
	l.mu.Unlock()
	l.wg.Wait()
	return nil
}

// begin counts a call, until the returned function is called; it fails when the connection is closed.
func (l *local) begin() (func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		return nil, &ConnError{LocalAddress, ErrClosed}
	}
	l.wg.Add(1)
	return l.wg.Done, nil
}

func (l *local) Run(ctx context.Context, c Command) (Result, error) {
	sudo, err := needSudo(c, os.Geteuid() == 0, l.sudo, LocalAddress, "uid "+strconv.Itoa(os.Geteuid()))
	if err != nil {
		return Result{}, err
	}
	done, err := l.begin()
	if err != nil {
		return Result{}, err
	}
	defer done()
	logCommand(ctx, l.log, c)
	runCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(l.ctx, func() { cancel(ErrClosed) })()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(runCtx, "/bin/sh", "-c", script(ctx, l, c))
	if sudo {
		cmd = exec.CommandContext(runCtx, "sudo", append([]string{"-n", "--"}, cmd.Args...)...)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, stdoutOf(c, &out), &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid, sudo) }
	cmd.WaitDelay = killGrace
	err = cmd.Run()
	return Result{out.Bytes(), errs.Bytes()}, l.explainExit(runCtx, c, cmd, sudo, errs.Bytes(), err)
}

// explainExit turns what exec says into the typed errors.
func (l *local) explainExit(ctx context.Context, c Command, cmd *exec.Cmd, sudo bool, stderr []byte, err error) error {
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil && err != nil:
		if cmd.Process != nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // children that outlived the grace
		}
		cause := context.Cause(ctx)
		if errors.Is(cause, ErrClosed) {
			return &ConnError{LocalAddress, ErrClosed}
		}
		return wrapRun(c, LocalAddress, cause)
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return nil
	case sudo && (errors.Is(err, exec.ErrNotFound) || bytes.HasPrefix(stderr, []byte("sudo: "))):
		reason := string(stderr)
		if len(reason) == 0 {
			reason = err.Error()
		}
		return &SudoError{LocalAddress, "uid " + strconv.Itoa(os.Geteuid()), sudoReason(reason)}
	case errors.As(err, &exit):
		code := exit.ExitCode()
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			code = 128 + int(ws.Signal())
		}
		return &ExitError{Host: LocalAddress, Line: shown(c), Code: code, Stderr: stderr}
	default:
		return wrapRun(c, LocalAddress, err)
	}
}

// killGroup asks a command and its children to end. What sudo started is root's and takes sudo to end.
func killGroup(pid int, sudo bool) error {
	if sudo {
		return exec.Command("sudo", "-n", "--", "/bin/sh", "-c", killScript(pid)).Run()
	}
	return syscall.Kill(-pid, syscall.SIGTERM)
}

func (l *local) Upload(ctx context.Context, r io.Reader, path string, mode fs.FileMode) error {
	return upload(ctx, l, catPut(l), r, path, mode)
}

func (l *local) ReadFile(ctx context.Context, path string) ([]byte, error) {
	return readFile(ctx, l, path)
}

func (l *local) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	done, err := l.begin()
	if err != nil {
		return nil, err
	}
	defer done()
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("cannot connect from %s to %s: %w", LocalAddress, address, err)
	}
	return conn, nil
}
