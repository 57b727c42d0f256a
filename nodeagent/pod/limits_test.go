package pod_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// TestPodLimits has a pod with limits of its own: the kernel limits a container that has none as if they were the
// container's, also after it was resized, and another container by what that has.
func TestPodLimits(t *testing.T) {
	g := newRig(t)
	g.start()
	limits := func(cpu, memory string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Limits: asks(cpu, memory).Limits}
	}
	g.create(newPod("p", idle, func(p *corev1.Pod) {
		whole := limits("200m", "64Mi")
		p.Spec.Resources = &whole
		same, less := shell("same", idle), shell("less", idle)
		same.Resources, less.Resources = whole, limits("100m", "32Mi")
		p.Spec.Containers = append(p.Spec.Containers, same, less)
	}))
	g.await("p", "ready", isReady)
	read := func(name string) string {
		return g.output("p", name, `cd /sys/fs/cgroup
if test -e memory.max; then files="memory.max cpu.max cpu.weight"
else files="memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpu/cpu.shares"; fi
echo $(cat $files)`)
	}
	whole := read("same")
	check := func(when, name, want string) {
		if got := read(name); got != want {
			t.Errorf("%s, container %s has the limits %s, want %s", when, name, got, want)
		}
	}
	check("at first", "c", whole)
	if read("less") == whole {
		t.Errorf("a container with limits of its own has the pod's, %s", whole)
	}
	little := corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("16Mi")}}
	g.resize("p", little)
	g.await("p", "is resized", has(little))
	check("after a resize", "c", whole)
}
