package podgc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestChoose(t *testing.T) {
	pod := func(name, node string, phase corev1.PodPhase, leaving bool, age int) *corev1.Pod {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Unix(int64(1000-age), 0))},
			Spec:       corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: phase},
		}
		if leaving {
			p.DeletionTimestamp = &metav1.Time{}
		}
		return p
	}
	list := []*corev1.Pod{
		pod("runs", "n", corev1.PodRunning, false, 1),
		pod("waits", "", corev1.PodPending, false, 1),
		pod("leaves-unscheduled", "", corev1.PodPending, true, 1),
		pod("lost", "gone", corev1.PodRunning, false, 1),
		pod("ended-lost", "gone", corev1.PodSucceeded, false, 1),
		pod("leaves-dead-node", "dead", corev1.PodRunning, true, 1),
		pod("on-dead-node", "dead", corev1.PodRunning, false, 1),
		pod("leaves", "n", corev1.PodRunning, true, 1),
		pod("old", "n", corev1.PodFailed, false, 9),
		pod("newer", "n", corev1.PodSucceeded, false, 2),
	}
	is := func(name string) func(string) bool { return func(n string) bool { return n == name } }
	var got []string
	for _, v := range choose(list, is("gone"), is("dead"), 1) {
		got = append(got, fmt.Sprintf("%s:%v", v.pod.Name, v.lost != ""))
	}
	want := "leaves-unscheduled:false lost:true ended-lost:false leaves-dead-node:false old:false"
	if strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
