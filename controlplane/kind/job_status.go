package kind

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// jobIs says whether a condition of a job is true.
func jobIs(j *batchv1.Job, t batchv1.JobConditionType) bool {
	return jobConditionIs(j, t, corev1.ConditionTrue)
}

func jobConditionIs(j *batchv1.Job, t batchv1.JobConditionType, s corev1.ConditionStatus) bool {
	for i := range j.Status.Conditions {
		if c := &j.Status.Conditions[i]; c.Type == t && c.Status == s {
			return true
		}
	}
	return false
}

var jobStatusPath = field.NewPath("status")

// jobStatusCheck looks at a change of a job's status. Most rules are asked only when what they are about has changed: a change
// of the specification may have broken them for a while, and what is stored must not hinder other writers.
type jobStatusCheck struct {
	job, old *batchv1.Job
	errs     field.ErrorList
}

func validateJobStatus(j, old *batchv1.Job) field.ErrorList {
	c := &jobStatusCheck{job: j, old: old}
	c.numbers()
	c.conditions()
	c.times()
	c.finished()
	c.indexes()
	c.steps()
	return c.errs
}

func (c *jobStatusCheck) add(errs ...*field.Error) { c.errs = append(c.errs, errs...) }

func (c *jobStatusCheck) refuse(why string) {
	c.add(field.Invalid(jobStatusPath.Child("conditions"), field.OmitValueType{}, why))
}

// turned says whether a condition has become true or has ceased to be.
func (c *jobStatusCheck) turned(t batchv1.JobConditionType) bool {
	return jobIs(c.job, t) != jobIs(c.old, t)
}

func (c *jobStatusCheck) numbers() {
	s := &c.job.Status
	c.add(validate.NonNegative(s.Active, jobStatusPath.Child("active"))...)
	c.add(validate.NonNegative(s.Succeeded, jobStatusPath.Child("succeeded"))...)
	c.add(validate.NonNegative(s.Failed, jobStatusPath.Child("failed"))...)
	c.add(validate.Optional(s.Ready, jobStatusPath.Child("ready"))...)
	c.add(validate.Optional(s.Terminating, jobStatusPath.Child("terminating"))...)
	if u := s.UncountedTerminatedPods; u != nil {
		path := jobStatusPath.Child("uncountedTerminatedPods")
		seen := map[types.UID]bool{}
		c.uids(u.Succeeded, seen, path.Child("succeeded"))
		c.uids(u.Failed, seen, path.Child("failed"))
	}
}

func (c *jobStatusCheck) uids(uids []types.UID, seen map[types.UID]bool, path *field.Path) {
	for i, uid := range uids {
		switch {
		case uid == "":
			c.add(field.Invalid(path.Index(i), uid, "must not be empty"))
		case seen[uid]:
			c.add(field.Duplicate(path.Index(i), uid))
		}
		seen[uid] = true
	}
}

func (c *jobStatusCheck) conditions() {
	complete, failed := jobIs(c.job, batchv1.JobComplete), jobIs(c.job, batchv1.JobFailed)
	met, target := jobIs(c.job, batchv1.JobSuccessCriteriaMet), jobIs(c.job, batchv1.JobFailureTarget)
	completed := c.turned(batchv1.JobComplete)
	if complete && failed && (completed || c.turned(batchv1.JobFailed)) {
		c.refuse("cannot set Complete=True and Failed=true conditions")
	}
	if complete && target && (completed || c.turned(batchv1.JobFailureTarget)) {
		c.refuse("cannot set Complete=True and FailureTarget=true conditions")
	}
	if failed && !target && (c.turned(batchv1.JobFailed) || c.failedIndexesChanged()) {
		c.refuse("cannot set Failed=True condition without the FailureTarget=true condition")
	}
	if complete && !met && (completed || c.turned(batchv1.JobSuccessCriteriaMet)) {
		c.refuse("cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
	}
	if met && failed {
		c.refuse("cannot set SuccessCriteriaMet=True and Failed=true conditions")
	}
	if met && target {
		c.refuse("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
	}
	if c.job.Spec.SuccessPolicy != nil && !met && complete {
		c.refuse("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")
	}
}

func (c *jobStatusCheck) times() {
	s, was := &c.job.Status, &c.old.Status
	path := jobStatusPath.Child("completionTime")
	started, ended := !s.StartTime.Equal(was.StartTime), !s.CompletionTime.Equal(was.CompletionTime)
	complete := jobIs(c.job, batchv1.JobComplete)
	if c.turned(batchv1.JobComplete) || ended {
		if s.CompletionTime != nil && !complete {
			c.add(field.Invalid(path, s.CompletionTime, "cannot set completionTime when there is no Complete=True condition"))
		}
		if s.CompletionTime == nil && complete {
			c.add(field.Required(path, "completionTime is required for Complete jobs"))
		}
	}
	if (started || ended) && s.StartTime != nil && s.CompletionTime != nil && s.CompletionTime.Before(s.StartTime) {
		c.add(field.Invalid(path, s.CompletionTime, "must be equal to or after `startTime`"))
	}
	if s.CompletionTime != nil && was.CompletionTime != nil && ended {
		c.add(field.Invalid(path, s.CompletionTime, "field is immutable"))
	}
	resumed := jobIs(c.old, batchv1.JobSuspended) && jobConditionIs(c.job, batchv1.JobSuspended, corev1.ConditionFalse)
	if started && was.StartTime != nil && !resumed && !ptr.Deref(c.job.Spec.Suspend, false) {
		c.add(field.Invalid(jobStatusPath.Child("startTime"), s.StartTime, "field is immutable for unsuspended job once set"))
	}
}

func jobFinished(j *batchv1.Job) bool {
	return jobIs(j, batchv1.JobComplete) || jobIs(j, batchv1.JobFailed)
}

// finished is about what a job that is over no longer has.
func (c *jobStatusCheck) finished() {
	s, was := &c.job.Status, &c.old.Status
	over := jobFinished(c.job)
	turned := over != jobFinished(c.old)
	if over {
		if s.Active > 0 && (turned || s.Active != was.Active) {
			c.add(field.Invalid(jobStatusPath.Child("active"), s.Active, "active>0 is invalid for finished job"))
		}
		never := ptr.Deref(c.job.Spec.Suspend, false) && c.job.Spec.Completions != nil && *c.job.Spec.Completions == 0
		if s.StartTime == nil && (turned || was.StartTime != nil) && !never {
			c.add(field.Required(jobStatusPath.Child("startTime"), "startTime is required for finished job"))
		}
		u := s.UncountedTerminatedPods
		if u != nil && len(u.Failed)+len(u.Succeeded) > 0 && (turned || !apiequality.Semantic.DeepEqual(u, was.UncountedTerminatedPods)) {
			c.add(field.Invalid(jobStatusPath.Child("uncountedTerminatedPods"), u, "must be empty for finished job"))
		}
		if n := ptr.Deref(s.Terminating, 0); n > 0 && (turned || !ptr.Equal(s.Terminating, was.Terminating)) {
			c.add(field.Invalid(jobStatusPath.Child("terminating"), n, "terminating>0 is invalid for finished job"))
		}
	}
	if s.Ready != nil && *s.Ready > s.Active && (s.Active != was.Active || !ptr.Equal(s.Ready, was.Ready)) {
		c.add(field.Invalid(jobStatusPath.Child("ready"), *s.Ready, "cannot set more ready pods than active"))
	}
}

func (c *jobStatusCheck) failedIndexesChanged() bool {
	return !ptr.Equal(c.job.Status.FailedIndexes, c.old.Status.FailedIndexes)
}

func (c *jobStatusCheck) indexes() {
	s, spec := &c.job.Status, &c.job.Spec
	completed, failed := jobStatusPath.Child("completedIndexes"), jobStatusPath.Child("failedIndexes")
	if s.CompletedIndexes != c.old.Status.CompletedIndexes {
		if spec.Completions != nil {
			if _, err := countIndexes(s.CompletedIndexes, *spec.Completions); err != nil {
				c.add(field.Invalid(completed, s.CompletedIndexes, "error parsing completedIndexes: "+err.Error()))
			}
		}
		if s.CompletedIndexes != "" && ptr.Deref(spec.CompletionMode, "") != batchv1.IndexedCompletion {
			c.add(field.Invalid(completed, s.CompletedIndexes, "cannot set non-empty completedIndexes when non-indexed completion mode"))
		}
	} else if !c.failedIndexesChanged() {
		return
	}
	if s.FailedIndexes == nil {
		return
	}
	if c.failedIndexesChanged() {
		if spec.BackoffLimitPerIndex == nil {
			c.add(field.Invalid(failed, *s.FailedIndexes, "cannot set non-null failedIndexes when backoffLimitPerIndex is null"))
		} else if spec.Completions != nil {
			if _, err := countIndexes(*s.FailedIndexes, *spec.Completions); err != nil {
				c.add(field.Invalid(failed, *s.FailedIndexes, "error parsing failedIndexes: "+err.Error()))
			}
		}
	}
	if spec.Completions != nil {
		if err := checkDisjoint(s.CompletedIndexes, *s.FailedIndexes, *spec.Completions); err != nil {
			c.add(field.Invalid(failed, *s.FailedIndexes, err.Error()))
		}
	}
}

// steps refuses to go back.
func (c *jobStatusCheck) steps() {
	for _, t := range []batchv1.JobConditionType{batchv1.JobFailed, batchv1.JobComplete, batchv1.JobFailureTarget} {
		if jobIs(c.old, t) && !jobIs(c.job, t) {
			c.refuse(fmt.Sprintf("cannot disable the terminal %s=True condition", t))
		}
	}
	s, was, spec := &c.job.Status, &c.old.Status, &c.job.Spec
	if s.Failed < was.Failed {
		c.add(field.Invalid(jobStatusPath.Child("failed"), s.Failed, "cannot decrease the failed counter"))
	}
	// an indexed job that does all at once may shrink
	shrinks := ptr.Deref(spec.CompletionMode, "") == batchv1.IndexedCompletion && ptr.Equal(spec.Completions, spec.Parallelism)
	if s.Succeeded < was.Succeeded && !shrinks {
		c.add(field.Invalid(jobStatusPath.Child("succeeded"), s.Succeeded, "cannot decrease the succeeded counter"))
	}
	const met = batchv1.JobSuccessCriteriaMet
	if jobIs(c.old, met) && !jobIs(c.job, met) {
		c.refuse("cannot disable the SuccessCriteriaMet=True condition")
	}
	if jobIs(c.old, batchv1.JobComplete) && !jobIs(c.old, met) && jobIs(c.job, met) {
		c.refuse("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
	}
}
