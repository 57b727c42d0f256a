package kind

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// containerExempt says which rules about containers an update is not held to, since the stored object breaks them already.
type containerExempt struct {
	partPages  bool // quantities of huge pages that are no whole pages
	initResize bool // an init container that would restart to be resized
	sysAdmin   bool // all capabilities without privilege escalation
}

// containerExemptions returns what an update of an old pod's containers is not held to.
func containerExemptions(old *corev1.PodSpec) containerExempt {
	var e containerExempt
	eachContainer(old, nil, func(c *corev1.Container, _ *field.Path) {
		sc := c.SecurityContext
		e.sysAdmin = e.sysAdmin || sc != nil && !deref(sc.AllowPrivilegeEscalation, false) && adminCapabilities(sc) > 0
		for _, list := range []corev1.ResourceList{c.Resources.Limits, c.Resources.Requests} {
			for name, q := range list {
				e.partPages = e.partPages || isHugePages(name) && !wholePages(name, q)
			}
		}
	})
	for i := range old.InitContainers {
		c := &old.InitContainers[i]
		for _, p := range c.ResizePolicy {
			e.initResize = e.initResize || !isSidecar(c) && p.RestartPolicy == corev1.RestartContainer
		}
	}
	return e
}
