package kind

import (
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/podspec"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

func replicationControllerKind() *Kind {
	spec, status := corev1.ReplicationControllerSpec{}.SwaggerDoc(), corev1.ReplicationControllerStatus{}.SwaggerDoc()
	return definition[*corev1.ReplicationController]{
		gv: corev1.SchemeGroupVersion, kind: "ReplicationController", plural: "replicationcontrollers", singular: "replicationcontroller",
		short: []string{"rc"}, categories: []string{"all"}, namespaced: true, generation: true,
		new:               func() *corev1.ReplicationController { return &corev1.ReplicationController{} },
		list:              func() runtime.Object { return &corev1.ReplicationControllerList{} },
		template:          func(o *corev1.ReplicationController) *corev1.PodTemplateSpec { return o.Spec.Template },
		defaults:          defaultReplicationController,
		prepareCreate:     func(r *corev1.ReplicationController) { r.Status = corev1.ReplicationControllerStatus{} },
		prepareUpdate:     func(r, old *corev1.ReplicationController) { r.Status = old.Status },
		validateTemplated: validateReplicationController,
		status: &statusRules[*corev1.ReplicationController]{
			prepareUpdate: func(r, old *corev1.ReplicationController) { r.Spec = old.Spec },
			validate:      func(r, _ *corev1.ReplicationController) field.ErrorList { return validateReplicationStatus(&r.Status) },
		},
		scale: &scaleRules[*corev1.ReplicationController]{
			get: func(r *corev1.ReplicationController) (int32, int32, string) {
				return ptr.Deref(r.Spec.Replicas, 1), r.Status.Replicas, labels.SelectorFromSet(r.Spec.Selector).String()
			},
			set: func(r *corev1.ReplicationController, n int32) { r.Spec.Replicas = &n },
		},
		fields: func(r *corev1.ReplicationController) fields.Set {
			return fields.Set{"status.replicas": fmt.Sprint(r.Status.Replicas)}
		},
		columns: append([]metav1.TableColumnDefinition{
			nameColumn(), column("Desired", "integer", spec["replicas"]), column("Current", "integer", status["replicas"]),
			column("Ready", "integer", status["readyReplicas"]), ageColumn(),
		}, templateColumns(spec["selector"])...),
		row: func(r *corev1.ReplicationController, now time.Time) []any {
			var names, images string
			if r.Spec.Template != nil {
				names, images = containerCells(r.Spec.Template.Spec.Containers)
			}
			return []any{
				r.Name, int64(ptr.Deref(r.Spec.Replicas, 1)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas), age(r, now),
				names, images, formatLabels(r.Spec.Selector),
			}
		},
	}.build()
}

func defaultReplicationController(r *corev1.ReplicationController) {
	if t := r.Spec.Template; t != nil {
		if t.Labels != nil && len(r.Spec.Selector) == 0 {
			r.Spec.Selector = maps.Clone(t.Labels)
		}
		if t.Labels != nil && len(r.Labels) == 0 {
			r.Labels = maps.Clone(t.Labels)
		}
		podspec.DefaultTemplate(t)
	}
	defaults.Pointer(&r.Spec.Replicas, 1)
}

func validateReplicationController(r *corev1.ReplicationController, e podspec.Exempt) field.ErrorList {
	path := field.NewPath("spec")
	errs := validate.NonNegative(ptr.Deref(r.Spec.Replicas, 0), path.Child("replicas"))
	errs = append(errs, validate.NonNegative(r.Spec.MinReadySeconds, path.Child("minReadySeconds"))...)
	if len(r.Spec.Selector) == 0 {
		errs = append(errs, field.Required(path.Child("selector"), ""))
	}
	if r.Spec.Template == nil {
		return append(errs, field.Required(path.Child("template"), ""))
	}
	path = path.Child("template")
	errs = append(errs, validateSelected(labels.SelectorFromSet(r.Spec.Selector), r.Spec.Template, path)...)
	errs = append(errs, podspec.ValidateTemplate(r.Spec.Template, e, path)...)
	return append(errs, validateEndless(r.Spec.Template, path, "ReplicationController")...)
}

func validateReplicationStatus(s *corev1.ReplicationControllerStatus) field.ErrorList {
	path := field.NewPath("status")
	errs := validate.NonNegative(s.Replicas, path.Child("replicas"))
	errs = append(errs, validate.NonNegative(s.FullyLabeledReplicas, path.Child("fullyLabeledReplicas"))...)
	errs = append(errs, validate.NonNegative(s.ReadyReplicas, path.Child("readyReplicas"))...)
	errs = append(errs, validate.NonNegative(s.AvailableReplicas, path.Child("availableReplicas"))...)
	errs = append(errs, validate.NonNegative(s.ObservedGeneration, path.Child("observedGeneration"))...)
	errs = append(errs, validate.AtMost(s.FullyLabeledReplicas, s.Replicas, path.Child("fullyLabeledReplicas"), "cannot be greater than status.replicas")...)
	errs = append(errs, validate.AtMost(s.ReadyReplicas, s.Replicas, path.Child("readyReplicas"), "cannot be greater than status.replicas")...)
	errs = append(errs, validate.AtMost(s.AvailableReplicas, s.Replicas, path.Child("availableReplicas"), "cannot be greater than status.replicas")...)
	return append(errs, validate.AtMost(s.AvailableReplicas, s.ReadyReplicas, path.Child("availableReplicas"), "cannot be greater than readyReplicas")...)
}
