package kind

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateWorkloadSelector checks the selector of a kind that needs one which selects something; noun is what errors
// call the kind.
func validateWorkloadSelector(s *metav1.LabelSelector, path *field.Path, noun string) field.ErrorList {
	if s == nil {
		return field.ErrorList{field.Required(path, "")}
	}
	errs := strictly(s, path)
	if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(path, s, "empty selector is invalid for "+noun))
	}
	return errs
}

// validateSelected checks that a selector finds the pods of a template, whose path it is. The selector that is missing
// finds none.
func validateSelected(s labels.Selector, t *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	if s.Empty() || s.Matches(labels.Set(t.Labels)) {
		return nil
	}
	return field.ErrorList{field.Invalid(path.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`")}
}

// validateEndless checks the template of a kind whose pods run until they are deleted; noun is what errors call the kind.
func validateEndless(t *corev1.PodTemplateSpec, path *field.Path, noun string) field.ErrorList {
	var errs field.ErrorList
	if p := t.Spec.RestartPolicy; p != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(path.Child("spec", "restartPolicy"), p, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(path.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in "+noun+" is not Supported"))
	}
	return errs
}

// validateReplicated checks the template of a ReplicaSet, or of what makes ReplicaSets, and the selector that must find it.
// A selector that can not be read hides what else is wrong.
func validateReplicated(t *corev1.PodTemplateSpec, s *metav1.LabelSelector, path *field.Path) field.ErrorList {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return field.ErrorList{field.Invalid(path.Child("selector"), s, "invalid label selector")}
	}
	path = path.Child("template")
	errs := validateSelected(selector, t, path)
	errs = append(errs, validateTemplate(t, path)...)
	return append(errs, validateEndless(t, path, "ReplicaSet")...)
}

// strategyForm is how errors quote the update strategy of a Deployment or DaemonSet: in the form that has no version.
type strategyForm struct {
	Type          string
	RollingUpdate *rollingForm
}

type rollingForm struct{ MaxUnavailable, MaxSurge intstr.IntOrString }

// validateOptional checks a number that may be absent and may not be negative.
func validateOptional[N int32 | int64](n *N, path *field.Path) field.ErrorList {
	if n == nil {
		return nil
	}
	return nonNegative(*n, path)
}

// validateCollisions checks the collision count of a status, which only grows.
func validateCollisions(now, was *int32, path *field.Path) field.ErrorList {
	if was == nil || now != nil && *now >= *was {
		return nil
	}
	return field.ErrorList{field.Invalid(path, deref(now, 0), "cannot be decremented")}
}

// notMore refuses a value beyond its limit.
func notMore(value, limit int32, path *field.Path, why string) field.ErrorList {
	if value <= limit {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value, why)}
}

// isZero says whether a number or percentage is zero, as what can not be read as one is.
func isZero(v intstr.IntOrString) bool {
	if n, ok := percentOf(v); ok {
		return n == 0
	}
	return v.IntValue() == 0
}

func selectorText(s *metav1.LabelSelector) string {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return ""
	}
	return selector.String()
}

// nameWarnings tells of a name that pods can not have as a hostname.
func nameWarnings(name string) []string {
	if bad := validation.IsDNS1123Label(name); len(bad) > 0 {
		return []string{fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", bad)}
	}
	return nil
}

// setDefault writes a value where there is none.
func setDefault[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}
