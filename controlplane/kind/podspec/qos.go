package podspec

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/container"
)

// QOSClass says how a pod's processes rank when its node is short of memory: Guaranteed when each container
// has limits of cpu and memory that equal its requests, BestEffort when none has any, Burstable otherwise.
func QOSClass(p *corev1.Pod) corev1.PodQOSClass {
	var all []*corev1.ResourceRequirements
	if r := p.Spec.Resources; r != nil && (len(r.Limits) > 0 || len(r.Requests) > 0) {
		all = append(all, r)
	} else {
		for _, c := range container.Lasting(&p.Spec) {
			all = append(all, &c.Resources)
		}
	}
	guaranteed, bestEffort := true, true
	for _, r := range all {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			request, limit := r.Requests[name], r.Limits[name]
			if request.Sign() > 0 || limit.Sign() > 0 {
				bestEffort = false
			}
			if _, requested := r.Requests[name]; limit.Sign() <= 0 || requested && request.Cmp(limit) != 0 {
				guaranteed = false
			}
		}
	}
	switch {
	case bestEffort:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}
