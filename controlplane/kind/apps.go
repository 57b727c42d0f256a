package kind

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
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
		validate: validateDeployment,
		validateUpdate: func(d, old *appsv1.Deployment) field.ErrorList {
			return immutable(d.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))
		},
		warnings: func(d, old *appsv1.Deployment) []string {
			switch {
			case old == nil:
				return append(nameWarnings(d.Name), templateWarnings(&d.Spec.Template, field.NewPath("spec", "template"))...)
			case d.Generation != old.Generation:
				return templateWarnings(&d.Spec.Template, field.NewPath("spec", "template"))
			}
			return nil
		},
		status: &statusRules[*appsv1.Deployment]{
			prepareUpdate: func(d, old *appsv1.Deployment) { d.Spec, d.Labels = old.Spec, old.Labels },
			validate:      validateDeploymentStatus,
		},
		scale: &scaleRules[*appsv1.Deployment]{
			get: func(d *appsv1.Deployment) (int32, int32, string) {
				return deref(d.Spec.Replicas, 1), d.Status.Replicas, selectorText(d.Spec.Selector)
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
				d.Name, fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, deref(d.Spec.Replicas, 1)), int64(d.Status.UpdatedReplicas),
				int64(d.Status.AvailableReplicas), age(d, now), names, images, formatSelector(d.Spec.Selector),
			}
		},
	}.build()
}

func defaultDeployment(d *appsv1.Deployment) {
	s := &d.Spec
	setDefault(&s.Replicas, 1)
	emptyTo(&s.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if s.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		if s.Strategy.RollingUpdate == nil {
			s.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{}
		}
		setDefault(&s.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		setDefault(&s.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	setDefault(&s.RevisionHistoryLimit, 10)
	setDefault(&s.ProgressDeadlineSeconds, 600)
	defaultTemplate(&s.Template)
}

func validateDeployment(d *appsv1.Deployment) field.ErrorList {
	path := field.NewPath("spec")
	s := &d.Spec
	errs := nonNegative(deref(s.Replicas, 0), path.Child("replicas"))
	errs = append(errs, validateWorkloadSelector(s.Selector, path.Child("selector"), "deployment")...)
	errs = append(errs, validateReplicated(&s.Template, s.Selector, path)...)
	errs = append(errs, validateStrategy(&s.Strategy, path.Child("strategy"))...)
	errs = append(errs, nonNegative(s.MinReadySeconds, path.Child("minReadySeconds"))...)
	errs = append(errs, validateOptional(s.RevisionHistoryLimit, path.Child("revisionHistoryLimit"))...)
	if s.ProgressDeadlineSeconds != nil {
		errs = append(errs, nonNegative(*s.ProgressDeadlineSeconds, path.Child("progressDeadlineSeconds"))...)
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
		return validateRolling(deref(s.RollingUpdate.MaxUnavailable, intstr.IntOrString{}), deref(s.RollingUpdate.MaxSurge, intstr.IntOrString{}), path.Child("rollingUpdate"))
	}
	quoted := strategyForm{Type: string(s.Type)}
	if r := s.RollingUpdate; r != nil {
		quoted.RollingUpdate = &rollingForm{deref(r.MaxUnavailable, intstr.IntOrString{}), deref(r.MaxSurge, intstr.IntOrString{})}
	}
	return field.ErrorList{field.NotSupported(path, quoted, []appsv1.DeploymentStrategyType{appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType})}
}

func validateRolling(unavailable, surge intstr.IntOrString, path *field.Path) field.ErrorList {
	errs := validateIntOrPercent(unavailable, path.Child("maxUnavailable"))
	errs = append(errs, validateIntOrPercent(surge, path.Child("maxSurge"))...)
	if isZero(unavailable) && isZero(surge) {
		errs = append(errs, field.Invalid(path.Child("maxUnavailable"), unavailable, "may not be 0 when `maxSurge` is 0"))
	}
	return append(errs, notOver100Percent(unavailable, path.Child("maxUnavailable"))...)
}

func validateDeploymentStatus(d, old *appsv1.Deployment) field.ErrorList {
	path := field.NewPath("status")
	s := &d.Status
	errs := nonNegative(s.ObservedGeneration, path.Child("observedGeneration"))
	errs = append(errs, nonNegative(s.Replicas, path.Child("replicas"))...)
	errs = append(errs, nonNegative(s.UpdatedReplicas, path.Child("updatedReplicas"))...)
	errs = append(errs, nonNegative(s.ReadyReplicas, path.Child("readyReplicas"))...)
	errs = append(errs, nonNegative(s.AvailableReplicas, path.Child("availableReplicas"))...)
	errs = append(errs, nonNegative(s.UnavailableReplicas, path.Child("unavailableReplicas"))...)
	errs = append(errs, validateOptional(s.TerminatingReplicas, path.Child("terminatingReplicas"))...)
	errs = append(errs, validateOptional(s.CollisionCount, path.Child("collisionCount"))...)
	errs = append(errs, notMore(s.UpdatedReplicas, s.Replicas, path.Child("updatedReplicas"), "cannot be greater than status.replicas")...)
	errs = append(errs, notMore(s.ReadyReplicas, s.Replicas, path.Child("readyReplicas"), "cannot be greater than status.replicas")...)
	errs = append(errs, notMore(s.AvailableReplicas, s.Replicas, path.Child("availableReplicas"), "cannot be greater than status.replicas")...)
	errs = append(errs, notMore(s.AvailableReplicas, s.ReadyReplicas, path.Child("availableReplicas"), "cannot be greater than readyReplicas")...)
	return append(errs, validateCollisions(s.CollisionCount, old.Status.CollisionCount, path.Child("collisionCount"))...)
}

func replicaSetKind() *Kind {
	spec, status := appsv1.ReplicaSetSpec{}.SwaggerDoc(), appsv1.ReplicaSetStatus{}.SwaggerDoc()
	return definition[*appsv1.ReplicaSet]{
		gv: appsv1.SchemeGroupVersion, kind: "ReplicaSet", plural: "replicasets", singular: "replicaset",
		short: []string{"rs"}, categories: []string{"all"}, namespaced: true, generation: true,
		new:      func() *appsv1.ReplicaSet { return &appsv1.ReplicaSet{} },
		list:     func() runtime.Object { return &appsv1.ReplicaSetList{} },
		template: func(o *appsv1.ReplicaSet) *corev1.PodTemplateSpec { return &o.Spec.Template },
		defaults: func(r *appsv1.ReplicaSet) {
			setDefault(&r.Spec.Replicas, 1)
			defaultTemplate(&r.Spec.Template)
		},
		prepareCreate: func(r *appsv1.ReplicaSet) { r.Status = appsv1.ReplicaSetStatus{} },
		prepareUpdate: func(r, old *appsv1.ReplicaSet) { r.Status = old.Status },
		validate: func(r *appsv1.ReplicaSet) field.ErrorList {
			path := field.NewPath("spec")
			errs := nonNegative(deref(r.Spec.Replicas, 0), path.Child("replicas"))
			errs = append(errs, nonNegative(r.Spec.MinReadySeconds, path.Child("minReadySeconds"))...)
			errs = append(errs, validateWorkloadSelector(r.Spec.Selector, path.Child("selector"), "deployment")...)
			return append(errs, validateReplicated(&r.Spec.Template, r.Spec.Selector, path)...)
		},
		validateUpdate: func(r, old *appsv1.ReplicaSet) field.ErrorList {
			return immutable(r.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))
		},
		warnings: func(r, old *appsv1.ReplicaSet) []string {
			switch {
			case old == nil:
				return append(nameWarnings(r.Name), templateWarnings(&r.Spec.Template, field.NewPath("spec", "template"))...)
			case r.Generation != old.Generation:
				return templateWarnings(&r.Spec.Template, field.NewPath("spec", "template"))
			}
			return nil
		},
		status: &statusRules[*appsv1.ReplicaSet]{
			prepareUpdate: func(r, old *appsv1.ReplicaSet) { r.Spec = old.Spec },
			validate:      validateReplicaSetStatus,
		},
		scale: &scaleRules[*appsv1.ReplicaSet]{
			get: func(r *appsv1.ReplicaSet) (int32, int32, string) {
				return deref(r.Spec.Replicas, 1), r.Status.Replicas, selectorText(r.Spec.Selector)
			},
			set: func(r *appsv1.ReplicaSet, n int32) { r.Spec.Replicas = &n },
		},
		fields: func(r *appsv1.ReplicaSet) fields.Set {
			return fields.Set{"status.replicas": fmt.Sprint(r.Status.Replicas)}
		},
		columns: append([]metav1.TableColumnDefinition{
			nameColumn(), column("Desired", "integer", spec["replicas"]), column("Current", "integer", status["replicas"]),
			column("Ready", "integer", status["readyReplicas"]), ageColumn(),
		}, templateColumns(spec["selector"])...),
		row: func(r *appsv1.ReplicaSet, now time.Time) []any {
			names, images := containerCells(r.Spec.Template.Spec.Containers)
			return []any{
				r.Name, int64(deref(r.Spec.Replicas, 1)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas), age(r, now),
				names, images, formatSelector(r.Spec.Selector),
			}
		},
	}.build()
}

func validateReplicaSetStatus(r, _ *appsv1.ReplicaSet) field.ErrorList {
	path := field.NewPath("status")
	s := &r.Status
	errs := nonNegative(s.Replicas, path.Child("replicas"))
	errs = append(errs, nonNegative(s.FullyLabeledReplicas, path.Child("fullyLabeledReplicas"))...)
	errs = append(errs, nonNegative(s.ReadyReplicas, path.Child("readyReplicas"))...)
	errs = append(errs, nonNegative(s.AvailableReplicas, path.Child("availableReplicas"))...)
	errs = append(errs, nonNegative(s.ObservedGeneration, path.Child("observedGeneration"))...)
	errs = append(errs, validateOptional(s.TerminatingReplicas, path.Child("terminatingReplicas"))...)
	errs = append(errs, notMore(s.FullyLabeledReplicas, s.Replicas, path.Child("fullyLabeledReplicas"), "cannot be greater than status.replicas")...)
	errs = append(errs, notMore(s.ReadyReplicas, s.Replicas, path.Child("readyReplicas"), "cannot be greater than status.replicas")...)
	errs = append(errs, notMore(s.AvailableReplicas, s.Replicas, path.Child("availableReplicas"), "cannot be greater than status.replicas")...)
	return append(errs, notMore(s.AvailableReplicas, s.ReadyReplicas, path.Child("availableReplicas"), "cannot be greater than readyReplicas")...)
}
