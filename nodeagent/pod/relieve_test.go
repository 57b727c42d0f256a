package pod_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/eviction"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/pressure"
)

// housekeeping is more than the pause between two looks.
const housekeeping = 11 * time.Second

// watchFor has the node look at these signals alone.
func (g *rig) watchFor(cfg pressure.Config, thresholds map[string]string) *clocktesting.FakeClock {
	g.t.Helper()
	all := map[string]string{}
	for _, s := range []eviction.Signal{
		eviction.MemoryAvailable, eviction.NodeFSAvailable, eviction.NodeFSInodesFree, eviction.ImageFSAvailable, eviction.ImageFSInodesFree, eviction.PIDAvailable,
	} {
		all[string(s)] = "0%"
	}
	for s, t := range thresholds {
		all[s] = t
	}
	var err error
	cfg.Thresholds, err = eviction.Parse(all)
	g.must(err)
	fake := clocktesting.NewFakeClock(time.Now())
	g.clock, cfg.Clock = fake, fake
	g.pressure = pressure.New(cfg)
	return fake
}

func (g *rig) ready(pods ...*corev1.Pod) {
	g.t.Helper()
	for _, p := range pods {
		g.create(p)
	}
	for _, p := range pods {
		g.await(p.Name, "ready", isReady)
	}
}

func (g *rig) evicted(name string) *corev1.Pod {
	g.t.Helper()
	p := g.await(name, "evicted", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if p.Status.Reason != "Evicted" || condition(p, corev1.DisruptionTarget).Reason != corev1.PodReasonTerminationByKubelet {
		g.t.Errorf("%s: %+v", name, p.Status)
	}
	return p
}

func requests(name corev1.ResourceName, q string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{name: resource.MustParse(q)}
		p.Status.QOSClass = corev1.PodQOSBurstable
	}
}

func important(priority int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Priority = &priority }
}

// A disk that is full is emptied by ending who fills it beyond what it has asked for; the node takes no more pods until it
// has been well for a while.
func TestFullDisk(t *testing.T) {
	g := newRig(t)
	g.must(unix.Mount("tmpfs", g.dir, "tmpfs", 0, "size=32m"))
	t.Cleanup(func() { g.must(unix.Unmount(g.dir, unix.MNT_DETACH)) })
	fake := g.watchFor(pressure.Config{NodeFS: g.dir}, map[string]string{"nodefs.available": "10%"})
	g.start()
	data := func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	}
	writes := func(mib string) string {
		return "dd if=/dev/zero of=/data/x bs=1M count=" + mib + "; mkdir /data/done; " + idle
	}
	// The trap comes first: it may be ended as soon as the disk is full, and the clock of its grace stands still.
	hog := newPod("hog", "trap 'exit 0' TERM; dd if=/dev/zero of=/data/x bs=64k; "+idle, data, requests(corev1.ResourceEphemeralStorage, "1Mi"), important(100))
	modest := newPod("modest", writes("1"), data, requests(corev1.ResourceEphemeralStorage, "4Mi"))
	vital := newPod("vital", writes("19"), data, important(2_000_000_000))
	g.ready(modest, vital)
	for _, p := range []*corev1.Pod{modest, vital} {
		g.eventually(p.Name+" has written", func() bool {
			_, err := os.Stat(filepath.Join(g.volumeDir(), string(p.UID), "data/done"))
			return err == nil
		})
	}
	g.ready(hog)
	free := func() int64 {
		var st unix.Statfs_t
		g.must(unix.Statfs(g.dir, &st))
		return int64(st.Bavail) * st.Bsize
	}
	g.eventually("the disk is full", func() bool { return free() == 0 })
	fake.Step(housekeeping)
	p := g.evicted("hog")
	if !strings.HasPrefix(p.Status.Message, "The node was low on resource: ephemeral-storage. Threshold quantity: 3355443, available: 0. Pod hog was using ") || !g.events.has("Evicted The node was low on resource: ephemeral-storage. ") {
		t.Errorf("%q, events %q", p.Status.Message, g.events.events)
	}
	if under := g.pressure.Under(); !slices.Equal(under, []corev1.NodeConditionType{corev1.NodeDiskPressure}) || !g.events.has("NodeHasDiskPressure ") {
		t.Errorf("under %v, events %q", under, g.events.events)
	}
	g.create(newPod("late", idle, requests(corev1.ResourceMemory, "1Mi")))
	p = g.await("late", "refused", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if p.Status.Reason != "Evicted" || p.Status.Message != "Pod was rejected: The node had condition: [DiskPressure]. " || condition(p, corev1.DisruptionTarget).Type != "" {
		t.Errorf("%+v", p.Status)
	}
	// What finds no room is tried again later, and the clock stands still.
	g.eventually("the disk has room", func() bool { return free() > 1<<20 })
	g.ready(newPod("needed", idle, important(2_000_000_000)))
	g.eventually("the node has recovered", func() bool {
		fake.Step(housekeeping)
		return g.events.has("NodeHasNoDiskPressure ")
	})
	g.ready(newPod("again", idle))
	for _, name := range []string{"modest", "vital"} {
		if p := g.get(name); p.Status.Phase != corev1.PodRunning || !isReady(p) {
			t.Errorf("%s: %+v", name, p.Status)
		}
	}
}

// While memory is short one pod after the other is ended, those first that use more than they have asked for.
func TestLittleMemory(t *testing.T) {
	g := newRig(t)
	fake := g.watchFor(pressure.Config{}, map[string]string{"memory.available": "1Ei"})
	g.start()
	fill := "dd if=/dev/zero of=/dev/shm/x bs=1M count=20; echo filled; " + idle
	g.ready(
		newPod("within", fill, requests(corev1.ResourceMemory, "100Mi")), newPod("greedy", fill, requests(corev1.ResourceMemory, "1Mi")),
		newPod("vital", idle, requests(corev1.ResourceMemory, "1Mi"), important(2_000_000_000)),
	)
	for _, name := range []string{"within", "greedy"} {
		g.eventually(name+" has filled its memory", func() bool { return strings.Contains(g.logs(name, "", corev1.PodLogOptions{}), "filled") })
	}
	fake.Step(housekeeping)
	greedy := g.evicted("greedy")
	if p := g.m.Pod("default", "within"); p.Status.Phase != corev1.PodRunning {
		t.Errorf("two at a time: %+v", p.Status)
	}
	g.eventually("within is evicted", func() bool {
		fake.Step(housekeeping)
		return g.m.Pod("default", "within").Status.Phase == corev1.PodFailed
	})
	within := g.evicted("within")
	const prefix = "The node was low on resource: memory. Threshold quantity: 1Ei, available: "
	if m := greedy.Status.Message; !strings.HasPrefix(m, prefix) || !strings.Contains(m, "Container c was using ") || !strings.HasSuffix(m, ", request is 1Mi, has larger consumption of memory. ") {
		t.Errorf("%q", m)
	}
	if m := within.Status.Message; !strings.HasPrefix(m, prefix) || strings.Contains(m, "Container") {
		t.Errorf("%q", m)
	}
	if p := g.get("vital"); !isReady(p) {
		t.Errorf("%+v", p.Status)
	}
}

// A pod that is being deleted and takes its time ends at once when its room is needed.
func TestEvictionHurriesDeletion(t *testing.T) {
	g := newRig(t)
	fake := g.watchFor(pressure.Config{}, map[string]string{"memory.available": "1Ei"})
	g.start()
	g.ready(newPod("slow", "trap '' TERM; while :; do sleep 1; done", requests(corev1.ResourceMemory, "1Mi")))
	g.remove("slow", 3600)
	g.eventually("slow is told to end", func() bool { return g.events.has("Killing ") })
	deadline := fake.Now().Add(time.Hour)
	g.eventually("slow is gone", func() bool {
		fake.Step(time.Second)
		return g.m.Pod("default", "slow") == nil
	})
	if !fake.Now().Before(deadline) || !g.events.has("Evicted The node was low on resource: memory.") {
		t.Errorf("gone %v before its time, events %q", deadline.Sub(fake.Now()), g.events.events)
	}
}

// What nobody needs goes first: what is left of dead containers, images, and the logs of pods that have ended.
func TestRoomIsMadeFirst(t *testing.T) {
	g := newRig(t)
	const unused = "localhost/unused:1"
	var done, running *corev1.Pod
	var dead string
	left := func() (what []string) {
		if _, err := g.rt.Client().ImageService().Get(t.Context(), unused); err == nil {
			what = append(what, "image")
		}
		if _, err := os.Stat(g.logFile(done, 0)); err == nil {
			what = append(what, "log")
		}
		if ids, err := g.rt.ListPod(t.Context(), running.UID); err != nil || slices.Contains(ids, dead) {
			what = append(what, "container")
		}
		return what
	}
	observe := func() map[eviction.Signal]pressure.Observation {
		o := pressure.Observation{Available: 50, Capacity: 100}
		if running != nil && len(left()) > 0 {
			o.Available = 1
		}
		return map[eviction.Signal]pressure.Observation{eviction.ImageFSAvailable: o}
	}
	fake := g.watchFor(pressure.Config{ImageFS: daemon.Dir, Observe: observe}, map[string]string{"imagefs.available": "15%"})
	g.start()
	g.load(unused)
	g.create(newPod("done", "echo done", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }))
	done = g.await("done", "succeeded", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	g.ready(newPod("running", idle))
	running = g.get("running")
	dead = g.leaveDead(running)
	if got := left(); !slices.Equal(got, []string{"image", "log", "container"}) {
		t.Fatalf("there are %v", got)
	}
	fake.Step(3 * time.Minute) // an image that was just used stays
	g.eventually("room was made", func() bool { return len(left()) == 0 })
	g.ready(newPod("again", idle, important(2_000_000_000)))
	if p := g.get("running"); !isReady(p) || g.events.has("Evicted") {
		t.Errorf("%+v, events %q", p.Status, g.events.events)
	}
}

// leaveDead runs a container of the pod to its end, of which the node's agent knows nothing.
func (g *rig) leaveDead(p *corev1.Pod) string {
	g.t.Helper()
	ctx := g.t.Context()
	img, err := g.images.Lookup(ctx, testImage)
	g.must(err)
	spec := shell("dead", "exit 0")
	cfg := &container.Config{
		ID: container.NewID(), PodUID: p.UID, PodNamespace: p.Namespace, PodName: p.Name, Container: &spec, Command: spec.Command,
		Image:   container.Image{Name: img.Name, ChainID: img.ChainID, Config: img.Config},
		LogPath: filepath.Join(g.dir, "dead.log"), ScratchDir: g.dir,
	}
	cfg.RootFS, err = g.rt.PrepareRootFS(ctx, cfg.ID, p.UID, img.ChainID)
	g.must(err)
	cfg.Sandbox, err = g.rt.EnsureSandbox(ctx, container.SandboxConfig{UID: p.UID, Hostname: p.Name})
	g.must(err)
	g.must(g.rt.Create(ctx, cfg))
	g.must(g.rt.Start(ctx, cfg.ID))
	g.eventually("the container has ended", func() bool {
		st, err := g.rt.Inspect(ctx, cfg.ID)
		return err == nil && st.Status == container.Stopped
	})
	return cfg.ID
}
