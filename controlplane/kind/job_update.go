package kind

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

func validateJobUpdate(j, old *batchv1.Job) field.ErrorList {
	path := field.NewPath("spec")
	errs := validateJob(j, storedExemptions(&old.Spec.Template, old.Spec.Selector))
	errs = append(errs, validateCompletionsUpdate(j, old, path)...)
	errs = append(errs, validate.Immutable(j.Spec.Selector, old.Spec.Selector, path.Child("selector"))...)
	errs = append(errs, validateJobTemplateUpdate(j, old, path)...)
	errs = append(errs, validate.Immutable(j.Spec.CompletionMode, old.Spec.CompletionMode, path.Child("completionMode"))...)
	errs = append(errs, validate.Immutable(j.Spec.PodFailurePolicy, old.Spec.PodFailurePolicy, path.Child("podFailurePolicy"))...)
	errs = append(errs, validate.Immutable(j.Spec.BackoffLimitPerIndex, old.Spec.BackoffLimitPerIndex, path.Child("backoffLimitPerIndex"))...)
	errs = append(errs, validate.Immutable(j.Spec.ManagedBy, old.Spec.ManagedBy, path.Child("managedBy"))...)
	return append(errs, validate.Immutable(j.Spec.SuccessPolicy, old.Spec.SuccessPolicy, path.Child("successPolicy"))...)
}

// validateCompletionsUpdate lets an indexed job that does all at once grow and shrink.
func validateCompletionsUpdate(j, old *batchv1.Job, path *field.Path) field.ErrorList {
	now, was := j.Spec.Completions, old.Spec.Completions
	at := path.Child("completions")
	if ptr.Deref(j.Spec.CompletionMode, "") != batchv1.IndexedCompletion {
		return validate.Immutable(now, was, at)
	}
	if now == nil || apiequality.Semantic.DeepEqual(now, was) || *now == ptr.Deref(j.Spec.Parallelism, 1) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, *now, "can only be modified in tandem with "+path.Root().Child("parallelism").String())}
}

// validateJobTemplateUpdate lets what decides where pods run, and what they may use, be changed while a job has none.
func validateJobTemplateUpdate(j, old *batchv1.Job, path *field.Path) field.ErrorList {
	path = path.Child("template")
	if !templateMutable(old) {
		return validate.Immutable(j.Spec.Template, old.Spec.Template, path)
	}
	now, was := &j.Spec.Template.Spec, old.Spec.Template.Spec.DeepCopy()
	was.NodeSelector, was.Tolerations, was.SchedulingGates = now.NodeSelector, now.Tolerations, now.SchedulingGates
	switch {
	case now.Affinity != nil:
		defaults.Pointer(&was.Affinity, corev1.Affinity{})
		was.Affinity.NodeAffinity = now.Affinity.NodeAffinity
	case was.Affinity != nil:
		if was.Affinity.NodeAffinity = nil; *was.Affinity == (corev1.Affinity{}) {
			was.Affinity = nil
		}
	}
	sameResources(now.Containers, was.Containers)
	sameResources(now.InitContainers, was.InitContainers)
	return validate.Immutable(*now, *was, path.Child("spec"))
}

// sameResources gives old containers the resources of the new ones.
func sameResources(now, was []corev1.Container) {
	if len(now) != len(was) {
		return
	}
	for i := range now {
		if now[i].Name == was[i].Name {
			was[i].Resources = now[i].Resources
		}
	}
}

// templateMutable says whether a job is suspended and has no pods.
func templateMutable(j *batchv1.Job) bool {
	idle := j.Status.StartTime == nil || jobIs(j, batchv1.JobSuspended)
	return ptr.Deref(j.Spec.Suspend, false) && idle && j.Status.Active == 0
}
