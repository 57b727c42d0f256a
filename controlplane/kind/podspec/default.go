package podspec

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/container"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/quantity"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/volume"
)

// Default sets what a pod has beyond a pod template.
func Default(p *corev1.Pod) {
	s := &p.Spec
	if g := s.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		s.TerminationGracePeriodSeconds = new(int64(1))
	}
	for _, c := range container.Lasting(s) {
		requestsFromLimits(&c.Resources)
	}
	defaults.Pointer(&s.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	if s.HostNetwork {
		for _, c := range container.Lasting(s) {
			for i := range c.Ports {
				if c.Ports[i].HostPort == 0 {
					c.Ports[i].HostPort = c.Ports[i].ContainerPort
				}
			}
		}
	}
	defaultPodSpec(s)
	defaultPodIPs(&p.Status)
}

// defaultPodIPs keeps a pod's one address and its list of them together. When they differ, the one is what was meant.
func defaultPodIPs(s *corev1.PodStatus) {
	switch {
	case s.PodIP == "" && len(s.PodIPs) > 0:
		s.PodIP = s.PodIPs[0].IP
	case s.PodIP != "" && (len(s.PodIPs) == 0 || s.PodIPs[0].IP != s.PodIP):
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	}
}

// DefaultTemplate sets the defaults of a pod template. What a pod has in addition is left out, so that a
// template stays as it was written.
func DefaultTemplate(t *corev1.PodTemplateSpec) { defaultPodSpec(&t.Spec) }

func defaultPodSpec(s *corev1.PodSpec) {
	// Only what changes is written: the update of a status shares its spec, which has its defaults, with the stored object.
	defaults.Value(&s.DNSPolicy, corev1.DNSClusterFirst)
	defaults.Value(&s.RestartPolicy, corev1.RestartPolicyAlways)
	if s.SecurityContext == nil {
		s.SecurityContext = &corev1.PodSecurityContext{}
	}
	defaults.Pointer(&s.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	defaults.Value(&s.SchedulerName, corev1.DefaultSchedulerName)
	// one value under its old and its new name
	if s.ServiceAccountName == "" && s.DeprecatedServiceAccount != "" {
		s.ServiceAccountName = s.DeprecatedServiceAccount
	}
	if s.DeprecatedServiceAccount != s.ServiceAccountName {
		s.DeprecatedServiceAccount = s.ServiceAccountName
	}
	quantity.Round(s.Overhead)
	if s.Resources != nil {
		quantity.Round(s.Resources.Limits)
		quantity.Round(s.Resources.Requests)
	}
	for i := range s.Volumes {
		volume.Default(&s.Volumes[i])
	}
	for _, c := range container.Lasting(s) {
		container.Default(c)
	}
	for i := range s.EphemeralContainers {
		container.Default(container.OfEphemeral(&s.EphemeralContainers[i]))
	}
}
