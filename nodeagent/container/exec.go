package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/stream"
)

// maxExecOutput bounds what ExecSync returns; the rest is read and dropped.
const maxExecOutput = 16 << 10

// execStartTimeout bounds the start of a command: runc's two runs on a host that is busy with other things.
const execStartTimeout = 30 * time.Second

// execEndTimeout bounds the end of a command that nobody waits for any more: the shim runs runc before it kills.
const execEndTimeout = 10 * time.Second

// ExecSync runs a command and returns its exit code with its output, stdout and stderr together, at most 16 KiB. The
// command is killed when ctx ends.
func (r *Runtime) ExecSync(ctx context.Context, id string, cmd []string) (int, []byte, error) {
	out := &limitedBuffer{}
	code, err := r.Exec(ctx, id, cmd, stream.Streams{Stdout: out, Stderr: out})
	return code, out.bytes(), err
}

// Exec runs a command in a running container, as the container's user and with its environment, and returns its
// exit code. The command is killed when ctx ends, and the error is then ctx's; a command that could not be started has
// another. It is killed after every error: without its exit code nobody would know of it.
func (r *Runtime) Exec(ctx context.Context, id string, cmd []string, s stream.Streams) (_ int, err error) {
	proc, err := r.execProcess(ctx, id, cmd, s.TTY)
	if err != nil {
		return 0, notStarted(err)
	}
	execID := NewID()[:32]
	eio, err := r.execStreams(ctx, id, execID, s)
	if err != nil {
		return 0, notStarted(err)
	}
	defer func() {
		eio.Cancel()
		_ = eio.Close()
	}()
	cfg := eio.Config()
	// Not cut short by ctx: of a process that starts all the same nobody would know.
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), execStartTimeout)
	defer cancel()
	if _, err := r.tasks().Exec(sctx, &tasks.ExecProcessRequest{
		ContainerID: id, ExecID: execID, Stdin: cfg.Stdin, Stdout: cfg.Stdout, Stderr: cfg.Stderr,
		Terminal: s.TTY, Spec: proc,
	}); err != nil {
		return 0, notStarted(errgrpc.ToNative(err))
	}
	defer func() { err = errors.Join(err, r.endExec(ctx, id, execID, err != nil)) }()
	if err := r.startExec(sctx, id, execID); err != nil {
		return 0, notStarted(err)
	}
	if s.TTY && s.Resize != nil {
		stop := r.followSize(ctx, id, execID, s.Resize)
		defer stop()
	}
	return r.awaitExec(ctx, id, execID, eio)
}

// startExec lets the process run. Where containerd goes away before it answers, its successor knows whether it runs.
func (r *Runtime) startExec(ctx context.Context, id, execID string) error {
	_, err := r.tasks().Start(ctx, &tasks.StartRequest{ContainerID: id, ExecID: execID})
	if err = errgrpc.ToNative(err); errdefs.IsUnavailable(err) {
		resp, getErr := r.tasks().Get(ctx, &tasks.GetRequest{ContainerID: id, ExecID: execID}, grpc.WaitForReady(true))
		if getErr == nil && stateOf(resp.Process).Status != Created {
			return nil
		}
	}
	return err
}

// notStarted is the error of a command that never ran. That containerd did not answer in time must not be taken for the
// command's own time-out.
func notStarted(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		err = errdefs.ErrUnavailable.WithMessage("containerd did not answer in time")
	}
	return fmt.Errorf("cannot exec: %w", err)
}

// execProcess is the container's own process with another command.
func (r *Runtime) execProcess(ctx context.Context, id string, cmd []string, tty bool) (*anypb.Any, error) {
	c, err := r.client.ContainerService().Get(ctx, id)
	if err != nil {
		return nil, err
	}
	var spec specs.Spec
	if err := json.Unmarshal(c.Spec.GetValue(), &spec); err != nil {
		return nil, err
	}
	spec.Process.Args, spec.Process.Terminal = cmd, tty
	if tty {
		spec.Process.Env = append(spec.Process.Env, "TERM=xterm")
	}
	any, err := typeurl.MarshalAny(spec.Process)
	if err != nil {
		return nil, err
	}
	return typeurl.MarshalProto(any), nil
}

func (r *Runtime) execStreams(ctx context.Context, id, execID string, s stream.Streams) (cio.IO, error) {
	var stdin io.Reader
	if s.Stdin != nil {
		stdin = &eofReader{Reader: s.Stdin, eof: func() {
			_, _ = r.tasks().CloseIO(context.WithoutCancel(ctx), &tasks.CloseIORequest{ContainerID: id, ExecID: execID, Stdin: true})
		}}
	}
	stdout, stderr := s.Stdout, s.Stderr
	if stdout == nil {
		stdout = io.Discard
	}
	if stderr == nil {
		stderr = io.Discard
	}
	if s.TTY {
		stderr = nil
	}
	opts := []cio.Opt{cio.WithStreams(stdin, stdout, stderr), cio.WithFIFODir(filepath.Join(r.opt.StateDir, "io"))}
	if s.TTY {
		opts = append(opts, cio.WithTerminal)
	}
	eio, err := cio.NewCreator(opts...)(execID)
	if err != nil {
		return nil, fmt.Errorf("cannot make streams: %w", err)
	}
	return eio, nil
}

// endExec removes the process, and kills it before that if it may run.
func (r *Runtime) endExec(ctx context.Context, id, execID string, kill bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), execEndTimeout)
	defer cancel()
	if kill {
		// containerd may be on its way back: the process is the shim's and goes on without it.
		_, err := r.tasks().Kill(ctx, &tasks.KillRequest{ContainerID: id, ExecID: execID, Signal: uint32(syscall.SIGKILL)}, grpc.WaitForReady(true))
		if err == nil {
			_, err = r.tasks().Wait(ctx, &tasks.WaitRequest{ContainerID: id, ExecID: execID})
		}
		if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsFailedPrecondition(err) { // ended, not begun
			return fmt.Errorf("cannot kill exec process: %w", err)
		}
	}
	_, err := r.tasks().DeleteProcess(ctx, &tasks.DeleteProcessRequest{ContainerID: id, ExecID: execID})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("cannot delete exec process: %w", err)
	}
	return nil
}

// awaitExec waits for the process and then for its output, also while containerd restarts: the process is the shim's and its
// streams are ours. When ctx ends first the error is ctx's, unless the process may have ended unseen before that.
func (r *Runtime) awaitExec(ctx context.Context, id, execID string, eio cio.IO) (int, error) {
	// A deadline would be the shim's too, which may see it pass before ctx does and answer with an error of its own.
	waiting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	var away error // why nobody waits for the process just now
	for {
		resp, err := r.tasks().Wait(waiting, &tasks.WaitRequest{ContainerID: id, ExecID: execID}, grpc.WaitForReady(true))
		switch err = errgrpc.ToNative(err); {
		case err == nil && ctx.Err() == nil:
			drainExec(ctx, eio)
			return int(resp.ExitStatus), nil
		case ctx.Err() != nil && away != nil:
			return 0, fmt.Errorf("cannot wait for exec process: %w", away)
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case !errdefs.IsUnavailable(err):
			return 0, fmt.Errorf("cannot wait for exec process: %w", err)
		}
		away = err
		if st, err := r.Inspect(ctx, id); err == nil && st.Status != Running { // its shim ended, not containerd
			return 0, fmt.Errorf("cannot wait for exec process: %w", away)
		}
	}
}

// drainExec waits until a command's output has been copied, or ctx ends.
func drainExec(ctx context.Context, eio cio.IO) {
	done := make(chan struct{})
	go func() { eio.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done(): // a child of the command holds its output open
		eio.Cancel()
		_ = eio.Close()
		<-done
	}
}

// followSize passes on a terminal's size until the returned function is called.
func (r *Runtime) followSize(ctx context.Context, id, execID string, sizes <-chan stream.Size) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case sz, ok := <-sizes:
				if !ok {
					return
				}
				_, _ = r.tasks().ResizePty(ctx, &tasks.ResizePtyRequest{
					ContainerID: id, ExecID: execID, Width: uint32(sz.Width), Height: uint32(sz.Height),
				})
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

// Attach connects to the container's own streams until it ends or ctx does. Input is passed on when the container has
// one; closeStdin says to close it for the container when the client's ends. A container that has ended is an error
// (errdefs.ErrFailedPrecondition), on which kubectl run prints the log instead.
func (r *Runtime) Attach(ctx context.Context, id string, s stream.Streams, closeStdin bool) error {
	notRunning := fmt.Errorf("cannot attach: container %s does not run: %w", id, errdefs.ErrFailedPrecondition)
	st := r.streamsOf(id)
	if st == nil {
		return notRunning
	}
	if s.TTY && s.Resize != nil {
		stop := r.followSize(ctx, id, "", s.Resize)
		defer stop()
	}
	sub := st.subscribe() // before the input, whose answer may come at once
	defer st.unsubscribe(sub)
	// Its streams are there until its end has been noticed. To show nothing of what it printed would be taken for all.
	if state, err := r.Inspect(ctx, id); err != nil {
		return err
	} else if state.Status != Running {
		return notRunning
	}
	if s.Stdin != nil && st.stdin != nil {
		// The copy ends with the client's stream, which the caller closes when this returns.
		go func() {
			_, err := io.Copy(st.stdin, s.Stdin)
			if err == nil && closeStdin {
				_ = r.CloseStdin(context.WithoutCancel(ctx), id)
			}
		}()
	}
	err := st.follow(ctx, sub, s.Stdout, s.Stderr)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// CloseStdin ends the container's input for good.
func (r *Runtime) CloseStdin(ctx context.Context, id string) error {
	st := r.streamsOf(id)
	if st == nil || st.stdin == nil {
		return nil
	}
	_ = st.stdin.Close()
	if _, err := r.tasks().CloseIO(ctx, &tasks.CloseIORequest{ContainerID: id, Stdin: true}); err != nil {
		return fmt.Errorf("cannot close input: %w", errgrpc.ToNative(err))
	}
	return nil
}

// eofReader calls eof once when its reader has ended.
type eofReader struct {
	io.Reader
	once sync.Once
	eof  func()
}

func (e *eofReader) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if err != nil {
		e.once.Do(e.eof)
	}
	return n, err
}

// limitedBuffer keeps the first maxExecOutput bytes. It is written by two goroutines, one a stream.
type limitedBuffer struct {
	mu  sync.Mutex
	buf []byte
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = append(b.buf, p[:min(len(p), maxExecOutput-len(b.buf))]...)
	return len(p), nil
}

func (b *limitedBuffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf
}
