package container_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container/containertest"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/image"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/stream"
)

var daemon *containertest.Daemon

func TestMain(m *testing.M) {
	d, err := containertest.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	daemon = d
	code := m.Run()
	if err := d.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// rig is a runtime with the test image, its events read, and the containers of one pod.
type rig struct {
	t   *testing.T
	r   *container.Runtime
	img *image.Image
	uid types.UID
	box *container.Sandbox
	dir string

	mu    sync.Mutex
	exits map[string]bool
	stop  func()
}

func newRig(t *testing.T) *rig {
	g := &rig{t: t, uid: types.UID(container.NewID()[:12]), dir: t.TempDir()}
	g.connect()
	t.Cleanup(func() { g.cleanup() })
	images := image.New(image.Options{Client: g.r.Client(), Snapshotter: g.r.Snapshotter()})
	img, err := containertest.Busybox(nil)
	g.must(err)
	archive, err := containertest.Archive("localhost/bb:1", img)
	g.must(err)
	_, err = images.Import(t.Context(), archive)
	g.must(err)
	g.img, err = images.Lookup(t.Context(), "localhost/bb:1")
	g.must(err)
	g.box, err = g.r.EnsureSandbox(t.Context(), container.SandboxConfig{UID: g.uid, Hostname: "pod-1", Sysctls: map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"}})
	g.must(err)
	g.must(g.r.SetPodResources(g.uid, container.PodResources{CPUMillis: 100, MemoryLimit: 256 << 20}))
	return g
}

// connect starts a runtime as an agent does when it starts.
func (g *rig) connect() {
	r, err := container.New(g.t.Context(), container.Options{Socket: daemon.Socket, StateDir: daemon.StateDir(), CgroupRoot: "/fairlead-test", LogMaxBytes: 4096, LogMaxFiles: 3})
	g.must(err)
	g.r, g.exits = r, map[string]bool{}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Run(ctx) })
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-r.Events():
				g.mu.Lock()
				if !e.OOM {
					g.exits[e.ContainerID] = true
				}
				g.mu.Unlock()
			}
		}
	})
	g.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		g.must(r.Close())
	})
}

func (g *rig) cleanup() {
	ctx := context.Background()
	list, err := g.r.List(ctx)
	g.must(err)
	for _, c := range list {
		if c.PodUID == g.uid {
			g.must(g.r.Remove(ctx, c.ID, g.uid))
		}
	}
	g.must(g.r.RemoveSandbox(ctx, g.uid))
	g.must(g.r.RemovePodResources(g.uid))
	g.must(g.r.RemoveAllResources())
	g.stop()
}

func (g *rig) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *rig) eventually(what string, cond func() bool) {
	g.t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			g.t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

func (g *rig) config(script string, change ...func(*container.Config)) *container.Config {
	id := container.NewID()
	c := &container.Config{
		ID: id, PodUID: g.uid, PodNamespace: "default", PodName: "p", Sandbox: g.box, Hostname: "pod-1",
		Container: &corev1.Container{Name: "c"}, Command: []string{"/bin/sh", "-c", script},
		Image:   container.Image{Name: g.img.Name, ChainID: g.img.ChainID, Config: g.img.Config},
		LogPath: filepath.Join(g.dir, id+".log"), ScratchDir: g.dir, OOMScoreAdj: -997,
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func (g *rig) start(c *container.Config) string {
	g.t.Helper()
	var err error
	c.RootFS, err = g.r.PrepareRootFS(g.t.Context(), c.ID, g.uid, c.Image.ChainID)
	g.must(err)
	g.must(g.r.Create(g.t.Context(), c))
	g.must(g.r.Start(g.t.Context(), c.ID))
	return c.ID
}

// run starts a container, waits for its end by containerd's event and returns how it ended with its output.
func (g *rig) run(c *container.Config) (container.Exit, string) {
	g.t.Helper()
	g.start(c)
	return g.wait(c)
}

func (g *rig) wait(c *container.Config) (container.Exit, string) {
	g.t.Helper()
	g.eventually("exit event", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.exits[c.ID]
	})
	exit, err := g.r.Reap(g.t.Context(), c.ID, g.uid)
	g.must(err)
	g.must(g.r.Remove(g.t.Context(), c.ID, g.uid))
	return exit, g.log(c)
}

// log is the text of a log file without its framing.
func (g *rig) log(c *container.Config) string {
	g.t.Helper()
	data, err := os.ReadFile(c.LogPath)
	g.must(err)
	var out strings.Builder
	for line := range strings.Lines(string(data)) {
		f := strings.SplitN(line, " ", 4)
		if len(f) != 4 {
			g.t.Fatalf("bad log line %q", line)
		}
		if f[2] == "P" {
			f[3] = strings.TrimSuffix(f[3], "\n")
		}
		out.WriteString(f[3])
	}
	return out.String()
}

func ptr[T any](v T) *T { return &v }

func TestContainer(t *testing.T) {
	g := newRig(t)
	vol := t.TempDir()
	g.must(os.WriteFile(filepath.Join(vol, "f"), []byte("from volume"), 0o644))
	sc := func(f func(*corev1.SecurityContext)) func(*container.Config) {
		return func(c *container.Config) {
			c.Container.SecurityContext = &corev1.SecurityContext{}
			f(c.Container.SecurityContext)
		}
	}
	for _, tt := range []struct {
		name, script string
		change       func(*container.Config)
		code         int32
		want         string
	}{
		{name: "exit code and both streams", script: "echo out; echo err >&2; exit 3", code: 3, want: "out\nerr\n"},
		{name: "no newline", script: "printf abc", want: "abc"},
		{name: "hostname", script: "hostname", want: "pod-1\n"},
		{name: "environment", script: "echo $A $HOSTNAME", want: "x pod-1\n", change: func(c *container.Config) { c.Env = []string{"A=x"} }},
		{name: "working directory", script: "pwd", want: "/tmp\n", change: func(c *container.Config) { c.Container.WorkingDir = "/tmp" }},
		{name: "sysctl", script: "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", want: "0\n"},
		{name: "volume", script: "cat /v/f", want: "from volume", change: func(c *container.Config) {
			c.Mounts = []container.Mount{{HostPath: vol, ContainerPath: "/v"}}
		}},
		{name: "read-only volume", script: "touch /v/x 2>/dev/null || echo no", want: "no\n", change: func(c *container.Config) {
			c.Mounts = []container.Mount{{HostPath: vol, ContainerPath: "/v", ReadOnly: true}}
		}},
		{name: "subpath file", script: "cat /only", want: "from volume", change: func(c *container.Config) {
			c.Mounts = []container.Mount{{HostPath: vol, SubPath: "f", ContainerPath: "/only"}}
		}},
		{name: "subpath made", script: "echo hi > /v/y; cat /v/y", want: "hi\n", change: func(c *container.Config) {
			c.Mounts = []container.Mount{{HostPath: vol, SubPath: "a/b", ContainerPath: "/v"}}
		}},
		{name: "user", script: "id -u; id -g; id -G", want: "1000\n1000\n1000 2000 3000\n", change: func(c *container.Config) {
			c.PodSecurity = &corev1.PodSecurityContext{RunAsUser: ptr(int64(1000)), FSGroup: ptr(int64(3000))}
		}},
		{name: "image's user", script: "id -u", want: "1000\n", change: func(c *container.Config) { c.Image.Config.User = "app" }},
		{name: "read-only root", script: "touch /x 2>/dev/null || echo no", want: "no\n", change: sc(func(s *corev1.SecurityContext) { s.ReadOnlyRootFilesystem = ptr(true) })},
		{name: "no privileges", script: "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status | cat", want: "CapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n", change: sc(func(s *corev1.SecurityContext) {
			s.Capabilities = &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}
			s.AllowPrivilegeEscalation = ptr(false)
			s.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
		})},
		{name: "added capability", script: "grep CapEff /proc/self/status", want: "CapEff:\t0000000000001000\n", change: sc(func(s *corev1.SecurityContext) {
			s.Capabilities = &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_ADMIN"}}
		})},
		{name: "privileged", script: "test -w /proc/sys/kernel/hostname && test -e /dev/kmsg -o -e /dev/loop-control -o -e /dev/fuse -o -e /dev/vda && echo yes", want: "yes\n", change: sc(func(s *corev1.SecurityContext) { s.Privileged = ptr(true) })},
		{name: "masked", script: "head -c1 /proc/keys; echo ok", want: "ok\n"},
		{name: "terminal", script: "test -t 1 && echo tty", want: "tty\r\n", change: func(c *container.Config) { c.Container.TTY = true }},
		{name: "memory limit", script: "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true", want: "33554432\n", change: func(c *container.Config) {
			c.Container.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resourceMustParse("32Mi")}
		}},
		{name: "signal", script: "kill -9 $$; kill -TERM 1; exec sleep 0.01", code: 0, want: ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g.t = t
			c := g.config(tt.script)
			if tt.change != nil {
				tt.change(c)
			}
			exit, out := g.run(c)
			if exit.Code != tt.code || !sameLines(out, tt.want) || exit.Unknown {
				t.Fatalf("exit %+v with output %q, want %d with %q", exit, out, tt.code, tt.want)
			}
		})
	}
	g.t = t
}

// sameLines compares without the order of lines, since two streams have none between them.
func sameLines(a, b string) bool {
	as, bs := strings.SplitAfter(a, "\n"), strings.SplitAfter(b, "\n")
	slices.Sort(as)
	slices.Sort(bs)
	return slices.Equal(as, bs)
}

func TestSubPathStaysInVolume(t *testing.T) {
	g := newRig(t)
	vol := t.TempDir()
	g.must(os.Symlink("/etc", filepath.Join(vol, "out")))
	g.must(os.Symlink("..", filepath.Join(vol, "up")))
	for _, sub := range []string{"out", "out/new", "up/x", "../x", "/etc"} {
		c := g.config("true")
		c.Mounts = []container.Mount{{HostPath: vol, SubPath: sub, ContainerPath: "/v"}}
		if err := g.r.Create(t.Context(), c); err == nil || !strings.Contains(err.Error(), "leaves the volume") {
			t.Errorf("subpath %q: %v", sub, err)
		}
	}
}

func TestNonRootPolicy(t *testing.T) {
	g := newRig(t)
	for _, tt := range []struct{ user, want string }{{"", "will run as root"}, {"0", "will run as root"}, {"app", "non-numeric"}} {
		c := g.config("true")
		c.Image.Config.User = tt.user
		c.PodSecurity = &corev1.PodSecurityContext{RunAsNonRoot: ptr(true)}
		if err := g.r.Create(t.Context(), c); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("user %q: %v", tt.user, err)
		}
	}
}

func TestOOMKilled(t *testing.T) {
	g := newRig(t)
	c := g.config("exec tail /dev/zero")
	c.Container.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resourceMustParse("8Mi")}
	if exit, _ := g.run(c); !exit.OOMKilled || exit.Code != 137 {
		t.Fatalf("exit %+v", exit)
	}
}

func TestExec(t *testing.T) {
	g := newRig(t)
	id := g.start(g.config("exec sleep 1000", func(c *container.Config) { c.Env = []string{"A=own"} }))
	code, out, err := g.r.ExecSync(t.Context(), id, []string{"/bin/sh", "-c", "echo $A; exit 4"})
	if err != nil || code != 4 || string(out) != "own\n" {
		t.Fatalf("exec: %d %q %v", code, out, err)
	}
	var stdout, stderr bytes.Buffer
	code, err = g.r.Exec(t.Context(), id, []string{"/bin/sh", "-c", "cat; echo e >&2"}, stream.Streams{Stdin: strings.NewReader("typed"), Stdout: &stdout, Stderr: &stderr})
	if err != nil || code != 0 || stdout.String() != "typed" || stderr.String() != "e\n" {
		t.Fatalf("exec with input: %d %q %q %v", code, &stdout, &stderr, err)
	}
	stdout.Reset()
	sizes := make(chan stream.Size, 1)
	sizes <- stream.Size{Width: 91, Height: 17}
	code, err = g.r.Exec(t.Context(), id, []string{"/bin/sh", "-c", "until stty size 2>/dev/null | grep 91; do sleep 0.01; done"}, stream.Streams{Stdout: &stdout, TTY: true, Resize: sizes})
	if err != nil || code != 0 || stdout.String() != "17 91\r\n" {
		t.Fatalf("exec on terminal: %d %q %v", code, &stdout, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, _, err = g.r.ExecSync(ctx, id, []string{"sleep", "1000"}); err == nil {
		t.Fatal("exec outlived its context")
	}
	code, out, err = g.r.ExecSync(t.Context(), id, []string{"/bin/sh", "-c", "ps | grep -c '[s]leep 1000'"})
	if err != nil || strings.TrimSpace(string(out)) != "1" {
		t.Fatalf("processes left: %d %q %v", code, out, err)
	}
}

func TestAttach(t *testing.T) {
	g := newRig(t)
	c := g.config("cat; echo bye", func(c *container.Config) { c.Container.Stdin = true })
	g.start(c)
	var a, b bytes.Buffer
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := g.r.Attach(t.Context(), c.ID, stream.Streams{Stdout: &a}, false); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		if err := g.r.Attach(t.Context(), c.ID, stream.Streams{Stdin: strings.NewReader("hello\n"), Stdout: &b}, true); err != nil {
			t.Error(err)
		}
	})
	if exit, out := g.wait(c); exit.Code != 0 || out != "hello\nbye\n" {
		t.Fatalf("%+v %q", exit, out)
	}
	wg.Wait()
	if !strings.HasSuffix(b.String(), "bye\n") {
		t.Fatalf("attached saw %q", b.String())
	}
}

func TestLogRotation(t *testing.T) {
	g := newRig(t)
	c := g.config("for i in $(seq 1000); do echo line $i; done")
	g.run(c)
	old, err := container.RotatedLogs(c.LogPath)
	if err != nil || len(old) != 2 {
		t.Fatalf("rotated files %v, %v", old, err)
	}
	if out := g.log(c); !strings.HasSuffix(out, "line 1000\n") {
		t.Fatalf("last log ends %q", out[max(0, len(out)-30):])
	}
}

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
