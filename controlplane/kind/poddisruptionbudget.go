package kind

import (
	"time"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/unversioned"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

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
				errs = append(errs, validate.NonNegative(b.Status.DisruptionsAllowed, path.Child("disruptionsAllowed"))...)
				errs = append(errs, validate.NonNegative(b.Status.CurrentHealthy, path.Child("currentHealthy"))...)
				errs = append(errs, validate.NonNegative(b.Status.DesiredHealthy, path.Child("desiredHealthy"))...)
				return append(errs, validate.NonNegative(b.Status.ExpectedPods, path.Child("expectedPods"))...)
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
		errs = append(errs, field.Invalid(path, unversioned.Form(b.Spec), "minAvailable and maxUnavailable cannot be both set"))
	}
	if v := b.Spec.MinAvailable; v != nil {
		errs = append(errs, validate.IntOrPercent(*v, path.Child("minAvailable"))...)
		errs = append(errs, validate.AtMost100Percent(*v, path.Child("minAvailable"))...)
	}
	if v := b.Spec.MaxUnavailable; v != nil {
		errs = append(errs, validate.IntOrPercent(*v, path.Child("maxUnavailable"))...)
		errs = append(errs, validate.AtMost100Percent(*v, path.Child("maxUnavailable"))...)
	}
	errs = append(errs, validate.Selector(b.Spec.Selector, path.Child("selector"))...)
	if p := b.Spec.UnhealthyPodEvictionPolicy; p != nil && *p != policyv1.AlwaysAllow && *p != policyv1.IfHealthyBudget {
		errs = append(errs, field.NotSupported(path.Child("unhealthyPodEvictionPolicy"), *p, []policyv1.UnhealthyPodEvictionPolicyType{policyv1.AlwaysAllow, policyv1.IfHealthyBudget}))
	}
	return errs
}
