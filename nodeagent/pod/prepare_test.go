package pod

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
)

// A pod is limited as a whole in what it has a limit for, or all its containers have.
func TestPodResources(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		out := corev1.ResourceList{}
		if cpu != "" {
			out[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			out[corev1.ResourceMemory] = resource.MustParse(memory)
		}
		return out
	}
	for name, tt := range map[string]struct {
		pod    *corev1.ResourceRequirements
		limits []corev1.ResourceList // of containers
		want   container.PodResources
	}{
		"all have limits":            {nil, []corev1.ResourceList{list("1", "4Mi"), list("2", "4Mi")}, container.PodResources{CPULimitMillis: 3000, MemoryLimit: 8 << 20}},
		"one has":                    {nil, []corev1.ResourceList{list("1", "4Mi"), nil}, container.PodResources{}},
		"the pod has":                {&corev1.ResourceRequirements{Limits: list("5", "9Mi")}, []corev1.ResourceList{list("1", ""), nil}, container.PodResources{CPULimitMillis: 5000, MemoryLimit: 9 << 20}},
		"the pod has one of memory":  {&corev1.ResourceRequirements{Limits: list("", "9Mi")}, []corev1.ResourceList{list("1", "4Mi"), nil}, container.PodResources{MemoryLimit: 9 << 20}},
		"the pod asks, and one has":  {&corev1.ResourceRequirements{Requests: list("2", "4Mi")}, []corev1.ResourceList{list("1", "4Mi"), nil}, container.PodResources{CPUMillis: 2000}},
		"the pod asks, and all have": {&corev1.ResourceRequirements{Requests: list("2", "")}, []corev1.ResourceList{list("1", "4Mi")}, container.PodResources{CPUMillis: 2000, CPULimitMillis: 1000, MemoryLimit: 4 << 20}},
		"the pod's are there, empty": {&corev1.ResourceRequirements{}, []corev1.ResourceList{list("1", "4Mi"), nil}, container.PodResources{}},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{Resources: tt.pod}}
		for _, l := range tt.limits {
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Resources: corev1.ResourceRequirements{Limits: l}})
		}
		if got := podResources(pod); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}
