package pod_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/probe"
)

// TestAgentRestart lets the agent die under a running pod and expects that nothing of it shows.
func TestAgentRestart(t *testing.T) {
	g := newRig(t)
	g.start()
	g.create(newPod("r", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done", func(p *corev1.Pod) { p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{} }))
	p := g.await("r", "running", func(p *corev1.Pod) bool { return statusOf(p, "c").State.Running != nil })
	g.prober.results <- probe.Result{Pod: p.UID, Container: "c", ContainerID: strings.TrimPrefix(statusOf(p, "c").ContainerID, "containerd://"), Kind: probe.Readiness, OK: true}
	before := g.await("r", "ready", isReady)
	g.stop()
	g.client.ClearActions()
	lines := strings.Count(readFile(t, g.logFile(before, 0)), "\n")
	g.start()
	g.eventually("log goes on", func() bool { return strings.Count(readFile(t, g.logFile(before, 0)), "\n") > lines+5 })
	g.eventually("probed again", func() bool {
		g.prober.mu.Lock()
		defer g.prober.mu.Unlock()
		return len(g.prober.targets) == 1
	})
	after := g.get("r")
	if b, a := statusOf(before, "c"), statusOf(after, "c"); b.ContainerID != a.ContainerID || a.RestartCount != 0 || !a.Ready || !isReady(after) {
		t.Errorf("before %+v, after %+v", b, a)
	}
	for _, a := range g.client.Actions() {
		if pa, ok := a.(interface{ GetPatch() []byte }); ok {
			t.Errorf("status changed: %s", pa.GetPatch())
		}
	}
	// One that ends while nobody looks is found and restarted.
	g.stop()
	id := strings.TrimPrefix(statusOf(after, "c").ContainerID, "containerd://")
	g.build()
	g.must(g.rt.Signal(t.Context(), id, syscall.SIGKILL))
	g.eventually("end", func() bool { st, err := g.rt.Inspect(t.Context(), id); return err == nil && st.Status == "stopped" })
	g.must(g.rt.Close())
	g.start()
	p = g.await("r", "restarted", func(p *corev1.Pod) bool {
		return statusOf(p, "c").RestartCount == 1 && statusOf(p, "c").State.Running != nil
	})
	if last := statusOf(p, "c").LastTerminationState.Terminated; last == nil || last.ExitCode != 137 {
		t.Errorf("last state %+v", last)
	}
}

func (g *rig) logFile(p *corev1.Pod, attempt int) string {
	return filepath.Join(g.dir, "log", fmt.Sprintf("default_%s_%s/c/%d.log", p.Name, p.UID, attempt))
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestContainerdKilled kills containerd under a pod; the container must not notice, and its end be seen afterwards.
func TestContainerdKilled(t *testing.T) {
	g := newRig(t)
	g.start()
	g.create(newPod("d", idle))
	before := g.await("d", "ready", isReady)
	pid := g.pid(before)
	daemon.Kill()
	g.create(newPod("while-away", idle))
	g.must(daemon.Restart())
	g.await("while-away", "ready", isReady)
	if after := g.get("d"); !isReady(after) || statusOf(after, "c").RestartCount != 0 || g.pid(after) != pid {
		t.Errorf("pod did not stay as it was: %+v", after.Status)
	}
	daemon.Kill()
	g.must(syscall.Kill(pid, syscall.SIGKILL)) // it ends while containerd is away
	g.must(daemon.Restart())
	p := g.await("d", "restarted", func(p *corev1.Pod) bool { s := statusOf(p, "c"); return s.RestartCount == 1 && s.State.Running != nil })
	if last := statusOf(p, "c").LastTerminationState.Terminated; last == nil || last.ExitCode != 137 {
		t.Errorf("last state %+v", last)
	}
}

func (g *rig) pid(p *corev1.Pod) int {
	g.t.Helper()
	st, err := g.rt.Inspect(g.t.Context(), strings.TrimPrefix(statusOf(p, "c").ContainerID, "containerd://"))
	g.must(err)
	return int(st.PID)
}

// TestReboot takes away what a reboot does: processes, namespaces, FIFOs.
func TestReboot(t *testing.T) {
	g := newRig(t)
	g.start()
	g.create(newPod("b", idle, func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{shell("init", "echo init")} }))
	before := g.await("b", "ready", isReady)
	g.stop()
	daemon.PowerOff()
	g.must(daemon.Restart())
	g.start()
	p := g.await("b", "ready again", func(p *corev1.Pod) bool { return isReady(p) && statusOf(p, "c").RestartCount == 1 })
	if last := statusOf(p, "c").LastTerminationState.Terminated; last == nil || last.ExitCode != 255 || last.Reason != "Unknown" {
		t.Errorf("last state %+v", last)
	}
	if statusOf(p, "init").RestartCount != 1 || statusOf(p, "c").ContainerID == statusOf(before, "c").ContainerID {
		t.Errorf("init container did not run again: %+v", p.Status.InitContainerStatuses)
	}
}

func TestOrphans(t *testing.T) {
	g := newRig(t)
	g.start()
	p := g.create(newPod("o", idle))
	g.await("o", "ready", isReady)
	g.stop()
	g.must(g.client.CoreV1().Pods("default").Delete(t.Context(), "o", metav1.DeleteOptions{}))
	g.must(os.RemoveAll(filepath.Join(g.dir, "data/pods", string(p.UID)))) // not even a checkpoint is left
	g.start()
	g.eventually("orphan removed", func() bool {
		list, err := g.rt.List(t.Context())
		boxes, _ := g.rt.Sandboxes()
		return err == nil && len(list) == 0 && len(boxes) == 0 && len(g.network.Attached()) == 0
	})
}
