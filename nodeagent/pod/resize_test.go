package pod_test

import (
	"bytes"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/stream"
)

func asks(cpu, memory string) corev1.ResourceRequirements {
	l := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	return corev1.ResourceRequirements{Requests: l, Limits: l.DeepCopy()}
}

func asking(r corev1.ResourceRequirements) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Resources = r }
}

// resize changes what a pod's first container asks for, as the API server does.
func (g *rig) resize(name string, r corev1.ResourceRequirements) {
	g.t.Helper()
	g.change(name, func(p *corev1.Pod) {
		p.Generation++
		p.Spec.Containers[0].Resources = r
	})
}

// has says that a container runs with these resources and nothing of a resize is left.
func has(r corev1.ResourceRequirements) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		s := statusOf(p, "c")
		return s.State.Running != nil && s.Resources != nil && apiequality.Semantic.DeepEqual(*s.Resources, r) &&
			apiequality.Semantic.DeepEqual(s.AllocatedResources, r.Requests) &&
			condition(p, corev1.PodResizePending).Type == "" && condition(p, corev1.PodResizeInProgress).Type == ""
	}
}

// memoryLimit is what the kernel says inside a container.
func (g *rig) memoryLimit(name string) string {
	g.t.Helper()
	return g.output(name, "c", "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes")
}

// output is what a script prints inside a container.
func (g *rig) output(pod, name, script string) string {
	g.t.Helper()
	var out bytes.Buffer
	if _, err := g.m.Exec(g.t.Context(), "default", pod, name, []string{"/bin/sh", "-c", script}, stream.Streams{Stdout: &out}); err != nil {
		g.t.Fatal(err)
	}
	return strings.TrimSpace(out.String())
}

func TestResizeInPlace(t *testing.T) {
	g := newRig(t)
	g.start()
	small, large := asks("100m", "32Mi"), asks("200m", "64Mi")
	g.create(newPod("p", idle, asking(small)))
	before := statusOf(g.await("p", "runs", has(small)), "c")
	for _, step := range []struct {
		to    corev1.ResourceRequirements
		limit string
	}{{large, "67108864"}, {small, "33554432"}} {
		g.resize("p", step.to)
		now := statusOf(g.await("p", "is resized", has(step.to)), "c")
		if now.ContainerID != before.ContainerID || now.RestartCount != 0 {
			t.Errorf("container was restarted: %+v", now)
		}
		if got := g.memoryLimit("p"); got != step.limit {
			t.Errorf("the kernel limits memory to %s, want %s", got, step.limit)
		}
	}
	for _, event := range []string{"ResizeStarted Pod resize started: {", "ResizeCompleted Pod resize completed: {"} {
		if !g.events.has(event) {
			t.Errorf("no event %s", event)
		}
	}
}

// TestResizeByRestart has a container that must be started anew for more memory, and ends well when it is asked to: its
// policy alone would leave it ended.
func TestResizeByRestart(t *testing.T) {
	g := newRig(t)
	g.start()
	small, large := asks("100m", "32Mi"), asks("100m", "64Mi")
	g.create(newPod("p", idle, asking(small), func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
		p.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{
			{ResourceName: corev1.ResourceCPU, RestartPolicy: corev1.NotRequired}, {ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer},
		}
	}))
	g.await("p", "runs", has(small))
	g.resize("p", large)
	now := statusOf(g.await("p", "is resized", has(large)), "c")
	if now.RestartCount != 1 {
		t.Errorf("restarted %d times, want once", now.RestartCount)
	}
	if got := g.memoryLimit("p"); got != "67108864" {
		t.Errorf("the kernel limits memory to %s", got)
	}
}

// TestResizeWaitsForRoom has more asked for than the node has left. What is allocated stays so through a restart of the
// agent, and the resize is made when another pod ends.
func TestResizeWaitsForRoom(t *testing.T) {
	g := newRig(t)
	g.node = &corev1.Node{Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi"), corev1.ResourcePods: resource.MustParse("9"),
	}}}
	g.start()
	small, large := asks("300m", "32Mi"), asks("600m", "32Mi")
	g.create(newPod("other", idle, asking(asks("500m", "32Mi"))))
	g.create(newPod("p", idle, asking(small)))
	g.await("other", "runs", isReady)
	before := statusOf(g.await("p", "runs", has(small)), "c")
	g.resize("p", large)
	deferred := func(p *corev1.Pod) bool {
		c := condition(p, corev1.PodResizePending)
		return c.Reason == corev1.PodReasonDeferred && c.Message == "Node didn't have enough resource: cpu, requested: 600, used: 500, capacity: 1000" &&
			apiequality.Semantic.DeepEqual(*statusOf(p, "c").Resources, small)
	}
	g.await("p", "is deferred", deferred)
	g.stop()
	g.start()
	g.await("p", "is deferred still", deferred)
	g.remove("other", 0)
	if now := statusOf(g.await("p", "is resized", has(large)), "c"); now.ContainerID != before.ContainerID {
		t.Error("container was restarted")
	}
}

// TestResizeBelowUsage asks for less memory than a container uses: it keeps what it has, and the pod says why.
func TestResizeBelowUsage(t *testing.T) {
	g := newRig(t)
	g.start()
	small, large := asks("100m", "16Mi"), asks("100m", "64Mi")
	g.create(newPod("p", "dd if=/dev/zero of=/dev/shm/x bs=1M count=24 && touch /tmp/full; "+idle, asking(large)))
	g.await("p", "runs", has(large))
	g.eventually("memory is used", func() bool {
		code, err := g.m.Exec(t.Context(), "default", "p", "c", []string{"/bin/sh", "-c", "test -e /tmp/full"}, stream.Streams{})
		return err == nil && code == 0
	})
	g.resize("p", small)
	p := g.await("p", "cannot be resized", func(p *corev1.Pod) bool {
		c := condition(p, corev1.PodResizeInProgress)
		return c.Reason == corev1.PodReasonError && strings.Contains(c.Message, "below current usage")
	})
	if s := statusOf(p, "c"); !apiequality.Semantic.DeepEqual(*s.Resources, large) || !apiequality.Semantic.DeepEqual(s.AllocatedResources, small.Requests) {
		t.Errorf("has %+v, allocated %+v", s.Resources, s.AllocatedResources)
	}
	g.resize("p", large)
	g.await("p", "is as it was", has(large))
}
