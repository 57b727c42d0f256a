package disruption

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var epoch = time.Unix(1700000000, 0)

func podsThat(ready, unready int) []*corev1.Pod {
	var out []*corev1.Pod
	for i := range ready + unready {
		status := corev1.ConditionTrue
		if i >= ready {
			status = corev1.ConditionFalse
		}
		out = append(out, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("p", i)},
			Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}},
		})
	}
	return out
}

func TestAssess(t *testing.T) {
	for _, tc := range []struct {
		name           string
		min, max       string
		ready, unready int
		expected       int
		want           [3]int32 // healthy, desired, allowed
	}{
		{"a number at least", "2", "", 3, 0, 3, [3]int32{3, 2, 1}},
		{"a part at least, rounded up", "50%", "", 3, 0, 3, [3]int32{3, 2, 1}},
		{"a number at most away", "", "1", 3, 0, 3, [3]int32{3, 2, 1}},
		{"a part at most away", "", "50%", 4, 0, 4, [3]int32{4, 2, 2}},
		{"already too few", "3", "", 1, 2, 3, [3]int32{1, 3, 0}},
		{"fewer pods than asked for", "", "1", 2, 0, 4, [3]int32{2, 3, 0}},
		{"no pods", "1", "", 0, 0, 0, [3]int32{0, 1, 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := &policyv1.PodDisruptionBudget{}
			if tc.min != "" {
				v := intstr.Parse(tc.min)
				b.Spec.MinAvailable = &v
			}
			if tc.max != "" {
				v := intstr.Parse(tc.max)
				b.Spec.MaxUnavailable = &v
			}
			if _, err := assess(b, podsThat(tc.ready, tc.unready), tc.expected, epoch); err != nil {
				t.Fatal(err)
			}
			s := b.Status
			if got := [3]int32{s.CurrentHealthy, s.DesiredHealthy, s.DisruptionsAllowed}; got != tc.want {
				t.Errorf("healthy, desired, allowed: %v, want %v", got, tc.want)
			}
		})
	}
}

func TestEvictedPodsDoNotCount(t *testing.T) {
	two := intstr.FromInt32(2)
	b := &policyv1.PodDisruptionBudget{Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &two}}
	b.Status.DisruptedPods = map[string]metav1.Time{"p0": metav1.NewTime(epoch), "p1": metav1.NewTime(epoch.Add(-time.Hour)), "elsewhere": metav1.NewTime(epoch)}
	after, err := assess(b, podsThat(3, 0), 3, epoch)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Status.DisruptedPods) != 1 || b.Status.CurrentHealthy != 2 || b.Status.DisruptionsAllowed != 0 || after != evictionTimeout {
		t.Errorf("status %+v, again after %s", b.Status, after)
	}
}
