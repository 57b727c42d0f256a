package acctest

import (
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/fairlead-io/terraform-provider-fairlead/acctest/machine"
)

// standing is the cluster that most tests share: a control-plane host and two workers, all running pods.
type standing struct {
	*Workspace
	control, a, b *machine.Machine
	clients       kubernetes.Interface
	config        *rest.Config
	url           string              // of the web server on the control-plane host
	bare          map[string][]string // what was on each machine before it was a node, by name
	pods          map[string]string   // UIDs of pods that were, with their nodes
}

// TestCluster is the life of one cluster, from three bare machines to three bare machines. Its parts need those
// before them; they are in the files of their themes.
func TestCluster(t *testing.T) {
	s := &standing{bare: map[string][]string{}, pods: map[string]string{}}
	for _, m := range []struct {
		at   **machine.Machine
		name string
	}{{&s.control, prefix + "-1"}, {&s.a, prefix + "-2"}, {&s.b, prefix + "-3"}} {
		started, err := fleet.Start(t.Context(), m.name)
		if err != nil {
			t.Fatal(err)
		}
		*m.at, s.bare[m.name] = started, listing(t, started)
	}
	control := hostVar(s.control)
	control["labels"] = map[string]string{"zone": "control"}
	s.Workspace = workspace(t, "cluster.tf", map[string]any{
		"ssh": sshVar(), "image_source": imageFile, "control_plane": control,
		"workers": map[string]any{"a": hostVar(s.a), "b": hostVar(s.b)},
	})
	if !t.Run("FromZero", s.testFromZero) {
		t.FailNow()
	}
	s.clients, s.config = client(t, s.control)
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"Reach", s.testReach},
		{"Kubeconfig", s.testKubeconfig},
		{"EvictionHard", s.testEvictionHard},
		{"Import", s.testImport},
		{"Drift", s.testDrift},
		{"Scale", s.testScale},
		{"RollingUpdate", s.testRollingUpdate},
		{"BadImage", s.testBadImage},
		{"Upgrade", s.testUpgrade},
		{"Kill", s.testKill},
		{"PowerCut", s.testPowerCut},
		{"Drain", s.testDrain},
		{"DeadNode", s.testDeadNode},
		{"Destroy", s.testDestroy},
	} {
		t.Run(part.name, part.run)
		if pods, err := webPods(t.Context(), s.clients); err == nil {
			for _, p := range pods {
				s.pods[string(p.UID)] = p.Spec.NodeName
			}
		}
	}
}

// machines returns all three.
func (s *standing) machines() []*machine.Machine {
	return []*machine.Machine{s.control, s.a, s.b}
}

// names returns the nodes' names, which are the machines'.
func (s *standing) names() []string {
	return []string{s.control.Name, s.a.Name, s.b.Name}
}
