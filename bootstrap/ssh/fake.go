package ssh

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"path"
	"slices"
	"strings"
	"sync"
)

// Fake is a Conn that does what a test scripts, for tests of what is built on Conn. Files are kept in memory;
// commands are answered by handlers; all that was asked for is in its transcript, which golden tests pin.
// All methods may run at once.
type Fake struct {
	Name string // Host
	Key  string // HostKey

	ctx    context.Context // ended by Close
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	files map[string]FakeFile
	rules []fakeRule
	dials map[string]func(context.Context) (net.Conn, error)
	log   []string
}

// FakeFile is a file of a Fake.
type FakeFile struct {
	Data []byte
	Mode fs.FileMode
}

// FakeHandler answers a command. What it returns as stdout goes to Command.Stdout when that is set; a code other
// than zero becomes an *ExitError; an error is returned as it is.
type FakeHandler func(ctx context.Context, c Command) (stdout, stderr string, code int, err error)

type fakeRule struct {
	match string
	h     FakeHandler
}

// NewFake has no files and answers every command with success and no output until it is told otherwise.
func NewFake(host string) *Fake {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &Fake{
		Name: host, ctx: ctx, cancel: cancel, files: map[string]FakeFile{},
		dials: map[string]func(context.Context) (net.Conn, error){},
	}
}

// On has h answer the commands whose line contains match; of several that match the latest counts.
func (f *Fake) On(match string, h FakeHandler) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, fakeRule{match, h})
}

// Reply answers the commands whose line contains match with this output.
func (f *Fake) Reply(match, stdout string) {
	f.On(match, func(context.Context, Command) (string, string, int, error) { return stdout, "", 0, nil })
}

// Fail answers the commands whose line contains match with this failure.
func (f *Fake) Fail(match string, code int, stderr string) {
	f.On(match, func(context.Context, Command) (string, string, int, error) { return "", stderr, code, nil })
}

// OnDial answers Dial of "NETWORK ADDRESS", such as "tcp 127.0.0.1:6443".
func (f *Fake) OnDial(address string, dial func(context.Context) (net.Conn, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dials[address] = dial
}

// SetFile puts a file there without a line in the transcript.
func (f *Fake) SetFile(name, data string, mode fs.FileMode) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files[name] = FakeFile{[]byte(data), mode}
}

// RemoveFile removes files without a line in the transcript.
func (f *Fake) RemoveFile(names ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range names {
		delete(f.files, n)
	}
}

// Files is a copy of all files.
func (f *Fake) Files() map[string]FakeFile {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.files)
}

// Transcript has one entry for each call so far, in order: "$ LINE" ("# LINE" as root), "< PATH" for a file that
// was read, "> PATH MODE" for one that was written, "= PATH MODE" for one that was there already,
// "@ NETWORK ADDRESS" for a dial.
func (f *Fake) Transcript() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.log)
}

// Forget empties the transcript.
func (f *Fake) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = nil
}

// note writes into the transcript, unless the connection is closed.
func (f *Fake) note(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() != nil {
		return context.Cause(f.ctx)
	}
	f.log = append(f.log, fmt.Sprintf(format, args...))
	return nil
}

// Host implements Conn.
func (f *Fake) Host() string { return f.Name }

// HostKey implements Conn.
func (f *Fake) HostKey() string { return f.Key }

// Run implements Conn.
func (f *Fake) Run(ctx context.Context, c Command) (Result, error) {
	prompt := "$"
	if c.Sudo {
		prompt = "#"
	}
	if err := f.note("%s %s", prompt, c.Line); err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(f.ctx, func() { cancel(context.Cause(f.ctx)) })()
	stdout, stderr, code, err := f.handler(c.Line)(ctx, c)
	if cause := context.Cause(ctx); cause != nil {
		return Result{}, wrapRun(c, f.Name, cause)
	}
	if err != nil {
		return Result{}, err
	}
	out := Result{Stdout: []byte(stdout), Stderr: []byte(stderr)}
	if c.Stdout != nil {
		out.Stdout = nil
		if _, err := io.WriteString(c.Stdout, stdout); err != nil {
			return out, wrapRun(c, f.Name, err)
		}
	}
	if code != 0 {
		return out, &ExitError{Host: f.Name, Line: shown(c), Code: code, Stderr: []byte(stderr)}
	}
	return out, nil
}

func (f *Fake) handler(line string) FakeHandler {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range slices.Backward(f.rules) {
		if strings.Contains(line, r.match) {
			return r.h
		}
	}
	return func(context.Context, Command) (string, string, int, error) { return "", "", 0, nil }
}

// Upload implements Conn.
func (f *Fake) Upload(ctx context.Context, r io.Reader, name string, mode fs.FileMode) error {
	data, err := io.ReadAll(r)
	if err == nil {
		err = context.Cause(ctx)
	}
	if err == nil && !path.IsAbs(name) {
		err = fmt.Errorf("the path is not absolute")
	}
	if err != nil {
		return fmt.Errorf("cannot upload %s to %s: %w", name, f.Name, err)
	}
	f.mu.Lock()
	old, there := f.files[name]
	f.mu.Unlock()
	sign := ">"
	if there && bytes.Equal(old.Data, data) {
		sign = "="
	}
	if err := f.note("%s %s %04o", sign, name, mode.Perm()); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files[name] = FakeFile{data, mode}
	return nil
}

// ReadFile implements Conn.
func (f *Fake) ReadFile(_ context.Context, name string) ([]byte, error) {
	if err := f.note("< %s", name); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	file, ok := f.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "read", Path: f.Name + ":" + name, Err: fs.ErrNotExist}
	}
	return slices.Clone(file.Data), nil
}

// Dial implements Conn; what OnDial does not name refuses.
func (f *Fake) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	target := network + " " + address
	if err := f.note("@ %s", target); err != nil {
		return nil, err
	}
	f.mu.Lock()
	dial := f.dials[target]
	f.mu.Unlock()
	if dial == nil {
		return nil, fmt.Errorf("cannot connect from %s to %s: connection refused", f.Name, address)
	}
	return dial(ctx)
}

// Close implements Conn.
func (f *Fake) Close() error {
	f.cancel(&ConnError{f.Name, ErrClosed})
	return nil
}
