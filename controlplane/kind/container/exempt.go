package container

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/quantity"
)

// Exempt says which rules about containers an update is not held to, since the stored object breaks them already.
type Exempt struct {
	partPages  bool // quantities of huge pages that are no whole pages
	initResize bool // an init container that would restart to be resized
	sysAdmin   bool // all capabilities without privilege escalation
}

// Exemptions returns what an update of an old pod's containers is not held to.
func Exemptions(old *corev1.PodSpec) Exempt {
	var e Exempt
	Each(old, nil, func(c *corev1.Container, _ *field.Path) {
		sc := c.SecurityContext
		e.sysAdmin = e.sysAdmin || sc != nil && !ptr.Deref(sc.AllowPrivilegeEscalation, false) && adminCapabilities(sc) > 0
		for _, list := range []corev1.ResourceList{c.Resources.Limits, c.Resources.Requests} {
			for name, q := range list {
				e.partPages = e.partPages || quantity.IsHugePages(name) && !quantity.WholePages(name, q)
			}
		}
	})
	for i := range old.InitContainers {
		c := &old.InitContainers[i]
		for _, p := range c.ResizePolicy {
			e.initResize = e.initResize || !IsSidecar(c) && p.RestartPolicy == corev1.RestartContainer
		}
	}
	return e
}
