package podspec

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/container"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/scheduling"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/volume"
)

// exempt says which rules an update is not held to, since the stored object breaks them already: it was written under
// older rules, and must still be possible to label and to let go. The zero value holds to all.
type Exempt struct {
	Volumes    volume.Exempt
	Scheduling scheduling.Exempt
	Containers container.Exempt

	// Template exempts from what holds for the specification of a template as a whole.
	Template bool

	deletionCost     bool // the annotation is no number
	hostSysctls      bool // parameters of a kernel namespace that is the host's
	deviceUsers      bool // block devices in a user namespace
	hostNetworkUsers bool // a user namespace on the host's network
}

// TemplateExemptions returns what an update of an old template, which may be nil, is not held to.
func TemplateExemptions(old *corev1.PodTemplateSpec) Exempt {
	if old == nil {
		return Exempt{}
	}
	return Exemptions(&old.Spec, &old.ObjectMeta)
}

// Exemptions returns what an update of an old pod, or template, is not held to.
func Exemptions(old *corev1.PodSpec, meta *metav1.ObjectMeta) Exempt {
	hostUsers := ptr.Deref(old.HostUsers, true)
	cost, priced := meta.Annotations[corev1.PodDeletionCost]
	e := Exempt{
		Volumes:          volume.Exemptions(old.Volumes),
		Scheduling:       scheduling.Exemptions(old),
		Containers:       container.Exemptions(old),
		deletionCost:     priced && !isDeletionCost(cost),
		hostNetworkUsers: old.HostNetwork && !hostUsers,
	}
	if old.SecurityContext != nil {
		for _, c := range old.SecurityContext.Sysctls {
			e.hostSysctls = e.hostSysctls || hostSysctl(c.Name, old) != ""
		}
	}
	container.Each(old, nil, func(c *corev1.Container, _ *field.Path) {
		e.deviceUsers = e.deviceUsers || !hostUsers && len(c.VolumeDevices) > 0
	})
	return e
}
