// Package scheduling checks what decides on which node a pod may run: affinity to nodes and to other pods, spread
// constraints, tolerations, and the node selectors that volumes have too.
package scheduling

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// EachPodTerm calls f with every term about other pods.
func EachPodTerm(a *corev1.Affinity, f func(*corev1.PodAffinityTerm)) {
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

// ValidateAffinity checks near which nodes and pods a pod is to run.
func ValidateAffinity(a *corev1.Affinity, e Exempt, path *field.Path) field.ErrorList {
	if a == nil {
		return nil
	}
	var errs field.ErrorList
	if n := a.NodeAffinity; n != nil {
		at := path.Child("nodeAffinity")
		if r := n.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
			errs = append(errs, validateNodeSelectorValues(r, !e.nodeValues, at.Child("requiredDuringSchedulingIgnoredDuringExecution"))...)
		}
		for i := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			p, at := &n.PreferredDuringSchedulingIgnoredDuringExecution[i], at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i)
			errs = append(errs, validateWeight(p.Weight, at.Child("weight"))...)
			// a value that no node can have is what nobody prefers, and harms nobody
			errs = append(errs, validateNodeSelectorTerm(&p.Preference, false, at.Child("preference"))...)
		}
	}
	selectors := metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: e.SelectorValues}
	if p := a.PodAffinity; p != nil {
		errs = append(errs, validatePodAffinity(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, selectors, path.Child("podAffinity"))...)
	}
	if p := a.PodAntiAffinity; p != nil {
		errs = append(errs, validatePodAffinity(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, selectors, path.Child("podAntiAffinity"))...)
	}
	return errs
}

func validateWeight(w int32, path *field.Path) field.ErrorList {
	if w < 1 || w > 100 {
		return field.ErrorList{field.Invalid(path, w, "must be in the range 1-100")}
	}
	return nil
}

func validatePodAffinity(
	required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm, o metavalidation.LabelSelectorValidationOptions, path *field.Path,
) field.ErrorList {
	var errs field.ErrorList
	for i := range required {
		errs = append(errs, validatePodAffinityTerm(&required[i], o, path.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i))...)
	}
	for i := range preferred {
		at := path.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i)
		errs = append(errs, validateWeight(preferred[i].Weight, at.Child("weight"))...)
		errs = append(errs, validatePodAffinityTerm(&preferred[i].PodAffinityTerm, o, at.Child("podAffinityTerm"))...)
	}
	return errs
}

func validatePodAffinityTerm(t *corev1.PodAffinityTerm, o metavalidation.LabelSelectorValidationOptions, path *field.Path) field.ErrorList {
	errs := metavalidation.ValidateLabelSelector(t.LabelSelector, o, path.Child("labelSelector"))
	errs = append(errs, metavalidation.ValidateLabelSelector(t.NamespaceSelector, o, path.Child("namespaceSelector"))...)
	for _, ns := range t.Namespaces {
		errs = append(errs, validate.DNSLabel(ns, path.Child("namespace"))...)
	}
	errs = append(errs, validateMatchLabels(t.MatchLabelKeys, t.MismatchLabelKeys, t.LabelSelector, path)...)
	if t.TopologyKey == "" {
		errs = append(errs, field.Required(path.Child("topologyKey"), "can not be empty"))
	}
	return append(errs, metavalidation.ValidateLabelName(t.TopologyKey, path.Child("topologyKey"))...)
}

// validateMatchLabels checks the keys of labels whose values in the pod complete a selector. A new pod's selectors are complete already.
func validateMatchLabels(match, mismatch []string, selector *metav1.LabelSelector, path *field.Path) field.ErrorList {
	if len(match) == 0 && len(mismatch) == 0 {
		return nil
	}
	errs := validateLabelKeys(match, selector, path.Child("matchLabelKeys"))
	errs = append(errs, validateLabelKeys(mismatch, selector, path.Child("mismatchLabelKeys"))...)
	index := make(map[string]int, len(match))
	for i, key := range match {
		index[key] = i
	}
	if selector != nil {
		selected := map[string]bool{}
		for key := range selector.MatchLabels {
			selected[key] = true
		}
		for _, r := range selector.MatchExpressions {
			if i, ok := index[r.Key]; ok && selected[r.Key] {
				errs = append(errs, field.Invalid(path.Index(i), r.Key, "exists in both matchLabelKeys and labelSelector"))
			}
			selected[r.Key] = true
		}
	}
	unmatched := make(map[string]bool, len(mismatch))
	for _, key := range mismatch {
		unmatched[key] = true
	}
	for i, key := range match {
		if unmatched[key] {
			errs = append(errs, field.Invalid(path.Child("matchLabelKeys").Index(i), key, "exists in both matchLabelKeys and mismatchLabelKeys"))
		}
	}
	return errs
}

func validateLabelKeys(keys []string, selector *metav1.LabelSelector, path *field.Path) field.ErrorList {
	if len(keys) > 0 && selector == nil {
		return field.ErrorList{field.Forbidden(path, "must not be specified when labelSelector is not set")}
	}
	var errs field.ErrorList
	for i, key := range keys {
		errs = append(errs, metavalidation.ValidateLabelName(key, path.Index(i))...)
	}
	return errs
}
