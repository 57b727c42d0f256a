package kind

import (
	"fmt"
	"maps"
	"math"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Labels by which pods were told from those of other jobs before the prefixed ones.
const (
	legacyControllerUID = "controller-uid"
	legacyJobName       = "job-name"
)

const defaultBackoffLimit = 6

func jobKind() *Kind {
	spec := batchv1.JobSpec{}.SwaggerDoc()
	return definition[*batchv1.Job]{
		gv: batchv1.SchemeGroupVersion, kind: "Job", plural: "jobs", singular: "job", categories: []string{"all"}, namespaced: true, generation: true,
		new:      func() *batchv1.Job { return &batchv1.Job{} },
		list:     func() runtime.Object { return &batchv1.JobList{} },
		template: func(o *batchv1.Job) *corev1.PodTemplateSpec { return &o.Spec.Template },
		defaults: defaultJob,
		prepareCreate: func(j *batchv1.Job) {
			j.Status = batchv1.JobStatus{}
			generateJobSelector(j)
		},
		prepareUpdate:  func(j, old *batchv1.Job) { j.Status = old.Status },
		validate:       validateJob,
		validateUpdate: validateJobUpdate,
		warnings: func(j, _ *batchv1.Job) []string {
			return templateWarnings(&j.Spec.Template, field.NewPath("spec", "template"))
		},
		status: &statusRules[*batchv1.Job]{
			prepareUpdate: func(j, old *batchv1.Job) { j.Spec = old.Spec },
			validate: func(j, _ *batchv1.Job) field.ErrorList {
				path := field.NewPath("status")
				errs := nonNegative(j.Status.Active, path.Child("active"))
				errs = append(errs, nonNegative(j.Status.Succeeded, path.Child("succeeded"))...)
				errs = append(errs, nonNegative(j.Status.Failed, path.Child("failed"))...)
				return append(errs, nonNegative(deref(j.Status.Ready, 0), path.Child("ready"))...)
			},
		},
		fields: func(j *batchv1.Job) fields.Set {
			return fields.Set{"status.successful": fmt.Sprint(j.Status.Succeeded)}
		},
		columns: append([]metav1.TableColumnDefinition{
			nameColumn(), column("Status", "string", "Status of the job."), column("Completions", "string", batchv1.JobStatus{}.SwaggerDoc()["succeeded"]),
			column("Duration", "string", "Time required to complete the job."), ageColumn(),
		}, templateColumns(spec["selector"])...),
		row: jobRow,
	}.build()
}

func defaultJob(j *batchv1.Job) {
	s := &j.Spec
	if s.Completions == nil && s.Parallelism == nil {
		setDefault(&s.Completions, 1)
	}
	setDefault(&s.Parallelism, 1)
	if s.BackoffLimit == nil {
		limit := int32(defaultBackoffLimit)
		if s.BackoffLimitPerIndex != nil {
			limit = math.MaxInt32
		}
		s.BackoffLimit = &limit
	}
	if len(j.Labels) == 0 && len(s.Template.Labels) > 0 {
		j.Labels = maps.Clone(s.Template.Labels)
	}
	setDefault(&s.CompletionMode, batchv1.NonIndexedCompletion)
	setDefault(&s.Suspend, false)
	if s.PodReplacementPolicy == nil {
		policy := batchv1.TerminatingOrFailed
		if s.PodFailurePolicy != nil {
			policy = batchv1.Failed
		}
		s.PodReplacementPolicy = &policy
	}
	setDefault(&s.ManualSelector, false)
	if s.PodFailurePolicy != nil {
		for i := range s.PodFailurePolicy.Rules {
			for c := range s.PodFailurePolicy.Rules[i].OnPodConditions {
				if p := &s.PodFailurePolicy.Rules[i].OnPodConditions[c]; p.Status == "" {
					p.Status = corev1.ConditionTrue
				}
			}
		}
	}
	defaultTemplate(&s.Template)
}

// generateJobSelector makes a job select by its own uid, so that no two jobs share pods.
func generateJobSelector(j *batchv1.Job) {
	if deref(j.Spec.ManualSelector, false) {
		return
	}
	if j.Spec.Template.Labels == nil {
		j.Spec.Template.Labels = map[string]string{}
	}
	set := func(key, value string) {
		if _, ok := j.Spec.Template.Labels[key]; !ok {
			j.Spec.Template.Labels[key] = value
		}
	}
	set(legacyJobName, j.Name)
	set(batchv1.JobNameLabel, j.Name)
	set(legacyControllerUID, string(j.UID))
	set(batchv1.ControllerUidLabel, string(j.UID))
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{}
	}
	if j.Spec.Selector.MatchLabels == nil {
		j.Spec.Selector.MatchLabels = map[string]string{}
	}
	if _, ok := j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel]; !ok {
		j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel] = string(j.UID)
	}
}

func validateJob(j *batchv1.Job) field.ErrorList {
	path := field.NewPath("spec")
	errs := validateJobSpec(&j.Spec, path)
	if j.Spec.Selector == nil {
		return append(errs, field.Required(path.Child("selector"), ""))
	}
	selector, err := metav1.LabelSelectorAsSelector(j.Spec.Selector)
	if err != nil {
		return append(errs, field.Invalid(path.Child("selector"), j.Spec.Selector, err.Error()))
	}
	if !selector.Matches(labels.Set(j.Spec.Template.Labels)) {
		errs = append(errs, field.Invalid(path.Child("template", "metadata", "labels"), j.Spec.Template.Labels, "`selector` does not match template `labels`"))
	}
	return errs
}

// validateJobSpec checks a job or what a cron job makes jobs from.
func validateJobSpec(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for name, n := range map[string]*int32{
		"parallelism": s.Parallelism, "completions": s.Completions, "backoffLimit": s.BackoffLimit, "ttlSecondsAfterFinished": s.TTLSecondsAfterFinished,
		"backoffLimitPerIndex": s.BackoffLimitPerIndex, "maxFailedIndexes": s.MaxFailedIndexes,
	} {
		errs = append(errs, nonNegative(deref(n, 0), path.Child(name))...)
	}
	if d := s.ActiveDeadlineSeconds; d != nil {
		errs = append(errs, nonNegative(*d, path.Child("activeDeadlineSeconds"))...)
	}
	if m := s.CompletionMode; m != nil {
		errs = append(errs, oneOf(*m, path.Child("completionMode"), batchv1.IndexedCompletion, batchv1.NonIndexedCompletion)...)
		if *m == batchv1.IndexedCompletion && s.Completions == nil {
			errs = append(errs, field.Required(path.Child("completions"), "when completion mode is Indexed"))
		}
		if *m != batchv1.IndexedCompletion && s.BackoffLimitPerIndex != nil {
			errs = append(errs, field.Invalid(path.Child("backoffLimitPerIndex"), *s.BackoffLimitPerIndex, "requires indexed completion mode"))
		}
	}
	if p := s.PodReplacementPolicy; p != nil {
		errs = append(errs, oneOf(*p, path.Child("podReplacementPolicy"), batchv1.Failed, batchv1.TerminatingOrFailed)...)
	}
	errs = append(errs, validateTemplate(&s.Template, path.Child("template"))...)
	policies := []corev1.RestartPolicy{corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}
	if p := s.Template.Spec.RestartPolicy; p != policies[0] && p != policies[1] {
		errs = append(errs, field.Required(path.Child("template", "spec", "restartPolicy"), "valid values: \"OnFailure\", \"Never\""))
	} else if p != corev1.RestartPolicyNever && s.PodFailurePolicy != nil {
		errs = append(errs, field.Invalid(path.Child("template", "spec", "restartPolicy"), p, "only \"Never\" is supported when podFailurePolicy is specified"))
	}
	return errs
}

func validateJobUpdate(j, old *batchv1.Job) field.ErrorList {
	path := field.NewPath("spec")
	errs := immutable(j.Spec.Selector, old.Spec.Selector, path.Child("selector"))
	errs = append(errs, immutable(j.Spec.CompletionMode, old.Spec.CompletionMode, path.Child("completionMode"))...)
	errs = append(errs, immutable(j.Spec.PodFailurePolicy, old.Spec.PodFailurePolicy, path.Child("podFailurePolicy"))...)
	errs = append(errs, immutable(j.Spec.BackoffLimitPerIndex, old.Spec.BackoffLimitPerIndex, path.Child("backoffLimitPerIndex"))...)
	elastic := deref(j.Spec.CompletionMode, "") == batchv1.IndexedCompletion && deref(j.Spec.Completions, 0) == deref(j.Spec.Parallelism, 0)
	if !elastic {
		errs = append(errs, immutable(j.Spec.Completions, old.Spec.Completions, path.Child("completions"))...)
	}
	template := j.Spec.Template.DeepCopy()
	if deref(old.Spec.Suspend, false) && old.Status.StartTime == nil { // where it runs may still be decided
		t := &old.Spec.Template
		template.Labels, template.Annotations = t.Labels, t.Annotations
		template.Spec.Affinity, template.Spec.NodeSelector = t.Spec.Affinity, t.Spec.NodeSelector
		template.Spec.Tolerations, template.Spec.SchedulingGates = t.Spec.Tolerations, t.Spec.SchedulingGates
	}
	return append(errs, immutable(*template, old.Spec.Template, path.Child("template"))...)
}

func jobRow(j *batchv1.Job, now time.Time) []any {
	completions := fmt.Sprintf("%d/1", j.Status.Succeeded)
	if n := j.Spec.Completions; n != nil {
		completions = fmt.Sprintf("%d/%d", j.Status.Succeeded, *n)
	} else if p := deref(j.Spec.Parallelism, 0); p > 1 {
		completions = fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, p)
	}
	took := ""
	switch {
	case j.Status.StartTime == nil:
	case j.Status.CompletionTime == nil:
		took = duration.HumanDuration(now.Sub(j.Status.StartTime.Time))
	default:
		took = duration.HumanDuration(j.Status.CompletionTime.Sub(j.Status.StartTime.Time))
	}
	names, images := containerCells(j.Spec.Template.Spec.Containers)
	return []any{j.Name, jobStatusText(j), completions, took, age(j, now), names, images, formatSelector(j.Spec.Selector)}
}

func jobStatusText(j *batchv1.Job) string {
	has := func(t batchv1.JobConditionType) bool {
		for _, c := range j.Status.Conditions {
			if c.Type == t {
				return c.Status == corev1.ConditionTrue
			}
		}
		return false
	}
	switch {
	case has(batchv1.JobComplete):
		return "Complete"
	case has(batchv1.JobFailed):
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case has(batchv1.JobSuspended):
		return "Suspended"
	case has(batchv1.JobFailureTarget):
		return "FailureTarget"
	case has(batchv1.JobSuccessCriteriaMet):
		return "SuccessCriteriaMet"
	}
	return "Running"
}

func cronJobKind() *Kind {
	spec, status := batchv1.CronJobSpec{}.SwaggerDoc(), batchv1.CronJobStatus{}.SwaggerDoc()
	return definition[*batchv1.CronJob]{
		gv: batchv1.SchemeGroupVersion, kind: "CronJob", plural: "cronjobs", singular: "cronjob",
		short: []string{"cj"}, categories: []string{"all"}, namespaced: true, generation: true,
		new:      func() *batchv1.CronJob { return &batchv1.CronJob{} },
		list:     func() runtime.Object { return &batchv1.CronJobList{} },
		template: func(o *batchv1.CronJob) *corev1.PodTemplateSpec { return &o.Spec.JobTemplate.Spec.Template },
		defaults: func(c *batchv1.CronJob) {
			if c.Spec.ConcurrencyPolicy == "" {
				c.Spec.ConcurrencyPolicy = batchv1.AllowConcurrent
			}
			setDefault(&c.Spec.Suspend, false)
			setDefault(&c.Spec.SuccessfulJobsHistoryLimit, 3)
			setDefault(&c.Spec.FailedJobsHistoryLimit, 1)
			defaultTemplate(&c.Spec.JobTemplate.Spec.Template)
		},
		prepareCreate: func(c *batchv1.CronJob) { c.Status = batchv1.CronJobStatus{} },
		prepareUpdate: func(c, old *batchv1.CronJob) { c.Status = old.Status },
		validate:      validateCronJob,
		warnings: func(c, _ *batchv1.CronJob) []string {
			return templateWarnings(&c.Spec.JobTemplate.Spec.Template, field.NewPath("spec", "jobTemplate", "spec", "template"))
		},
		status: &statusRules[*batchv1.CronJob]{prepareUpdate: func(c, old *batchv1.CronJob) { c.Spec = old.Spec }},
		columns: append([]metav1.TableColumnDefinition{
			nameColumn(), column("Schedule", "string", spec["schedule"]), column("Timezone", "string", spec["timeZone"]),
			column("Suspend", "boolean", spec["suspend"]), column("Active", "integer", status["active"]),
			column("Last Schedule", "string", status["lastScheduleTime"]), ageColumn(),
		}, templateColumns(batchv1.JobSpec{}.SwaggerDoc()["selector"])...),
		row: func(c *batchv1.CronJob, now time.Time) []any {
			suspended, last := "False", noneText
			if deref(c.Spec.Suspend, false) {
				suspended = "True"
			}
			if t := c.Status.LastScheduleTime; t != nil {
				last = since(*t, now)
			}
			names, images := containerCells(c.Spec.JobTemplate.Spec.Template.Spec.Containers)
			return []any{
				c.Name, c.Spec.Schedule, orNone(deref(c.Spec.TimeZone, "")), suspended, int64(len(c.Status.Active)), last,
				age(c, now), names, images, formatSelector(c.Spec.JobTemplate.Spec.Selector),
			}
		},
	}.build()
}

// maxCronJobName leaves room for what the names of its jobs have after it.
const maxCronJobName = 52

func validateCronJob(c *batchv1.CronJob) field.ErrorList {
	path := field.NewPath("spec")
	var errs field.ErrorList
	if len(c.Name) > maxCronJobName {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), c.Name, "must be no more than 52 characters"))
	}
	if c.Spec.Schedule == "" {
		errs = append(errs, field.Required(path.Child("schedule"), ""))
	} else if err := checkSchedule(c.Spec.Schedule); err != nil {
		errs = append(errs, field.Invalid(path.Child("schedule"), c.Spec.Schedule, err.Error()))
	}
	if z := c.Spec.TimeZone; z != nil {
		if _, err := time.LoadLocation(*z); err != nil || *z == "" || *z == "Local" {
			errs = append(errs, field.Invalid(path.Child("timeZone"), *z, "unknown time zone"))
		}
	}
	if s := c.Spec.StartingDeadlineSeconds; s != nil {
		errs = append(errs, nonNegative(*s, path.Child("startingDeadlineSeconds"))...)
	}
	errs = append(errs, nonNegative(deref(c.Spec.SuccessfulJobsHistoryLimit, 0), path.Child("successfulJobsHistoryLimit"))...)
	errs = append(errs, nonNegative(deref(c.Spec.FailedJobsHistoryLimit, 0), path.Child("failedJobsHistoryLimit"))...)
	errs = append(errs, oneOf(c.Spec.ConcurrencyPolicy, path.Child("concurrencyPolicy"), batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)...)
	if deref(c.Spec.JobTemplate.Spec.ManualSelector, false) {
		errs = append(errs, field.NotSupported(path.Child("jobTemplate", "spec", "manualSelector"), true, []string{"nil", "false"}))
	}
	return append(errs, validateJobSpec(&c.Spec.JobTemplate.Spec, path.Child("jobTemplate", "spec"))...)
}
