package kind

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/podspec"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

func deploymentKind() *Kind {
	docs := appsv1.DeploymentSpec{}.SwaggerDoc()
	return definition[*appsv1.Deployment]{
		gv: appsv1.SchemeGroupVersion, kind: "Deployment", plural: "deployments", singular: "deployment",
		short: []string{"deploy"}, categories: []string{"all"}, namespaced: true, generation: true,
		new:           func() *appsv1.Deployment { return &appsv1.Deployment{} },
		list:          func() runtime.Object { return &appsv1.DeploymentList{} },
		template:      func(o *appsv1.Deployment) *corev1.PodTemplateSpec { return &o.Spec.Template },
		defaults:      defaultDeployment,
		prepareCreate: func(d *appsv1.Deployment) { d.Status = appsv1.DeploymentStatus{} },
		prepareUpdate: func(d, old *appsv1.Deployment) {
			d.Status = old.Status
			// the controller copies annotations to ReplicaSets: a change of them is one of what is wanted
			if !apiequality.Semantic.DeepEqual(d.Annotations, old.Annotations) {
				d.Generation = old.Generation + 1
			}
		},
		validateTemplated: validateDeployment,
		validateUpdate: func(d, old *appsv1.Deployment) field.ErrorList {
			return validate.Immutable(d.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))
		},
		warnings: func(d, old *appsv1.Deployment) []string { return workloadWarnings(d, old, &d.Spec.Template) },
		status: &statusRules[*appsv1.Deployment]{
			prepareUpdate: func(d, old *appsv1.Deployment) { d.Spec, d.Labels = old.Spec, old.Labels },
			validate:      validateDeploymentStatus,
			unowned:       Paths("spec", "metadata.labels"),
		},
		scale: &scaleRules[*appsv1.Deployment]{
			get: func(d *appsv1.Deployment) (int32, int32, string) {
				return ptr.Deref(d.Spec.Replicas, 1), d.Status.Replicas, selectorText(d.Spec.Selector)
			},
			set: func(d *appsv1.Deployment, n int32) { d.Spec.Replicas = &n },
		},
		columns: append([]metav1.TableColumnDefinition{
			nameColumn(), column("Ready", "string", "Number of the pod with ready state"),
			column("Up-to-date", "string", appsv1.DeploymentStatus{}.SwaggerDoc()["updatedReplicas"]),
			column("Available", "string", appsv1.DeploymentStatus{}.SwaggerDoc()["availableReplicas"]), ageColumn(),
		}, templateColumns(docs["selector"])...),
		row: func(d *appsv1.Deployment, now time.Time) []any {
			names, images := containerCells(d.Spec.Template.Spec.Containers)
			return []any{
				d.Name, fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, ptr.Deref(d.Spec.Replicas, 1)), int64(d.Status.UpdatedReplicas),
				int64(d.Status.AvailableReplicas), age(d, now), names, images, formatSelector(d.Spec.Selector),
			}
		},
	}.build()
}

func defaultDeployment(d *appsv1.Deployment) {
	s := &d.Spec
	defaults.Pointer(&s.Replicas, 1)
	defaults.Value(&s.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if s.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		if s.Strategy.RollingUpdate == nil {
			s.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{}
		}
		defaults.Pointer(&s.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		defaults.Pointer(&s.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	defaults.Pointer(&s.RevisionHistoryLimit, 10)
	defaults.Pointer(&s.ProgressDeadlineSeconds, 600)
	podspec.DefaultTemplate(&s.Template)
}

func validateDeployment(d *appsv1.Deployment, e podspec.Exempt) field.ErrorList {
	path := field.NewPath("spec")
	s := &d.Spec
	errs := validate.NonNegative(ptr.Deref(s.Replicas, 0), path.Child("replicas"))
	errs = append(errs, validateWorkloadSelector(s.Selector, path.Child("selector"), "deployment")...)
	errs = append(errs, validateReplicated(&s.Template, s.Selector, e, path)...)
	errs = append(errs, validateStrategy(&s.Strategy, path.Child("strategy"))...)
	errs = append(errs, validate.NonNegative(s.MinReadySeconds, path.Child("minReadySeconds"))...)
	errs = append(errs, validate.Optional(s.RevisionHistoryLimit, path.Child("revisionHistoryLimit"))...)
	if s.ProgressDeadlineSeconds != nil {
		errs = append(errs, validate.NonNegative(*s.ProgressDeadlineSeconds, path.Child("progressDeadlineSeconds"))...)
		if *s.ProgressDeadlineSeconds <= s.MinReadySeconds {
			errs = append(errs, field.Invalid(path.Child("progressDeadlineSeconds"), *s.ProgressDeadlineSeconds, "must be greater than minReadySeconds"))
		}
	}
	return errs
}

func validateStrategy(s *appsv1.DeploymentStrategy, path *field.Path) field.ErrorList {
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Forbidden(path.Child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'")}
		}
		return nil
	case appsv1.RollingUpdateDeploymentStrategyType:
		if s.RollingUpdate == nil {
			return field.ErrorList{field.Required(path.Child("rollingUpdate"), "this should be defaulted and never be nil")}
		}
		return validateRolling(ptr.Deref(s.RollingUpdate.MaxUnavailable, intstr.IntOrString{}), ptr.Deref(s.RollingUpdate.MaxSurge, intstr.IntOrString{}), path.Child("rollingUpdate"))
	}
	quoted := strategyForm{Type: string(s.Type)}
	if r := s.RollingUpdate; r != nil {
		quoted.RollingUpdate = &rollingForm{ptr.Deref(r.MaxUnavailable, intstr.IntOrString{}), ptr.Deref(r.MaxSurge, intstr.IntOrString{})}
	}
	return field.ErrorList{field.NotSupported(path, quoted, []appsv1.DeploymentStrategyType{appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType})}
}

func validateRolling(unavailable, surge intstr.IntOrString, path *field.Path) field.ErrorList {
	errs := validate.IntOrPercent(unavailable, path.Child("maxUnavailable"))
	errs = append(errs, validate.IntOrPercent(surge, path.Child("maxSurge"))...)
	if validate.IsZero(unavailable) && validate.IsZero(surge) {
		errs = append(errs, field.Invalid(path.Child("maxUnavailable"), unavailable, "may not be 0 when `maxSurge` is 0"))
	}
	return append(errs, validate.AtMost100Percent(unavailable, path.Child("maxUnavailable"))...)
}

func validateDeploymentStatus(d, old *appsv1.Deployment) field.ErrorList {
	path := field.NewPath("status")
	s := &d.Status
	errs := validate.NonNegative(s.ObservedGeneration, path.Child("observedGeneration"))
	errs = append(errs, validate.NonNegative(s.Replicas, path.Child("replicas"))...)
	errs = append(errs, validate.NonNegative(s.UpdatedReplicas, path.Child("updatedReplicas"))...)
	errs = append(errs, validate.NonNegative(s.ReadyReplicas, path.Child("readyReplicas"))...)
	errs = append(errs, validate.NonNegative(s.AvailableReplicas, path.Child("availableReplicas"))...)
	errs = append(errs, validate.NonNegative(s.UnavailableReplicas, path.Child("unavailableReplicas"))...)
	errs = append(errs, validate.Optional(s.TerminatingReplicas, path.Child("terminatingReplicas"))...)
	errs = append(errs, validate.Optional(s.CollisionCount, path.Child("collisionCount"))...)
	errs = append(errs, validate.AtMost(s.UpdatedReplicas, s.Replicas, path.Child("updatedReplicas"), "cannot be greater than status.replicas")...)
	errs = append(errs, validate.AtMost(s.ReadyReplicas, s.Replicas, path.Child("readyReplicas"), "cannot be greater than status.replicas")...)
	errs = append(errs, validate.AtMost(s.AvailableReplicas, s.Replicas, path.Child("availableReplicas"), "cannot be greater than status.replicas")...)
	errs = append(errs, validate.AtMost(s.AvailableReplicas, s.ReadyReplicas, path.Child("availableReplicas"), "cannot be greater than readyReplicas")...)
	return append(errs, validateCollisions(s.CollisionCount, old.Status.CollisionCount, path.Child("collisionCount"))...)
}
