package container

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Each calls f with every container of a pod, in the order in which they start, and its path.
func Each(s *corev1.PodSpec, path *field.Path, f func(c *corev1.Container, at *field.Path)) {
	for i := range s.InitContainers {
		f(&s.InitContainers[i], path.Child("initContainers").Index(i))
	}
	for i := range s.Containers {
		f(&s.Containers[i], path.Child("containers").Index(i))
	}
	for i := range s.EphemeralContainers {
		f(OfEphemeral(&s.EphemeralContainers[i]), path.Child("ephemeralContainers").Index(i))
	}
}

// OfEphemeral returns what an ephemeral container has in common with others; the two types have the same fields in the same order.
func OfEphemeral(e *corev1.EphemeralContainer) *corev1.Container {
	return (*corev1.Container)(&e.EphemeralContainerCommon)
}

// Has says whether a pod has a container of the name.
func Has(s *corev1.PodSpec, name string) bool {
	found := false
	Each(s, nil, func(c *corev1.Container, _ *field.Path) { found = found || c.Name == name })
	return found
}

// Lasting returns init containers and containers, to be changed in place.
func Lasting(s *corev1.PodSpec) []*corev1.Container {
	out := make([]*corev1.Container, 0, len(s.InitContainers)+len(s.Containers))
	for i := range s.InitContainers {
		out = append(out, &s.InitContainers[i])
	}
	for i := range s.Containers {
		out = append(out, &s.Containers[i])
	}
	return out
}

// IsSidecar says whether an init container runs as long as its pod does.
func IsSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}
