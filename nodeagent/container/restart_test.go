package container_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
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
