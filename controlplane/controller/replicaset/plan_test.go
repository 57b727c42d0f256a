package replicaset

import (
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var now = time.Unix(1700000000, 0)

// pod returns a pod that runs on node n and has been ready for an hour, changed by edits.
func pod(name string, edits ...func(*corev1.Pod)) *corev1.Pod {
	long := metav1.NewTime(now.Add(-time.Hour))
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: long, Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: "n"},
		Status: corev1.PodStatus{
			Phase:      corev1.PodRunning,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: long}},
		},
	}
	for _, edit := range edits {
		edit(p)
	}
	return p
}

func unscheduled(p *corev1.Pod) { p.Spec.NodeName = ""; pending(p); unready(p) }
func pending(p *corev1.Pod)     { p.Status.Phase = corev1.PodPending }
func unready(p *corev1.Pod)     { p.Status.Conditions[0].Status = corev1.ConditionFalse }
func failed(p *corev1.Pod)      { p.Status.Phase = corev1.PodFailed; unready(p) }
func leaving(p *corev1.Pod)     { p.DeletionTimestamp = &metav1.Time{Time: now} }
func cheap(p *corev1.Pod)       { p.Annotations = map[string]string{corev1.PodDeletionCost: "-5"} }
func elsewhere(p *corev1.Pod)   { p.Spec.NodeName = "crowded" }
func fresh(p *corev1.Pod) {
	p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(-time.Second))
}
func young(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(now.Add(-time.Second)) }
func restarted(p *corev1.Pod) {
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 3}}
}

func TestVictimsGoInOrder(t *testing.T) {
	inOrder := []*corev1.Pod{
		pod("1-unscheduled", unscheduled),
		pod("2-pending", pending, unready),
		pod("3-unready", unready),
		pod("4-cheap", cheap),
		pod("5-crowded", elsewhere),
		pod("6-fresh", fresh),
		pod("7-restarted", restarted),
		pod("8-young", young),
		pod("9-plain"),
	}
	related := map[string]int{"n": 3, "crowded": 4}
	shuffled := slices.Clone(inOrder)
	slices.Reverse(shuffled)
	for i, p := range victims(shuffled, len(shuffled), related, now) {
		if p != inOrder[i] {
			t.Errorf("victim %d is %s, want %s", i, p.Name, inOrder[i].Name)
		}
	}
}

func testSet(replicas int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "ns", UID: "rs", Generation: 7},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &replicas,
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}},
		},
	}
}

func TestReconcile(t *testing.T) {
	for _, tc := range []struct {
		name           string
		replicas       int32
		pods           []*corev1.Pod
		gone           bool
		create, delete int
	}{
		{name: "none yet", replicas: 3, create: 3},
		{name: "enough", replicas: 1, pods: []*corev1.Pod{pod("a")}},
		{name: "ended ones do not count", replicas: 2, pods: []*corev1.Pod{pod("a"), pod("b", failed), pod("c", leaving)}, create: 1},
		{name: "too many", replicas: 1, pods: []*corev1.Pod{pod("a"), pod("b"), pod("c", failed)}, delete: 1},
		{name: "set is being deleted", replicas: 5, gone: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rs := testSet(tc.replicas)
			if tc.gone {
				rs.DeletionTimestamp = &metav1.Time{Time: now}
			}
			p := reconcile(rs, tc.pods, nil, now)
			if p.Create != tc.create || len(p.Delete) != tc.delete {
				t.Errorf("create %d, delete %d", p.Create, len(p.Delete))
			}
		})
	}
}

func TestStatus(t *testing.T) {
	rs := testSet(5)
	rs.Spec.MinReadySeconds = 60
	unlabelled := pod("d")
	unlabelled.Labels = map[string]string{"other": "label"}
	got, after := status(rs, []*corev1.Pod{pod("a"), pod("b", fresh), pod("c", unready), unlabelled, pod("e", leaving), pod("f", failed)}, nil, now)
	want := [...]int32{4, 3, 3, 2, 1, 7}
	have := [...]int32{got.Replicas, got.FullyLabeledReplicas, got.ReadyReplicas, got.AvailableReplicas, *got.TerminatingReplicas, int32(got.ObservedGeneration)}
	if have != want {
		t.Errorf("replicas, labelled, ready, available, terminating, generation: %v, want %v", have, want)
	}
	if after != 59*time.Second {
		t.Errorf("to be looked at again after %s", after)
	}
}

func TestFailureCondition(t *testing.T) {
	failure := &appsv1.ReplicaSetCondition{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: "first"}
	rs := testSet(1)
	rs.Status, _ = status(rs, nil, failure, now)
	again := *failure
	again.Message = "second"
	rs.Status, _ = status(rs, nil, &again, now)
	if len(rs.Status.Conditions) != 1 || rs.Status.Conditions[0].Message != "first" {
		t.Errorf("conditions are %v", rs.Status.Conditions)
	}
	if rs.Status, _ = status(rs, nil, nil, now); len(rs.Status.Conditions) != 0 {
		t.Errorf("conditions stay: %v", rs.Status.Conditions)
	}
}

func TestRelatedCountsEachActivePodOnce(t *testing.T) {
	a, b := pod("a"), pod("b", failed)
	got := fmt.Sprint(relatedOn([]*corev1.Pod{a, b}, []*corev1.Pod{a, pod("c", elsewhere)}))
	if got != "map[crowded:1 n:1]" {
		t.Error(got)
	}
}
