package container_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/stream"
)

// TestRestarts kills what stands around a container, one after the other, and expects it to go on untouched.
func TestRestarts(t *testing.T) {
	g := newRig(t)
	c := g.config("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); echo $i; sleep 0.01; done")
	c.LogPath = filepath.Join(g.dir, "long.log")
	g.start(c)
	before, err := g.r.Inspect(t.Context(), c.ID)
	g.must(err)
	grows := func(what string) {
		t.Helper()
		start := lineCount(t, c.LogPath)
		g.eventually(what, func() bool { return lineCount(t, c.LogPath) > start+3 })
	}
	grows("output")
	g.stop() // the agent dies
	g.connect()
	g.must(g.r.Adopt(t.Context(), c.ID))
	grows("output after the agent's restart")
	daemon.Kill()
	g.mu.Lock()
	delete(g.exits, "") // that of the first connection
	g.mu.Unlock()
	grows("output while containerd is gone")
	g.must(daemon.Restart())
	g.eventually("containerd back", func() bool { _, err := g.r.Inspect(t.Context(), c.ID); return err == nil })
	after, err := g.r.Inspect(t.Context(), c.ID)
	g.must(err)
	if after.Status != container.Running || after.PID != before.PID {
		t.Fatalf("before %+v, after %+v", before, after)
	}
	g.eventually("events back", func() bool { g.mu.Lock(); defer g.mu.Unlock(); return g.exits[""] })
	g.must(g.r.Signal(t.Context(), c.ID, syscall.SIGKILL))
	if exit, _ := g.wait(c); exit.Code != 137 {
		t.Fatalf("exit %+v", exit)
	}
}

// lineCount counts in all files of a log, as it may be rotated meanwhile.
func lineCount(t *testing.T, path string) int {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	old, err := container.RotatedLogs(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(data, []byte("\n")) + 1000*len(old)
}

// TestSharedShim lets the container that the pod's shim was started with go, and expects those that share it to stay, also when
// containerd is started anew.
func TestSharedShim(t *testing.T) {
	g := newRig(t)
	first, second := g.config("exec sleep 1000"), g.config("exec sleep 1000")
	g.start(first)
	g.start(second)
	if n := daemon.Shims(); n != 1 {
		t.Errorf("%d shims for one pod", n)
	}
	g.must(g.r.Signal(t.Context(), first.ID, syscall.SIGKILL))
	g.wait(first)
	third := g.config("exec sleep 1000")
	g.start(third)
	daemon.Kill()
	g.must(daemon.Restart())
	g.eventually("containerd back", func() bool { _, err := g.r.Inspect(t.Context(), third.ID); return err == nil })
	for _, id := range []string{second.ID, third.ID} {
		if code, _, err := g.r.ExecSync(t.Context(), id, []string{"true"}); err != nil || code != 0 {
			t.Errorf("exec: %d %v", code, err)
		}
	}
	g.run(g.config("true"))
	if n := daemon.Shims(); n != 1 {
		t.Errorf("%d shims for one pod after the restarts", n)
	}
	other := g.config("readlink /proc/self/ns/pid; ps | grep -c '[s]leep'", func(c *container.Config) { c.JoinPID = second.ID })
	if _, out := g.run(other); !strings.HasSuffix(out, "\n1\n") {
		t.Errorf("in the process namespace of another: %q", out)
	}
}

// TestExecOutlivesContainerd has containerd die while a command runs, which goes on: its streams and its exit code are there.
func TestExecOutlivesContainerd(t *testing.T) {
	g := newRig(t)
	id := g.start(g.config("exec sleep 1000"))
	in, typed := io.Pipe()
	seen, shown := io.Pipe()
	ended := make(chan error, 1)
	code := 0
	go func() {
		var err error
		code, err = g.r.Exec(t.Context(), id, []string{"/bin/sh", "-c", "echo up; read line; echo got $line; exit 7"}, stream.Streams{Stdin: in, Stdout: shown})
		ended <- errors.Join(err, shown.Close())
	}()
	lines := bufio.NewScanner(seen)
	lines.Scan()
	g.eventually("started command", func() bool { return g.commandRuns(id) })
	daemon.Kill()
	g.must(second(typed.Write([]byte("it\n"))))
	if lines.Scan(); lines.Text() != "got it" {
		t.Errorf("without containerd the command printed %q", lines.Text())
	}
	g.must(daemon.Restart())
	if err := <-ended; err != nil || code != 7 {
		t.Errorf("exec: %d %v", code, err)
	}
	g.must(in.Close())
}

// commandRuns says that the shim has done all that starts a command in the container. What it has begun when containerd dies,
// it gives up halfway.
func (g *rig) commandRuns(id string) bool {
	resp, err := g.r.Client().TaskService().ListPids(g.t.Context(), &tasks.ListPidsRequest{ContainerID: id})
	g.must(err)
	return slices.ContainsFunc(resp.Processes, func(p *task.ProcessInfo) bool { return p.Info != nil })
}

// TestExecEndsWhenContainerdIsBack has containerd die and a command's caller go away meanwhile: no process is left behind.
func TestExecEndsWhenContainerdIsBack(t *testing.T) {
	g := newRig(t)
	id := g.start(g.config("exec sleep 1000"))
	seen, shown := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- second(g.r.Exec(ctx, id, []string{"/bin/sh", "-c", "echo up; exec sleep 2000"}, stream.Streams{Stdout: shown}))
	}()
	g.must(second(io.ReadFull(seen, make([]byte, len("up\n")))))
	g.eventually("started command", func() bool { return g.commandRuns(id) })
	daemon.Kill()
	g.eventually("loss of containerd", func() bool { _, err := g.r.Inspect(t.Context(), id); return err != nil })
	cancel()
	g.must(daemon.Restart())
	// The caller's end is the reason, unless the command was waited for already and may have ended unseen.
	if err := <-ended; !errdefs.IsUnavailable(err) && !errors.Is(err, context.Canceled) {
		t.Errorf("exec ended with %v", err)
	}
	g.eventually("end of the command", func() bool { n, err := g.r.Processes(g.uid); return err == nil && n == 1 })
	if code, _, err := g.r.ExecSync(t.Context(), id, []string{"true"}); err != nil || code != 0 {
		t.Errorf("exec: %d %v", code, err)
	}
}

// TestRemoveWhileShimEnds removes containers whose shim is killed at that moment: wherever it was in the removal, the container
// is gone, and that is what was asked for.
func TestRemoveWhileShimEnds(t *testing.T) {
	g := newRig(t)
	for i := range 10 {
		c := g.config("exec sleep 1000")
		g.start(c)
		g.must(g.r.Signal(t.Context(), c.ID, syscall.SIGKILL))
		g.eventually("end", func() bool {
			st, err := g.r.Inspect(t.Context(), c.ID)
			return err == nil && st.Status == container.Stopped
		})
		killed := make(chan struct{})
		go func() {
			<-time.After(time.Duration(i) * 500 * time.Microsecond)
			daemon.KillShims()
			close(killed)
		}()
		if err := g.r.Remove(t.Context(), c.ID, g.uid); err != nil {
			t.Errorf("shim killed %d µs into the removal: %v", 500*i, err)
		}
		<-killed
	}
}
