package container_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container/containertest"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/image"
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
	r, err := container.New(g.t.Context(), container.Options{Socket: daemon.Socket, StateDir: daemon.StateDir(), CgroupRoot: daemon.CgroupRoot(), LogMaxBytes: 4096, LogMaxFiles: 3})
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

// second is the error of a call that returns something else too.
func second[T any](_ T, err error) error { return err }

func ptr[T any](v T) *T { return &v }
