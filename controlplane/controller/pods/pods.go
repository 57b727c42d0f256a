// Package pods has what several controllers ask of pods.
package pods

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Condition returns the condition of that type, or nil. It points into pod.
func Condition(pod *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == t {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// Ready says whether pod's Ready condition is true.
func Ready(pod *corev1.Pod) bool {
	c := Condition(pod, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// AvailableIn returns how long a ready pod still has to stay ready to count as available: 0 when it is available
// now, and false when it is not ready.
func AvailableIn(pod *corev1.Pod, minReadySeconds int32, now time.Time) (time.Duration, bool) {
	c := Condition(pod, corev1.PodReady)
	if c == nil || c.Status != corev1.ConditionTrue {
		return 0, false
	}
	if minReadySeconds == 0 {
		return 0, true
	}
	if c.LastTransitionTime.IsZero() {
		return time.Duration(minReadySeconds) * time.Second, true
	}
	return max(0, c.LastTransitionTime.Add(time.Duration(minReadySeconds)*time.Second).Sub(now)), true
}

// Terminal says whether pod has ended for good.
func Terminal(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// Active says whether pod runs, or is to run, and nobody asked it to go.
func Active(pod *corev1.Pod) bool {
	return !Terminal(pod) && pod.DeletionTimestamp == nil
}

// SetCondition sets a condition of pod, keeps its transition time when the status is the same, and says whether
// anything changed.
func SetCondition(pod *corev1.Pod, c corev1.PodCondition, now time.Time) bool {
	old := Condition(pod, c.Type)
	if old != nil && old.Status == c.Status && old.Reason == c.Reason && old.Message == c.Message {
		return false
	}
	c.LastTransitionTime = metav1.NewTime(now)
	if old == nil {
		pod.Status.Conditions = append(pod.Status.Conditions, c)
		return true
	}
	if old.Status == c.Status {
		c.LastTransitionTime = old.LastTransitionTime
	}
	c.LastProbeTime = old.LastProbeTime
	*old = c
	return true
}

// Restarts returns the restarts of pod's container that restarted most.
func Restarts(pod *corev1.Pod) int32 {
	var most int32
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, restartable(pod)} {
		for i := range list {
			most = max(most, list[i].RestartCount)
		}
	}
	return most
}

// restartable returns the statuses of pod's sidecars.
func restartable(pod *corev1.Pod) []corev1.ContainerStatus {
	var out []corev1.ContainerStatus
	for i := range pod.Status.InitContainerStatuses {
		s := &pod.Status.InitContainerStatuses[i]
		at := slices.IndexFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == s.Name })
		if at >= 0 && pod.Spec.InitContainers[at].RestartPolicy != nil && *pod.Spec.InitContainers[at].RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out = append(out, *s)
		}
	}
	return out
}
