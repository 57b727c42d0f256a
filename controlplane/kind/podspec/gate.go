package podspec

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/container"
)

// DropTemplate drops from a template what Kubernetes does not keep of it. old is nil for a new object, and so may both be.
func DropTemplate(t, old *corev1.PodTemplateSpec) {
	if t == nil {
		return
	}
	var before *corev1.PodSpec
	if old != nil {
		before = &old.Spec
	}
	DropGated(&t.Spec, before)
	DropInitAnnotations(t.Annotations)
}

// initAnnotations held the init containers before they had a field.
var initAnnotations = []string{
	"pod.beta.kubernetes.io/init-containers", "pod.alpha.kubernetes.io/init-containers",
	"pod.beta.kubernetes.io/init-container-statuses", "pod.alpha.kubernetes.io/init-container-statuses",
}

// DropInitAnnotations drops annotations that had a meaning once.
func DropInitAnnotations(annotations map[string]string) {
	for _, key := range initAnnotations {
		delete(annotations, key)
	}
}

// gate is a set of features of Kubernetes that are off by default in this release. Their fields are dropped, unless the
// stored object has them already.
type gate uint

const (
	workloadGate  gate = 1 << iota // GenericWorkload
	responderGate                  // EvictionRequestAPI
	modeGate                       // EmptyDirVolumeMode
	userGate                       // AtomicWriteVolumeUserFields
	bindGate                       // VolumeBindMountOptions
	tlsGate                        // GRPCContainerProbeTLS
	h2cGate                        // H2CContainerProbe
)

// DropGated drops fields of gates that are closed, unless old, which may be nil, has some of the same gate.
func DropGated(s, old *corev1.PodSpec) {
	dropSignals(s)
	var used gate
	if old != nil {
		eachGated(old, func(g gate, _ func()) { used |= g })
	}
	eachGated(s, func(g gate, empty func()) {
		if used&g == 0 {
			empty()
		}
	})
}

// dropSignals drops signals to stop a container by that there are not, or nobody sends. Kubernetes drops all of them, behind a
// gate; nodes here know them.
func dropSignals(s *corev1.PodSpec) {
	drop := func(c *corev1.Container, stopped bool) {
		l := c.Lifecycle
		if l == nil || l.StopSignal == nil || stopped && container.KnownSignal(*l.StopSignal, s.OS) {
			return
		}
		if l.StopSignal = nil; *l == (corev1.Lifecycle{}) {
			c.Lifecycle = nil
		}
	}
	for i := range s.Containers {
		drop(&s.Containers[i], true)
	}
	for i := range s.InitContainers {
		drop(&s.InitContainers[i], container.IsSidecar(&s.InitContainers[i]))
	}
	for i := range s.EphemeralContainers {
		drop(container.OfEphemeral(&s.EphemeralContainers[i]), false)
	}
}

// eachGated calls f for each field that is set and behind a gate, with what empties the field.
func eachGated(s *corev1.PodSpec, f func(g gate, empty func())) {
	if s.SchedulingGroup != nil {
		f(workloadGate, func() { s.SchedulingGroup = nil })
	}
	if s.EvictionResponders != nil {
		f(responderGate, func() { s.EvictionResponders = nil })
	}
	for i := range s.Volumes {
		gatedInVolume(&s.Volumes[i].VolumeSource, f)
	}
	container.Each(s, nil, func(c *corev1.Container, _ *field.Path) { gatedInContainer(c, f) })
}

func gatedInContainer(c *corev1.Container, f func(g gate, empty func())) {
	for i := range c.VolumeMounts {
		if m := &c.VolumeMounts[i]; m.BindMountOptions != nil {
			f(bindGate, func() { m.BindMountOptions = nil })
		}
	}
	http := func(h *corev1.HTTPGetAction) {
		if h != nil && h.Protocol != nil {
			f(h2cGate, func() { h.Protocol = nil })
		}
	}
	for _, p := range [...]*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p == nil {
			continue
		}
		http(p.HTTPGet)
		if p.GRPC != nil && p.GRPC.Mode != nil {
			f(tlsGate, func() { p.GRPC.Mode = nil })
		}
	}
	if c.Lifecycle != nil {
		for _, h := range [...]*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if h != nil {
				http(h.HTTPGet)
			}
		}
	}
}

func gatedInVolume(s *corev1.VolumeSource, f func(g gate, empty func())) {
	if e := s.EmptyDir; e != nil && e.Mode != nil {
		f(modeGate, func() { e.Mode = nil })
	}
	user := func(u **int64) {
		if *u != nil {
			f(userGate, func() { *u = nil })
		}
	}
	keys := func(items []corev1.KeyToPath) {
		for i := range items {
			user(&items[i].User)
		}
	}
	files := func(items []corev1.DownwardAPIVolumeFile) {
		for i := range items {
			user(&items[i].User)
		}
	}
	if s.Secret != nil {
		user(&s.Secret.DefaultUser)
		keys(s.Secret.Items)
	}
	if s.ConfigMap != nil {
		user(&s.ConfigMap.DefaultUser)
		keys(s.ConfigMap.Items)
	}
	if s.DownwardAPI != nil {
		user(&s.DownwardAPI.DefaultUser)
		files(s.DownwardAPI.Items)
	}
	if s.Projected == nil {
		return
	}
	user(&s.Projected.DefaultUser)
	for i := range s.Projected.Sources {
		p := &s.Projected.Sources[i]
		if p.Secret != nil {
			keys(p.Secret.Items)
		}
		if p.ConfigMap != nil {
			keys(p.ConfigMap.Items)
		}
		if p.DownwardAPI != nil {
			files(p.DownwardAPI.Items)
		}
		if p.ServiceAccountToken != nil {
			user(&p.ServiceAccountToken.User)
		}
		if p.ClusterTrustBundle != nil {
			user(&p.ClusterTrustBundle.User)
		}
		if p.PodCertificate != nil {
			user(&p.PodCertificate.User)
		}
	}
}
