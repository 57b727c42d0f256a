package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// streams carries a container's output from its FIFOs to its log and to whoever is attached.
//
// The shim holds both ends of every FIFO, so a container neither ends nor fails when this process does: it fills the
// FIFO and waits. The next process opens the FIFOs again and goes on.
type streams struct {
	dir    string
	tty    bool
	log    *logFile
	logger *slog.Logger
	pipes  []*pipe
	stdin  *os.File      // write end, or nil
	done   chan struct{} // closed by the last copier, after the log is closed

	mu   sync.Mutex
	subs map[*subscriber]struct{}
	over bool // no more output will come
}

// pipe is the read end of a FIFO, and a write end that keeps it from reporting its end before the container's.
type pipe struct {
	name   string // of the stream in the log
	read   *os.File
	keeper *os.File
}

// subscriber gets a copy of the output. One that does not keep up is cut off, since output must flow on.
type subscriber struct {
	ch chan chunk // closed by streams when there is no more, or the subscriber was too slow
}

type chunk struct {
	stream string
	data   []byte
}

// subscriberBacklog is how many pieces of output (32 KiB at most each) an attached client may lie behind.
const subscriberBacklog = 64

func fifoPaths(dir string, tty, stdin bool) (in, out, err string) {
	if stdin {
		in = filepath.Join(dir, "in")
	}
	out = filepath.Join(dir, "out")
	if !tty {
		err = filepath.Join(dir, "err")
	}
	return in, out, err
}

// openStreams opens the FIFOs in dir, making those that are not there, and starts copying to the log.
func openStreams(dir, logPath string, tty, stdin bool, opt *Options) (_ *streams, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make container streams: %w", err)
	}
	s := &streams{
		dir: dir, tty: tty, logger: opt.Logger,
		done: make(chan struct{}), subs: map[*subscriber]struct{}{},
	}
	defer func() {
		if err != nil {
			s.closeFiles()
		}
	}()
	in, out, errPath := fifoPaths(dir, tty, stdin)
	if in != "" {
		if s.stdin, err = openFIFO(in, os.O_RDWR); err != nil {
			return nil, err
		}
	}
	for name, path := range map[string]string{"stdout": out, "stderr": errPath} {
		if path == "" {
			continue
		}
		p := &pipe{name: name}
		s.pipes = append(s.pipes, p)
		if p.keeper, err = openFIFO(path, os.O_RDWR); err != nil {
			return nil, err
		}
		if p.read, err = openFIFO(path, os.O_RDONLY); err != nil {
			return nil, err
		}
	}
	if s.log, err = openLog(logPath, opt.LogMaxBytes, opt.LogMaxFiles); err != nil {
		return nil, err
	}
	s.start()
	return s, nil
}

func openFIFO(path string, flag int) (*os.File, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("cannot make FIFO %s: %w", path, err)
	}
	f, err := os.OpenFile(path, flag|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open FIFO: %w", err)
	}
	return f, nil
}

func (s *streams) start() {
	var wg sync.WaitGroup
	for _, p := range s.pipes {
		wg.Go(func() { s.copy(p) })
	}
	go func() {
		wg.Wait()
		s.mu.Lock()
		s.over = true
		for sub := range s.subs {
			delete(s.subs, sub)
			close(sub.ch)
		}
		s.mu.Unlock()
		if err := s.log.close(); err != nil {
			s.logger.Error("cannot close container log", "path", s.log.path, "error", err)
		}
		close(s.done)
	}()
}

func (s *streams) copy(p *pipe) {
	buf := make([]byte, 32<<10)
	failed := false
	for {
		n, err := p.read.Read(buf)
		if n > 0 {
			if err := s.log.write(p.name, buf[:n], time.Now()); err != nil && !failed {
				failed = true // said once: a full disk must not fill the agent's own log
				s.logger.Error("cannot log container output; it is dropped", "error", err)
			}
			s.publish(p.name, buf[:n])
		}
		if err != nil {
			return
		}
	}
}

func (s *streams) publish(stream string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.subs) == 0 {
		return
	}
	c := chunk{stream, append([]byte(nil), data...)}
	for sub := range s.subs {
		select {
		case sub.ch <- c:
		default:
			delete(s.subs, sub)
			close(sub.ch)
		}
	}
}

func (s *streams) subscribe() *subscriber {
	sub := &subscriber{ch: make(chan chunk, subscriberBacklog)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		close(sub.ch)
	} else {
		s.subs[sub] = struct{}{}
	}
	return sub
}

func (s *streams) unsubscribe(sub *subscriber) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.subs[sub]; ok {
		delete(s.subs, sub)
		close(sub.ch)
	}
}

// finish reads what is left in the FIFOs, closes the log and removes the FIFOs. The container must have ended: the shim
// then writes what is left and closes its ends. A process that holds the container's output open nonetheless is cut off
// when ctx ends.
func (s *streams) finish(ctx context.Context) {
	for _, p := range s.pipes {
		_ = p.keeper.Close()
	}
	select {
	case <-s.done:
	case <-ctx.Done():
	}
	s.abandon()
	_ = os.RemoveAll(s.dir)
}

// abandon stops copying and leaves the FIFOs for the next process.
func (s *streams) abandon() {
	s.closeFiles()
	<-s.done
}

func (s *streams) closeFiles() {
	for _, p := range s.pipes {
		if p.keeper != nil {
			_ = p.keeper.Close()
		}
		if p.read != nil {
			_ = p.read.Close()
		}
	}
	if s.stdin != nil {
		_ = s.stdin.Close()
	}
}

// follow copies what a subscriber gets to the writers until the output ends, ctx ends or the client is too slow. With a
// terminal stderr is not used.
func (s *streams) follow(ctx context.Context, sub *subscriber, stdout, stderr io.Writer) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c, ok := <-sub.ch:
			if !ok {
				if s.ended() {
					return nil
				}
				return errors.New("cannot attach further: the client does not keep up with the container's output")
			}
			w := stdout
			if c.stream == "stderr" {
				w = stderr
			}
			if w == nil {
				continue
			}
			if _, err := w.Write(c.data); err != nil {
				return fmt.Errorf("cannot write to attached client: %w", err)
			}
		}
	}
}

func (s *streams) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}
