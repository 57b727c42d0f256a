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
	"slices"
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
	files, err := openLogs(path)
	if err != nil {
		return err
	}
	r := &logReader{ctx: ctx, path: path, files: files, out: newLogWriter(opts, w), follow: follow}
	defer func() { closeLogs(r.files) }()
	if opts.TailLines != nil {
		if r.skip, err = r.entriesBefore(*opts.TailLines); err != nil {
			return err
		}
	}
	if err := r.read(); !errors.Is(err, errLimit) {
		return err
	}
	return nil
}

// openLogs opens the files of a log, oldest first, without a gap though it may be rotated meanwhile: the newest is opened
// first, and what came after it is left for later.
func openLogs(path string) ([]*os.File, error) {
	newest, err := os.Open(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // it is not there for a moment of each rotation
		return nil, fmt.Errorf("cannot read log: %w", err)
	}
	var files []*os.File // newest first
	names, listErr := container.RotatedLogs(path)
	for _, name := range slices.Backward(names) {
		f, openErr := os.Open(name)
		if errors.Is(openErr, fs.ErrNotExist) {
			break // removed since, and with it all that are older
		}
		if openErr != nil {
			listErr = fmt.Errorf("cannot read log: %w", openErr)
			break
		}
		files = append(files, f)
		if newest != nil && sameFile(newest, f) {
			closeLogs(files)
			files = nil
		}
	}
	if newest != nil {
		files = slices.Insert(files, 0, newest)
	}
	if listErr != nil {
		closeLogs(files)
		return nil, listErr
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("cannot read log: %w", err)
	}
	slices.Reverse(files)
	return files, nil
}

func closeLogs(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // only read
	}
}

func sameFile(a, b *os.File) bool {
	sa, errA := a.Stat()
	sb, errB := b.Stat()
	return errA == nil && errB == nil && os.SameFile(sa, sb)
}

func newLineReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, 32<<10) }

type logReader struct {
	ctx    context.Context
	path   string
	files  []*os.File // that are to be read, oldest first; never none
	out    *logWriter
	skip   int64
	follow func() (<-chan struct{}, bool)
}

// entriesBefore counts the lines before the last ones that are asked for.
func (r *logReader) entriesBefore(last int64) (int64, error) {
	var total int64
	for _, f := range r.files {
		lines := newLineReader(f)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				break
			}
			if e, err := parseEntry(line); err == nil && r.out.wants(e) && !e.partial {
				total++
			}
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return 0, fmt.Errorf("cannot read log: %w", err)
		}
	}
	return max(0, total-last), nil
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

// read reads one file after the other. The last one is followed, also when it is rotated away and others take its place.
func (r *logReader) read() error {
	for {
		for len(r.files) > 1 {
			if _, err := r.drain(newLineReader(r.files[0]), nil); err != nil {
				return err
			}
			r.shift()
		}
		newer, err := r.last()
		if err != nil || newer == nil {
			return err
		}
		r.files = append(r.files, newer...)
		r.shift()
	}
}

func (r *logReader) shift() {
	closeLogs(r.files[:1])
	r.files = r.files[1:]
}

// last reads the only file that there is until its end and returns those that have come after it, or none when nothing
// more will.
func (r *logReader) last() (newer []*os.File, err error) {
	f := r.files[0]
	lines := newLineReader(f)
	var rest []byte
	for {
		var more <-chan struct{}
		ended := true
		if r.follow != nil {
			more, ended = r.follow() // before reading: what comes later closes more
		}
		if rest, err = r.drain(lines, rest); err != nil || r.follow == nil {
			return nil, err
		}
		if newer, err = r.newer(f); err != nil {
			return nil, err
		}
		if newer != nil {
			if _, err := r.drain(lines, rest); err != nil { // what came before it was rotated
				closeLogs(newer)
				return nil, err
			}
			return newer, nil
		}
		if ended {
			return nil, nil
		}
		select {
		case <-more:
		case <-r.ctx.Done():
			return nil, r.ctx.Err()
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

// newer opens the files that came after f, when f is not the log's newest any more.
func (r *logReader) newer(f *os.File) ([]*os.File, error) {
	have, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot read log: %w", err)
	}
	if now, err := os.Stat(r.path); err != nil || os.SameFile(have, now) {
		return nil, nil // it is being rotated, or was removed
	}
	files, err := openLogs(r.path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return nil, err
	}
	// Without f, which was removed then, all of them are newer.
	n := slices.IndexFunc(files, func(o *os.File) bool { return sameFile(f, o) }) + 1
	closeLogs(files[:n])
	if n == len(files) {
		return nil, nil
	}
	return files[n:], nil
}
