package container

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxLogLine is the longest piece of a line that is written as one entry; a longer line becomes several entries, all but the
// last tagged as partial.
const maxLogLine = 16 << 10

// logFile writes a container's output in the CRI's format, an entry a line:
//
//	2006-01-02T15:04:05.999999999Z stdout F text
//
// with F for a whole line and P for a part. It is rotated by size. It may be used by several goroutines at once.
type logFile struct {
	path     string
	maxBytes int64
	maxFiles int

	mu      sync.Mutex
	file    *os.File
	size    int64
	partial map[string][]byte // by stream: what came since the last newline
	changed chan struct{}     // closed and replaced after each write; closed for good by close
	closed  bool
}

func openLog(path string, maxBytes int64, maxFiles int) (*logFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot open container log: %w", err)
	}
	l := &logFile{
		path: path, maxBytes: maxBytes, maxFiles: maxFiles,
		partial: map[string][]byte{}, changed: make(chan struct{}),
	}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("cannot open container log: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("cannot open container log: %w", err), f.Close())
	}
	l.file, l.size = f, st.Size()
	return nil
}

// write adds output of a stream ("stdout" or "stderr") that was read at the given time.
func (l *logFile) write(stream string, p []byte, at time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fs.ErrClosed
	}
	entries := l.split(stream, p, at)
	if len(entries) == 0 {
		return nil
	}
	return l.append(entries)
}

// split returns the entries that are complete with p and keeps the rest.
func (l *logFile) split(stream string, p []byte, at time.Time) []byte {
	var out []byte
	rest := l.partial[stream]
	stamp := at.UTC().Format(time.RFC3339Nano) + " " + stream
	for len(p) > 0 {
		i := slices.Index(p, '\n')
		var piece []byte
		tag := " P "
		switch room := maxLogLine - len(rest); {
		case i >= 0 && i <= room:
			piece, tag = p[:i], " F "
			p = p[i+1:]
		case len(p) > room:
			piece = p[:room]
			p = p[room:]
		default:
			l.partial[stream] = append(rest, p...)
			return out
		}
		out = append(append(out, stamp...), tag...)
		out = append(append(append(out, rest...), piece...), '\n')
		rest = rest[:0]
	}
	l.partial[stream] = rest
	return out
}

// append writes whole entries, rotating whenever the next one does not fit.
func (l *logFile) append(entries []byte) error {
	for len(entries) > 0 {
		fit := entries
		if room := l.maxBytes - l.size; int64(len(fit)) > room {
			fit = fit[:bytes.LastIndexByte(fit[:max(room, 0)], '\n')+1]
		}
		if len(fit) == 0 && l.size > 0 {
			if err := l.rotate(); err != nil {
				return err
			}
			continue
		}
		if len(fit) == 0 { // one entry that is larger than a file may be
			fit = entries[:bytes.IndexByte(entries, '\n')+1]
		}
		n, err := l.file.Write(fit)
		l.size += int64(n)
		if err != nil {
			return fmt.Errorf("cannot write container log: %w", err)
		}
		entries = entries[len(fit):]
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return nil
}

func (l *logFile) rotate() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("cannot rotate container log: %w", err)
	}
	name := l.path + "." + time.Now().UTC().Format("20060102-150405.000000000")
	if err := os.Rename(l.path, name); err != nil {
		return fmt.Errorf("cannot rotate container log: %w", err)
	}
	if err := l.open(); err != nil {
		return err
	}
	old, err := RotatedLogs(l.path)
	if err != nil {
		return err
	}
	for len(old) > l.maxFiles-1 {
		if err := os.Remove(old[0]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove rotated log: %w", err)
		}
		old = old[1:]
	}
	return nil
}

// RotatedLogs returns the files that the log at path was rotated into, oldest first.
func RotatedLogs(path string) ([]string, error) {
	names, err := filepath.Glob(globQuote(path) + ".[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("cannot list rotated logs: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

func globQuote(path string) string {
	return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`).Replace(path)
}

// wait returns a channel that is closed when something was written after this call, or the log was closed.
func (l *logFile) wait() (changed <-chan struct{}, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed, l.closed
}

// close writes what has no newline yet, as partial entries, and closes the file.
func (l *logFile) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	var errs []error
	stamp := time.Now().UTC().Format(time.RFC3339Nano)
	for stream, rest := range l.partial {
		if len(rest) > 0 {
			errs = append(errs, l.append(fmt.Appendf(nil, "%s %s P %s\n", stamp, stream, rest)))
		}
	}
	l.closed = true
	close(l.changed)
	return errors.Join(append(errs, l.file.Close())...)
}
