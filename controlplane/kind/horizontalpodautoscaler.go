package kind

import (
	"fmt"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
)

// Defaults of an autoscaler.
const (
	defaultCPUUtilization = 80
	defaultScalePods      = 4
	defaultScalePercent   = 100
	defaultScalePeriod    = 15
)

func autoscalerKind() *Kind {
	spec, status := autoscalingv2.HorizontalPodAutoscalerSpec{}.SwaggerDoc(), autoscalingv2.HorizontalPodAutoscalerStatus{}.SwaggerDoc()
	return definition[*autoscalingv2.HorizontalPodAutoscaler]{
		gv: autoscalingv2.SchemeGroupVersion, kind: "HorizontalPodAutoscaler", plural: "horizontalpodautoscalers", singular: "horizontalpodautoscaler",
		short: []string{"hpa"}, categories: []string{"all"}, namespaced: true, generation: true,
		new:      func() *autoscalingv2.HorizontalPodAutoscaler { return &autoscalingv2.HorizontalPodAutoscaler{} },
		list:     func() runtime.Object { return &autoscalingv2.HorizontalPodAutoscalerList{} },
		defaults: defaultAutoscaler,
		prepareCreate: func(a *autoscalingv2.HorizontalPodAutoscaler) {
			a.Status = autoscalingv2.HorizontalPodAutoscalerStatus{}
		},
		prepareUpdate:  func(a, old *autoscalingv2.HorizontalPodAutoscaler) { a.Status = old.Status },
		validate:       validateAutoscaler,
		validateCreate: func(a *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList { return validateVersions(a, nil) },
		validateUpdate: validateVersions,
		status: &statusRules[*autoscalingv2.HorizontalPodAutoscaler]{
			prepareUpdate: func(a, old *autoscalingv2.HorizontalPodAutoscaler) { a.Spec = old.Spec },
			validate:      validateAutoscalerStatus,
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
	dropFurtherAnnotations(a)
	defaults.Pointer(&a.Spec.MinReplicas, 1)
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
		defaults.Pointer(&b.ScaleUp.StabilizationWindowSeconds, 0)
		b.ScaleDown = scalingRules(b.ScaleDown, percent)
	}
}

func scalingRules(r *autoscalingv2.HPAScalingRules, policies ...autoscalingv2.HPAScalingPolicy) *autoscalingv2.HPAScalingRules {
	if r == nil {
		r = &autoscalingv2.HPAScalingRules{}
	}
	defaults.Pointer(&r.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	if r.Policies == nil {
		r.Policies = policies
	}
	return r
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
		mark := ""
		if m.Object != nil || m.External != nil { // which may have a value that is no average
			mark = " (avg)"
		}
		return fmt.Sprintf("%s%s/%s%s", label, text, target.AverageValue.String(), mark)
	case target.Value != nil:
		if value != nil && value.Value != nil {
			text = value.Value.String()
		}
		return fmt.Sprintf("%s%s/%s", label, text, target.Value.String())
	}
	return label + text
}
