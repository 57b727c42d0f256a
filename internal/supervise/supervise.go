// Package supervise keeps one command running where no init does: it restarts it when it ends, with a pause that
// grows, and writes its output to a log file of bounded size. A restart of the host is out of its reach. Where an init
// restarts commands and leaves their logs to grow, it runs the command once.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Defaults of Config.
const (
	DefaultMinPause    = time.Second
	DefaultMaxPause    = 30 * time.Second
	DefaultStopTimeout = 30 * time.Second
	DefaultLogBytes    = 10 << 20
	DefaultLogFiles    = 3
)

// ErrRunning is a supervisor that holds the same PID file.
var ErrRunning = errors.New("it is running already")

// Config says what to keep running.
type Config struct {
	Name    string   // for messages
	Command []string // program and arguments
	// Once says that Run ends with the command, for an init that starts both anew.
	Once bool
	// PIDFile gets the supervisor's own process id and is locked for as long as it runs; it is made with its
	// folder, and removed at the end. It may be empty with Once, since the init knows what it runs.
	PIDFile string
	// LogFile gets what the command prints, and a line for each start and end. It is renamed to LogFile.1 and so
	// on when it passes LogBytes; LogFiles of them are kept.
	LogFile  string
	LogBytes int64 // 0: DefaultLogBytes
	LogFiles int   // 0: DefaultLogFiles

	// MinPause is waited before the first restart and doubles up to MaxPause; a command that ran for MaxPause
	// begins anew.
	MinPause, MaxPause time.Duration
	// StopTimeout is between SIGTERM and SIGKILL when the context ends.
	StopTimeout time.Duration
}

func (c *Config) setDefaults() error {
	if len(c.Command) == 0 {
		return errors.New("no command is given")
	}
	if c.PIDFile == "" && !c.Once {
		return errors.New("a PID file is needed")
	}
	if c.LogFile == "" {
		return errors.New("a log file is needed")
	}
	if c.Name == "" {
		c.Name = filepath.Base(c.Command[0])
	}
	setDefault(&c.MinPause, DefaultMinPause)
	setDefault(&c.MaxPause, DefaultMaxPause)
	setDefault(&c.StopTimeout, DefaultStopTimeout)
	setDefault(&c.LogBytes, DefaultLogBytes)
	setDefault(&c.LogFiles, DefaultLogFiles)
	return nil
}

func setDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Run runs the command, again and again or Once, until ctx ends, then sends it SIGTERM, waits for it, and returns nil. Only
// the command itself gets the signal: what it started and left, such as containers, stays. An error is one of the
// supervisor: files that it cannot write, or ErrRunning; a command that fails is no error.
func Run(ctx context.Context, c Config) (err error) {
	if err := c.setDefaults(); err != nil {
		return fmt.Errorf("cannot supervise: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot supervise %s: %w", c.Name, err)
		}
	}()
	if c.PIDFile != "" {
		pid, err := lockPIDFile(c.PIDFile)
		if err != nil {
			return err
		}
		defer pid.release()
	}
	out, err := openLog(c.LogFile, c.LogBytes, c.LogFiles)
	if err != nil {
		return err
	}
	defer out.Close()
	s := &supervisor{Config: c, log: slog.New(slog.NewTextHandler(out, nil)).With("supervised", c.Name)}
	// One pipe for all runs: a child that the command leaves behind may go on writing.
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	s.output = w
	copied := make(chan struct{}) // closed by the copier
	go func() { defer close(copied); _, _ = io.Copy(out, r) }()
	// The signal at the supervisor's death comes at the death of the thread that started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s.loop(ctx)
	_ = w.Close()
	_ = r.SetReadDeadline(time.Now().Add(time.Second)) // what the command left may hold the other end for ever
	<-copied
	return r.Close()
}

type supervisor struct {
	Config
	log    *slog.Logger
	output *os.File
}

func (s *supervisor) loop(ctx context.Context) {
	pause := s.MinPause
	for ctx.Err() == nil {
		began := time.Now()
		s.once(ctx)
		if s.Once || ctx.Err() != nil {
			return
		}
		if time.Since(began) >= s.MaxPause {
			pause = s.MinPause
		}
		s.log.Info("restarting", "pause", pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, s.MaxPause)
	}
}

// once runs the command to its end, or to that of ctx.
func (s *supervisor) once(ctx context.Context) {
	cmd := exec.Command(s.Command[0], s.Command[1:]...)
	cmd.Stdout, cmd.Stderr = s.output, s.output
	cmd.SysProcAttr = processGroup()
	if err := cmd.Start(); err != nil {
		s.log.Error("cannot start", "error", err)
		return
	}
	s.log.Info("started", "pid", cmd.Process.Pid)
	ended := make(chan error, 1) // the waiter never waits for us
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		s.log.Warn("ended", "result", describe(err))
		return
	case <-ctx.Done():
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	force := time.NewTimer(s.StopTimeout)
	defer force.Stop()
	select {
	case err := <-ended:
		s.log.Info("stopped", "result", describe(err))
	case <-force.C:
		_ = cmd.Process.Kill()
		s.log.Warn("killed, since it did not stop", "after", s.StopTimeout, "result", describe(<-ended))
	}
}

func describe(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// pidFile is a locked PID file.
type pidFile struct{ f *os.File }

func lockPIDFile(path string) (*pidFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		held, _ := io.ReadAll(io.LimitReader(f, 32))
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w as process %s", ErrRunning, strings.TrimSpace(string(held)))
		}
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	if !sameFile(f, path) { // the one before removed it between our opening and its unlocking
		_ = f.Close()
		return lockPIDFile(path)
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &pidFile{f}, nil
}

func sameFile(f *os.File, path string) bool {
	ours, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(ours, there)
}

// release removes the file before the lock goes, so that no other supervisor's file is removed.
func (p *pidFile) release() {
	_ = os.Remove(p.f.Name())
	_ = p.f.Close()
}
