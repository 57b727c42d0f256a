package kind

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// schedulingExempt says which rules about scheduling an update is not held to, since the stored object breaks them already.
type schedulingExempt struct {
	selectorValues bool // values in selectors of pods that no label can have
	nodeValues     bool // the same in required node affinity
	spreadSelector bool // any fault of a spread constraint's selector
	spreadKeys     bool // keys of spread constraints that are in the selector, too
}

// schedulingExemptions returns what an update of how an old pod is scheduled is not held to.
func schedulingExemptions(old *corev1.PodSpec) schedulingExempt {
	var e schedulingExempt
	for _, t := range requiredTerms(nodeAffinity(old)) {
		for _, r := range t.MatchExpressions {
			e.nodeValues = e.nodeValues || len(validateLabelValues(r.Values, field.NewPath("values"))) > 0
		}
	}
	eachAffinityTerm(old.Affinity, func(t *corev1.PodAffinityTerm) {
		e.selectorValues = e.selectorValues || len(strictly(t.LabelSelector, nil)) > 0 || len(strictly(t.NamespaceSelector, nil)) > 0
	})
	for i := range old.TopologySpreadConstraints {
		c := &old.TopologySpreadConstraints[i]
		e.spreadSelector = e.spreadSelector || len(strictly(c.LabelSelector, nil)) > 0
		e.spreadKeys = e.spreadKeys || len(validateMatchLabels(c.MatchLabelKeys, nil, c.LabelSelector, field.NewPath("spec"))) > 0
	}
	return e
}

// eachAffinityTerm calls f with every term about other pods.
func eachAffinityTerm(a *corev1.Affinity, f func(*corev1.PodAffinityTerm)) {
	if a == nil {
		return
	}
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
