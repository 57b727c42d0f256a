package pod_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/clock"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container/containertest"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/image"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/pod"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/pressure"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/probe"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/volume"
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

const (
	nodeName  = "node-1"
	testImage = "localhost/bb:1"
	patience  = 20 * time.Second
)

// rig is a node with an API of its own. start and stop are the agent's life.
type rig struct {
	t       *testing.T
	client  *fake.Clientset
	network *fakeNetwork
	volumes *volume.Volumes
	// volumeLog is what the volume manager logs, to be read once it has stopped.
	volumeLog bytes.Buffer
	prober    *fakeProber
	objects   *fakeObjects
	events    *recorder
	clock     clock.WithTicker
	node      *corev1.Node
	dir       string
	// logBytes is how large a file of a container's log becomes, of which there may then be many; 0: as usual.
	logBytes int64
	m        *pod.Manager
	images   *image.Manager
	// pressure says what the node is short of; nil: of nothing.
	pressure *pressure.Monitor
	rt       *container.Runtime
	stop     func()
}

func newRig(t *testing.T) *rig {
	g := &rig{
		t: t, client: fake.NewClientset(), network: &fakeNetwork{pods: map[types.UID][]netip.Addr{}},
		events: &recorder{}, clock: clock.RealClock{}, objects: &fakeObjects{maps: map[string]*corev1.ConfigMap{}, secrets: map[string]*corev1.Secret{}},
	}
	var err error
	g.dir, err = os.MkdirTemp(daemon.Dir, "rig-")
	g.must(err)
	t.Cleanup(func() {
		if g.stop != nil {
			g.stop()
		}
		g.build()
		if err := g.m.Cleanup(context.Background()); err != nil {
			t.Error(err)
		}
		g.must(g.rt.Close())
	})
	return g
}

func (g *rig) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *rig) logger() *slog.Logger {
	level := slog.LevelWarn
	if testing.Verbose() {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

func (g *rig) build() {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	opt := container.Options{Socket: daemon.Socket, StateDir: daemon.StateDir(), CgroupRoot: daemon.CgroupRoot(), Logger: g.logger()}
	if g.logBytes > 0 {
		opt.LogMaxBytes, opt.LogMaxFiles = g.logBytes, 1000
	}
	rt, err := container.New(ctx, opt)
	g.must(err)
	g.rt = rt
	images := image.New(image.Options{Client: rt.Client(), Snapshotter: rt.Snapshotter(), Root: g.dir, Clock: g.clock, Logger: g.logger()})
	g.images = images
	if img, err := images.Lookup(ctx, testImage); err != nil || img == nil {
		g.must(err)
		g.load(testImage)
	}
	g.prober = &fakeProber{results: make(chan probe.Result, 16), targets: map[string]probe.Target{}}
	g.volumes = volume.New(volume.Config{
		Dir: g.volumeDir(), Source: g.objects, Allocatable: func() corev1.ResourceList { return nil },
		Logger: slog.New(slog.NewTextHandler(io.MultiWriter(os.Stderr, &g.volumeLog), nil)),
	})
	g.m = pod.New(pod.Config{
		NodeName: nodeName, NodeIP: netip.MustParseAddr("192.0.2.1"), Client: g.client, Node: func() *corev1.Node { return g.node },
		Objects: g.objects, Runtime: rt, Images: images, Network: g.network, Volumes: g.volumes, Prober: g.prober, Recorder: g.events, Pressure: g.pressure,
		DataDir: filepath.Join(g.dir, "data"), LogDir: filepath.Join(g.dir, "log"), Clock: g.clock, Logger: g.logger(),
	})
}

func (g *rig) volumeDir() string { return filepath.Join(g.dir, "volumes") }

// load puts an image onto the node.
func (g *rig) load(ref string) {
	g.t.Helper()
	img, err := containertest.Busybox(func(c *v1.Config) { c.Labels = map[string]string{"ref": ref} })
	g.must(err)
	archive, err := containertest.Archive(ref, img)
	g.must(err)
	_, err = g.images.Import(context.Background(), archive)
	g.must(err)
}

// start runs a new agent on what an earlier one left.
func (g *rig) start() {
	g.t.Helper()
	g.build()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2) // one of each
	m, rt, volumes := g.m, g.rt, g.volumes
	go func() { done <- m.Run(ctx) }()
	go func() { done <- volumes.Run(ctx) }()
	g.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, <-done); err != nil {
			g.t.Error(err)
		}
		if err := rt.Close(); err != nil {
			g.t.Error(err)
		}
	})
}

// newPod is a pod with one container that runs a shell script.
func newPod(name, script string, change ...func(*corev1.Pod)) *corev1.Pod {
	grace := int64(5)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(container.NewID()[:16]), Generation: 1},
		Spec: corev1.PodSpec{
			NodeName: nodeName, RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: &grace,
			DNSPolicy: corev1.DNSClusterFirst, Containers: []corev1.Container{shell("c", script)},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending, QOSClass: corev1.PodQOSBestEffort},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func shell(name, script string) corev1.Container {
	return corev1.Container{Name: name, Image: testImage, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"/bin/sh", "-c", script}}
}

const idle = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"

func (g *rig) create(p *corev1.Pod) *corev1.Pod {
	g.t.Helper()
	out, err := g.client.CoreV1().Pods(p.Namespace).Create(g.t.Context(), p, metav1.CreateOptions{})
	g.must(err)
	return out
}

func (g *rig) get(name string) *corev1.Pod {
	g.t.Helper()
	p, err := g.client.CoreV1().Pods("default").Get(g.t.Context(), name, metav1.GetOptions{})
	g.must(err)
	return p
}

// change edits a pod as a client of the API does.
func (g *rig) change(name string, f func(*corev1.Pod)) {
	g.t.Helper()
	p := g.get(name)
	f(p)
	_, err := g.client.CoreV1().Pods("default").Update(g.t.Context(), p, metav1.UpdateOptions{})
	g.must(err)
}

// remove asks for a pod's deletion as the API server does.
func (g *rig) remove(name string, grace int64) {
	g.t.Helper()
	g.change(name, func(p *corev1.Pod) {
		at := metav1.NewTime(g.clock.Now().Add(time.Duration(grace) * time.Second))
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &at, &grace
	})
}

func (g *rig) eventually(what string, cond func() bool) {
	g.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			for _, p := range g.m.Pods() {
				g.t.Logf("%s: %s %+v\n%+v", p.Name, p.Status.Phase, p.Status.Conditions, p.Status.ContainerStatuses)
			}
			g.t.Fatalf("never: %s; events %q", what, g.events.events)
		case <-tick.C:
		}
	}
}

// await waits until the API's pod is as wanted and returns it.
func (g *rig) await(name, what string, cond func(*corev1.Pod) bool) *corev1.Pod {
	g.t.Helper()
	var p *corev1.Pod
	g.eventually(name+" "+what, func() bool { p = g.get(name); return cond(p) })
	return p
}

func (g *rig) awaitGone(name string) {
	g.t.Helper()
	g.eventually(name+" gone", func() bool {
		_, err := g.client.CoreV1().Pods("default").Get(g.t.Context(), name, metav1.GetOptions{})
		return apierrors.IsNotFound(err) && g.m.Pod("default", name) == nil
	})
}

func condition(p *corev1.Pod, t corev1.PodConditionType) corev1.PodCondition {
	for _, c := range p.Status.Conditions {
		if c.Type == t {
			return c
		}
	}
	return corev1.PodCondition{}
}

func isReady(p *corev1.Pod) bool {
	return condition(p, corev1.PodReady).Status == corev1.ConditionTrue
}

func statusOf(p *corev1.Pod, name string) corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses} {
		for _, c := range list {
			if c.Name == name {
				return c
			}
		}
	}
	return corev1.ContainerStatus{}
}

func (g *rig) logs(name, container string, opts corev1.PodLogOptions) string {
	g.t.Helper()
	var b strings.Builder
	if err := g.m.Logs(g.t.Context(), "default", name, container, &opts, &b); err != nil {
		return "error: " + err.Error()
	}
	return b.String()
}

func ptr[T any](v T) *T { return &v }
