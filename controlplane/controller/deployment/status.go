package deployment

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The reasons of conditions, which clients such as kubectl rollout status read.
const (
	reasonNewSet       = "NewReplicaSetCreated"
	reasonFoundSet     = "FoundNewReplicaSet"
	reasonUpdated      = "ReplicaSetUpdated"
	reasonComplete     = "NewReplicaSetAvailable"
	reasonTimedOut     = "ProgressDeadlineExceeded"
	reasonPaused       = "DeploymentPaused"
	reasonResumed      = "DeploymentResumed"
	reasonFailedCreate = "ReplicaSetCreateError"
	reasonAvailable    = "MinimumReplicasAvailable"
	reasonUnavailable  = "MinimumReplicasUnavailable"
)

// counted returns d's status with the numbers of its sets and the Available condition, but with Progressing as
// it was.
func counted(d *appsv1.Deployment, current *appsv1.ReplicaSet, all []*appsv1.ReplicaSet, now time.Time) appsv1.DeploymentStatus {
	s := *d.Status.DeepCopy()
	s.ObservedGeneration = d.Generation
	s.Replicas, s.ReadyReplicas, s.AvailableReplicas, s.UpdatedReplicas = 0, 0, 0, 0
	var asked, terminating int32
	for _, rs := range all {
		s.Replicas += rs.Status.Replicas
		s.ReadyReplicas += rs.Status.ReadyReplicas
		s.AvailableReplicas += rs.Status.AvailableReplicas
		asked += wanted(rs.Spec.Replicas)
		if rs.Status.TerminatingReplicas != nil {
			terminating += *rs.Status.TerminatingReplicas
		}
	}
	if current != nil {
		s.UpdatedReplicas = current.Status.Replicas
	}
	s.TerminatingReplicas = &terminating
	s.UnavailableReplicas = max(0, asked-s.AvailableReplicas)
	if s.AvailableReplicas >= wanted(d.Spec.Replicas)-maxUnavailable(d) {
		setCondition(&s, appsv1.DeploymentAvailable, corev1.ConditionTrue, reasonAvailable, "Deployment has minimum availability.", now)
	} else {
		setCondition(&s, appsv1.DeploymentAvailable, corev1.ConditionFalse, reasonUnavailable, "Deployment does not have minimum availability.", now)
	}
	return s
}

// progressed sets the Progressing and ReplicaFailure conditions of s, which is what counted returned, and
// returns after how long the deadline is to be looked at again.
func progressed(d *appsv1.Deployment, s *appsv1.DeploymentStatus, current *appsv1.ReplicaSet, all []*appsv1.ReplicaSet, now time.Time) time.Duration {
	progressing := condition(s, appsv1.DeploymentProgressing)
	completed := progressing != nil && progressing.Reason == reasonComplete && s.Replicas == s.UpdatedReplicas
	if hasDeadline(d) && !completed {
		name := fmt.Sprintf("Deployment %q", d.Name)
		if current != nil {
			name = fmt.Sprintf("ReplicaSet %q", current.Name)
		}
		switch {
		case complete(d, s):
			setCondition(s, appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonComplete, name+" has successfully progressed.", now)
		case moved(&d.Status, s):
			// every movement starts the clock anew, so the condition counts as updated even when it reads the same
			setCondition(s, appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonUpdated, name+" is progressing.", now)
			touch(s, now)
		case timedOut(d, s, now):
			setCondition(s, appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonTimedOut, name+" has timed out progressing.", now)
		}
	}
	if !hasDeadline(d) {
		removeCondition(s, appsv1.DeploymentProgressing)
	}
	if f := failure(all, current); f != nil {
		setCondition(s, appsv1.DeploymentReplicaFailure, f.Status, f.Reason, f.Message, now)
	} else {
		removeCondition(s, appsv1.DeploymentReplicaFailure)
	}
	return deadlineIn(d, s, now)
}

// complete says whether all pods are of the current template and available, and none of another is left.
func complete(d *appsv1.Deployment, s *appsv1.DeploymentStatus) bool {
	n := wanted(d.Spec.Replicas)
	return s.UpdatedReplicas == n && s.Replicas == n && s.AvailableReplicas == n && s.ObservedGeneration >= d.Generation
}

// moved says whether a rollout came further between two statuses: new pods, fewer old ones, more that work.
func moved(old, s *appsv1.DeploymentStatus) bool {
	return s.UpdatedReplicas > old.UpdatedReplicas ||
		s.Replicas-s.UpdatedReplicas < old.Replicas-old.UpdatedReplicas ||
		s.ReadyReplicas > old.ReadyReplicas ||
		s.AvailableReplicas > old.AvailableReplicas
}

func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != 1<<31-1
}

func deadline(d *appsv1.Deployment, c *appsv1.DeploymentCondition) time.Time {
	return c.LastUpdateTime.Add(time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second)
}

func timedOut(d *appsv1.Deployment, s *appsv1.DeploymentStatus, now time.Time) bool {
	c := condition(s, appsv1.DeploymentProgressing)
	switch {
	case c == nil, c.Reason == reasonComplete, c.Reason == reasonPaused:
		return false
	case c.Reason == reasonTimedOut:
		return true
	default:
		return !now.Before(deadline(d, c))
	}
}

// deadlineIn is how long a rollout that goes on may still take to move.
func deadlineIn(d *appsv1.Deployment, s *appsv1.DeploymentStatus, now time.Time) time.Duration {
	c := condition(s, appsv1.DeploymentProgressing)
	if c == nil || !hasDeadline(d) || d.Spec.Paused || complete(d, s) || c.Reason == reasonTimedOut || c.Reason == reasonComplete {
		return 0
	}
	// a second more: times are stored in whole seconds
	return max(0, deadline(d, c).Sub(now)) + time.Second
}

// failure returns the first condition of a set that could not make pods.
func failure(all []*appsv1.ReplicaSet, current *appsv1.ReplicaSet) *appsv1.ReplicaSetCondition {
	sets := all
	if current != nil {
		sets = append([]*appsv1.ReplicaSet{current}, all...)
	}
	for _, rs := range sets {
		for i := range rs.Status.Conditions {
			if c := &rs.Status.Conditions[i]; c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
				return c
			}
		}
	}
	return nil
}

func condition(s *appsv1.DeploymentStatus, t appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			return &s.Conditions[i]
		}
	}
	return nil
}

// setCondition changes a condition when its status or reason differ; the transition time follows the status. The condition
// that changed last is the last, as users of Kubernetes see it.
func setCondition(s *appsv1.DeploymentStatus, t appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string, now time.Time) {
	at := metav1.NewTime(now.Truncate(time.Second))
	next := appsv1.DeploymentCondition{
		Type: t, Status: status, Reason: reason, Message: message, LastUpdateTime: at, LastTransitionTime: at,
	}
	if old := condition(s, t); old != nil {
		if old.Status == status && old.Reason == reason {
			return
		}
		if old.Status == status {
			next.LastTransitionTime = old.LastTransitionTime
		}
		removeCondition(s, t)
	}
	s.Conditions = append(s.Conditions, next)
}

func removeCondition(s *appsv1.DeploymentStatus, t appsv1.DeploymentConditionType) {
	s.Conditions = slices.DeleteFunc(s.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == t })
}

func touch(s *appsv1.DeploymentStatus, now time.Time) {
	if c := condition(s, appsv1.DeploymentProgressing); c != nil {
		c.LastUpdateTime = metav1.NewTime(now.Truncate(time.Second))
	}
}
