package kind

import (
	"strconv"
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

func daemonSetKind() *Kind {
	status := appsv1.DaemonSetStatus{}.SwaggerDoc()
	return definition[*appsv1.DaemonSet]{
		gv: appsv1.SchemeGroupVersion, kind: "DaemonSet", plural: "daemonsets", singular: "daemonset",
		short: []string{"ds"}, categories: []string{"all"}, namespaced: true, generation: true,
		new:      func() *appsv1.DaemonSet { return &appsv1.DaemonSet{} },
		list:     func() runtime.Object { return &appsv1.DaemonSetList{} },
		template: func(o *appsv1.DaemonSet) *corev1.PodTemplateSpec { return &o.Spec.Template },
		defaults: defaultDaemonSet,
		prepareCreate: func(d *appsv1.DaemonSet) {
			d.Status = appsv1.DaemonSetStatus{}
			setTemplateGeneration(d, max(templateGeneration(d), 1))
		},
		prepareUpdate: func(d, old *appsv1.DaemonSet) {
			d.Status = old.Status
			generation := templateGeneration(old)
			if !apiequality.Semantic.DeepEqual(d.Spec.Template, old.Spec.Template) {
				generation++
			}
			setTemplateGeneration(d, generation)
		},
		validateCreate: func(d *appsv1.DaemonSet) field.ErrorList { return validateDaemonSet(d, podspec.Exempt{}) },
		validateUpdate: func(d, old *appsv1.DaemonSet) field.ErrorList {
			errs := validateDaemonSet(d, storedExemptions(&old.Spec.Template, old.Spec.Selector))
			return append(errs, validate.Immutable(d.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))...)
		},
		warnings: func(d, old *appsv1.DaemonSet) []string {
			if old != nil && templateGeneration(d) == templateGeneration(old) {
				return nil
			}
			return podspec.TemplateWarnings(&d.Spec.Template, field.NewPath("spec", "template"))
		},
		status: &statusRules[*appsv1.DaemonSet]{
			prepareUpdate: func(d, old *appsv1.DaemonSet) { d.Spec = old.Spec },
			validate: func(d, old *appsv1.DaemonSet) field.ErrorList {
				s, path := &d.Status, field.NewPath("status")
				errs := validate.NonNegative(s.CurrentNumberScheduled, path.Child("currentNumberScheduled"))
				errs = append(errs, validate.NonNegative(s.NumberMisscheduled, path.Child("numberMisscheduled"))...)
				errs = append(errs, validate.NonNegative(s.DesiredNumberScheduled, path.Child("desiredNumberScheduled"))...)
				errs = append(errs, validate.NonNegative(s.NumberReady, path.Child("numberReady"))...)
				errs = append(errs, validate.NonNegative(s.ObservedGeneration, path.Child("observedGeneration"))...)
				errs = append(errs, validate.NonNegative(s.UpdatedNumberScheduled, path.Child("updatedNumberScheduled"))...)
				errs = append(errs, validate.NonNegative(s.NumberAvailable, path.Child("numberAvailable"))...)
				errs = append(errs, validate.NonNegative(s.NumberUnavailable, path.Child("numberUnavailable"))...)
				errs = append(errs, validate.Optional(s.CollisionCount, path.Child("collisionCount"))...)
				return append(errs, validateCollisions(s.CollisionCount, old.Status.CollisionCount, path.Child("collisionCount"))...)
			},
		},
		columns: append([]metav1.TableColumnDefinition{
			nameColumn(), column("Desired", "integer", status["desiredNumberScheduled"]), column("Current", "integer", status["currentNumberScheduled"]),
			column("Ready", "integer", status["numberReady"]), column("Up-to-date", "integer", status["updatedNumberScheduled"]),
			column("Available", "integer", status["numberAvailable"]), column("Node Selector", "string", corev1.PodSpec{}.SwaggerDoc()["nodeSelector"]), ageColumn(),
		}, templateColumns(appsv1.DaemonSetSpec{}.SwaggerDoc()["selector"])...),
		row: func(d *appsv1.DaemonSet, now time.Time) []any {
			names, images := containerCells(d.Spec.Template.Spec.Containers)
			s := d.Status
			return []any{
				d.Name, int64(s.DesiredNumberScheduled), int64(s.CurrentNumberScheduled), int64(s.NumberReady), int64(s.UpdatedNumberScheduled),
				int64(s.NumberAvailable), formatLabels(d.Spec.Template.Spec.NodeSelector), age(d, now), names, images, formatSelector(d.Spec.Selector),
			}
		},
	}.build()
}

func defaultDaemonSet(d *appsv1.DaemonSet) {
	u := &d.Spec.UpdateStrategy
	defaults.Value(&u.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if u.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		if u.RollingUpdate == nil {
			u.RollingUpdate = &appsv1.RollingUpdateDaemonSet{}
		}
		defaults.Pointer(&u.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		defaults.Pointer(&u.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	defaults.Pointer(&d.Spec.RevisionHistoryLimit, 10)
	podspec.DefaultTemplate(&d.Spec.Template)
	setTemplateGeneration(d, templateGeneration(d)) // so that its manager is who made the DaemonSet
}

// templateGeneration returns what setTemplateGeneration has written, or 0.
func templateGeneration(d *appsv1.DaemonSet) int64 {
	n, _ := strconv.ParseInt(d.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64)
	return n
}

// setTemplateGeneration keeps the annotation by which old clients follow a rollout.
func setTemplateGeneration(d *appsv1.DaemonSet, generation int64) {
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[appsv1.DeprecatedTemplateGeneration] = strconv.FormatInt(generation, 10)
}

func validateDaemonSet(d *appsv1.DaemonSet, e podspec.Exempt) field.ErrorList {
	path, s := field.NewPath("spec"), d.Spec.Selector
	errs := validate.StoredSelector(s, e.Scheduling.SelectorValues, path.Child("selector"))
	template := path.Child("template")
	if selector, err := metav1.LabelSelectorAsSelector(s); err == nil {
		errs = append(errs, validateSelected(selector, &d.Spec.Template, template)...)
	}
	if s != nil && len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(path.Child("selector"), s, "empty selector is invalid for daemonset"))
	}
	errs = append(errs, podspec.ValidateTemplate(&d.Spec.Template, e, template)...)
	errs = append(errs, validateEndless(&d.Spec.Template, template, "DaemonSet")...)
	errs = append(errs, validate.NonNegative(d.Spec.MinReadySeconds, path.Child("minReadySeconds"))...)
	errs = append(errs, validateDaemonSetStrategy(&d.Spec.UpdateStrategy, path.Child("updateStrategy"))...)
	return append(errs, validate.Optional(d.Spec.RevisionHistoryLimit, path.Child("revisionHistoryLimit"))...)
}

func validateDaemonSetStrategy(s *appsv1.DaemonSetUpdateStrategy, path *field.Path) field.ErrorList {
	var rolling *rollingForm
	if r := s.RollingUpdate; r != nil {
		rolling = &rollingForm{ptr.Deref(r.MaxUnavailable, intstr.IntOrString{}), ptr.Deref(r.MaxSurge, intstr.IntOrString{})}
	}
	switch {
	case s.Type == appsv1.OnDeleteDaemonSetStrategyType:
		return nil
	case s.Type != appsv1.RollingUpdateDaemonSetStrategyType:
		return field.ErrorList{field.NotSupported(path, strategyForm{string(s.Type), rolling},
			[]appsv1.DaemonSetUpdateStrategyType{appsv1.RollingUpdateDaemonSetStrategyType, appsv1.OnDeleteDaemonSetStrategyType})}
	case rolling == nil:
		return field.ErrorList{field.Required(path.Child("rollingUpdate"), "")}
	}
	path = path.Child("rollingUpdate")
	unavailable, surge := rolling.MaxUnavailable, rolling.MaxSurge
	errs := validate.IntOrPercent(unavailable, path.Child("maxUnavailable"))
	errs = append(errs, validate.IntOrPercent(surge, path.Child("maxSurge"))...)
	errs = append(errs, validate.AtMost100Percent(unavailable, path.Child("maxUnavailable"))...)
	errs = append(errs, validate.AtMost100Percent(surge, path.Child("maxSurge"))...)
	switch {
	case validate.IsZero(unavailable) && validate.IsZero(surge):
		errs = append(errs, field.Required(path.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0"))
	case !validate.IsZero(unavailable) && !validate.IsZero(surge):
		errs = append(errs, field.Invalid(path.Child("maxSurge"), surge, "may not be set when maxUnavailable is non-zero"))
	}
	return errs
}
