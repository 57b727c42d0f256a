package pod

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
)

// logEntry is a line of a log file.
type logEntry struct {
	at      time.Time
	stream  string
	partial bool
	text    []byte // without the newline
}

var errNoEntry = errors.New("cannot parse log entry")

// parseEntry reads TIME STREAM TAG TEXT.
func parseEntry(line []byte) (logEntry, error) {
	line = bytes.TrimSuffix(line, []byte("\n"))
	stamp, rest, ok1 := bytes.Cut(line, []byte(" "))
	stream, rest, ok2 := bytes.Cut(rest, []byte(" "))
	tag, text, ok3 := bytes.Cut(rest, []byte(" "))
	if !ok1 || !ok2 || !ok3 {
		return logEntry{}, errNoEntry
	}
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return logEntry{}, errNoEntry
	}
	first, _, _ := bytes.Cut(tag, []byte(":"))
	switch string(first) {
	case "F", "P":
	default:
		return logEntry{}, errNoEntry
	}
	return logEntry{at: at, stream: string(stream), partial: string(first) == "P", text: text}, nil
}

// logWriter filters entries as the options ask and writes them.
type logWriter struct {
	opts  *corev1.PodLogOptions
	w     io.Writer
	since time.Time
	left  int64 // bytes that may still be written; negative: any number
	open  bool  // the last entry was partial: the next of its line has no timestamp
}

var errLimit = errors.New("limit of bytes reached")

func newLogWriter(opts *corev1.PodLogOptions, w io.Writer) *logWriter {
	l := &logWriter{opts: opts, w: w, left: -1}
	if opts.LimitBytes != nil {
		l.left = *opts.LimitBytes
	}
	switch {
	case opts.SinceTime != nil:
		l.since = opts.SinceTime.Time
	case opts.SinceSeconds != nil:
		l.since = time.Now().Add(-time.Duration(*opts.SinceSeconds) * time.Second)
	}
	return l
}

func (l *logWriter) wants(e logEntry) bool {
	if e.at.Before(l.since) {
		return false
	}
	s := l.opts.Stream
	return s == nil || *s == "" || *s == corev1.LogStreamAll ||
		*s == corev1.LogStreamStdout && e.stream == "stdout" || *s == corev1.LogStreamStderr && e.stream == "stderr"
}

func (l *logWriter) write(e logEntry) error {
	if !l.wants(e) {
		return nil
	}
	var out []byte
	if l.opts.Timestamps && !l.open {
		out = append(e.at.AppendFormat(out, time.RFC3339Nano), ' ')
	}
	out = append(out, e.text...)
	if !e.partial {
		out = append(out, '\n')
	}
	l.open = e.partial
	if l.left >= 0 && int64(len(out)) > l.left {
		out = out[:l.left]
	}
	if _, err := l.w.Write(out); err != nil {
		return err
	}
	if l.left >= 0 {
		if l.left -= int64(len(out)); l.left == 0 {
			return errLimit
		}
	}
	return nil
}

// readLog writes a container's log as the options ask, from its oldest file on. When follow is set it is asked, at the end,
// whether more will come: it returns a channel that is closed when there is more, and whether nothing will.
func readLog(ctx context.Context, path string, opts *corev1.PodLogOptions, w io.Writer, follow func() (<-chan struct{}, bool)) error {
	out := newLogWriter(opts, w)
	skip, err := entriesToSkip(path, opts, out)
	if err != nil {
		return err
	}
	old, err := container.RotatedLogs(path)
	if err != nil {
		return err
	}
	r := &logReader{ctx: ctx, out: out, skip: skip}
	for _, name := range old {
		if err := r.file(name, nil); err != nil {
			return ignoreLimit(err)
		}
	}
	return ignoreLimit(r.file(path, follow))
}

func ignoreLimit(err error) error {
	if errors.Is(err, errLimit) {
		return nil
	}
	return err
}

// entriesToSkip counts the lines before the last ones that are asked for.
func entriesToSkip(path string, opts *corev1.PodLogOptions, out *logWriter) (int64, error) {
	if opts.TailLines == nil {
		return 0, nil
	}
	var total int64
	old, err := container.RotatedLogs(path)
	if err != nil {
		return 0, err
	}
	for _, name := range append(old, path) {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("cannot read log: %w", err)
		}
		sc := newLineReader(f)
		for {
			line, err := sc.ReadBytes('\n')
			if err != nil {
				break
			}
			if e, err := parseEntry(line); err == nil && out.wants(e) && !e.partial {
				total++
			}
		}
		_ = f.Close()
	}
	return max(0, total-*opts.TailLines), nil
}

func newLineReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, 32<<10) }

type logReader struct {
	ctx  context.Context
	out  *logWriter
	skip int64
}

func (r *logReader) entry(line []byte) error {
	e, err := parseEntry(line)
	if err != nil {
		return nil // torn by a loss of power
	}
	if r.skip > 0 {
		if r.out.wants(e) && !e.partial {
			r.skip--
		}
		return nil
	}
	return r.out.write(e)
}

// file reads one file; the current one is followed, also when it is rotated away and a new one takes its place.
func (r *logReader) file(path string, follow func() (<-chan struct{}, bool)) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && follow == nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read log: %w", err)
	}
	defer func() { _ = f.Close() }()
	lines := newLineReader(f)
	var rest []byte
	for {
		var more <-chan struct{}
		ended := true
		if follow != nil {
			more, ended = follow() // before reading: what comes later closes more
		}
		if rest, err = r.drain(lines, rest); err != nil {
			return err
		}
		if next := replaced(f, path); next != nil {
			if _, err := r.drain(lines, rest); err != nil {
				_ = next.Close()
				return err
			}
			_ = f.Close()
			f, lines, rest = next, newLineReader(next), nil
			continue
		}
		if ended {
			return nil
		}
		select {
		case <-more:
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
}

// drain passes on the whole lines that there are and returns the beginning of one that is not.
func (r *logReader) drain(lines *bufio.Reader, rest []byte) ([]byte, error) {
	for {
		if r.ctx.Err() != nil {
			return nil, r.ctx.Err()
		}
		part, err := lines.ReadBytes('\n')
		rest = append(rest, part...)
		if err != nil {
			return rest, nil
		}
		if err := r.entry(rest); err != nil {
			return nil, err
		}
		rest = rest[:0]
	}
}

// replaced opens the file at path when it is another one than f.
func replaced(f *os.File, path string) *os.File {
	have, err := f.Stat()
	if err != nil {
		return nil
	}
	now, err := os.Stat(path)
	if err != nil || os.SameFile(have, now) {
		return nil
	}
	next, err := os.Open(path)
	if err != nil {
		return nil
	}
	return next
}
