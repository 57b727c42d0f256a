package kind

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// templateWarnings tells of fields that do nothing, are deprecated or are probably not what was meant.
func templateWarnings(s *corev1.PodSpec, spec *field.Path) []string {
	var out []string
	for i, p := range s.ImagePullSecrets {
		if p.Name == "" {
			out = append(out, fmt.Sprintf("%s: invalid empty name %q", spec.Child("imagePullSecrets").Index(i).Child("name"), p.Name))
		}
	}
	for i, h := range s.HostAliases {
		for j := 0; j < i; j++ {
			if s.HostAliases[j].IP == h.IP {
				out = append(out, fmt.Sprintf("%s: duplicate ip %q", spec.Child("hostAliases").Index(i).Child("ip"), h.IP))
				break
			}
		}
	}
	out = append(out, volumeWarnings(s.Volumes, spec.Child("volumes"))...)
	out = append(out, containerWarnings(s.InitContainers, spec.Child("initContainers"))...)
	out = append(out, containerWarnings(s.Containers, spec.Child("containers"))...)
	if g := s.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		out = append(out, fmt.Sprintf("%s: must be >= 0; negative values are invalid and will be treated as 1", spec.Child("terminationGracePeriodSeconds")))
	}
	return out
}

func volumeWarnings(volumes []corev1.Volume, path *field.Path) []string {
	var out []string
	for i := range volumes {
		at := path.Index(i)
		switch v := &volumes[i]; {
		case v.GitRepo != nil:
			out = append(out, fmt.Sprintf("%s: deprecated in v1.11", at.Child("gitRepo")))
		case v.Glusterfs != nil:
			out = append(out, fmt.Sprintf("%s: deprecated in v1.25, non-functional in v1.26+", at.Child("glusterfs")))
		case v.CephFS != nil:
			out = append(out, fmt.Sprintf("%s: deprecated in v1.28, non-functional in v1.31+", at.Child("cephfs")))
		case v.RBD != nil:
			out = append(out, fmt.Sprintf("%s: deprecated in v1.28, non-functional in v1.31+", at.Child("rbd")))
		}
	}
	return out
}

func containerWarnings(containers []corev1.Container, path *field.Path) []string {
	var out []string
	for i := range containers {
		c, at := &containers[i], path.Index(i)
		names := map[string]bool{}
		for j, e := range c.Env {
			if names[e.Name] {
				out = append(out, fmt.Sprintf("%s: hides previous definition of %q, which may be dropped when using apply", at.Child("env").Index(j), e.Name))
			}
			names[e.Name] = true
		}
		ports := map[string]bool{}
		for j, p := range c.Ports {
			key := fmt.Sprintf("%s/%d/%d/%s", p.Protocol, p.ContainerPort, p.HostPort, p.HostIP)
			if ports[key] {
				out = append(out, fmt.Sprintf("%s: duplicate port definition with %s", at.Child("ports").Index(j), at.Child("ports")))
			}
			ports[key] = true
		}
		for part, list := range map[string]corev1.ResourceList{"limits": c.Resources.Limits, "requests": c.Resources.Requests} {
			for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
				if q, ok := list[name]; ok && q.MilliValue()%1000 != 0 {
					out = append(out, fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer", at.Child("resources", part).Key(string(name)), q.String()))
				}
			}
		}
	}
	return out
}
