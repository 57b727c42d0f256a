package kind

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/container"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/podspec"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/unversioned"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// Bounds of a job, which keep the lists of indexes in its status short.
const (
	maxIndexedParallelism = 100_000
	maxFailedIndexes      = 100_000
	manyCompletions       = 100_000 // beyond this, with a backoff limit per index, the next two hold
	maxManyParallelism    = 10_000
	maxManyFailedIndexes  = 10_000

	maxManagedBy        = 63
	maxJobPolicyRules   = 20
	maxPodConditions    = 20
	maxSucceededIndexes = 64 << 10 // bytes
)

func validateJob(j *batchv1.Job, e podspec.Exempt) field.ErrorList {
	path := field.NewPath("spec")
	errs := validateJobSpec(&j.Spec, e, path)
	if j.Spec.Selector == nil {
		errs = append(errs, field.Required(path.Child("selector"), ""))
	} else {
		errs = append(errs, validate.StoredSelector(j.Spec.Selector, e.Scheduling.SelectorValues, path.Child("selector"))...)
	}
	if selector, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil {
		errs = append(errs, validateSelected(selector, &j.Spec.Template, path.Child("template"))...)
	}
	return append(errs, validateJobName(j)...)
}

// validateJobName checks that pods of an indexed job can have their hostnames.
func validateJobName(j *batchv1.Job) field.ErrorList {
	n := ptr.Deref(j.Spec.Completions, 0)
	if n <= 0 || ptr.Deref(j.Spec.CompletionMode, "") != batchv1.IndexedCompletion {
		return nil
	}
	hostname := fmt.Sprintf("%s-%d", j.Name, n-1)
	if len(validation.IsDNS1123Label(hostname)) == 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata", "name"), j.Name, "will not able to create pod with invalid DNS label: "+hostname)}
}

// validateNewJob checks also that what selects a job's pods is its own, unless its user wants to see to that.
func validateNewJob(j *batchv1.Job) field.ErrorList {
	errs := validateJob(j, podspec.Exempt{})
	if ptr.Deref(j.Spec.ManualSelector, false) || j.Spec.Selector == nil {
		return errs
	}
	at := field.NewPath("spec", "template", "metadata", "labels")
	want := labels.Set{}
	for _, l := range jobLabels(j) {
		want[l.key] = l.value
		switch got, ok := j.Spec.Template.Labels[l.key]; {
		case !ok:
			errs = append(errs, field.Required(at.Key(l.key), fmt.Sprintf("must be '%s'", l.value)))
		case got != l.value:
			errs = append(errs, field.Invalid(at.Key(l.key), j.Spec.Template.Labels, fmt.Sprintf("must be '%s'", l.value)))
		}
	}
	if selector, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !selector.Matches(want) {
		errs = append(errs, field.Invalid(field.NewPath("spec", "selector"), j.Spec.Selector, "`selector` not auto-generated"))
	}
	return errs
}

// validateJobSpec checks a job or what a cron job makes jobs from.
func validateJobSpec(s *batchv1.JobSpec, e podspec.Exempt, path *field.Path) field.ErrorList {
	errs := validate.Optional(s.Parallelism, path.Child("parallelism"))
	errs = append(errs, validate.Optional(s.Completions, path.Child("completions"))...)
	errs = append(errs, validate.Optional(s.ActiveDeadlineSeconds, path.Child("activeDeadlineSeconds"))...)
	errs = append(errs, validate.Optional(s.BackoffLimit, path.Child("backoffLimit"))...)
	errs = append(errs, validate.Optional(s.TTLSecondsAfterFinished, path.Child("ttlSecondsAfterFinished"))...)
	errs = append(errs, validate.Optional(s.BackoffLimitPerIndex, path.Child("backoffLimitPerIndex"))...)
	errs = append(errs, validate.Optional(s.MaxFailedIndexes, path.Child("maxFailedIndexes"))...)
	if s.MaxFailedIndexes != nil && s.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Required(path.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"))
	}
	if m := s.ManagedBy; m != nil {
		errs = append(errs, validation.IsDomainPrefixedPath(path.Child("managedBy"), *m)...)
		if len(*m) > maxManagedBy {
			errs = append(errs, field.TooLong(path.Child("managedBy"), *m, maxManagedBy))
		}
	}
	errs = append(errs, validateCompletionMode(s, path)...)
	if s.PodFailurePolicy != nil {
		errs = append(errs, validatePodFailurePolicy(s, path.Child("podFailurePolicy", "rules"))...)
	}
	if p := s.SuccessPolicy; p != nil {
		errs = append(errs, validateSuccessPolicy(s, path.Child("successPolicy"))...)
	}
	if p := s.PodReplacementPolicy; p != nil {
		supported := []batchv1.PodReplacementPolicy{batchv1.Failed, batchv1.TerminatingOrFailed}
		if s.PodFailurePolicy != nil {
			supported = supported[:1]
		}
		if !slices.Contains(supported, *p) {
			errs = append(errs, field.NotSupported(path.Child("podReplacementPolicy"), *p, supported))
		}
	}
	errs = append(errs, podspec.ValidateTemplate(&s.Template, e, path.Child("template"))...)
	return append(errs, validateJobRestart(s, path.Child("template", "spec", "restartPolicy"))...)
}

// validateJobRestart checks that pods of a job come to an end.
func validateJobRestart(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	const onFailure, never = corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever
	switch p := s.Template.Spec.RestartPolicy; {
	case p == "" || p == corev1.RestartPolicyAlways:
		return field.ErrorList{field.Required(path, fmt.Sprintf("valid values: %q, %q", onFailure, never))}
	case p != onFailure && p != never:
		return field.ErrorList{field.NotSupported(path, p, []corev1.RestartPolicy{onFailure, never})}
	case p != never && s.PodFailurePolicy != nil:
		return field.ErrorList{field.Invalid(path, p, fmt.Sprintf("only %q is supported when podFailurePolicy is specified", never))}
	}
	return nil
}

func validateCompletionMode(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	mode := ptr.Deref(s.CompletionMode, batchv1.NonIndexedCompletion)
	switch mode {
	case batchv1.IndexedCompletion:
		return validateIndexed(s, path)
	case batchv1.NonIndexedCompletion:
		if n := s.BackoffLimitPerIndex; n != nil {
			errs = append(errs, field.Invalid(path.Child("backoffLimitPerIndex"), *n, "requires indexed completion mode"))
		}
		if n := s.MaxFailedIndexes; n != nil {
			errs = append(errs, field.Invalid(path.Child("maxFailedIndexes"), *n, "requires indexed completion mode"))
		}
		return errs
	}
	return field.ErrorList{field.NotSupported(path.Child("completionMode"), mode, []batchv1.CompletionMode{batchv1.NonIndexedCompletion, batchv1.IndexedCompletion})}
}

func validateIndexed(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	atMost := func(name string, n *int32, limit int32, why string) {
		if n != nil && *n > limit {
			errs = append(errs, field.Invalid(path.Child(name), *n, why))
		}
	}
	if s.Completions == nil {
		errs = append(errs, field.Required(path.Child("completions"), "when completion mode is Indexed"))
	}
	atMost("parallelism", s.Parallelism, maxIndexedParallelism, fmt.Sprintf("must be less than or equal to %d when completion mode is Indexed", maxIndexedParallelism))
	if s.Completions != nil {
		atMost("maxFailedIndexes", s.MaxFailedIndexes, *s.Completions, "must be less than or equal to completions")
	}
	atMost("maxFailedIndexes", s.MaxFailedIndexes, maxFailedIndexes, fmt.Sprintf("must be less than or equal to %d", maxFailedIndexes))
	if ptr.Deref(s.Completions, 0) <= manyCompletions || s.BackoffLimitPerIndex == nil {
		return errs
	}
	if s.MaxFailedIndexes == nil {
		errs = append(errs, field.Required(path.Child("maxFailedIndexes"), fmt.Sprintf("must be specified when completions is above %d", manyCompletions)))
	}
	const many = "must be less than or equal to %d when completions are above %d and used with backoff limit per index"
	atMost("parallelism", s.Parallelism, maxManyParallelism, fmt.Sprintf(many, maxManyParallelism, manyCompletions))
	atMost("maxFailedIndexes", s.MaxFailedIndexes, maxManyFailedIndexes, fmt.Sprintf(many, maxManyFailedIndexes, manyCompletions))
	return errs
}

func validatePodFailurePolicy(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	rules := s.PodFailurePolicy.Rules
	if len(rules) > maxJobPolicyRules {
		errs = append(errs, field.TooMany(path, len(rules), maxJobPolicyRules))
	}
	containers := map[string]bool{}
	for _, list := range [][]corev1.Container{s.Template.Spec.Containers, s.Template.Spec.InitContainers} {
		for i := range list {
			containers[list[i].Name] = true
		}
	}
	for i := range rules {
		errs = append(errs, validateFailureRule(s, &rules[i], containers, path.Index(i))...)
	}
	return errs
}

func validateFailureRule(s *batchv1.JobSpec, r *batchv1.PodFailurePolicyRule, containers map[string]bool, path *field.Path) field.ErrorList {
	errs := validate.OneOfListed(r.Action, path.Child("action"), batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex,
		batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore)
	if r.Action == batchv1.PodFailurePolicyActionFailIndex && s.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Invalid(path.Child("action"), r.Action, "requires the backoffLimitPerIndex to be set"))
	}
	if r.OnExitCodes != nil {
		errs = append(errs, validateExitCodes(r.OnExitCodes, containers, path.Child("onExitCodes"))...)
	}
	at := path.Child("onPodConditions")
	if n := len(r.OnPodConditions); n > maxPodConditions {
		errs = append(errs, field.TooMany(at, n, maxPodConditions))
	}
	for i, c := range r.OnPodConditions {
		errs = append(errs, validate.Each(at.Index(i).Child("type"), c.Type, validation.IsQualifiedName(string(c.Type)))...)
		errs = append(errs, validate.OneOfListed(c.Status, at.Index(i).Child("status"), corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown)...)
	}
	switch codes, conditions := r.OnExitCodes != nil, len(r.OnPodConditions) > 0; {
	case codes && conditions:
		errs = append(errs, field.Invalid(path, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported"))
	case !codes && !conditions:
		errs = append(errs, field.Invalid(path, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required"))
	}
	return errs
}

func validateExitCodes(c *batchv1.PodFailurePolicyOnExitCodesRequirement, containers map[string]bool, path *field.Path) field.ErrorList {
	in := batchv1.PodFailurePolicyOnExitCodesOpIn
	errs := validate.OneOfListed(c.Operator, path.Child("operator"), in, batchv1.PodFailurePolicyOnExitCodesOpNotIn)
	if n := c.ContainerName; n != nil && !containers[*n] {
		errs = append(errs, field.Invalid(path.Child("containerName"), *n, "must be one of the container or initContainer names in the pod template"))
	}
	path = path.Child("values")
	switch n := len(c.Values); {
	case n == 0:
		errs = append(errs, field.Invalid(path, c.Values, "at least one value is required"))
	case n > container.MaxExitCodes:
		errs = append(errs, field.TooMany(path, n, container.MaxExitCodes))
	}
	seen := map[int32]bool{}
	for i, v := range c.Values {
		if v == 0 && c.Operator == in {
			errs = append(errs, field.Invalid(path.Index(i), v, "must not be 0 for the In operator"))
		}
		if seen[v] {
			errs = append(errs, field.Duplicate(path.Index(i), v))
		}
		seen[v] = true
	}
	if !slices.IsSorted(c.Values) {
		errs = append(errs, field.Invalid(path, c.Values, "must be ordered"))
	}
	return errs
}

func validateSuccessPolicy(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	if ptr.Deref(s.CompletionMode, "") != batchv1.IndexedCompletion {
		return field.ErrorList{field.Invalid(path, unversioned.Form(s.SuccessPolicy), "requires indexed completion mode")}
	}
	var errs field.ErrorList
	rules := s.SuccessPolicy.Rules
	path = path.Child("rules")
	if len(rules) == 0 {
		errs = append(errs, field.Required(path, "at least one rules must be specified when the successPolicy is specified"))
	}
	if len(rules) > maxJobPolicyRules {
		errs = append(errs, field.TooMany(path, len(rules), maxJobPolicyRules))
	}
	for i := range rules {
		errs = append(errs, validateSuccessRule(&rules[i], ptr.Deref(s.Completions, 0), path.Index(i))...)
	}
	return errs
}

func validateSuccessRule(r *batchv1.SuccessPolicyRule, completions int32, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if r.SucceededCount == nil && r.SucceededIndexes == nil {
		errs = append(errs, field.Required(path, "at least one of succeededCount or succeededIndexes must be specified"))
	}
	var total int32
	if text := r.SucceededIndexes; text != nil {
		at := path.Child("succeededIndexes")
		if len(*text) > maxSucceededIndexes {
			errs = append(errs, field.TooLong(at, "", maxSucceededIndexes))
		}
		var err error
		if total, err = countIndexes(*text, completions); err != nil {
			errs = append(errs, field.Invalid(at, *text, "error parsing succeededIndexes: "+err.Error()))
		}
	}
	if n := r.SucceededCount; n != nil {
		at := path.Child("succeededCount")
		errs = append(errs, validate.NonNegative(*n, at)...)
		errs = append(errs, validate.AtMost(*n, completions, at, fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", completions))...)
		if r.SucceededIndexes != nil {
			errs = append(errs, validate.AtMost(*n, total, at, fmt.Sprintf("must be less than or equal to %d (the number of indexes in the specified succeededIndexes field)", total))...)
		}
	}
	return errs
}
