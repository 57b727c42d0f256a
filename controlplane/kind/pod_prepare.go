package kind

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// completePod writes into a new pod what follows from what admission left of it.
func completePod(p *corev1.Pod) (warnings []string) {
	dropGated(&p.Spec, nil)
	dropInitAnnotations(p.Annotations)
	mergeLabelKeys(p)
	warnings = appArmorFields(p)
	if p.Spec.Resources != nil {
		defaultPodResources(p)
	}
	p.Status.QOSClass = QOSClass(p)
	return warnings
}

// mergeLabelKeys completes the selectors about other pods with the values that the pod's own labels have.
func mergeLabelKeys(p *corev1.Pod) {
	merge := func(s *metav1.LabelSelector, keys []string, op metav1.LabelSelectorOperator) {
		if s == nil { // selects nothing
			return
		}
		for _, key := range keys {
			if value, ok := p.Labels[key]; ok {
				s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: []string{value}})
			}
		}
	}
	eachAffinityTerm(p.Spec.Affinity, func(t *corev1.PodAffinityTerm) {
		merge(t.LabelSelector, t.MatchLabelKeys, metav1.LabelSelectorOpIn)
		merge(t.LabelSelector, t.MismatchLabelKeys, metav1.LabelSelectorOpNotIn)
	})
	for i := range p.Spec.TopologySpreadConstraints {
		c := &p.Spec.TopologySpreadConstraints[i]
		merge(c.LabelSelector, c.MatchLabelKeys, metav1.LabelSelectorOpIn)
	}
}

// appArmorFields writes the profiles that only annotations name into the fields that replaced them.
func appArmorFields(p *corev1.Pod) (warnings []string) {
	if len(p.Annotations) == 0 || p.Spec.OS != nil && p.Spec.OS.Name == corev1.Windows {
		return nil
	}
	eachContainer(&p.Spec, nil, func(c *corev1.Container, _ *field.Path) {
		key := corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + c.Name
		annotation, ok := p.Annotations[key]
		if !ok || c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
			return
		}
		profile := appArmorProfile(annotation)
		if len(validateAppArmor(profile, annotationsPath)) > 0 {
			profile = nil
		}
		if profile != nil && p.Spec.SecurityContext != nil && apiequality.Semantic.DeepEqual(profile, p.Spec.SecurityContext.AppArmorProfile) {
			return
		}
		if profile != nil {
			if c.SecurityContext == nil {
				c.SecurityContext = &corev1.SecurityContext{}
			}
			c.SecurityContext.AppArmorProfile = profile
		}
		warnings = append(warnings, annotationsPath.Key(key).String()+`: deprecated since v1.30; use the "appArmorProfile" field instead`)
	})
	return warnings
}

// appArmorProfile returns the profile that an annotation means, nil when it means none.
func appArmorProfile(annotation string) *corev1.AppArmorProfile {
	switch annotation {
	case corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	case corev1.DeprecatedAppArmorBetaProfileRuntimeDefault:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	}
	if name, ok := strings.CutPrefix(annotation, corev1.DeprecatedAppArmorBetaProfileNamePrefix); ok && name != "" {
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
	}
	return nil
}

// dropTemplate drops from a template what Kubernetes does not keep of it. old is nil for a new object, and so may both be.
func dropTemplate(t, old *corev1.PodTemplateSpec) {
	if t == nil {
		return
	}
	var before *corev1.PodSpec
	if old != nil {
		before = &old.Spec
	}
	dropGated(&t.Spec, before)
	dropInitAnnotations(t.Annotations)
}

// PrepareEphemeralContainers lets only the ephemeral containers of an update through.
func PrepareEphemeralContainers(p, old *corev1.Pod) {
	added, meta := p.Spec.EphemeralContainers, p.ObjectMeta
	old.DeepCopyInto(p)
	p.Spec.EphemeralContainers = added
	p.ResourceVersion, p.ManagedFields = meta.ResourceVersion, meta.ManagedFields
	p.TypeMeta = metav1.TypeMeta{}
	dropGated(&p.Spec, &old.Spec)
}

// initAnnotations held the init containers before they had a field.
var initAnnotations = []string{
	"pod.beta.kubernetes.io/init-containers", "pod.alpha.kubernetes.io/init-containers",
	"pod.beta.kubernetes.io/init-container-statuses", "pod.alpha.kubernetes.io/init-container-statuses",
}

func dropInitAnnotations(annotations map[string]string) {
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

func dropGated(s, old *corev1.PodSpec) {
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
		if l == nil || l.StopSignal == nil || stopped && knownSignal(*l.StopSignal, s.OS) {
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
		drop(&s.InitContainers[i], isSidecar(&s.InitContainers[i]))
	}
	for i := range s.EphemeralContainers {
		drop(ephemeral(&s.EphemeralContainers[i]), false)
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
	eachContainer(s, nil, func(c *corev1.Container, _ *field.Path) { gatedInContainer(c, f) })
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
