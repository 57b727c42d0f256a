package rollout

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// How long a state that may still heal is watched before it counts as a failure. An image or a config map may be made by
// another resource of the same apply, and so may the node that an unschedulable pod needs.
const (
	pullGrace      = 20 * time.Second
	configGrace    = 20 * time.Second
	createGrace    = 20 * time.Second
	scheduleGrace  = 2 * time.Minute
	crashesAllowed = 3
)

// graces is how long each reason for a container to wait may last. Reasons that are not here are normal.
var graces = map[string]time.Duration{
	"InvalidImageName":           0,
	"ErrImageNeverPull":          0,
	"ErrImagePull":               pullGrace,
	"ImagePullBackOff":           pullGrace,
	"ImageInspectError":          pullGrace,
	"RegistryUnavailable":        pullGrace,
	"CreateContainerConfigError": configGrace,
	"CreateContainerError":       configGrace,
	"RunContainerError":          configGrace,
}

// trouble is a reason for which a pod is not ready.
type trouble struct {
	pod       *corev1.Pod
	container string // empty when the pod as a whole is meant
	reason    string
	message   string
	exit      *corev1.ContainerStateTerminated // how the container ended last, if it did
	restarts  int32
	grace     time.Duration // how long it may last
	harmless  bool          // it may last for as long as the rollout may
}

// key tells one trouble from another over time. ErrImagePull and ImagePullBackOff take turns and are the same.
func (t *trouble) key() string {
	reason := t.reason
	if graces[reason] == pullGrace {
		reason = "pull"
	}
	return string(t.pod.UID) + "/" + t.container + "/" + reason
}

// String describes the trouble in one line.
func (t *trouble) String() string {
	if t.container == "" {
		return fmt.Sprintf("pod %s: %s", t.pod.Name, t.reason)
	}
	return fmt.Sprintf("container %q of pod %s: %s", t.container, t.pod.Name, t.reason)
}

// podTrouble returns why a pod is not ready, or nil when it is, or is on its way.
func podTrouble(pod *corev1.Pod) *trouble {
	if pod.DeletionTimestamp != nil || isReady(pod) {
		return nil
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse && condition.Reason == corev1.PodReasonUnschedulable {
			return &trouble{pod: pod, reason: condition.Reason, message: condition.Message, grace: scheduleGrace}
		}
	}
	if pod.Status.Phase == corev1.PodFailed {
		// A pod that its node has evicted is replaced, and stays to be seen, for as long as nobody deletes it.
		evicted := pod.Status.Reason == "Evicted"
		return &trouble{pod: pod, reason: orElse(pod.Status.Reason, "Failed"), message: pod.Status.Message, grace: createGrace, harmless: evicted}
	}
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range statuses {
			if t := containerTrouble(pod, &statuses[i]); t != nil {
				return t
			}
		}
	}
	return notReady(pod)
}

// containerTrouble returns why a container does not run, or nil.
func containerTrouble(pod *corev1.Pod, status *corev1.ContainerStatus) *trouble {
	t := &trouble{pod: pod, container: status.Name, restarts: status.RestartCount, exit: status.LastTerminationState.Terminated}
	if ended := status.State.Terminated; ended != nil {
		t.exit = ended
	}
	switch {
	case status.State.Waiting != nil:
		waiting := status.State.Waiting
		t.reason, t.message = waiting.Reason, waiting.Message
		if waiting.Reason == "CrashLoopBackOff" {
			t.harmless = status.RestartCount < crashesAllowed
			return t
		}
		grace, known := graces[waiting.Reason]
		t.grace = grace
		if known {
			return t
		}
		return nil
	case status.State.Terminated != nil && status.State.Terminated.ExitCode != 0:
		t.reason, t.message = orElse(t.exit.Reason, "Error"), t.exit.Message
		t.harmless = status.RestartCount < crashesAllowed && pod.Spec.RestartPolicy != corev1.RestartPolicyNever
		return t
	default:
		return nil
	}
}

// notReady tells of a container that runs and does not pass its readiness probe: it may yet, so it only
// explains a rollout that ran out of time.
func notReady(pod *corev1.Pod) *trouble {
	for i := range pod.Status.ContainerStatuses {
		status := &pod.Status.ContainerStatuses[i]
		if status.State.Running != nil && !status.Ready {
			return &trouble{
				pod: pod, container: status.Name, reason: "NotReady", restarts: status.RestartCount, exit: status.LastTerminationState.Terminated,
				message: "The container runs and is not ready.", harmless: true,
			}
		}
	}
	return nil
}

func isReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
