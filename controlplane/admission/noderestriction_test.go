package admission

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

func TestNodeToken(t *testing.T) {
	agent := &kind.User{Name: "system:node:a", Groups: []string{"system:nodes"}}
	here, there := &corev1.Pod{Spec: corev1.PodSpec{NodeName: "a"}}, &corev1.Pod{Spec: corev1.PodSpec{NodeName: "b"}}
	for _, c := range []struct {
		name    string
		user    *kind.User
		pod     *corev1.Pod
		refused bool
	}{
		{"its pod", agent, here, false},
		{"another's pod", agent, there, true},
		{"no pod", agent, nil, true},
		{"no agent", &kind.User{Name: "system:node:a"}, there, false},
		{"the server", nil, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := NodeToken(c.user, c.pod); (err != nil) != c.refused {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestLabelsOfAgents(t *testing.T) {
	for key, may := range map[string]bool{
		"zone": true, "example.com/x": true, "kubernetes.io/hostname": true, "topology.kubernetes.io/zone": true,
		"node.kubernetes.io/x": true, "a.kubelet.kubernetes.io/x": true,
		"node-role.kubernetes.io/control-plane": false, "node-restriction.kubernetes.io/x": false, "k8s.io/x": false, "a.k8s.io/x": false,
	} {
		if agentMaySet(key) != may {
			t.Errorf("an agent may set %s: %v", key, !may)
		}
	}
}
