package pod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/volume"
)

// volumeMounts turns a container's volume mounts into bind mounts of the pod's volumes.
func volumeMounts(c *corev1.Container, volumes map[string]volume.Mounted, env map[string]string) ([]container.Mount, error) {
	var out []container.Mount
	for _, vm := range c.VolumeMounts {
		v, ok := volumes[vm.Name]
		if !ok {
			return nil, fmt.Errorf("cannot find volume %q to mount into container %q", vm.Name, c.Name)
		}
		if r := vm.RecursiveReadOnly; r != nil && *r == corev1.RecursiveReadOnlyEnabled {
			return nil, fmt.Errorf("cannot mount volume %q into container %q: this node does not support recursive read-only mounts", vm.Name, c.Name)
		}
		m := container.Mount{
			HostPath: v.HostPath, SubPath: vm.SubPath, ContainerPath: vm.MountPath, ReadOnly: vm.ReadOnly || v.ReadOnly,
		}
		if vm.SubPathExpr != "" {
			sub, err := expandStrict(vm.SubPathExpr, env)
			if err != nil {
				return nil, fmt.Errorf("cannot expand subPathExpr %q: %w", vm.SubPathExpr, err)
			}
			m.SubPath = sub
		}
		if vm.MountPropagation != nil {
			m.Propagation = *vm.MountPropagation
		}
		out = append(out, m)
	}
	return out, nil
}

// Scores by which the kernel chooses what to kill when memory runs out, by the pod's class of service.
const (
	oomGuaranteed = -997
	oomBestEffort = 1000
)

// oomScore is higher the more of its request a burstable container may exceed. memory is the node's, in bytes.
func oomScore(pod *corev1.Pod, c *corev1.Container, memory int64) int {
	switch qosOf(pod) {
	case corev1.PodQOSGuaranteed:
		return oomGuaranteed
	case corev1.PodQOSBestEffort:
		return oomBestEffort
	}
	if memory <= 0 {
		return oomBestEffort - 1
	}
	score := 1000 - int(1000*c.Resources.Requests.Memory().Value()/memory)
	return min(max(score, 1000+oomGuaranteed), oomBestEffort-1)
}

// qosOf is the pod's class: what the API says, or else what its resources make it.
func qosOf(pod *corev1.Pod) corev1.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	req := resource.PodRequests(pod, resource.PodResourcesOptions{})
	lim := resource.PodLimits(pod, resource.PodResourcesOptions{})
	if req.Cpu().IsZero() && req.Memory().IsZero() && lim.Cpu().IsZero() && lim.Memory().IsZero() {
		return corev1.PodQOSBestEffort
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		for _, c := range allContainers(&pod.Spec) {
			l, ok := c.Resources.Limits[name]
			r, asked := c.Resources.Requests[name]
			if !ok || l.IsZero() || asked && r.Cmp(l) != 0 {
				return corev1.PodQOSBurstable
			}
		}
	}
	return corev1.PodQOSGuaranteed
}
