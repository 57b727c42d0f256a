package pod

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestInitialized(t *testing.T) {
	runs := &containerRecord{ID: "a", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, Started: true, Ready: true}
	done := &containerRecord{ID: "b", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}
	failed := &containerRecord{ID: "c", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1}}}
	always := corev1.ContainerRestartPolicyAlways
	for name, tc := range map[string]struct {
		containers map[string]*containerRecord
		sidecar    bool
		phase      corev1.PodPhase
		want       string
	}{
		"the first runs":      {map[string]*containerRecord{"one": runs}, false, corev1.PodPending, "containers with incomplete status: [one two]"},
		"the second runs":     {map[string]*containerRecord{"one": done, "two": runs}, false, corev1.PodPending, "containers with incomplete status: [two]"},
		"a sidecar runs":      {map[string]*containerRecord{"one": runs, "two": runs}, true, corev1.PodPending, "containers with incomplete status: [two]"},
		"the second failed":   {map[string]*containerRecord{"one": done, "two": failed}, false, corev1.PodFailed, "containers with incomplete status: [two]"},
		"both are done":       {map[string]*containerRecord{"one": done, "two": done}, false, corev1.PodPending, ""},
		"and the app runs":    {map[string]*containerRecord{"one": done, "two": done, "app": runs}, false, corev1.PodRunning, ""},
		"a sidecar restarted": {map[string]*containerRecord{"one": failed, "two": done, "app": runs}, true, corev1.PodRunning, ""},
	} {
		p := &corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: "one"}, {Name: "two"}}, Containers: []corev1.Container{{Name: "app"}}}}
		if tc.sidecar {
			p.Spec.InitContainers[0].RestartPolicy = &always
		}
		w := &worker{pod: p, rec: &podRecord{Containers: tc.containers}}
		s := &corev1.PodStatus{Phase: tc.phase}
		w.containerStatuses(s)
		got := initialized(p, s)
		want := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
		if tc.want != "" {
			want.Status, want.Reason, want.Message = corev1.ConditionFalse, "ContainersNotInitialized", tc.want
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}
