package scheduling

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// ValidateSpread checks how evenly pods are to be spread.
func ValidateSpread(constraints []corev1.TopologySpreadConstraint, e Exempt, path *field.Path) field.ErrorList {
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
		errs = append(errs, validate.Positive(c.MaxSkew, at.Child("maxSkew"))...)
		if c.TopologyKey == "" {
			errs = append(errs, field.Required(at.Child("topologyKey"), "can not be empty"))
		}
		errs = append(errs, validate.Supported(c.WhenUnsatisfiable, at.Child("whenUnsatisfiable"), corev1.DoNotSchedule, corev1.ScheduleAnyway)...)
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
			errs = append(errs, validate.Selector(c.LabelSelector, at.Child("labelSelector"))...)
		}
	}
	return errs
}

func validateMinDomains(c *corev1.TopologySpreadConstraint, path *field.Path) field.ErrorList {
	if c.MinDomains == nil {
		return nil
	}
	errs := validate.Positive(*c.MinDomains, path)
	if c.WhenUnsatisfiable != corev1.DoNotSchedule {
		errs = append(errs, field.Invalid(path, *c.MinDomains, fmt.Sprintf("can only use minDomains if whenUnsatisfiable=%s, not %s", corev1.DoNotSchedule, c.WhenUnsatisfiable)))
	}
	return errs
}

func validateInclusion(p *corev1.NodeInclusionPolicy, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	return validate.Supported(*p, path, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)
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
		errs = append(errs, metavalidation.ValidateLabelName(key, path.Index(i))...)
		if selected[key] {
			errs = append(errs, field.Invalid(path.Index(i), key, "exists in both matchLabelKeys and labelSelector"))
		}
	}
	return errs
}
