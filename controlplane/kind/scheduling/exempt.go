package scheduling

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// Exempt says which rules about scheduling an update is not held to, since the stored object breaks them already.
type Exempt struct {
	SelectorValues bool // values in selectors of pods that no label can have
	nodeValues     bool // the same in required node affinity
	spreadSelector bool // any fault of a spread constraint's selector
	spreadKeys     bool // keys of spread constraints that are in the selector, too
}

// Exemptions returns what an update of how an old pod is scheduled is not held to.
func Exemptions(old *corev1.PodSpec) Exempt {
	var e Exempt
	for _, t := range RequiredTerms(NodeAffinity(old)) {
		for _, r := range t.MatchExpressions {
			e.nodeValues = e.nodeValues || len(validate.LabelValues(r.Values, field.NewPath("values"))) > 0
		}
	}
	EachPodTerm(old.Affinity, func(t *corev1.PodAffinityTerm) {
		e.SelectorValues = e.SelectorValues || len(validate.Selector(t.LabelSelector, nil)) > 0 || len(validate.Selector(t.NamespaceSelector, nil)) > 0
	})
	for i := range old.TopologySpreadConstraints {
		c := &old.TopologySpreadConstraints[i]
		e.spreadSelector = e.spreadSelector || len(validate.Selector(c.LabelSelector, nil)) > 0
		e.spreadKeys = e.spreadKeys || len(validateMatchLabels(c.MatchLabelKeys, nil, c.LabelSelector, field.NewPath("spec"))) > 0
	}
	return e
}
