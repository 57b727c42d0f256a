package container

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/quantity"
)

// Default sets the defaults of a container.
func Default(c *corev1.Container) {
	if c.ImagePullPolicy == "" {
		c.ImagePullPolicy = defaults.PullPolicy(c.Image)
	}
	defaults.Value(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	defaults.Value(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		defaults.Value(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil {
			defaults.FieldRef(from.FieldRef)
			if from.FileKeyRef != nil {
				defaults.Pointer(&from.FileKeyRef.Optional, false)
			}
		}
	}
	quantity.Round(c.Resources.Limits)
	quantity.Round(c.Resources.Requests)
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		defaultProbe(p)
	}
	if c.Lifecycle != nil {
		for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if h != nil {
				defaultHTTPGet(h.HTTPGet)
			}
		}
	}
}

func defaultProbe(p *corev1.Probe) {
	if p == nil {
		return
	}
	defaults.Value(&p.TimeoutSeconds, 1)
	defaults.Value(&p.PeriodSeconds, 10)
	defaults.Value(&p.SuccessThreshold, 1)
	defaults.Value(&p.FailureThreshold, 3)
	defaultHTTPGet(p.HTTPGet)
	if p.GRPC != nil {
		defaults.Pointer(&p.GRPC.Service, "")
	}
}

func defaultHTTPGet(h *corev1.HTTPGetAction) {
	if h == nil {
		return
	}
	defaults.Value(&h.Path, "/")
	defaults.Value(&h.Scheme, corev1.URISchemeHTTP)
}
