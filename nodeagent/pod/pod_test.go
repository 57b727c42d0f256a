package pod_test

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/probe"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/stream"
)

func TestPodRuns(t *testing.T) {
	g := newRig(t)
	g.start()
	g.create(newPod("a", "echo hello; "+idle))
	p := g.await("a", "ready", isReady)
	cs := statusOf(p, "c")
	if p.Status.Phase != corev1.PodRunning || p.Status.PodIP == "" || p.Status.PodIPs[0].IP != p.Status.PodIP || p.Status.HostIP != "192.0.2.1" || p.Status.StartTime == nil {
		t.Errorf("status %+v", p.Status)
	}
	if !cs.Ready || cs.Started == nil || !*cs.Started || cs.RestartCount != 0 || cs.State.Running == nil ||
		!strings.HasPrefix(cs.ContainerID, "containerd://") || cs.Image != testImage || !strings.HasPrefix(cs.ImageID, "localhost/bb@sha256:") {
		t.Errorf("container status %+v", cs)
	}
	for _, c := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady, corev1.PodReadyToStartContainers} {
		if got := condition(p, c); got.Status != corev1.ConditionTrue || got.LastTransitionTime.IsZero() {
			t.Errorf("condition %s: %+v", c, got)
		}
	}
	g.eventually("log", func() bool { return g.logs("a", "c", corev1.PodLogOptions{}) == "hello\n" })
	for _, e := range []string{"Pulled Container image", "Created ", "Started "} {
		if !g.events.has(e) {
			t.Errorf("no event %q in %q", e, g.events.events)
		}
	}
	g.remove("a", 5)
	g.awaitGone("a")
	for _, dir := range []string{filepath.Join(g.dir, "data/pods", string(p.UID)), filepath.Join(daemon.StateDir(), "ns", string(p.UID)), filepath.Join(g.volumeDir(), string(p.UID)), filepath.Join(g.dir, "log", "default_a_"+string(p.UID))} {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
	if list, err := g.rt.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("containers left: %v %v", list, err)
	}
}

func TestEnvironmentAndFiles(t *testing.T) {
	g := newRig(t)
	g.objects.maps["cm"] = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cm"}, Data: map[string]string{"k": "v"}}
	g.start()
	g.create(newPod("e", "echo $IP $FROM $MORE; cat /etc/resolv.conf; grep -c $IP /etc/hosts; cat /etc/hostname; echo bye > /dev/termination-log", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.Containers[0].Env = []corev1.EnvVar{
			{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
			{Name: "FROM", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}, Key: "k"}}},
			{Name: "MORE", Value: "$(FROM)$(NONE)$$(FROM)"},
		}
	}))
	p := g.await("e", "succeeded", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	want := p.Status.PodIP + " v v$(NONE)$(FROM)\nsearch default.svc.cluster.local svc.cluster.local cluster.local"
	if out := g.logs("e", "", corev1.PodLogOptions{}); !strings.HasPrefix(out, want) || !strings.Contains(out, "nameserver 169.254.20.10\noptions ndots:5\n1\ne\n") {
		t.Errorf("output %q", out)
	}
	if s := statusOf(p, "c").State.Terminated; s == nil || s.Message != "bye\n" || s.Reason != "Completed" {
		t.Errorf("state %+v", s)
	}
	if c := condition(p, corev1.PodReady); c.Status != corev1.ConditionFalse || c.Reason != "PodCompleted" {
		t.Errorf("ready %+v", c)
	}
}

func TestInitAndSidecar(t *testing.T) {
	g := newRig(t)
	g.start()
	always := corev1.ContainerRestartPolicyAlways
	mount := []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
	g.create(newPod("i", "echo main >> /v/order; nc -l -p 81 -e true; cat /v/order; sleep 0.1; echo end >> /v/order", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		one, side, two := shell("one", "sleep 0.1; echo one >> /v/order"), shell("side", "echo side >> /v/order; touch /dev/shm/x; until nc 127.0.0.1 81; do sleep 0.01; done; trap 'echo term >> /v/order; exit 0' TERM; while :; do sleep 0.05; done"), shell("two", "until grep side /v/order; do sleep 0.01; done; ls /dev/shm; echo two >> /v/order")
		side.RestartPolicy = &always
		p.Spec.InitContainers = []corev1.Container{one, side, two}
		for i := range p.Spec.InitContainers {
			p.Spec.InitContainers[i].VolumeMounts = mount
		}
		p.Spec.Containers[0].VolumeMounts = mount
	}))
	p := g.await("i", "initializing", func(p *corev1.Pod) bool {
		return condition(p, corev1.PodInitialized).Reason == "ContainersNotInitialized"
	})
	if s := statusOf(p, "c").State.Waiting; s == nil || s.Reason != "PodInitializing" {
		t.Errorf("main container %+v", statusOf(p, "c"))
	}
	p = g.await("i", "succeeded", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	if out := g.logs("i", "c", corev1.PodLogOptions{}); out != "one\nside\ntwo\nmain\n" {
		t.Errorf("order %q", out)
	}
	if out := g.logs("i", "two", corev1.PodLogOptions{}); !strings.HasSuffix(out, "x\n") {
		t.Errorf("shared memory %q", out)
	}
	if s := statusOf(p, "side").State.Terminated; s == nil || s.ExitCode != 0 {
		t.Errorf("sidecar %+v", statusOf(p, "side"))
	}
}

func TestCrashLoop(t *testing.T) {
	g := newRig(t)
	fake := clocktesting.NewFakeClock(time.Now())
	g.clock = fake
	g.start()
	g.create(newPod("x", "echo try; exit 3"))
	crashed := func(restarts int32) func(*corev1.Pod) bool {
		return func(p *corev1.Pod) bool {
			s := statusOf(p, "c")
			return s.RestartCount == restarts && s.State.Waiting != nil && s.State.Waiting.Reason == "CrashLoopBackOff"
		}
	}
	// The first restart comes at once, each further one after twice the time.
	for i, delay := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second} {
		p := g.await("x", "in back-off", crashed(int32(i+1)))
		s := statusOf(p, "c")
		if s.LastTerminationState.Terminated == nil || s.LastTerminationState.Terminated.ExitCode != 3 || !strings.Contains(s.State.Waiting.Message, "back-off "+delay.String()) {
			t.Errorf("state %+v", s)
		}
		if p.Status.Phase != corev1.PodRunning || isReady(p) {
			t.Errorf("phase %s", p.Status.Phase)
		}
		fake.Step(delay - 2*time.Second)
		if crashed(int32(i+1))(g.get("x")) == false {
			t.Errorf("restarted before %v", delay)
		}
		fake.Step(3 * time.Second)
	}
	if !g.events.has("BackOff Back-off restarting failed container c in pod x_default(") {
		t.Errorf("events %q", g.events.events)
	}
	if out := g.logs("x", "c", corev1.PodLogOptions{Previous: true}); out != "try\n" {
		t.Errorf("previous log %q", out)
	}
}

func TestFailures(t *testing.T) {
	g := newRig(t)
	g.start()
	waiting := func(reason string) func(*corev1.Pod) bool {
		return func(p *corev1.Pod) bool {
			s := statusOf(p, "c").State.Waiting
			return s != nil && s.Reason == reason
		}
	}
	t.Run("image never", func(t *testing.T) {
		g.create(newPod("never", "", func(p *corev1.Pod) {
			p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = "localhost/none:1", corev1.PullNever
		}))
		g.await("never", "refused", waiting("ErrImageNeverPull"))
	})
	t.Run("pull", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		g.must(err)
		g.must(l.Close())
		g.create(newPod("pull", "", func(p *corev1.Pod) { p.Spec.Containers[0].Image = l.Addr().String() + "/none:1" }))
		g.await("pull", "failed", waiting("ErrImagePull"))
		g.await("pull", "backed off", waiting("ImagePullBackOff"))
	})
	t.Run("image name", func(t *testing.T) {
		g.create(newPod("name", "", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "UPPER:::1" }))
		g.await("name", "refused", waiting("InvalidImageName"))
	})
	t.Run("config", func(t *testing.T) {
		g.create(newPod("config", idle, func(p *corev1.Pod) {
			p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "later"}}}}
		}))
		g.await("config", "waits", waiting("CreateContainerConfigError"))
		g.objects.add("later", &corev1.ConfigMap{})
		g.await("config", "ready", isReady)
	})
	t.Run("command", func(t *testing.T) {
		g.create(newPod("cmd", "", func(p *corev1.Pod) {
			p.Spec.RestartPolicy = corev1.RestartPolicyNever
			p.Spec.Containers[0].Command = []string{"/none"}
		}))
		p := g.await("cmd", "failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
		if s := statusOf(p, "c"); s.LastTerminationState.Terminated == nil && (s.State.Terminated == nil || s.State.Terminated.ExitCode != 128 || s.State.Terminated.Reason != "StartError") {
			t.Errorf("state %+v", s)
		}
	})
	t.Run("not of this node", func(t *testing.T) {
		gvisor := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "gvisor"}, Handler: "runsc"}
		_, err := g.client.NodeV1().RuntimeClasses().Create(t.Context(), gvisor, metav1.CreateOptions{})
		g.must(err)
		for name, tc := range map[string]struct {
			change func(*corev1.Pod)
			text   string
		}{
			"users":   {func(p *corev1.Pod) { p.Spec.HostUsers = ptr(false) }, "this node cannot give a pod a user namespace"},
			"runtime": {func(p *corev1.Pod) { p.Spec.RuntimeClassName = &gvisor.Name }, `no runtime for "runsc" is configured`},
			"claims":  {func(p *corev1.Pod) { p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu"}} }, `this node has no devices for resource claim "gpu"`},
		} {
			p := g.create(newPod(name, idle, tc.change))
			g.eventually(name+" is refused", func() bool { return g.events.has("FailedCreatePodSandBox Failed to create pod sandbox: " + tc.text) })
			if s := statusOf(g.get(p.Name), "c"); s.State.Running != nil {
				t.Errorf("%s runs all the same", name)
			}
		}
	})
	t.Run("deadline", func(t *testing.T) {
		g.create(newPod("deadline", idle, func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr(int64(1)) }))
		p := g.await("deadline", "failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
		if p.Status.Reason != "DeadlineExceeded" {
			t.Errorf("reason %s", p.Status.Reason)
		}
	})
	t.Run("admission", func(t *testing.T) {
		g.node = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}, Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourcePods: resource.MustParse("100")}}}
		g.create(newPod("big", idle, func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}
		}))
		p := g.await("big", "refused", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
		if p.Status.Reason != "OutOfcpu" || !strings.Contains(p.Status.Message, "requested: 2000, used: 0, capacity: 1000") {
			t.Errorf("%s: %s", p.Status.Reason, p.Status.Message)
		}
	})
}

func TestStorageLimits(t *testing.T) {
	g := newRig(t)
	fake := clocktesting.NewFakeClock(time.Now())
	g.clock = fake
	g.start()
	for name, tc := range map[string]struct {
		dir, text string
		change    func(*corev1.Pod)
	}{
		"volume": {"/data", `Usage of EmptyDir volume "data" exceeds the limit "1Mi". `, func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: ptr(resource.MustParse("1Mi"))}}}}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
		}},
		"layer": {"/tmp", "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ", func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("2Mi")}
		}},
	} {
		g.create(newPod(name, "dd if=/dev/zero of="+tc.dir+"/x bs=1M count=3; "+idle, tc.change))
		p := g.await(name, "evicted", func(p *corev1.Pod) bool {
			fake.Step(10 * time.Second)
			return p.Status.Phase == corev1.PodFailed
		})
		if p.Status.Reason != "Evicted" || p.Status.Message != tc.text || condition(p, corev1.DisruptionTarget).Reason != corev1.PodReasonTerminationByKubelet {
			t.Errorf("%s: %+v", name, p.Status)
		}
	}
}

func TestGracefulTermination(t *testing.T) {
	g := newRig(t)
	g.start()
	g.create(newPod("g", "trap 'echo term; sleep 0.2; echo done; exit 0' TERM; echo up; while :; do sleep 0.02; done", func(p *corev1.Pod) {
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{
			PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/bin/sh", "-c", "echo post > /proc/1/fd/1"}}},
			PreStop:   &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/bin/sh", "-c", "echo pre > /proc/1/fd/1"}}},
		}
	}))
	g.await("g", "ready", isReady)
	g.eventually("up", func() bool {
		out := g.logs("g", "", corev1.PodLogOptions{})
		return strings.Contains(out, "up") && strings.Contains(out, "post")
	})
	var followed bytes.Buffer
	done := make(chan error, 1)
	go func() {
		done <- g.m.Logs(t.Context(), "default", "g", "", &corev1.PodLogOptions{Follow: true}, &followed)
	}()
	// The final status must be written before the pod is deleted: a finalizer of the test's keeps the object to see it.
	g.remove("g", 10)
	g.awaitGone("g")
	g.must(<-done)
	if out := followed.String(); !strings.HasSuffix(out, "pre\nterm\ndone\n") {
		t.Errorf("output %q", out)
	}
	var final corev1.PodPhase
	for _, a := range g.client.Actions() {
		if pa, ok := a.(interface{ GetPatch() []byte }); ok && bytes.Contains(pa.GetPatch(), []byte(`"phase":"Succeeded"`)) {
			final = corev1.PodSucceeded
		}
	}
	if final != corev1.PodSucceeded {
		t.Error("no final status was written before the deletion")
	}
}

// TestKillAfterGrace ends a pod that does not want to, and takes from it meanwhile what it mounts, as when its namespace goes.
func TestKillAfterGrace(t *testing.T) {
	g := newRig(t)
	conf := func(data map[string]string) {
		g.objects.add("conf", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "conf"}, Data: data})
	}
	conf(map[string]string{"key": "there"})
	g.start()
	g.create(newPod("k", "trap '' TERM; while :; do sleep 0.02; done", func(p *corev1.Pod) {
		for name, items := range map[string][]corev1.KeyToPath{"all": nil, "one": {{Key: "key", Path: "key"}}} {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: "conf"}, Items: items}}})
		}
	}))
	p := g.await("k", "ready", isReady)
	start := time.Now()
	g.remove("k", 30)
	g.eventually("killing", func() bool { return g.events.has("Killing Stopping container c") })
	conf(map[string]string{"other": "there"})
	g.eventually("refreshed", func() bool {
		_, err := os.Stat(filepath.Join(g.volumeDir(), string(p.UID), "all", "other"))
		return err == nil
	})
	g.remove("k", 1) // somebody is in a hurry now
	g.awaitGone("k")
	if d := time.Since(start); d < 900*time.Millisecond {
		t.Errorf("it was killed after %v, before its grace period ended", d)
	}
	g.stop()
	if g.volumeLog.Len() > 0 {
		t.Errorf("of a pod that ends it tells %s", &g.volumeLog)
	}
}

func TestProbes(t *testing.T) {
	g := newRig(t)
	g.start()
	g.create(newPod("p", "trap 'exit 7' TERM; while :; do sleep 0.02; done", func(p *corev1.Pod) {
		p.Spec.Containers[0].ReadinessProbe, p.Spec.Containers[0].LivenessProbe, p.Spec.Containers[0].StartupProbe = &corev1.Probe{}, &corev1.Probe{}, &corev1.Probe{}
	}))
	p := g.await("p", "running", func(p *corev1.Pod) bool { return statusOf(p, "c").State.Running != nil })
	if s := statusOf(p, "c"); s.Ready || *s.Started || condition(p, corev1.PodReady).Reason != "ContainersNotReady" {
		t.Errorf("before probes %+v", s)
	}
	id := strings.TrimPrefix(statusOf(p, "c").ContainerID, "containerd://")
	send := func(k probe.Kind, ok bool) {
		g.prober.results <- probe.Result{Pod: p.UID, Container: "c", ContainerID: id, Kind: k, OK: ok, Message: "why"}
	}
	send(probe.Startup, true)
	g.await("p", "started", func(p *corev1.Pod) bool { return *statusOf(p, "c").Started && !isReady(p) })
	send(probe.Readiness, true)
	g.await("p", "ready", isReady)
	send(probe.Readiness, false)
	g.await("p", "unready", func(p *corev1.Pod) bool { return !isReady(p) })
	send(probe.Liveness, false)
	p = g.await("p", "restarted", func(p *corev1.Pod) bool { s := statusOf(p, "c"); return s.RestartCount == 1 && s.State.Running != nil })
	if last := statusOf(p, "c").LastTerminationState.Terminated; last == nil || last.ExitCode != 7 {
		t.Errorf("last state %+v", last)
	}
	if e := "Killing Container c failed liveness probe, will be restarted"; !g.events.has(e) {
		t.Errorf("no event %q", e)
	}
}

func TestForcedDeletion(t *testing.T) {
	g := newRig(t)
	g.start()
	g.create(newPod("f", idle))
	g.await("f", "ready", isReady)
	g.must(g.client.CoreV1().Pods("default").Delete(t.Context(), "f", metav1.DeleteOptions{}))
	g.awaitGone("f")
	if list, err := g.rt.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("containers left: %v %v", list, err)
	}
}

func TestStreams(t *testing.T) {
	g := newRig(t)
	g.start()
	g.create(newPod("s", "nc -ll -p 8080 -e cat & for i in 1 2 3; do echo line $i; done; "+idle))
	g.await("s", "ready", isReady)
	var out bytes.Buffer
	code, err := g.m.Exec(t.Context(), "default", "s", "c", []string{"/bin/sh", "-c", "hostname; exit 5"}, stream.Streams{Stdout: &out})
	if err != nil || code != 5 || out.String() != "s\n" {
		t.Errorf("exec: %d %q %v", code, &out, err)
	}
	g.eventually("log", func() bool { return strings.Contains(g.logs("s", "", corev1.PodLogOptions{}), "line 3") })
	for _, tt := range []struct {
		opts corev1.PodLogOptions
		want string
	}{
		{corev1.PodLogOptions{TailLines: ptr(int64(1))}, "line 3\n"},
		{corev1.PodLogOptions{TailLines: ptr(int64(0))}, ""},
		{corev1.PodLogOptions{LimitBytes: ptr(int64(8))}, "line 1\nl"},
		{corev1.PodLogOptions{SinceTime: &metav1.Time{Time: time.Now().Add(time.Hour)}}, ""},
		{corev1.PodLogOptions{Stream: ptr(corev1.LogStreamStderr)}, ""},
		{corev1.PodLogOptions{Previous: true}, "error: previous terminated container \"c\" in pod \"s\" not found"},
	} {
		if got := g.logs("s", "", tt.opts); got != tt.want {
			t.Errorf("logs %+v: %q, want %q", tt.opts, got, tt.want)
		}
	}
	here, there := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- g.m.PortForward(t.Context(), "default", "s", 8080, there) }()
	_, err = here.Write([]byte("echo"))
	g.must(err)
	buf := make([]byte, 4)
	_, err = here.Read(buf)
	g.must(err)
	g.must(here.Close())
	if err := <-done; err != nil || string(buf) != "echo" {
		t.Errorf("port-forward: %q %v", buf, err)
	}
	g.change("s", func(p *corev1.Pod) {
		p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon(shell("debug", "ps | grep -c '[n]c -l'")), TargetContainerName: "c"}}
	})
	p := g.await("s", "debugged", func(p *corev1.Pod) bool { return statusOf(p, "debug").State.Terminated != nil })
	if out := g.logs("s", "debug", corev1.PodLogOptions{}); strings.TrimSpace(out) == "0" || !isReady(p) {
		t.Errorf("debug container saw %q", out)
	}
}
