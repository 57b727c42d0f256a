package scheduler

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

var epoch = time.Unix(1700000000, 0)

func withPriority(n int32) edit[*corev1.Pod] {
	return func(p *corev1.Pod) { p.Spec.Priority = &n }
}

func TestQueueOrder(t *testing.T) {
	q := newQueue()
	q.set(newPodInfo(testPod("first")), epoch)
	q.set(newPodInfo(testPod("second")), epoch.Add(time.Second))
	q.set(newPodInfo(testPod("urgent", withPriority(10))), epoch.Add(2*time.Second))
	q.set(newPodInfo(testPod("gone")), epoch)
	q.remove("gone")
	for _, want := range []string{"urgent", "first", "second"} {
		if e := q.pop(epoch); e == nil || e.pod.Name != want {
			t.Fatalf("got %v, want %s", e, want)
		}
	}
	if e := q.pop(epoch); e != nil {
		t.Errorf("got %s", e.pod.Name)
	}
}

func TestParkedPodsWaitForWhatHelps(t *testing.T) {
	q := newQueue()
	q.set(newPodInfo(testPod("p")), epoch)
	q.park(q.pop(epoch), causeResources)
	q.happened(causeAffinity, epoch.Add(time.Hour))
	if e := q.pop(epoch.Add(time.Hour)); e != nil {
		t.Fatal("an event that can not help woke it")
	}
	q.happened(causeResources, epoch.Add(time.Millisecond))
	if e := q.pop(epoch.Add(time.Millisecond)); e != nil {
		t.Fatal("it did not wait for its back-off")
	}
	if wait, ok := q.wait(epoch); !ok || wait != firstBackOff {
		t.Fatalf("waits %s, %v", wait, ok)
	}
	e := q.pop(epoch.Add(firstBackOff))
	if e == nil {
		t.Fatal("it was not woken")
	}
	q.park(e, causeNode)
	q.unpark(epoch.Add(time.Minute))
	if e := q.pop(epoch.Add(time.Minute)); e != nil {
		t.Fatal("woken too early")
	}
	q.unpark(epoch.Add(staleAfter + firstBackOff))
	if e := q.pop(epoch.Add(staleAfter + firstBackOff)); e == nil {
		t.Fatal("forgotten")
	}
}

func TestAChangedPodIsTriedAgain(t *testing.T) {
	q := newQueue()
	q.set(newPodInfo(testPod("p")), epoch)
	q.park(q.pop(epoch), causeResources)
	q.set(newPodInfo(testPod("p", labelled("x", "y"))), epoch.Add(time.Hour))
	if q.pop(epoch.Add(time.Hour)) != nil {
		t.Error("its own condition woke it")
	}
	q.set(newPodInfo(testPod("p", func(p *corev1.Pod) { p.Generation = 2 })), epoch.Add(time.Hour))
	if q.pop(epoch.Add(time.Hour)) == nil {
		t.Error("a new spec did not wake it")
	}
}

func TestBackOffIsBounded(t *testing.T) {
	for attempts, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 4: 8 * time.Second, 5: 10 * time.Second, 500: 10 * time.Second} {
		if got := backOff(attempts); got != want {
			t.Errorf("after %d attempts: %s, want %s", attempts, got, want)
		}
	}
}
