package kind

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// exempt says which rules an update is not held to, since the stored object breaks them already: it was written under
// older rules, and must still be possible to label and to let go. The zero value holds to all.
type exempt struct {
	deletionCost     bool // the annotation is no number
	partPages        bool // quantities of huge pages that are no whole pages
	selectorValues   bool // values in selectors of pods that no label can have
	nodeValues       bool // the same in required node affinity
	spreadSelector   bool // any fault of a spread constraint's selector
	spreadKeys       bool // keys of spread constraints that are in the selector, too
	tokenPath        bool // a projected token outside of its volume
	hostSysctls      bool // parameters of a kernel namespace that is the host's
	initResize       bool // an init container that would restart to be resized
	deviceUsers      bool // block devices in a user namespace
	hostNetworkUsers bool // a user namespace on the host's network
	emptyReference   bool // a volume of no image
	sysAdmin         bool // all capabilities without privilege escalation
}

// exemptions returns what an update of an old pod, or template, is not held to.
func exemptions(old *corev1.PodSpec, meta *metav1.ObjectMeta) exempt {
	hostUsers := deref(old.HostUsers, true)
	cost, priced := meta.Annotations[corev1.PodDeletionCost]
	e := exempt{
		deletionCost:     priced && !isDeletionCost(cost),
		hostNetworkUsers: old.HostNetwork && !hostUsers,
	}
	e.affinity(old.Affinity)
	for i := range old.TopologySpreadConstraints {
		c := &old.TopologySpreadConstraints[i]
		e.spreadSelector = e.spreadSelector || len(metavalidation.ValidateLabelSelector(c.LabelSelector, strictSelector, nil)) > 0
		e.spreadKeys = e.spreadKeys || len(validateMatchLabels(c.MatchLabelKeys, nil, c.LabelSelector, field.NewPath("spec"))) > 0
	}
	for i := range old.Volumes {
		v := &old.Volumes[i]
		e.emptyReference = e.emptyReference || v.Image != nil && v.Image.Reference == ""
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			e.tokenPath = e.tokenPath || s.ServiceAccountToken != nil && len(localFile(s.ServiceAccountToken.Path, nil)) > 0
		}
	}
	if old.SecurityContext != nil {
		for _, c := range old.SecurityContext.Sysctls {
			e.hostSysctls = e.hostSysctls || hostSysctl(c.Name, old) != ""
		}
	}
	eachContainer(old, nil, func(c *corev1.Container, _ *field.Path) { e.container(c, hostUsers) })
	for i := range old.InitContainers {
		c := &old.InitContainers[i]
		for _, p := range c.ResizePolicy {
			e.initResize = e.initResize || !isSidecar(c) && p.RestartPolicy == corev1.RestartContainer
		}
	}
	return e
}

func (e *exempt) container(c *corev1.Container, hostUsers bool) {
	e.deviceUsers = e.deviceUsers || !hostUsers && len(c.VolumeDevices) > 0
	sc := c.SecurityContext
	e.sysAdmin = e.sysAdmin || sc != nil && !deref(sc.AllowPrivilegeEscalation, false) && adminCapabilities(sc) > 0
	for _, list := range []corev1.ResourceList{c.Resources.Limits, c.Resources.Requests} {
		for name, q := range list {
			e.partPages = e.partPages || isHugePages(name) && !wholePages(name, q)
		}
	}
}

func (e *exempt) affinity(a *corev1.Affinity) {
	if a == nil {
		return
	}
	if n := a.NodeAffinity; n != nil && n.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		for _, t := range n.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
			for _, r := range t.MatchExpressions {
				e.nodeValues = e.nodeValues || len(validateLabelValues(r.Values, field.NewPath("values"))) > 0
			}
		}
	}
	bad := func(t *corev1.PodAffinityTerm) {
		e.selectorValues = e.selectorValues || len(metavalidation.ValidateLabelSelector(t.LabelSelector, strictSelector, nil)) > 0 ||
			len(metavalidation.ValidateLabelSelector(t.NamespaceSelector, strictSelector, nil)) > 0
	}
	eachAffinityTerm(a, bad)
}

// eachAffinityTerm calls f with every term about other pods.
func eachAffinityTerm(a *corev1.Affinity, f func(*corev1.PodAffinityTerm)) {
	each := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		for i := range required {
			f(&required[i])
		}
		for i := range preferred {
			f(&preferred[i].PodAffinityTerm)
		}
	}
	if p := a.PodAffinity; p != nil {
		each(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if p := a.PodAntiAffinity; p != nil {
		each(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}
