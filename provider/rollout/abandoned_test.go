package rollout

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAbandoned(t *testing.T) {
	due := time.Now()
	pod := func(name, node string, end time.Duration) corev1.Pod {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PodSpec{NodeName: node}}
		if end != 0 {
			p.DeletionTimestamp = &metav1.Time{Time: due.Add(end)}
		}
		return p
	}
	dead := map[string]bool{"dead": true, "dead2": true, "alive": false}
	for name, test := range map[string]struct {
		pods []corev1.Pod
		want string
	}{
		"none":            {nil, ""},
		"dead":            {[]corev1.Pod{pod("a", "dead", -1), pod("b", "dead2", -time.Hour), pod("c", "dead", -1)}, "pod default/b on node dead2\n- pod default/c on node dead\n\nThe cluster removes it when they answer again, or when they are given up: kubectl delete node dead dead2"},
		"not due yet":     {[]corev1.Pod{pod("a", "dead", -1), pod("b", "dead", time.Second)}, ""},
		"not deleted":     {[]corev1.Pod{pod("a", "dead", 0)}, ""},
		"one on a node":   {[]corev1.Pod{pod("a", "dead", -1), pod("b", "alive", -1)}, ""},
		"not bound":       {[]corev1.Pod{pod("a", "", -1)}, ""},
		"node is deleted": {[]corev1.Pod{pod("a", "gone", -1)}, ""},
	} {
		if got := abandoned(test.pods, dead, due); (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
