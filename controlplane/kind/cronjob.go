package kind

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/podspec"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

func cronJobKind() *Kind {
	spec, status := batchv1.CronJobSpec{}.SwaggerDoc(), batchv1.CronJobStatus{}.SwaggerDoc()
	return definition[*batchv1.CronJob]{
		gv: batchv1.SchemeGroupVersion, kind: "CronJob", plural: "cronjobs", singular: "cronjob",
		short: []string{"cj"}, categories: []string{"all"}, namespaced: true, generation: true,
		new:      func() *batchv1.CronJob { return &batchv1.CronJob{} },
		list:     func() runtime.Object { return &batchv1.CronJobList{} },
		template: func(o *batchv1.CronJob) *corev1.PodTemplateSpec { return &o.Spec.JobTemplate.Spec.Template },
		defaults: func(c *batchv1.CronJob) {
			defaults.Value(&c.Spec.ConcurrencyPolicy, batchv1.AllowConcurrent)
			defaults.Pointer(&c.Spec.Suspend, false)
			defaults.Pointer(&c.Spec.SuccessfulJobsHistoryLimit, 3)
			defaults.Pointer(&c.Spec.FailedJobsHistoryLimit, 1)
			defaultJobSpec(&c.Spec.JobTemplate.Spec)
		},
		prepareCreate: func(c *batchv1.CronJob) {
			c.Status = batchv1.CronJobStatus{}
			dropScheduling(&c.Spec.JobTemplate.Spec, nil)
		},
		prepareUpdate: func(c, old *batchv1.CronJob) {
			c.Status = old.Status
			dropScheduling(&c.Spec.JobTemplate.Spec, &old.Spec.JobTemplate.Spec)
		},
		validateTemplated: validateCronJob,
		validateCreate:    validateNewCronJob,
		validateUpdate:    validateCronJobUpdate,
		warnings:          cronJobWarnings,
		status:            &statusRules[*batchv1.CronJob]{prepareUpdate: func(c, old *batchv1.CronJob) { c.Spec = old.Spec }},
		columns: append([]metav1.TableColumnDefinition{
			nameColumn(), column("Schedule", "string", spec["schedule"]), column("Timezone", "string", spec["timeZone"]),
			column("Suspend", "boolean", spec["suspend"]), column("Active", "integer", status["active"]),
			column("Last Schedule", "string", status["lastScheduleTime"]), ageColumn(),
		}, templateColumns(batchv1.JobSpec{}.SwaggerDoc()["selector"])...),
		row: func(c *batchv1.CronJob, now time.Time) []any {
			suspended, last := "False", noneText
			if ptr.Deref(c.Spec.Suspend, false) {
				suspended = "True"
			}
			if t := c.Status.LastScheduleTime; t != nil {
				last = since(*t, now)
			}
			names, images := containerCells(c.Spec.JobTemplate.Spec.Template.Spec.Containers)
			return []any{
				c.Name, c.Spec.Schedule, orNone(ptr.Deref(c.Spec.TimeZone, "")), suspended, int64(len(c.Status.Active)), last,
				age(c, now), names, images, formatSelector(c.Spec.JobTemplate.Spec.Selector),
			}
		},
	}.build()
}

// maxCronJobName leaves room for what the names of its jobs have after it.
const maxCronJobName = 52

func validateCronJob(c *batchv1.CronJob, e podspec.Exempt) field.ErrorList {
	path := field.NewPath("spec")
	var errs field.ErrorList
	if c.Spec.Schedule != "" {
		if err := checkSchedule(c.Spec.Schedule); err != nil {
			errs = append(errs, field.Invalid(path.Child("schedule"), c.Spec.Schedule, err.Error()))
		}
	}
	errs = append(errs, validate.Optional(c.Spec.StartingDeadlineSeconds, path.Child("startingDeadlineSeconds"))...)
	errs = append(errs, validate.OneOf(c.Spec.ConcurrencyPolicy, path.Child("concurrencyPolicy"), batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)...)
	job, at := &c.Spec.JobTemplate.Spec, path.Child("jobTemplate", "spec")
	errs = append(errs, validateJobSpec(job, e, at)...)
	if job.Selector != nil {
		errs = append(errs, field.Invalid(at.Child("selector"), job.Selector, "`selector` will be auto-generated"))
	}
	if ptr.Deref(job.ManualSelector, false) {
		errs = append(errs, field.NotSupported(at.Child("manualSelector"), true, []string{"nil", "false"}))
	}
	errs = append(errs, validate.Optional(c.Spec.SuccessfulJobsHistoryLimit, path.Child("successfulJobsHistoryLimit"))...)
	errs = append(errs, validate.Optional(c.Spec.FailedJobsHistoryLimit, path.Child("failedJobsHistoryLimit"))...)
	if c.Spec.Schedule == "" {
		errs = append(errs, field.Required(path.Child("schedule"), ""))
	}
	return errs
}

// validateNewCronJob is about what is only asked of new ones, or of changes.
func validateNewCronJob(c *batchv1.CronJob) field.ErrorList {
	path := field.NewPath("spec")
	errs := validateZoneless(c.Spec.Schedule, path.Child("schedule"))
	errs = append(errs, validateTimeZone(c.Spec.TimeZone, path.Child("timeZone"))...)
	if len(c.Name) > maxCronJobName {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), c.Name, "must be no more than 52 characters"))
	}
	return errs
}

func validateCronJobUpdate(c, old *batchv1.CronJob) field.ErrorList {
	path := field.NewPath("spec")
	var errs field.ErrorList
	if !hasZone(old.Spec.Schedule) {
		errs = validateZoneless(c.Spec.Schedule, path.Child("schedule"))
	} else if hasZone(c.Spec.Schedule) && c.Spec.TimeZone != nil {
		errs = append(errs, field.Invalid(path.Child("schedule"), c.Spec.Schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule"))
	}
	if !ptr.Equal(c.Spec.TimeZone, old.Spec.TimeZone) {
		errs = append(errs, validateTimeZone(c.Spec.TimeZone, path.Child("timeZone"))...)
	}
	return errs
}

// hasZone says whether a schedule names a time zone, for which there is a field.
func hasZone(schedule string) bool { return strings.Contains(schedule, "TZ") }

func validateZoneless(schedule string, path *field.Path) field.ErrorList {
	if !hasZone(schedule) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")}
}

// checkSchedule says what is wrong with a cron schedule: five fields, a macro or "@every DURATION". The parser panics on
// a time zone with nothing after it.
func checkSchedule(text string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("invalid schedule format: %v", r)
		}
	}()
	_, err = cron.ParseStandard(text)
	return err
}

// timeZonePart is one component of a time zone's name, as https://data.iana.org/time-zones/theory.html has it.
var timeZonePart = regexp.MustCompile(`^[A-Za-z._0-9+][A-Za-z._0-9+-]{0,13}$`)

func validateTimeZone(zone *string, path *field.Path) field.ErrorList {
	if zone == nil {
		return nil
	}
	if *zone == "" {
		return field.ErrorList{field.Invalid(path, *zone, "timeZone must be nil or non-empty string")}
	}
	for part := range strings.SplitSeq(*zone, "/") {
		if part == "." || part == ".." || !timeZonePart.MatchString(part) {
			return field.ErrorList{field.Invalid(path, *zone, "unknown time zone "+*zone)}
		}
	}
	var errs field.ErrorList
	if strings.EqualFold(*zone, "Local") {
		errs = append(errs, field.Invalid(path, *zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"))
	}
	if _, err := time.LoadLocation(*zone); err != nil {
		errs = append(errs, field.Invalid(path, *zone, err.Error()))
	}
	return errs
}

func cronJobWarnings(c, old *batchv1.CronJob) []string {
	path := field.NewPath("spec", "jobTemplate", "spec")
	if old == nil {
		return append(nameWarnings(c.Name), jobSpecWarnings(&c.Spec.JobTemplate.Spec, path)...)
	}
	var out []string
	if c.Generation != old.Generation {
		out = jobSpecWarnings(&c.Spec.JobTemplate.Spec, path)
	}
	if hasZone(c.Spec.Schedule) {
		out = append(out, "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details")
	}
	return out
}
