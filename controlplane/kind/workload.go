package kind

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/podspec"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// validateWorkloadSelector checks the selector of a kind that needs one which selects something; noun is what errors
// call the kind.
func validateWorkloadSelector(s *metav1.LabelSelector, path *field.Path, noun string) field.ErrorList {
	if s == nil {
		return field.ErrorList{field.Required(path, "")}
	}
	errs := validate.Selector(s, path)
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
func validateReplicated(t *corev1.PodTemplateSpec, s *metav1.LabelSelector, e podspec.Exempt, path *field.Path) field.ErrorList {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return field.ErrorList{field.Invalid(path.Child("selector"), s, "invalid label selector")}
	}
	path = path.Child("template")
	errs := validateSelected(selector, t, path)
	errs = append(errs, podspec.ValidateTemplate(t, e, path)...)
	return append(errs, validateEndless(t, path, "ReplicaSet")...)
}

// storedExemptions returns what an update of a workload is not held to, with the values of its own selector.
func storedExemptions(old *corev1.PodTemplateSpec, selector *metav1.LabelSelector) podspec.Exempt {
	e := podspec.TemplateExemptions(old)
	e.Scheduling.SelectorValues = e.Scheduling.SelectorValues || len(validate.Selector(selector, nil)) > len(validate.StoredSelector(selector, true, nil))
	return e
}

// strategyForm is how errors quote the update strategy of a Deployment or DaemonSet: in the form that has no version.
type strategyForm struct {
	Type          string
	RollingUpdate *rollingForm
}

type rollingForm struct{ MaxUnavailable, MaxSurge intstr.IntOrString }

// validateCollisions checks the collision count of a status, which only grows.
func validateCollisions(now, was *int32, path *field.Path) field.ErrorList {
	if was == nil || now != nil && *now >= *was {
		return nil
	}
	return field.ErrorList{field.Invalid(path, ptr.Deref(now, 0), "cannot be decremented")}
}

func selectorText(s *metav1.LabelSelector) string {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return ""
	}
	return selector.String()
}

// workloadWarnings tells of the name and the template of a new workload, and of the template of one that has changed.
func workloadWarnings[T interface {
	comparable
	metav1.Object
}](obj, old T, t *corev1.PodTemplateSpec) []string {
	var none T
	path := field.NewPath("spec", "template")
	switch {
	case old == none:
		return append(nameWarnings(obj.GetName()), podspec.TemplateWarnings(t, path)...)
	case obj.GetGeneration() != old.GetGeneration():
		return podspec.TemplateWarnings(t, path)
	}
	return nil
}

// nameWarnings tells of a name that pods can not have as a hostname.
func nameWarnings(name string) []string {
	if bad := validation.IsDNS1123Label(name); len(bad) > 0 {
		return []string{fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", bad)}
	}
	return nil
}
