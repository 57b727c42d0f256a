package kind

import (
	"errors"
	"fmt"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	pathvalidation "k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/quantity"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// Bounds of the scaling rules, in seconds.
const (
	maxScalePeriod        = 1800
	maxScaleStabilization = 3600
)

func validateAutoscaler(a *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	path, s := field.NewPath("spec"), &a.Spec
	var errs field.ErrorList
	if s.MinReplicas != nil && s.MaxReplicas < *s.MinReplicas {
		errs = append(errs, field.Invalid(path.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to `minReplicas`"))
	}
	errs = append(errs, validateReference(&s.ScaleTargetRef, path.Child("scaleTargetRef"))...)
	outside := false // a metric that is there without pods
	for i := range s.Metrics {
		m := &s.Metrics[i]
		errs = append(errs, validateMetric(m, path.Child("metrics").Index(i))...)
		outside = outside || m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
	}
	if ptr.Deref(s.MinReplicas, 1) == 0 && !outside {
		errs = append(errs, field.Forbidden(path.Child("metrics"), "must specify at least one Object or External metric to support scaling to zero replicas"))
	}
	if b := s.Behavior; b != nil {
		errs = append(errs, validateScalingRules(b.ScaleUp, path.Child("behavior", "scaleUp"))...)
		errs = append(errs, validateScalingRules(b.ScaleDown, path.Child("behavior", "scaleDown"))...)
	}
	errs = append(errs, validate.Optional(s.MinReplicas, path.Child("minReplicas"))...)
	switch at := path.Child("maxReplicas"); {
	case s.MaxReplicas == 0:
		errs = append(errs, field.Required(at, ""))
	case s.MaxReplicas < 0:
		errs = append(errs, field.Invalid(at, s.MaxReplicas, "must be greater than or equal to 1"))
	}
	return errs
}

// validateReference checks the name of an object and of its kind.
func validateReference(r *autoscalingv2.CrossVersionObjectReference, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	errs = append(errs, validate.RequiredAs(r.Kind, pathvalidation.IsValidPathSegmentName, path.Child("kind"))...)
	if r.Name == "" {
		return append(errs, field.Required(path.Child("name"), ""))
	}
	return append(errs, validate.Each(path.Child("name"), r.Name, pathvalidation.IsValidPathSegmentName(r.Name))...)
}

var errNoGroup = errors.New("apiVersion must specify API group")

// checkVersion says what is wrong with the version of a reference. The core group has one kind that can be scaled.
func checkVersion(r *autoscalingv2.CrossVersionObjectReference, core bool) error {
	gv, err := schema.ParseGroupVersion(r.APIVersion)
	if err == nil && gv.Group == "" && !core {
		return errNoGroup
	}
	return err
}

// validateVersions checks the versions of references, which Kubernetes did not do at first: those that are stored may stay.
// old is nil for a new autoscaler.
func validateVersions(a, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec")
	ref := &a.Spec.ScaleTargetRef
	if old == nil || old.Spec.ScaleTargetRef.APIVersion != ref.APIVersion || old.Spec.ScaleTargetRef.Kind != ref.Kind {
		if err := checkVersion(ref, ref.Kind == "ReplicationController"); err != nil {
			errs = append(errs, field.Invalid(path.Child("scaleTargetRef", "apiVersion"), ref.APIVersion, err.Error()))
		}
	}
	wrong := func(m *autoscalingv2.MetricSpec) error {
		if m.Object == nil {
			return nil
		}
		return checkVersion(&m.Object.DescribedObject, true)
	}
	if old != nil {
		for i := range old.Spec.Metrics {
			if m := &old.Spec.Metrics[i]; m.Type == autoscalingv2.ObjectMetricSourceType && wrong(m) != nil {
				return errs
			}
		}
	}
	for i := range a.Spec.Metrics {
		m := &a.Spec.Metrics[i]
		if err := wrong(m); err != nil {
			at := path.Child("metrics").Index(i).Child("object", "describedObject", "apiVersion")
			errs = append(errs, field.Invalid(at, m.Object.DescribedObject.APIVersion, err.Error()))
		}
	}
	return errs
}

var metricTypes = []autoscalingv2.MetricSourceType{
	autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType, autoscalingv2.ObjectMetricSourceType,
	autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType,
}

// metricSources are the alternatives of a metric in the order in which they are looked at: the first that is there is checked.
func metricSources(m *autoscalingv2.MetricSpec) []metricSource {
	var out []metricSource
	if o := m.Object; o != nil {
		out = append(out, metricSource{autoscalingv2.ObjectMetricSourceType, "object", func(path *field.Path) field.ErrorList {
			errs := validateReference(&o.DescribedObject, path.Child("describedObject"))
			errs = append(errs, validateMetricNamed(&o.Metric, &o.Target, path)...)
			return append(errs, needTarget(o.Target.Value != nil || o.Target.AverageValue != nil, path, "averageValue", "must set either a target value or averageValue")...)
		}})
	}
	if e := m.External; e != nil {
		out = append(out, metricSource{autoscalingv2.ExternalMetricSourceType, "external", func(path *field.Path) field.ErrorList {
			errs := validateMetricNamed(&e.Metric, &e.Target, path)
			errs = append(errs, needTarget(e.Target.Value != nil || e.Target.AverageValue != nil, path, "averageValue", "must set either a target value for metric or a per-pod target")...)
			if e.Target.Value != nil && e.Target.AverageValue != nil {
				errs = append(errs, field.Forbidden(path.Child("target", "value"), "may not set both a target value for metric and a per-pod target"))
			}
			return errs
		}})
	}
	if p := m.Pods; p != nil {
		out = append(out, metricSource{autoscalingv2.PodsMetricSourceType, "pods", func(path *field.Path) field.ErrorList {
			errs := validateMetricNamed(&p.Metric, &p.Target, path)
			return append(errs, needTarget(p.Target.AverageValue != nil, path, "averageValue", "must specify a positive target averageValue")...)
		}})
	}
	if r := m.Resource; r != nil {
		out = append(out, metricSource{autoscalingv2.ResourceMetricSourceType, "resource", func(path *field.Path) field.ErrorList {
			return append(validateMetricResource(r.Name, path), validateResourceTarget(&r.Target, path)...)
		}})
	}
	if r := m.ContainerResource; r != nil {
		out = append(out, metricSource{autoscalingv2.ContainerResourceMetricSourceType, "containerResource", func(path *field.Path) field.ErrorList {
			errs := validateMetricResource(r.Name, path)
			if r.Name != "" {
				errs = append(errs, quantity.ValidateContainerName(r.Name, path.Child("name"))...)
			}
			if r.Container == "" {
				errs = append(errs, field.Required(path.Child("container"), "must specify a container"))
			} else {
				errs = append(errs, validate.DNSLabel(r.Container, path.Child("container"))...)
			}
			return append(errs, validateResourceTarget(&r.Target, path)...)
		}})
	}
	return out
}

type metricSource struct {
	kind     autoscalingv2.MetricSourceType
	name     string
	validate func(path *field.Path) field.ErrorList
}

func validateMetric(m *autoscalingv2.MetricSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if m.Type == "" {
		errs = append(errs, field.Required(path.Child("type"), "must specify a metric source type"))
	}
	known := slices.Contains(metricTypes, m.Type)
	if !known {
		errs = append(errs, field.NotSupported(path.Child("type"), m.Type, metricTypes))
	}
	sources := metricSources(m)
	if len(sources) > 0 {
		errs = append(errs, sources[0].validate(path.Child(sources[0].name))...)
	}
	if known && !slices.ContainsFunc(sources, func(s metricSource) bool { return s.kind == m.Type }) {
		at := path.Child(string(m.Type[0]+'a'-'A') + string(m.Type[1:]))
		errs = append(errs, field.Required(at, "must populate information for the given metric source"))
	}
	if len(sources) > 1 {
		for _, s := range sources {
			if s.kind != m.Type {
				errs = append(errs, field.Forbidden(path.Child(s.name), "must populate the given metric source only"))
			}
		}
	}
	return errs
}

// needTarget wants a target to say what a metric of its type needs.
func needTarget(there bool, path *field.Path, name, why string) field.ErrorList {
	if there {
		return nil
	}
	return field.ErrorList{field.Required(path.Child("target", name), why)}
}

func validateMetricResource(name corev1.ResourceName, path *field.Path) field.ErrorList {
	if name != "" {
		return nil
	}
	return field.ErrorList{field.Required(path.Child("name"), "must specify a resource name")}
}

func validateResourceTarget(t *autoscalingv2.MetricTarget, path *field.Path) field.ErrorList {
	errs := validateMetricTarget(t, path.Child("target"))
	errs = append(errs, needTarget(t.AverageUtilization != nil || t.AverageValue != nil, path, "averageUtilization", "must set either a target raw value or a target utilization")...)
	if t.AverageUtilization != nil && t.AverageValue != nil {
		errs = append(errs, field.Forbidden(path.Child("target", "averageValue"), "may not set both a target raw value and a target utilization"))
	}
	return errs
}

// validateMetricNamed checks a metric that has a name of its own.
func validateMetricNamed(id *autoscalingv2.MetricIdentifier, t *autoscalingv2.MetricTarget, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	at := path.Child("metric", "name")
	if id.Name == "" {
		errs = append(errs, field.Required(at, "must specify a metric name"))
	} else {
		errs = append(errs, validate.Each(at, id.Name, pathvalidation.IsValidPathSegmentName(id.Name))...)
	}
	return append(errs, validateMetricTarget(t, path.Child("target"))...)
}

func validateMetricTarget(t *autoscalingv2.MetricTarget, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t.Type == "" {
		errs = append(errs, field.Required(path.Child("type"), "must specify a metric target type"))
	}
	switch t.Type {
	case autoscalingv2.UtilizationMetricType, autoscalingv2.ValueMetricType, autoscalingv2.AverageValueMetricType:
	default:
		errs = append(errs, field.Invalid(path.Child("type"), t.Type, "must be either Utilization, Value, or AverageValue"))
	}
	positive := func(q *resource.Quantity, name string) {
		if q != nil && q.Sign() != 1 {
			errs = append(errs, field.Invalid(path.Child(name), q, "must be positive"))
		}
	}
	positive(t.Value, "value")
	positive(t.AverageValue, "averageValue")
	if u := t.AverageUtilization; u != nil && *u < 1 {
		errs = append(errs, field.Invalid(path.Child("averageUtilization"), *u, "must be greater than 0"))
	}
	return errs
}

var scaleSelections = []autoscalingv2.ScalingPolicySelect{autoscalingv2.DisabledPolicySelect, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect}

func validateScalingRules(r *autoscalingv2.HPAScalingRules, path *field.Path) field.ErrorList {
	if r == nil {
		return nil
	}
	var errs field.ErrorList
	if s := r.StabilizationWindowSeconds; s != nil {
		at := path.Child("stabilizationWindowSeconds")
		if *s < 0 {
			errs = append(errs, field.Invalid(at, *s, "must be greater than or equal to zero"))
		}
		errs = append(errs, validate.AtMost(*s, maxScaleStabilization, at, fmt.Sprintf("must be less than or equal to %d", maxScaleStabilization))...)
	}
	if p := r.SelectPolicy; p != nil && !slices.Contains(scaleSelections, *p) {
		errs = append(errs, field.NotSupported(path.Child("selectPolicy"), *p, scaleSelections))
	}
	if len(r.Policies) == 0 {
		errs = append(errs, field.Required(path.Child("policies"), "must specify at least one Policy"))
	}
	for i := range r.Policies {
		errs = append(errs, validateScalingPolicy(&r.Policies[i], path.Child("policies").Index(i))...)
	}
	if t := r.Tolerance; t != nil && t.Sign() < 0 {
		errs = append(errs, field.Invalid(path.Child("tolerance"), t.String(), "must be greater than or equal to 0"))
	}
	return errs
}

func validateScalingPolicy(p *autoscalingv2.HPAScalingPolicy, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p.Type != autoscalingv2.PercentScalingPolicy && p.Type != autoscalingv2.PodsScalingPolicy {
		errs = append(errs, field.NotSupported(path.Child("type"), p.Type, []autoscalingv2.HPAScalingPolicyType{autoscalingv2.PercentScalingPolicy, autoscalingv2.PodsScalingPolicy}))
	}
	errs = append(errs, validate.Positive(p.Value, path.Child("value"))...)
	errs = append(errs, validate.Positive(p.PeriodSeconds, path.Child("periodSeconds"))...)
	return append(errs, validate.AtMost(p.PeriodSeconds, maxScalePeriod, path.Child("periodSeconds"), fmt.Sprintf("must be less than or equal to %d", maxScalePeriod))...)
}

func validateAutoscalerStatus(a, _ *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("status")
	for i := range a.Status.Conditions {
		errs = append(errs, validate.Optional(a.Status.Conditions[i].ObservedGeneration, path.Child("conditions").Index(i).Child("observedGeneration"))...)
	}
	errs = append(errs, validate.NonNegative(a.Status.CurrentReplicas, path.Child("currentReplicas"))...)
	return append(errs, validate.NonNegative(a.Status.DesiredReplicas, path.Child("desiredReplicas"))...)
}
