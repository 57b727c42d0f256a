// Package rollout waits for workloads to do what they are for, and says why when they do not.
package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// observation is what is known of a deployment at one moment.
type observation struct {
	deployment *appsv1.Deployment
	sets       []*appsv1.ReplicaSet
	pods       []*corev1.Pod
	now        time.Time
}

// verdict is what an observation means.
type verdict struct {
	done     bool
	progress string
	// failed says why the rollout can not go on; empty while it can.
	failed string
	// cause is the pod that is to be shown with a failure; nil when there is none.
	cause *trouble
}

// judge remembers since when it has seen each trouble, to tell what lasts from what passes.
type judge struct {
	since map[string]time.Time
}

// look judges one observation. Observations must come in order of time.
func (j *judge) look(o observation) verdict {
	d := o.deployment
	if d.Status.ObservedGeneration < d.Generation {
		return verdict{progress: "the controller has not seen the change yet"}
	}
	progress, done := state(d)
	if done {
		return verdict{done: true, progress: progress}
	}
	v := verdict{progress: progress}
	seen := map[string]time.Time{}
	for _, t := range troubles(o) {
		v.cause = worse(v.cause, t)
		first := j.first(t.key(), o.now)
		seen[t.key()] = first
		if v.failed == "" && !t.harmless && o.now.Sub(first) >= t.grace {
			v.failed, v.cause = t.String(), t
		}
	}
	if failure := condition(d, appsv1.DeploymentReplicaFailure); failure != nil && failure.Status == corev1.ConditionTrue {
		first := j.first(failure.Reason, o.now)
		seen[failure.Reason] = first
		if v.failed == "" && o.now.Sub(first) >= createGrace {
			v.failed = fmt.Sprintf("its pods can not be created: %s: %s", failure.Reason, failure.Message)
		}
	}
	if late := condition(d, appsv1.DeploymentProgressing); v.failed == "" && late != nil && late.Reason == "ProgressDeadlineExceeded" {
		v.failed = "its progress deadline was exceeded: " + late.Message
		if v.cause != nil {
			v.failed = v.cause.String() + " (" + v.failed + ")"
		}
	}
	j.since = seen
	return v
}

// first returns since when a trouble has been seen.
func (j *judge) first(key string, now time.Time) time.Time {
	if first, ok := j.since[key]; ok {
		return first
	}
	return now
}

// state says how far a deployment is, and whether it is there: every replica of the newest template
// is available, and none of an older one is left.
func state(d *appsv1.Deployment) (string, bool) {
	wanted := int32(1)
	if d.Spec.Replicas != nil {
		wanted = *d.Spec.Replicas
	}
	s := d.Status
	switch {
	case d.Spec.Paused:
		return "the deployment is paused", true
	case s.UpdatedReplicas < wanted:
		return fmt.Sprintf("%d of %d replicas are updated", s.UpdatedReplicas, wanted), false
	case s.Replicas > s.UpdatedReplicas:
		return fmt.Sprintf("%d old replicas are left", s.Replicas-s.UpdatedReplicas), false
	case s.AvailableReplicas < wanted:
		return fmt.Sprintf("%d of %d replicas are available", s.AvailableReplicas, wanted), false
	default:
		return fmt.Sprintf("all %d replicas are available", wanted), true
	}
}

// troubles returns those of the newest replica set's pods.
func troubles(o observation) []*trouble {
	newest := newestSet(o)
	var found []*trouble
	for _, pod := range o.pods {
		if owner := metav1.GetControllerOf(pod); newest == nil || owner == nil || owner.UID != newest.UID {
			continue
		}
		if t := podTrouble(pod); t != nil {
			found = append(found, t)
		}
	}
	slices.SortFunc(found, func(a, b *trouble) int { return strings.Compare(a.pod.Name, b.pod.Name) })
	return found
}

const revision = "deployment.kubernetes.io/revision"

// newestSet returns the replica set of the deployment's current revision, nil while there is none.
func newestSet(o observation) *appsv1.ReplicaSet {
	for _, set := range o.sets {
		owner := metav1.GetControllerOf(set)
		if owner != nil && owner.UID == o.deployment.UID && set.Annotations[revision] == o.deployment.Annotations[revision] {
			return set
		}
	}
	return nil
}

// worse returns the trouble that says more: one that does not heal, else the one that was there first.
func worse(a, b *trouble) *trouble {
	if a == nil || a.harmless && !b.harmless {
		return b
	}
	return a
}

func condition(d *appsv1.Deployment, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range d.Status.Conditions {
		if d.Status.Conditions[i].Type == kind {
			return &d.Status.Conditions[i]
		}
	}
	return nil
}
