package kind

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// strictly holds a selector to all rules.
func strictly(s *metav1.LabelSelector, path *field.Path) field.ErrorList {
	return metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, path)
}

func validateTolerations(tolerations []corev1.Toleration, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range tolerations {
		t, at := &tolerations[i], path.Index(i)
		if t.Key != "" {
			errs = append(errs, labelName(t.Key, at.Child("key"))...)
		}
		if t.Key == "" && t.Operator != corev1.TolerationOpExists {
			errs = append(errs, field.Invalid(at.Child("operator"), t.Operator,
				"operator must be Exists when `key` is empty, which means \"match all values and all keys\""))
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			errs = append(errs, field.Invalid(at.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
		}
		errs = append(errs, validateTolerationValue(t, at.Child("operator"))...)
		errs = append(errs, validateTaintEffect(t.Effect, true, at.Child("effect"))...)
	}
	return errs
}

func validateTolerationValue(t *corev1.Toleration, path *field.Path) field.ErrorList {
	switch t.Operator {
	case corev1.TolerationOpEqual, "":
		if messages := validation.IsValidLabelValue(t.Value); len(messages) > 0 {
			return field.ErrorList{field.Invalid(path, t.Value, strings.Join(messages, ";"))}
		}
	case corev1.TolerationOpExists:
		if t.Value != "" {
			return field.ErrorList{field.Invalid(path, t.Value, "value must be empty when `operator` is 'Exists'")}
		}
	case corev1.TolerationOpLt, corev1.TolerationOpGt: // known, but behind a gate that is closed
		return field.ErrorList{field.NotSupported(path, t.Operator, []corev1.TolerationOperator{
			corev1.TolerationOpEqual, corev1.TolerationOpExists, corev1.TolerationOpLt, corev1.TolerationOpGt,
		})}
	default:
		return supported(t.Operator, path, corev1.TolerationOpEqual, corev1.TolerationOpExists)
	}
	return nil
}

func validateAffinity(a *corev1.Affinity, e schedulingExempt, path *field.Path) field.ErrorList {
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
	selectors := metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: e.selectorValues}
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

func validateNodeSelector(s *corev1.NodeSelector, path *field.Path) field.ErrorList {
	return validateNodeSelectorValues(s, true, path)
}

// validateNodeSelectorValues checks that values are those of labels only when it is told so.
func validateNodeSelectorValues(s *corev1.NodeSelector, values bool, path *field.Path) field.ErrorList {
	at := path.Child("nodeSelectorTerms")
	if len(s.NodeSelectorTerms) == 0 {
		return field.ErrorList{field.Required(at, "must have at least one node selector term")}
	}
	var errs field.ErrorList
	for i := range s.NodeSelectorTerms {
		errs = append(errs, validateNodeSelectorTerm(&s.NodeSelectorTerms[i], values, at.Index(i))...)
	}
	return errs
}

func validateNodeSelectorTerm(t *corev1.NodeSelectorTerm, values bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range t.MatchExpressions {
		r, at := &t.MatchExpressions[i], path.Child("matchExpressions").Index(i)
		errs = append(errs, validateNodeRequirement(r, at)...)
		errs = append(errs, labelName(r.Key, at.Child("key"))...)
		if values {
			errs = append(errs, validateLabelValues(r.Values, at.Child("values"))...)
		}
	}
	for i, r := range t.MatchFields {
		at := path.Child("matchFields").Index(i)
		if r.Operator != corev1.NodeSelectorOpIn && r.Operator != corev1.NodeSelectorOpNotIn {
			errs = append(errs, field.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator"))
		} else if len(r.Values) != 1 {
			errs = append(errs, field.Required(at.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"))
		}
		if r.Key != metav1.ObjectNameField {
			errs = append(errs, field.Invalid(at.Child("key"), r.Key, "not a valid field selector key"))
			continue
		}
		for j, name := range r.Values {
			errs = append(errs, subdomain(name, at.Child("values").Index(j))...)
		}
	}
	return errs
}

func validateLabelValues(values []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, v := range values {
		errs = append(errs, invalidEach(path.Index(i), v, validation.IsValidLabelValue(v))...)
	}
	return errs
}

func validateNodeRequirement(r *corev1.NodeSelectorRequirement, path *field.Path) field.ErrorList {
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) == 0 {
			return field.ErrorList{field.Required(path.Child("values"), "must be specified when `operator` is 'In' or 'NotIn'")}
		}
	case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			return field.ErrorList{field.Forbidden(path.Child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")}
		}
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		if len(r.Values) != 1 {
			return field.ErrorList{field.Required(path.Child("values"), "must be specified single value when `operator` is 'Lt' or 'Gt'")}
		}
	default:
		return field.ErrorList{field.Invalid(path.Child("operator"), r.Operator, "not a valid selector operator")}
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
		errs = append(errs, dnsLabel(ns, path.Child("namespace"))...)
	}
	errs = append(errs, validateMatchLabels(t.MatchLabelKeys, t.MismatchLabelKeys, t.LabelSelector, path)...)
	if t.TopologyKey == "" {
		errs = append(errs, field.Required(path.Child("topologyKey"), "can not be empty"))
	}
	return append(errs, labelName(t.TopologyKey, path.Child("topologyKey"))...)
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
		errs = append(errs, labelName(key, path.Index(i))...)
	}
	return errs
}

func validateSpread(constraints []corev1.TopologySpreadConstraint, e schedulingExempt, path *field.Path) field.ErrorList {
	if len(constraints) == 0 {
		return nil
	}
	var errs field.ErrorList
	type pair struct {
		key  string
		when corev1.UnsatisfiableConstraintAction
	}
	left := map[pair]int{}
	for i := range constraints {
		left[pair{constraints[i].TopologyKey, constraints[i].WhenUnsatisfiable}]++
	}
	for i := range constraints {
		c, at := &constraints[i], path.Index(i)
		errs = append(errs, positive(c.MaxSkew, at.Child("maxSkew"))...)
		if c.TopologyKey == "" {
			errs = append(errs, field.Required(at.Child("topologyKey"), "can not be empty"))
		}
		errs = append(errs, supported(c.WhenUnsatisfiable, at.Child("whenUnsatisfiable"), corev1.DoNotSchedule, corev1.ScheduleAnyway)...)
		// it is the earlier one that is called a duplicate
		p := pair{c.TopologyKey, c.WhenUnsatisfiable}
		if left[p]--; left[p] > 0 {
			errs = append(errs, field.Duplicate(at.Child("{topologyKey, whenUnsatisfiable}"), fmt.Sprintf("{%v, %v}", p.key, p.when)))
		}
		errs = append(errs, validateMinDomains(c, at.Child("minDomains"))...)
		errs = append(errs, validateInclusion(c.NodeAffinityPolicy, at.Child("nodeAffinityPolicy"))...)
		errs = append(errs, validateInclusion(c.NodeTaintsPolicy, at.Child("nodeTaintsPolicy"))...)
		if e.spreadKeys {
			errs = append(errs, validateUnmergedKeys(c, at.Child("matchLabelKeys"))...)
		} else {
			errs = append(errs, validateMatchLabels(c.MatchLabelKeys, nil, c.LabelSelector, at)...)
		}
		if !e.spreadSelector {
			errs = append(errs, strictly(c.LabelSelector, at.Child("labelSelector"))...)
		}
	}
	return errs
}

func validateMinDomains(c *corev1.TopologySpreadConstraint, path *field.Path) field.ErrorList {
	if c.MinDomains == nil {
		return nil
	}
	errs := positive(*c.MinDomains, path)
	if c.WhenUnsatisfiable != corev1.DoNotSchedule {
		errs = append(errs, field.Invalid(path, *c.MinDomains, fmt.Sprintf("can only use minDomains if whenUnsatisfiable=%s, not %s", corev1.DoNotSchedule, c.WhenUnsatisfiable)))
	}
	return errs
}

func validateInclusion(p *corev1.NodeInclusionPolicy, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	return supported(*p, path, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)
}

// validateUnmergedKeys checks the keys of a pod that was stored before selectors were completed.
func validateUnmergedKeys(c *corev1.TopologySpreadConstraint, path *field.Path) field.ErrorList {
	if len(c.MatchLabelKeys) == 0 {
		return nil
	}
	var errs field.ErrorList
	selected := map[string]bool{}
	if c.LabelSelector == nil {
		errs = append(errs, field.Forbidden(path, "must not be specified when labelSelector is not set"))
	} else {
		for key := range c.LabelSelector.MatchLabels {
			selected[key] = true
		}
		for _, r := range c.LabelSelector.MatchExpressions {
			selected[r.Key] = true
		}
	}
	for i, key := range c.MatchLabelKeys {
		errs = append(errs, labelName(key, path.Index(i))...)
		if selected[key] {
			errs = append(errs, field.Invalid(path.Index(i), key, "exists in both matchLabelKeys and labelSelector"))
		}
	}
	return errs
}
