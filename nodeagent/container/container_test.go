package container_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/stream"
)

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
			c.Container.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("32Mi")}
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
	c.Container.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("8Mi")}
	if exit, _ := g.run(c); !exit.OOMKilled || exit.Code != 137 {
		t.Fatalf("exit %+v", exit)
	}
}

func TestUsage(t *testing.T) {
	g := newRig(t)
	const mib = 1 << 20
	c := g.config("dd if=/dev/zero of=/dev/shm/x bs=1M count=8; mkdir /d; dd if=/dev/zero of=/d/x bs=1M count=4; sleep 1000 & sleep 1000 & echo up; wait")
	id := g.start(c)
	g.eventually("all is used", func() bool { return strings.Contains(g.log(c), "up") })
	for name, cgroup := range map[string]string{"container": id, "pod": ""} {
		if n, err := g.r.WorkingSet(g.uid, cgroup); err != nil || n < 8*mib || n > 32*mib {
			t.Errorf("memory of %s: %d, %v", name, n, err)
		}
	}
	if n, err := g.r.Processes(g.uid); err != nil || n != 3 {
		t.Errorf("%d processes, %v", n, err)
	}
	if size, files, err := g.r.LayerUsage(t.Context(), id); err != nil || size < 4*mib || size > 5*mib || files < 2 || files > 20 {
		t.Errorf("layer of %d bytes in %d files, %v", size, files, err)
	}
	if root := g.r.ImageRoot(); !strings.HasPrefix(root, filepath.Join(daemon.Dir, "root")+string(filepath.Separator)) {
		t.Errorf("images are in %q", root)
	}
	g.must(g.r.Signal(t.Context(), id, syscall.SIGKILL))
	g.wait(c)
	if n, err := g.r.WorkingSet(g.uid, id); err != nil || n != 0 {
		t.Errorf("what is gone uses %d, %v", n, err)
	}
	if size, files, err := g.r.LayerUsage(t.Context(), id); err != nil || size != 0 || files != 0 {
		t.Errorf("what is gone has written %d in %d, %v", size, files, err)
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
	if _, _, err = g.r.ExecSync(ctx, id, []string{"sleep", "1000"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("exec outlived its context: %v", err)
	}
	code, out, err = g.r.ExecSync(t.Context(), id, []string{"/bin/sh", "-c", "ps; [ $(ps | grep -c '[s]leep 1000') = 1 ]"})
	if err != nil || code != 0 {
		t.Fatalf("processes left: %d %q %v", code, out, err)
	}
}

// TestExecOutputIsComplete has commands end at once over and over: what they print is there when their exit code is.
func TestExecOutputIsComplete(t *testing.T) {
	const times, together = 40, 4
	g := newRig(t)
	id := g.start(g.config("exec sleep 1000"))
	var eg errgroup.Group
	eg.SetLimit(together)
	for range times {
		eg.Go(func() error {
			var stdout, stderr bytes.Buffer
			code, err := g.r.Exec(t.Context(), id, []string{"/bin/sh", "-c", "echo out; echo err >&2; exit 3"}, stream.Streams{Stdout: &stdout, Stderr: &stderr})
			if err != nil || code != 3 || stdout.String() != "out\n" || stderr.String() != "err\n" {
				return fmt.Errorf("exit code %d with %q and %q: %w", code, &stdout, &stderr, err)
			}
			return nil
		})
	}
	if err := eg.Wait(); err != nil {
		t.Error(err)
	}
}

func TestAttach(t *testing.T) {
	g := newRig(t)
	c := g.config("cat; echo bye", func(c *container.Config) { c.Container.Stdin = true })
	g.start(c)
	in, typed := io.Pipe()
	seen, shown := io.Pipe()
	var b bytes.Buffer
	var wg sync.WaitGroup
	wg.Go(func() {
		defer shown.Close()
		if err := g.r.Attach(t.Context(), c.ID, stream.Streams{Stdout: shown}, false); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		defer in.Close()
		if err := g.r.Attach(t.Context(), c.ID, stream.Streams{Stdin: in, Stdout: &b}, true); err != nil {
			t.Error(err)
		}
	})
	g.must(second(typed.Write([]byte("hello\n"))))
	// The other client may attach after that, so it is asked for until it is there.
	first := make(chan error, 1)
	lines := bufio.NewReader(seen)
	go func() { first <- second(lines.ReadString('\n')) }()
	g.eventually("output at the other client", func() bool {
		g.must(second(typed.Write([]byte("again\n"))))
		return len(first) == 1
	})
	g.must(<-first)
	g.must(typed.Close())
	exit, out := g.wait(c)
	rest, err := io.ReadAll(lines)
	g.must(err)
	wg.Wait()
	if exit.Code != 0 || !strings.HasPrefix(out, "hello\nagain\n") || !strings.HasSuffix(out, "again\nbye\n") {
		t.Fatalf("%+v %q", exit, out)
	}
	if b.String() != out || !strings.HasSuffix(out, string(rest)) || !strings.HasSuffix(string(rest), "bye\n") {
		t.Fatalf("attached saw %q and lastly %q, not %q", b.String(), rest, out)
	}
}

// TestAttachToEnded attaches to containers that have ended when nobody has noticed yet.
func TestAttachToEnded(t *testing.T) {
	g := newRig(t)
	c := g.config("echo quiet")
	g.start(c)
	g.eventually("end", func() bool {
		state, err := g.r.Inspect(t.Context(), c.ID)
		g.must(err)
		return state.Status == container.Stopped
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var out bytes.Buffer
	if err := g.r.Attach(ctx, c.ID, stream.Streams{Stdout: &out}, false); !errdefs.IsFailedPrecondition(err) {
		t.Fatalf("attached: %v, and saw %q", err, &out)
	}
	if exit, out := g.wait(c); exit.Code != 0 || out != "quiet\n" {
		t.Fatalf("%+v %q", exit, out)
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
