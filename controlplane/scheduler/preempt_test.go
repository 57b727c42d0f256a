package scheduler

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

func TestPreempt(t *testing.T) {
	never := corev1.PreemptNever
	for _, tc := range []struct {
		name    string
		on      map[string][]*corev1.Pod
		budgets map[types.NamespacedName]budget
		pod     *corev1.Pod
		want    string // node and victims, "" for none
	}{
		{
			name: "no more than needed, and the least important",
			on: map[string][]*corev1.Pod{"a": {
				testPod("low", requests("cpu", "2"), withPriority(1)), testPod("mid", requests("cpu", "1"), withPriority(5)), testPod("high", requests("cpu", "1"), withPriority(20)),
			}},
			pod: testPod("p", requests("cpu", "2"), withPriority(10), selects(corev1.LabelHostname, "a")), want: "a low",
		},
		{
			name: "the node with the least important victim",
			on: map[string][]*corev1.Pod{
				"a": {testPod("x", requests("cpu", "4"), withPriority(3))}, "b": {testPod("y", requests("cpu", "4"), withPriority(2))}, "c": {testPod("z", requests("cpu", "4"), withPriority(50))},
			},
			pod: testPod("p", requests("cpu", "4"), withPriority(10)), want: "b y",
		},
		{
			name: "a budget counts for more than priority",
			on: map[string][]*corev1.Pod{
				"a": {testPod("x", requests("cpu", "4"), withPriority(3), labelled("app", "free"))}, "b": {testPod("y", requests("cpu", "4"), withPriority(2))}, "c": {testPod("z", requests("cpu", "4"), withPriority(50))},
			},
			budgets: map[types.NamespacedName]budget{{Name: "b"}: {"ns", labels.SelectorFromSet(labels.Set{"app": "web"}), 0}},
			pod:     testPod("p", requests("cpu", "4"), withPriority(10)), want: "a x",
		},
		{
			name: "nobody is less important",
			on: map[string][]*corev1.Pod{
				"a": {testPod("x", requests("cpu", "4"))}, "b": {testPod("y", requests("cpu", "4"))}, "c": {testPod("z", requests("cpu", "4"))},
			},
			pod: testPod("p", requests("cpu", "4")),
		},
		{
			name: "it would not help", on: map[string][]*corev1.Pod{"a": {testPod("x", requests("cpu", "4"), withPriority(1))}},
			pod: testPod("p", requests("cpu", "5"), withPriority(10)),
		},
		{
			name: "another node is asked for", on: map[string][]*corev1.Pod{"a": {testPod("x", requests("cpu", "4"), withPriority(1))}},
			pod: testPod("p", requests("cpu", "4"), withPriority(10), selects("none", "such")),
		},
		{
			name: "it does not want to", on: map[string][]*corev1.Pod{"a": {testPod("x", requests("cpu", "4"), withPriority(1))}},
			pod: testPod("p", requests("cpu", "4"), withPriority(10), selects(corev1.LabelHostname, "a"), func(p *corev1.Pod) { p.Spec.PreemptionPolicy = &never }),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := testCluster(nil, tc.on)
			s.cluster.budgets = tc.budgets
			cost, ok := s.cluster.preempt(newPodInfo(tc.pod))
			got := ""
			if ok {
				var names []string
				for _, v := range cost.victims {
					names = append(names, v.pod.Name)
				}
				slices.Sort(names)
				got = cost.node.name + " " + strings.Join(names, " ")
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			check(t, s.cluster)
		})
	}
}
