package rollout

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// deployment returns one of two replicas with a status of its updated, available and total replicas.
func deployment(updated, available, total int32) *appsv1.Deployment {
	replicas := int32(2)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: "d", Generation: 3, Annotations: map[string]string{revision: "2"}},
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
		Status:     appsv1.DeploymentStatus{ObservedGeneration: 3, UpdatedReplicas: updated, AvailableReplicas: available, Replicas: total},
	}
}

func owned(kind, uid, name string) metav1.ObjectMeta {
	controller := true
	return metav1.ObjectMeta{
		Name: name, Namespace: "default", UID: types.UID(name), Labels: map[string]string{"app": "web"},
		OwnerReferences: []metav1.OwnerReference{{Kind: kind, UID: types.UID(uid), Name: uid, Controller: &controller}},
	}
}

// set returns the replica set of a revision, which owns the pods that name it.
func set(rev string) *appsv1.ReplicaSet {
	s := &appsv1.ReplicaSet{ObjectMeta: owned("Deployment", "d", "set-"+rev)}
	s.Annotations = map[string]string{revision: rev}
	return s
}

func pod(rev, name string, status corev1.ContainerStatus) *corev1.Pod {
	status.Name = "main"
	return &corev1.Pod{
		ObjectMeta: owned("ReplicaSet", "set-"+rev, name),
		Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "main", Image: "web:1"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{status}},
	}
}

func waiting(reason string, restarts int32) corev1.ContainerStatus {
	s := corev1.ContainerStatus{RestartCount: restarts, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "why"}}}
	if restarts > 0 {
		s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 7, Reason: "Error"}
	}
	return s
}

func running(ready bool) corev1.ContainerStatus {
	return corev1.ContainerStatus{Ready: ready, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
}

func terminated(code, restarts int32) corev1.ContainerStatus {
	return corev1.ContainerStatus{RestartCount: restarts, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: "OOMKilled"}}}
}

func TestJudge(t *testing.T) {
	unschedulable := pod("2", "p", corev1.ContainerStatus{})
	unschedulable.Status.ContainerStatuses = nil
	unschedulable.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/3 nodes"}}
	failed := pod("2", "p", terminated(137, 0))
	failed.Status.Phase, failed.Status.Reason = corev1.PodFailed, "OutOfcpu"
	evicted := pod("2", "p", terminated(137, 0))
	evicted.Status.Phase, evicted.Status.Reason = corev1.PodFailed, "Evicted"
	deleted := pod("2", "p", waiting("InvalidImageName", 0))
	deleted.DeletionTimestamp = &metav1.Time{Time: start}

	unseen := deployment(2, 2, 2)
	unseen.Status.ObservedGeneration = 2
	paused := deployment(0, 0, 2)
	paused.Spec.Paused = true
	late := deployment(2, 0, 2)
	late.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded", Message: "600 s"}}
	quota := deployment(0, 0, 0)
	quota.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: "exceeded quota: q"}}

	for _, test := range []struct {
		name       string
		deployment *appsv1.Deployment
		pods       []*corev1.Pod
		now        string // what is said at first
		after      time.Duration
		later      string // and after that time
	}{
		{name: "done", deployment: deployment(2, 2, 2), now: "done: all 2 replicas are available"},
		{name: "not seen yet", deployment: unseen, now: "the controller has not seen"},
		{name: "paused", deployment: paused, now: "done: the deployment is paused"},
		{name: "being updated", deployment: deployment(1, 1, 3), now: "1 of 2 replicas are updated"},
		{name: "old ones left", deployment: deployment(2, 2, 3), now: "1 old replicas are left"},
		{name: "not available", deployment: deployment(2, 1, 2), now: "1 of 2 replicas are available"},
		{name: "image name", deployment: deployment(1, 0, 3), pods: []*corev1.Pod{pod("2", "p", waiting("InvalidImageName", 0))},
			now: `failed: container "main" of pod p: InvalidImageName`},
		{name: "image never pulled", deployment: deployment(1, 0, 3), pods: []*corev1.Pod{pod("2", "p", waiting("ErrImageNeverPull", 0))}, now: "failed: "},
		{name: "no image for a while", deployment: deployment(1, 0, 3), pods: []*corev1.Pod{pod("2", "p", waiting("ErrImagePull", 0))},
			now: "1 of 2", after: pullGrace, later: "failed: "},
		{name: "configuration for a while", deployment: deployment(1, 0, 3), pods: []*corev1.Pod{pod("2", "p", waiting("CreateContainerConfigError", 0))},
			now: "1 of 2", after: configGrace - time.Second, later: "1 of 2"},
		{name: "no configuration", deployment: deployment(1, 0, 3), pods: []*corev1.Pod{pod("2", "p", waiting("CreateContainerConfigError", 0))},
			now: "1 of 2", after: configGrace, later: "failed: "},
		{name: "first crash", deployment: deployment(1, 0, 3), pods: []*corev1.Pod{pod("2", "p", waiting("CrashLoopBackOff", 1))},
			now: "1 of 2", after: time.Hour, later: "1 of 2"},
		{name: "third crash", deployment: deployment(1, 0, 3), pods: []*corev1.Pod{pod("2", "p", waiting("CrashLoopBackOff", 3))}, now: "failed: "},
		{name: "between crashes", deployment: deployment(1, 0, 3), pods: []*corev1.Pod{pod("2", "p", terminated(137, 3))}, now: `failed: container "main" of pod p: OOMKilled`},
		{name: "another revision's pod", deployment: deployment(1, 0, 3), pods: []*corev1.Pod{pod("1", "p", waiting("InvalidImageName", 0))}, now: "1 of 2"},
		{name: "a pod that goes", deployment: deployment(1, 0, 3), pods: []*corev1.Pod{deleted}, now: "1 of 2"},
		{name: "starting", deployment: deployment(1, 0, 3), pods: []*corev1.Pod{pod("2", "p", waiting("ContainerCreating", 0))},
			now: "1 of 2", after: time.Hour, later: "1 of 2"},
		{name: "not ready", deployment: deployment(2, 0, 2), pods: []*corev1.Pod{pod("2", "p", running(false))},
			now: "0 of 2", after: time.Hour, later: "0 of 2"},
		{name: "unschedulable", deployment: deployment(2, 0, 2), pods: []*corev1.Pod{unschedulable}, now: "0 of 2", after: scheduleGrace, later: "failed: pod p: Unschedulable"},
		{name: "failed", deployment: deployment(2, 1, 2), pods: []*corev1.Pod{failed}, now: "1 of 2", after: createGrace, later: "failed: pod p: OutOfcpu"},
		{name: "evicted some time", deployment: deployment(2, 1, 2), pods: []*corev1.Pod{evicted}, now: "1 of 2", after: time.Hour, later: "1 of 2"},
		{name: "deadline", deployment: late, pods: []*corev1.Pod{pod("2", "p", running(false))},
			now: `failed: container "main" of pod p: NotReady (its progress deadline was exceeded: 600 s)`},
		{name: "quota", deployment: quota, now: "0 of 2", after: createGrace, later: "failed: its pods can not be created: FailedCreate: exceeded quota: q"},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := &judge{}
			o := observation{deployment: test.deployment, sets: []*appsv1.ReplicaSet{set("1"), set("2")}, pods: test.pods, now: start}
			if got := said(j.look(o)); !strings.HasPrefix(got, test.now) {
				t.Errorf("said %q, want %q", got, test.now)
			}
			if test.later == "" {
				return
			}
			o.now = o.now.Add(test.after)
			if got := said(j.look(o)); !strings.HasPrefix(got, test.later) {
				t.Errorf("said %q after %s, want %q", got, test.after, test.later)
			}
		})
	}
}

func said(v verdict) string {
	switch {
	case v.failed != "":
		return "failed: " + v.failed
	case v.done:
		return "done: " + v.progress
	default:
		return v.progress
	}
}

// TestHealedTroubleStartsAnew holds that a trouble which went away in between does not count as one that lasted.
func TestHealedTroubleStartsAnew(t *testing.T) {
	j := &judge{}
	for i, reason := range []string{"ErrImagePull", "ContainerCreating", "ImagePullBackOff", "ErrImagePull", "ImagePullBackOff"} {
		o := observation{
			deployment: deployment(1, 0, 3), sets: []*appsv1.ReplicaSet{set("2")}, pods: []*corev1.Pod{pod("2", "p", waiting(reason, 0))},
			now: start.Add(time.Duration(i) * 10 * time.Second),
		}
		failed := j.look(o).failed != ""
		if want := i == 4; failed != want { // 20 s after the trouble came back, whatever it is called in between
			t.Errorf("look %d: failed is %v", i, failed)
		}
	}
}
