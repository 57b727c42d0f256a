package kind

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// exempt says which rules an update is not held to, since the stored object breaks them already: it was written under
// older rules, and must still be possible to label and to let go. The zero value holds to all.
type exempt struct {
	volumes    volumeExempt
	scheduling schedulingExempt
	containers containerExempt

	deletionCost     bool // the annotation is no number
	hostSysctls      bool // parameters of a kernel namespace that is the host's
	deviceUsers      bool // block devices in a user namespace
	hostNetworkUsers bool // a user namespace on the host's network
}

// exemptions returns what an update of an old pod, or template, is not held to.
func exemptions(old *corev1.PodSpec, meta *metav1.ObjectMeta) exempt {
	hostUsers := deref(old.HostUsers, true)
	cost, priced := meta.Annotations[corev1.PodDeletionCost]
	e := exempt{
		volumes:          volumeExemptions(old.Volumes),
		scheduling:       schedulingExemptions(old),
		containers:       containerExemptions(old),
		deletionCost:     priced && !isDeletionCost(cost),
		hostNetworkUsers: old.HostNetwork && !hostUsers,
	}
	if old.SecurityContext != nil {
		for _, c := range old.SecurityContext.Sysctls {
			e.hostSysctls = e.hostSysctls || hostSysctl(c.Name, old) != ""
		}
	}
	eachContainer(old, nil, func(c *corev1.Container, _ *field.Path) {
		e.deviceUsers = e.deviceUsers || !hostUsers && len(c.VolumeDevices) > 0
	})
	return e
}
