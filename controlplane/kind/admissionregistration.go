package kind

import (
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// matchingOf returns what match resources have in common with webhooks.
func matchingOf(m *admissionregistrationv1.MatchResources) matching {
	return matching{&m.MatchPolicy, &m.NamespaceSelector, &m.ObjectSelector}
}

func defaultMatchResources(m *admissionregistrationv1.MatchResources) {
	if m == nil {
		return
	}
	matchingOf(m).setDefaults()
	for _, rules := range [][]admissionregistrationv1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range rules {
			defaults.Pointer(&rules[i].Scope, admissionregistrationv1.AllScopes)
		}
	}
}

func validateMatchResources(m *admissionregistrationv1.MatchResources, path *field.Path) field.ErrorList {
	errs := matchingOf(m).validatePolicy(path)
	errs = append(errs, matchingOf(m).validateSelectors(path)...)
	errs = append(errs, validateNamedRules(m.ResourceRules, path.Child("resourceRules"))...)
	return append(errs, validateNamedRules(m.ExcludeResourceRules, path.Child("excludeResourceRules"))...)
}

func validateNamedRules(rules []admissionregistrationv1.NamedRuleWithOperations, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range rules {
		at := path.Index(i)
		names := map[string]bool{}
		for j, name := range rules[i].ResourceNames {
			errs = append(errs, validate.Each(at.Child("resourceNames").Index(j), name, validate.PathSegmentName(name, false))...)
			if names[name] {
				errs = append(errs, field.Duplicate(at.Child("resourceNames").Index(j), name))
			}
			names[name] = true
		}
		errs = append(errs, validateAdmissionRule(&rules[i].RuleWithOperations, at)...)
	}
	return errs
}

const (
	maxMatchConditions = 64
	maxWebhookTimeout  = 30
)

// Names with this end are for what Kubernetes reads from files.
const (
	staticSuffix   = ".static.k8s.io"
	staticReserved = "names ending with \"" + staticSuffix + "\" are reserved for static manifest-based configurations and cannot be managed via the API"
)

var apiExtensions = []string{"api-extensions"}

// admissionDefinition is what all kinds of the group have in common.
func admissionDefinition[T Object](kind, plural string, new func() T, list func() runtime.Object) definition[T] {
	return definition[T]{
		gv: admissionregistrationv1.SchemeGroupVersion, kind: kind, plural: plural, singular: strings.ToLower(kind),
		categories: apiExtensions, generation: true, new: new, list: list,
		validateCreate: func(obj T) field.ErrorList {
			if !strings.HasSuffix(obj.GetName(), staticSuffix) {
				return nil
			}
			return field.ErrorList{field.Invalid(field.NewPath("metadata", "name"), obj.GetName(), staticReserved)}
		},
		warnings: func(obj, old T) []string {
			if !strings.HasSuffix(obj.GetName(), staticSuffix) {
				return nil
			}
			return []string{"metadata.name: " + staticReserved}
		},
	}
}

// matching is how webhooks and policies say, beside their rules, which requests they are about.
type matching struct {
	policy              **admissionregistrationv1.MatchPolicyType
	namespaces, objects **metav1.LabelSelector
}

func (m matching) setDefaults() {
	defaults.Pointer(m.policy, admissionregistrationv1.Equivalent)
	defaults.Pointer(m.namespaces, metav1.LabelSelector{})
	defaults.Pointer(m.objects, metav1.LabelSelector{})
}

func (m matching) validatePolicy(path *field.Path) field.ErrorList {
	if p := *m.policy; p != nil && *p != admissionregistrationv1.Exact && *p != admissionregistrationv1.Equivalent {
		return field.ErrorList{field.NotSupported(path.Child("matchPolicy"), *p, []string{"Equivalent", "Exact"})}
	}
	return nil
}

func (m matching) validateSelectors(path *field.Path) field.ErrorList {
	errs := validate.Selector(*m.namespaces, path.Child("namespaceSelector"))
	return append(errs, validate.Selector(*m.objects, path.Child("objectSelector"))...)
}

func validateFailurePolicy(p *admissionregistrationv1.FailurePolicyType, path *field.Path) field.ErrorList {
	if p != nil && *p != admissionregistrationv1.Fail && *p != admissionregistrationv1.Ignore {
		return field.ErrorList{field.NotSupported(path.Child("failurePolicy"), *p, []string{"Fail", "Ignore"})}
	}
	return nil
}

func validateMatchConditions(list []admissionregistrationv1.MatchCondition, path *field.Path, check func(string) error) field.ErrorList {
	var errs field.ErrorList
	if len(list) > maxMatchConditions {
		errs = append(errs, field.TooMany(path, len(list), maxMatchConditions))
	}
	names := map[string]bool{}
	for i, c := range list {
		at := path.Index(i)
		switch {
		case strings.TrimSpace(c.Expression) == "":
			errs = append(errs, field.Required(at.Child("expression"), ""))
		default:
			trimmed := strings.TrimSpace(c.Expression)
			if err := check(trimmed); err != nil {
				errs = append(errs, field.Invalid(at.Child("expression"), trimmed, err.Error()))
			}
		}
		if c.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
			continue
		}
		errs = append(errs, validate.QualifiedName(c.Name, at.Child("name"))...)
		if names[c.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		}
		names[c.Name] = true
	}
	return errs
}

var admissionOperations = []admissionregistrationv1.OperationType{
	admissionregistrationv1.OperationAll, admissionregistrationv1.Connect, admissionregistrationv1.Create, admissionregistrationv1.Delete, admissionregistrationv1.Update,
}

func validateAdmissionRule(r *admissionregistrationv1.RuleWithOperations, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	operations := path.Child("operations")
	if len(r.Operations) == 0 {
		errs = append(errs, field.Required(operations, ""))
	}
	if len(r.Operations) > 1 && slices.Contains(r.Operations, admissionregistrationv1.OperationAll) {
		errs = append(errs, field.Invalid(operations, r.Operations, "if '*' is present, must not specify other operations"))
	}
	for i, op := range r.Operations {
		if !slices.Contains(admissionOperations, op) {
			errs = append(errs, field.NotSupported(operations.Index(i), op, admissionOperations))
		}
	}
	errs = append(errs, wildcardAlone(r.APIGroups, path.Child("apiGroups"), "API groups", true)...)
	errs = append(errs, wildcardAlone(r.APIVersions, path.Child("apiVersions"), "API versions", false)...)
	errs = append(errs, validateRuleResources(r.Resources, path.Child("resources"))...)
	if s := r.Scope; s != nil && *s != admissionregistrationv1.AllScopes && *s != admissionregistrationv1.ClusterScope && *s != admissionregistrationv1.NamespacedScope {
		errs = append(errs, field.NotSupported(path.Child("scope"), *s, []string{"*", "Cluster", "Namespaced"}))
	}
	return errs
}

func wildcardAlone(list []string, path *field.Path, what string, empty bool) field.ErrorList {
	var errs field.ErrorList
	if len(list) == 0 {
		errs = append(errs, field.Required(path, ""))
	}
	if len(list) > 1 && slices.Contains(list, "*") {
		errs = append(errs, field.Invalid(path, list, "if '*' is present, must not specify other "+what))
	}
	for i, v := range list {
		if v == "" && !empty {
			errs = append(errs, field.Required(path.Index(i), ""))
		}
	}
	return errs
}

// validateRuleResources refuses a list in which one entry makes another useless.
func validateRuleResources(list []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(list) == 0 {
		errs = append(errs, field.Required(path, ""))
	}
	allOf, everyOf := map[string]bool{}, map[string]bool{}
	plain := false
	for i, r := range list {
		if r == "" {
			errs = append(errs, field.Required(path.Index(i), ""))
			continue
		}
		res, sub, ok := strings.Cut(r, "/")
		if !ok {
			plain = r != "*"
			continue
		}
		if allOf[res] {
			errs = append(errs, field.Invalid(path.Index(i), r, fmt.Sprintf("if '%s/*' is present, must not specify %s", res, r)))
		}
		if everyOf[sub] {
			errs = append(errs, field.Invalid(path.Index(i), r, fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, r)))
		}
		allOf[res] = allOf[res] || sub == "*"
		everyOf[sub] = everyOf[sub] || res == "*"
	}
	if len(list) > 1 && slices.Contains(list, "*/*") {
		errs = append(errs, field.Invalid(path, list, "if '*/*' is present, must not specify other resources"))
	}
	if plain && slices.Contains(list, "*") {
		errs = append(errs, field.Invalid(path, list, "if '*' is present, must not specify other resources without subresources"))
	}
	return errs
}
