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
			setTemplateGeneration(d, 1)
		},
		prepareUpdate: func(d, old *appsv1.DaemonSet) {
			d.Status = old.Status
			generation, _ := strconv.ParseInt(old.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64)
			if !apiequality.Semantic.DeepEqual(d.Spec.Template, old.Spec.Template) {
				generation++
			}
			setTemplateGeneration(d, max(generation, 1))
		},
		validate: validateDaemonSet,
		validateUpdate: func(d, old *appsv1.DaemonSet) field.ErrorList {
			return immutable(d.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))
		},
		warnings: func(d, _ *appsv1.DaemonSet) []string {
			return templateWarnings(&d.Spec.Template, field.NewPath("spec", "template"))
		},
		status: &statusRules[*appsv1.DaemonSet]{
			prepareUpdate: func(d, old *appsv1.DaemonSet) { d.Spec = old.Spec },
			validate: func(d, _ *appsv1.DaemonSet) field.ErrorList {
				s, path := &d.Status, field.NewPath("status")
				errs := nonNegative(s.CurrentNumberScheduled, path.Child("currentNumberScheduled"))
				errs = append(errs, nonNegative(s.NumberMisscheduled, path.Child("numberMisscheduled"))...)
				errs = append(errs, nonNegative(s.DesiredNumberScheduled, path.Child("desiredNumberScheduled"))...)
				errs = append(errs, nonNegative(s.NumberReady, path.Child("numberReady"))...)
				errs = append(errs, nonNegative(s.ObservedGeneration, path.Child("observedGeneration"))...)
				errs = append(errs, nonNegative(s.UpdatedNumberScheduled, path.Child("updatedNumberScheduled"))...)
				errs = append(errs, nonNegative(s.NumberAvailable, path.Child("numberAvailable"))...)
				return append(errs, nonNegative(s.NumberUnavailable, path.Child("numberUnavailable"))...)
			},
		},
		columns: append([]metav1.TableColumnDefinition{
			nameColumn(), column("Desired", "integer", status["desiredNumberScheduled"]), column("Current", "integer", status["currentNumberScheduled"]),
			column("Ready", "integer", status["numberReady"]), column("Up-to-date", "integer", status["updatedNumberScheduled"]),
			column("Available", "integer", status["numberAvailable"]), column("Node Selector", "string", "Labels of the nodes that run a pod"), ageColumn(),
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
	if u.Type == "" {
		u.Type = appsv1.RollingUpdateDaemonSetStrategyType
	}
	if u.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		if u.RollingUpdate == nil {
			u.RollingUpdate = &appsv1.RollingUpdateDaemonSet{}
		}
		setDefault(&u.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		setDefault(&u.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	setDefault(&d.Spec.RevisionHistoryLimit, 10)
	defaultTemplate(&d.Spec.Template)
}

// setTemplateGeneration keeps the annotation by which old clients follow a rollout.
func setTemplateGeneration(d *appsv1.DaemonSet, generation int64) {
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[appsv1.DeprecatedTemplateGeneration] = strconv.FormatInt(generation, 10)
}

func validateDaemonSet(d *appsv1.DaemonSet) field.ErrorList {
	path := field.NewPath("spec")
	errs := validateWorkloadSelector(d.Spec.Selector, path.Child("selector"))
	errs = append(errs, validateWorkloadTemplate(&d.Spec.Template, d.Spec.Selector, path.Child("template"))...)
	errs = append(errs, nonNegative(d.Spec.MinReadySeconds, path.Child("minReadySeconds"))...)
	errs = append(errs, nonNegative(deref(d.Spec.RevisionHistoryLimit, 0), path.Child("revisionHistoryLimit"))...)
	u, at := d.Spec.UpdateStrategy, path.Child("updateStrategy")
	errs = append(errs, oneOf(u.Type, at.Child("type"), appsv1.RollingUpdateDaemonSetStrategyType, appsv1.OnDeleteDaemonSetStrategyType)...)
	if u.Type != appsv1.RollingUpdateDaemonSetStrategyType {
		return errs
	}
	if u.RollingUpdate == nil {
		return append(errs, field.Required(at.Child("rollingUpdate"), ""))
	}
	at = at.Child("rollingUpdate")
	unavailable, surge := deref(u.RollingUpdate.MaxUnavailable, intstr.IntOrString{}), deref(u.RollingUpdate.MaxSurge, intstr.IntOrString{})
	errs = append(errs, validateIntOrPercent(unavailable, at.Child("maxUnavailable"))...)
	errs = append(errs, notOver100Percent(unavailable, at.Child("maxUnavailable"))...)
	errs = append(errs, validateIntOrPercent(surge, at.Child("maxSurge"))...)
	errs = append(errs, notOver100Percent(surge, at.Child("maxSurge"))...)
	switch {
	case isZero(unavailable) && isZero(surge):
		errs = append(errs, field.Required(at.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0"))
	case !isZero(unavailable) && !isZero(surge):
		errs = append(errs, field.Invalid(at.Child("maxSurge"), surge, "may not be set when maxUnavailable is non-zero"))
	}
	return errs
}
