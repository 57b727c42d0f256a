package kind

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/podspec"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

func replicaSetKind() *Kind {
	spec, status := appsv1.ReplicaSetSpec{}.SwaggerDoc(), appsv1.ReplicaSetStatus{}.SwaggerDoc()
	return definition[*appsv1.ReplicaSet]{
		gv: appsv1.SchemeGroupVersion, kind: "ReplicaSet", plural: "replicasets", singular: "replicaset",
		short: []string{"rs"}, categories: []string{"all"}, namespaced: true, generation: true,
		new:      func() *appsv1.ReplicaSet { return &appsv1.ReplicaSet{} },
		list:     func() runtime.Object { return &appsv1.ReplicaSetList{} },
		template: func(o *appsv1.ReplicaSet) *corev1.PodTemplateSpec { return &o.Spec.Template },
		defaults: func(r *appsv1.ReplicaSet) {
			defaults.Pointer(&r.Spec.Replicas, 1)
			podspec.DefaultTemplate(&r.Spec.Template)
		},
		prepareCreate: func(r *appsv1.ReplicaSet) { r.Status = appsv1.ReplicaSetStatus{} },
		prepareUpdate: func(r, old *appsv1.ReplicaSet) { r.Status = old.Status },
		validateTemplated: func(r *appsv1.ReplicaSet, e podspec.Exempt) field.ErrorList {
			path := field.NewPath("spec")
			errs := validate.NonNegative(ptr.Deref(r.Spec.Replicas, 0), path.Child("replicas"))
			errs = append(errs, validate.NonNegative(r.Spec.MinReadySeconds, path.Child("minReadySeconds"))...)
			errs = append(errs, validateWorkloadSelector(r.Spec.Selector, path.Child("selector"), "deployment")...)
			return append(errs, validateReplicated(&r.Spec.Template, r.Spec.Selector, e, path)...)
		},
		validateUpdate: func(r, old *appsv1.ReplicaSet) field.ErrorList {
			return validate.Immutable(r.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))
		},
		warnings: func(r, old *appsv1.ReplicaSet) []string { return workloadWarnings(r, old, &r.Spec.Template) },
		status: &statusRules[*appsv1.ReplicaSet]{
			prepareUpdate: func(r, old *appsv1.ReplicaSet) { r.Spec = old.Spec },
			validate:      validateReplicaSetStatus,
		},
		scale: &scaleRules[*appsv1.ReplicaSet]{
			get: func(r *appsv1.ReplicaSet) (int32, int32, string) {
				return ptr.Deref(r.Spec.Replicas, 1), r.Status.Replicas, selectorText(r.Spec.Selector)
			},
			set: func(r *appsv1.ReplicaSet, n int32) { r.Spec.Replicas = &n },
		},
		columns: append([]metav1.TableColumnDefinition{
			nameColumn(), column("Desired", "integer", spec["replicas"]), column("Current", "integer", status["replicas"]),
			column("Ready", "integer", status["readyReplicas"]), ageColumn(),
		}, templateColumns(spec["selector"])...),
		row: func(r *appsv1.ReplicaSet, now time.Time) []any {
			names, images := containerCells(r.Spec.Template.Spec.Containers)
			return []any{
				r.Name, int64(ptr.Deref(r.Spec.Replicas, 1)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas), age(r, now),
				names, images, formatSelector(r.Spec.Selector),
			}
		},
	}.build()
}

func validateReplicaSetStatus(r, _ *appsv1.ReplicaSet) field.ErrorList {
	path := field.NewPath("status")
	s := &r.Status
	errs := validate.NonNegative(s.Replicas, path.Child("replicas"))
	errs = append(errs, validate.NonNegative(s.FullyLabeledReplicas, path.Child("fullyLabeledReplicas"))...)
	errs = append(errs, validate.NonNegative(s.ReadyReplicas, path.Child("readyReplicas"))...)
	errs = append(errs, validate.NonNegative(s.AvailableReplicas, path.Child("availableReplicas"))...)
	errs = append(errs, validate.NonNegative(s.ObservedGeneration, path.Child("observedGeneration"))...)
	errs = append(errs, validate.Optional(s.TerminatingReplicas, path.Child("terminatingReplicas"))...)
	errs = append(errs, validate.AtMost(s.FullyLabeledReplicas, s.Replicas, path.Child("fullyLabeledReplicas"), "cannot be greater than status.replicas")...)
	errs = append(errs, validate.AtMost(s.ReadyReplicas, s.Replicas, path.Child("readyReplicas"), "cannot be greater than status.replicas")...)
	errs = append(errs, validate.AtMost(s.AvailableReplicas, s.Replicas, path.Child("availableReplicas"), "cannot be greater than status.replicas")...)
	return append(errs, validate.AtMost(s.AvailableReplicas, s.ReadyReplicas, path.Child("availableReplicas"), "cannot be greater than readyReplicas")...)
}
