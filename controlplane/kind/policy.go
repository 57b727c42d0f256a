package kind

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// HighestUserPriority is the highest value of a priority class that a user may make; above are the system's.
const HighestUserPriority = int32(1_000_000_000)

// SystemPriorityPrefix begins the names of the system's own priority classes.
const SystemPriorityPrefix = "system-"

// SystemPriorities are the classes that every cluster has.
var SystemPriorities = map[string]int32{
	"system-cluster-critical": 2_000_000_000,
	"system-node-critical":    2_000_001_000,
}

func podDisruptionBudgetKind() *Kind {
	spec, status := policyv1.PodDisruptionBudgetSpec{}.SwaggerDoc(), policyv1.PodDisruptionBudgetStatus{}.SwaggerDoc()
	return definition[*policyv1.PodDisruptionBudget]{
		gv: policyv1.SchemeGroupVersion, kind: "PodDisruptionBudget", plural: "poddisruptionbudgets", singular: "poddisruptionbudget",
		short: []string{"pdb"}, namespaced: true, generation: true,
		new:           func() *policyv1.PodDisruptionBudget { return &policyv1.PodDisruptionBudget{} },
		list:          func() runtime.Object { return &policyv1.PodDisruptionBudgetList{} },
		prepareCreate: func(b *policyv1.PodDisruptionBudget) { b.Status = policyv1.PodDisruptionBudgetStatus{} },
		prepareUpdate: func(b, old *policyv1.PodDisruptionBudget) { b.Status = old.Status },
		validate:      validateBudget,
		status: &statusRules[*policyv1.PodDisruptionBudget]{
			prepareUpdate: func(b, old *policyv1.PodDisruptionBudget) { b.Spec = old.Spec },
			validate: func(b, _ *policyv1.PodDisruptionBudget) field.ErrorList {
				path := field.NewPath("status")
				errs := metavalidation.ValidateConditions(b.Status.Conditions, path.Child("conditions"))
				errs = append(errs, nonNegative(b.Status.DisruptionsAllowed, path.Child("disruptionsAllowed"))...)
				errs = append(errs, nonNegative(b.Status.CurrentHealthy, path.Child("currentHealthy"))...)
				errs = append(errs, nonNegative(b.Status.DesiredHealthy, path.Child("desiredHealthy"))...)
				return append(errs, nonNegative(b.Status.ExpectedPods, path.Child("expectedPods"))...)
			},
		},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Min Available", "string", spec["minAvailable"]), column("Max Unavailable", "string", spec["maxUnavailable"]),
			column("Allowed Disruptions", "integer", status["disruptionsAllowed"]), ageColumn(),
		},
		row: func(b *policyv1.PodDisruptionBudget, now time.Time) []any {
			return []any{b.Name, orNA(b.Spec.MinAvailable), orNA(b.Spec.MaxUnavailable), int64(b.Status.DisruptionsAllowed), age(b, now)}
		},
	}.build()
}

func orNA(v *intstr.IntOrString) string {
	if v == nil {
		return "N/A"
	}
	return v.String()
}

func validateBudget(b *policyv1.PodDisruptionBudget) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec")
	if b.Spec.MinAvailable != nil && b.Spec.MaxUnavailable != nil {
		// quoted in the form that has no version
		errs = append(errs, field.Invalid(path, struct {
			MinAvailable               *intstr.IntOrString
			Selector                   *metav1.LabelSelector
			MaxUnavailable             *intstr.IntOrString
			UnhealthyPodEvictionPolicy *policyv1.UnhealthyPodEvictionPolicyType
		}(b.Spec), "minAvailable and maxUnavailable cannot be both set"))
	}
	if v := b.Spec.MinAvailable; v != nil {
		errs = append(errs, validateIntOrPercent(*v, path.Child("minAvailable"))...)
		errs = append(errs, notOver100Percent(*v, path.Child("minAvailable"))...)
	}
	if v := b.Spec.MaxUnavailable; v != nil {
		errs = append(errs, validateIntOrPercent(*v, path.Child("maxUnavailable"))...)
		errs = append(errs, notOver100Percent(*v, path.Child("maxUnavailable"))...)
	}
	errs = append(errs, strictly(b.Spec.Selector, path.Child("selector"))...)
	if p := b.Spec.UnhealthyPodEvictionPolicy; p != nil && *p != policyv1.AlwaysAllow && *p != policyv1.IfHealthyBudget {
		errs = append(errs, field.NotSupported(path.Child("unhealthyPodEvictionPolicy"), *p, []policyv1.UnhealthyPodEvictionPolicyType{policyv1.AlwaysAllow, policyv1.IfHealthyBudget}))
	}
	return errs
}

// validateIntOrPercent accepts a number that is not negative or a percentage.
func validateIntOrPercent(v intstr.IntOrString, path *field.Path) field.ErrorList {
	if v.Type == intstr.String {
		return invalidEach(path, v, validation.IsValidPercent(v.StrVal))
	}
	return nonNegative(v.IntVal, path)
}

func percentOf(v intstr.IntOrString) (int, bool) {
	if v.Type != intstr.String || len(validation.IsValidPercent(v.StrVal)) > 0 {
		return 0, false
	}
	n := 0
	for _, c := range strings.TrimSuffix(v.StrVal, "%") {
		if n = n*10 + int(c-'0'); n > 1000 {
			break // enough to know that it is too much
		}
	}
	return n, true
}

func notOver100Percent(v intstr.IntOrString, path *field.Path) field.ErrorList {
	if n, ok := percentOf(v); ok && n > 100 {
		return field.ErrorList{field.Invalid(path, v, "must not be greater than 100%")}
	}
	return nil
}

func priorityClassKind() *Kind {
	docs := schedulingv1.PriorityClass{}.SwaggerDoc()
	return definition[*schedulingv1.PriorityClass]{
		gv: schedulingv1.SchemeGroupVersion, kind: "PriorityClass", plural: "priorityclasses", singular: "priorityclass", short: []string{"pc"},
		new:  func() *schedulingv1.PriorityClass { return &schedulingv1.PriorityClass{} },
		list: func() runtime.Object { return &schedulingv1.PriorityClassList{} },
		defaults: func(p *schedulingv1.PriorityClass) {
			if p.PreemptionPolicy == nil {
				lower := corev1.PreemptLowerPriority
				p.PreemptionPolicy = &lower
			}
		},
		prepareCreate:  func(p *schedulingv1.PriorityClass) { p.Generation = 1 }, // and never another
		validateCreate: validatePriorityClass,
		validateUpdate: func(p, old *schedulingv1.PriorityClass) field.ErrorList {
			var errs field.ErrorList
			if p.Value != old.Value {
				errs = append(errs, field.Forbidden(field.NewPath("value"), "may not be changed in an update."))
			}
			return append(errs, immutable(p.PreemptionPolicy, old.PreemptionPolicy, field.NewPath("preemptionPolicy"))...)
		},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Value", "integer", docs["value"]), column("Global-Default", "boolean", docs["globalDefault"]),
			ageColumn(), column("PreemptionPolicy", "string", docs["preemptionPolicy"]),
		},
		row: func(p *schedulingv1.PriorityClass, now time.Time) []any {
			return []any{p.Name, int64(p.Value), p.GlobalDefault, age(p, now), string(deref(p.PreemptionPolicy, ""))}
		},
	}.build()
}

func validatePriorityClass(p *schedulingv1.PriorityClass) field.ErrorList {
	var errs field.ErrorList
	if strings.HasPrefix(p.Name, SystemPriorityPrefix) {
		value, ok := SystemPriorities[p.Name]
		why := ""
		switch {
		case !ok:
			why = p.Name + " is not a known system priority class"
		case value != p.Value:
			why = fmt.Sprintf("value of %v PriorityClass must be %v", p.Name, value)
		case p.GlobalDefault:
			why = fmt.Sprintf("globalDefault of %v PriorityClass must be false", p.Name)
		}
		if why != "" {
			errs = append(errs, field.Forbidden(field.NewPath("metadata", "name"),
				"priority class names with '"+SystemPriorityPrefix+"' prefix are reserved for system use only. error: "+why))
		}
	} else if p.Value > HighestUserPriority {
		errs = append(errs, field.Forbidden(field.NewPath("value"), "maximum allowed value of a user defined priority is 1000000000"))
	}
	if p.PreemptionPolicy != nil {
		errs = append(errs, validatePreemption(*p.PreemptionPolicy, field.NewPath("preemptionPolicy"))...)
	}
	return errs
}

func validatePreemption(p corev1.PreemptionPolicy, path *field.Path) field.ErrorList {
	return oneOf(p, path, corev1.PreemptLowerPriority, corev1.PreemptNever)
}
