package kind

import (
	"fmt"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	pathvalidation "k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Defaults of an autoscaler.
const (
	defaultCPUUtilization = 80
	defaultScalePods      = 4
	defaultScalePercent   = 100
	defaultScalePeriod    = 15
)

// Bounds of its scaling rules, in seconds.
const (
	maxScalePeriod        = 1800
	maxScaleStabilization = 3600
)

func autoscalerKind() *Kind {
	spec, status := autoscalingv2.HorizontalPodAutoscalerSpec{}.SwaggerDoc(), autoscalingv2.HorizontalPodAutoscalerStatus{}.SwaggerDoc()
	return definition[*autoscalingv2.HorizontalPodAutoscaler]{
		gv: autoscalingv2.SchemeGroupVersion, kind: "HorizontalPodAutoscaler", plural: "horizontalpodautoscalers", singular: "horizontalpodautoscaler",
		short: []string{"hpa"}, categories: []string{"all"}, namespaced: true,
		new:      func() *autoscalingv2.HorizontalPodAutoscaler { return &autoscalingv2.HorizontalPodAutoscaler{} },
		list:     func() runtime.Object { return &autoscalingv2.HorizontalPodAutoscalerList{} },
		defaults: defaultAutoscaler,
		prepareCreate: func(a *autoscalingv2.HorizontalPodAutoscaler) {
			a.Status = autoscalingv2.HorizontalPodAutoscalerStatus{}
		},
		prepareUpdate: func(a, old *autoscalingv2.HorizontalPodAutoscaler) { a.Status = old.Status },
		validate:      validateAutoscaler,
		status: &statusRules[*autoscalingv2.HorizontalPodAutoscaler]{
			prepareUpdate: func(a, old *autoscalingv2.HorizontalPodAutoscaler) { a.Spec = old.Spec },
			validate: func(a, _ *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
				errs := nonNegative(a.Status.CurrentReplicas, field.NewPath("status", "currentReplicas"))
				return append(errs, nonNegative(a.Status.DesiredReplicas, field.NewPath("status", "desiredReplicas"))...)
			},
		},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Reference", "string", spec["scaleTargetRef"]), column("Targets", "string", spec["metrics"]),
			column("MinPods", "string", spec["minReplicas"]), column("MaxPods", "string", spec["maxReplicas"]),
			column("Replicas", "string", status["currentReplicas"]), ageColumn(),
		},
		row: func(a *autoscalingv2.HorizontalPodAutoscaler, now time.Time) []any {
			lowest := unsetText
			if n := a.Spec.MinReplicas; n != nil {
				lowest = fmt.Sprint(*n)
			}
			ref := a.Spec.ScaleTargetRef
			return []any{
				a.Name, ref.Kind + "/" + ref.Name, metricsText(a.Spec.Metrics, a.Status.CurrentMetrics), lowest,
				int64(a.Spec.MaxReplicas), int64(a.Status.CurrentReplicas), age(a, now),
			}
		},
	}.build()
}

func defaultAutoscaler(a *autoscalingv2.HorizontalPodAutoscaler) {
	setDefault(&a.Spec.MinReplicas, 1)
	if len(a.Spec.Metrics) == 0 {
		utilization := int32(defaultCPUUtilization)
		a.Spec.Metrics = []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
			Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &utilization},
		}}}
	}
	if b := a.Spec.Behavior; b != nil {
		percent := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: defaultScalePercent, PeriodSeconds: defaultScalePeriod}
		pods := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: defaultScalePods, PeriodSeconds: defaultScalePeriod}
		b.ScaleUp = scalingRules(b.ScaleUp, pods, percent)
		setDefault(&b.ScaleUp.StabilizationWindowSeconds, 0)
		b.ScaleDown = scalingRules(b.ScaleDown, percent)
	}
}

func scalingRules(r *autoscalingv2.HPAScalingRules, policies ...autoscalingv2.HPAScalingPolicy) *autoscalingv2.HPAScalingRules {
	if r == nil {
		r = &autoscalingv2.HPAScalingRules{}
	}
	setDefault(&r.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	if r.Policies == nil {
		r.Policies = policies
	}
	return r
}

func validateAutoscaler(a *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	path := field.NewPath("spec")
	var errs field.ErrorList
	lowest := deref(a.Spec.MinReplicas, 1)
	if lowest < 1 {
		errs = append(errs, field.Invalid(path.Child("minReplicas"), lowest, "must be greater than or equal to 1"))
	}
	if a.Spec.MaxReplicas < 1 {
		errs = append(errs, greaterThanZero(path.Child("maxReplicas"), a.Spec.MaxReplicas))
	}
	if a.Spec.MaxReplicas < lowest {
		errs = append(errs, field.Invalid(path.Child("maxReplicas"), a.Spec.MaxReplicas, "must be greater than or equal to `minReplicas`"))
	}
	ref, at := a.Spec.ScaleTargetRef, path.Child("scaleTargetRef")
	for name, value := range map[string]string{"kind": ref.Kind, "name": ref.Name} {
		if value == "" {
			errs = append(errs, field.Required(at.Child(name), ""))
			continue
		}
		errs = append(errs, invalidEach(at.Child(name), value, pathvalidation.IsValidPathSegmentName(value))...)
	}
	for i := range a.Spec.Metrics {
		errs = append(errs, validateMetric(&a.Spec.Metrics[i], path.Child("metrics").Index(i))...)
	}
	if b := a.Spec.Behavior; b != nil {
		errs = append(errs, validateScalingRules(b.ScaleUp, path.Child("behavior", "scaleUp"))...)
		errs = append(errs, validateScalingRules(b.ScaleDown, path.Child("behavior", "scaleDown"))...)
	}
	return errs
}

func validateMetric(m *autoscalingv2.MetricSpec, path *field.Path) field.ErrorList {
	type source struct {
		name   string
		target *autoscalingv2.MetricTarget
	}
	sources := map[autoscalingv2.MetricSourceType]source{}
	if m.Object != nil {
		sources[autoscalingv2.ObjectMetricSourceType] = source{"object", &m.Object.Target}
	}
	if m.Pods != nil {
		sources[autoscalingv2.PodsMetricSourceType] = source{"pods", &m.Pods.Target}
	}
	if m.Resource != nil {
		sources[autoscalingv2.ResourceMetricSourceType] = source{"resource", &m.Resource.Target}
	}
	if m.ContainerResource != nil {
		sources[autoscalingv2.ContainerResourceMetricSourceType] = source{"containerResource", &m.ContainerResource.Target}
	}
	if m.External != nil {
		sources[autoscalingv2.ExternalMetricSourceType] = source{"external", &m.External.Target}
	}
	types := []autoscalingv2.MetricSourceType{
		autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType, autoscalingv2.ObjectMetricSourceType,
		autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType,
	}
	errs := oneOf(m.Type, path.Child("type"), types...)
	if len(errs) > 0 {
		return errs
	}
	mine, ok := sources[m.Type]
	if !ok {
		return field.ErrorList{field.Required(path.Child(strings.ToLower(string(m.Type[:1]))+string(m.Type[1:])), "must populate information for the given metric source")}
	}
	for t, other := range sources {
		if t != m.Type {
			errs = append(errs, field.Forbidden(path.Child(other.name), "must populate the given metric source only"))
		}
	}
	return append(errs, validateMetricTarget(mine.target, path.Child(mine.name, "target"))...)
}

func validateMetricTarget(t *autoscalingv2.MetricTarget, path *field.Path) field.ErrorList {
	errs := oneOf(t.Type, path.Child("type"), autoscalingv2.UtilizationMetricType, autoscalingv2.ValueMetricType, autoscalingv2.AverageValueMetricType)
	set := false
	if u := t.AverageUtilization; u != nil {
		set = true
		if *u < 1 {
			errs = append(errs, greaterThanZero(path.Child("averageUtilization"), *u))
		}
	}
	if t.Value != nil {
		set = true
		if t.Value.Sign() != 1 {
			errs = append(errs, field.Invalid(path.Child("value"), t.Value, "must be positive"))
		}
	}
	if t.AverageValue != nil {
		set = true
		if t.AverageValue.Sign() != 1 {
			errs = append(errs, field.Invalid(path.Child("averageValue"), t.AverageValue, "must be positive"))
		}
	}
	if !set {
		errs = append(errs, field.Required(path, "must set one of averageUtilization, averageValue or value"))
	}
	return errs
}

func validateScalingRules(r *autoscalingv2.HPAScalingRules, path *field.Path) field.ErrorList {
	if r == nil {
		return nil
	}
	var errs field.ErrorList
	if s := r.StabilizationWindowSeconds; s != nil && (*s < 0 || *s > maxScaleStabilization) {
		errs = append(errs, field.Invalid(path.Child("stabilizationWindowSeconds"), *s, fmt.Sprintf("must be between 0 and %d", maxScaleStabilization)))
	}
	if p := r.SelectPolicy; p != nil {
		errs = append(errs, oneOf(*p, path.Child("selectPolicy"), autoscalingv2.DisabledPolicySelect, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect)...)
	}
	if len(r.Policies) == 0 {
		errs = append(errs, field.Required(path.Child("policies"), "must specify at least one Policy"))
	}
	for i, p := range r.Policies {
		at := path.Child("policies").Index(i)
		errs = append(errs, oneOf(p.Type, at.Child("type"), autoscalingv2.PercentScalingPolicy, autoscalingv2.PodsScalingPolicy)...)
		if p.Value <= 0 {
			errs = append(errs, greaterThanZero(at.Child("value"), p.Value))
		}
		if p.PeriodSeconds <= 0 || p.PeriodSeconds > maxScalePeriod {
			errs = append(errs, field.Invalid(at.Child("periodSeconds"), p.PeriodSeconds, fmt.Sprintf("must be between 1 and %d", maxScalePeriod)))
		}
	}
	return errs
}

// metricsText prints CURRENT/TARGET of the first metrics.
func metricsText(metrics []autoscalingv2.MetricSpec, current []autoscalingv2.MetricStatus) string {
	if len(metrics) == 0 {
		return noneText
	}
	var all []string
	for i, m := range metrics {
		var is *autoscalingv2.MetricStatus
		if i < len(current) {
			is = &current[i]
		}
		all = append(all, metricText(&m, is))
	}
	if len(all) > 2 {
		return fmt.Sprintf("%s + %d more...", strings.Join(all[:2], ", "), len(all)-2)
	}
	return strings.Join(all, ", ")
}

func metricText(m *autoscalingv2.MetricSpec, is *autoscalingv2.MetricStatus) string {
	var target *autoscalingv2.MetricTarget
	var value *autoscalingv2.MetricValueStatus
	label := ""
	switch {
	case m.Resource != nil:
		target, label = &m.Resource.Target, string(m.Resource.Name)+": "
		if is != nil && is.Resource != nil {
			value = &is.Resource.Current
		}
	case m.ContainerResource != nil:
		target, label = &m.ContainerResource.Target, string(m.ContainerResource.Name)+": "
		if is != nil && is.ContainerResource != nil {
			value = &is.ContainerResource.Current
		}
	case m.Pods != nil:
		target = &m.Pods.Target
		if is != nil && is.Pods != nil {
			value = &is.Pods.Current
		}
	case m.Object != nil:
		target = &m.Object.Target
		if is != nil && is.Object != nil {
			value = &is.Object.Current
		}
	case m.External != nil:
		target = &m.External.Target
		if is != nil && is.External != nil {
			value = &is.External.Current
		}
	default:
		return "<unknown type>"
	}
	text := unknownText
	switch {
	case target.AverageUtilization != nil:
		if value != nil && value.AverageUtilization != nil {
			text = fmt.Sprintf("%d%%", *value.AverageUtilization)
		}
		return fmt.Sprintf("%s%s/%d%%", label, text, *target.AverageUtilization)
	case target.AverageValue != nil:
		if value != nil && value.AverageValue != nil {
			text = value.AverageValue.String()
		}
		return fmt.Sprintf("%s%s/%s (avg)", label, text, target.AverageValue.String())
	case target.Value != nil:
		if value != nil && value.Value != nil {
			text = value.Value.String()
		}
		return fmt.Sprintf("%s%s/%s", label, text, target.Value.String())
	}
	return label + text
}
