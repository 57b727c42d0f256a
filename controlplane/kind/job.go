package kind

import (
	"fmt"
	"math"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/podspec"
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
			dropScheduling(&j.Spec, nil)
		},
		prepareUpdate: func(j, old *batchv1.Job) {
			j.Status = old.Status
			dropScheduling(&j.Spec, &old.Spec)
		},
		validateCreate: validateNewJob,
		validateUpdate: validateJobUpdate,
		warnings: func(j, old *batchv1.Job) []string {
			switch {
			case old == nil:
				return append(nameWarnings(j.Name), jobSpecWarnings(&j.Spec, field.NewPath("spec"))...)
			case j.Generation != old.Generation:
				return jobSpecWarnings(&j.Spec, field.NewPath("spec"))
			}
			return nil
		},
		status: &statusRules[*batchv1.Job]{
			prepareUpdate: func(j, old *batchv1.Job) { j.Spec = old.Spec },
			validate:      validateJobStatus,
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
		defaults.Pointer(&s.Completions, 1)
	}
	defaults.Pointer(&s.Parallelism, 1)
	if s.BackoffLimit == nil {
		limit := int32(defaultBackoffLimit)
		if s.BackoffLimitPerIndex != nil {
			limit = math.MaxInt32
		}
		s.BackoffLimit = &limit
	}
	// one map for both, as in Kubernetes: the labels that are generated for the template then become the job's too
	if len(j.Labels) == 0 && s.Template.Labels != nil {
		j.Labels = s.Template.Labels
	}
	defaults.Pointer(&s.CompletionMode, batchv1.NonIndexedCompletion)
	defaults.Pointer(&s.Suspend, false)
	if s.PodReplacementPolicy == nil {
		policy := batchv1.TerminatingOrFailed
		if s.PodFailurePolicy != nil {
			policy = batchv1.Failed
		}
		s.PodReplacementPolicy = &policy
	}
	defaults.Pointer(&s.ManualSelector, false)
	defaultJobSpec(s)
}

// defaultJobSpec sets what a job has in common with what a cron job makes jobs from: the latter takes the rest of its
// defaults when it becomes a job.
func defaultJobSpec(s *batchv1.JobSpec) {
	if s.PodFailurePolicy != nil {
		if len(s.PodFailurePolicy.Rules) == 0 {
			s.PodFailurePolicy.Rules = nil // printed as null, as Kubernetes does
		}
		for i := range s.PodFailurePolicy.Rules {
			for c := range s.PodFailurePolicy.Rules[i].OnPodConditions {
				if p := &s.PodFailurePolicy.Rules[i].OnPodConditions[c]; p.Status == "" {
					p.Status = corev1.ConditionTrue
				}
			}
		}
	}
	podspec.DefaultTemplate(&s.Template)
}

// dropScheduling drops a field that Kubernetes only knows behind a gate that is shut, unless it is there already.
func dropScheduling(s, old *batchv1.JobSpec) {
	if old == nil || old.Scheduling == nil {
		s.Scheduling = nil
	}
}

// jobLabels are the labels that the server gives to the pods of a job.
func jobLabels(j *batchv1.Job) [4]struct{ key, value string } {
	return [...]struct{ key, value string }{
		{legacyControllerUID, string(j.UID)}, {legacyJobName, j.Name},
		{batchv1.ControllerUidLabel, string(j.UID)}, {batchv1.JobNameLabel, j.Name},
	}
}

// generateJobSelector makes a job select by its own uid, so that no two jobs share pods.
func generateJobSelector(j *batchv1.Job) {
	if ptr.Deref(j.Spec.ManualSelector, false) {
		return
	}
	if j.Spec.Template.Labels == nil {
		j.Spec.Template.Labels = map[string]string{}
	}
	for _, l := range jobLabels(j) {
		if _, ok := j.Spec.Template.Labels[l.key]; !ok {
			j.Spec.Template.Labels[l.key] = l.value
		}
	}
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

func jobRow(j *batchv1.Job, now time.Time) []any {
	completions := fmt.Sprintf("%d/1", j.Status.Succeeded)
	if n := j.Spec.Completions; n != nil {
		completions = fmt.Sprintf("%d/%d", j.Status.Succeeded, *n)
	} else if p := ptr.Deref(j.Spec.Parallelism, 0); p > 1 {
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
	switch {
	case jobIs(j, batchv1.JobComplete):
		return "Complete"
	case jobIs(j, batchv1.JobFailed):
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case jobIs(j, batchv1.JobSuspended):
		return "Suspended"
	case jobIs(j, batchv1.JobFailureTarget):
		return "FailureTarget"
	case jobIs(j, batchv1.JobSuccessCriteriaMet):
		return "SuccessCriteriaMet"
	}
	return "Running"
}

const (
	warnCompletions = 100_000
	warnParallelism = 10_000
)

// jobSpecWarnings are those of a job or of what a cron job makes jobs from.
func jobSpecWarnings(s *batchv1.JobSpec, path *field.Path) []string {
	var out []string
	if ptr.Deref(s.CompletionMode, "") == batchv1.IndexedCompletion && ptr.Deref(s.Completions, 0) > warnCompletions && ptr.Deref(s.Parallelism, 0) > warnParallelism {
		out = append(out, path.String()+": In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail")
	}
	return append(out, podspec.TemplateWarnings(&s.Template, path.Child("template"))...)
}
