package acctest

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairlead-io/terraform-provider-fairlead/acctest/machine"
)

// testEvictionHard sets a threshold of nodes that run: what it keeps from pods is not allocatable any more, and the
// pods run on. A wrong one is refused by the plan.
func (s *standing) testEvictionHard(t *testing.T) {
	if err := s.Set(map[string]any{"eviction_hard": map[string]string{"memory.available": "lots"}}); err != nil {
		t.Fatal(err)
	}
	_, out, err := s.Plan(t.Context())
	if err == nil {
		t.Errorf("a wrong threshold was planned:\n%s", out)
	}
	says(t, out, `eviction_hard["memory.available"]: "lots" is neither a quantity nor a percentage`)

	before := awaitPods(t, s.clients, 3, time.Minute)
	kept := resource.MustParse("1Gi")
	if err := s.Set(map[string]any{"eviction_hard": map[string]string{"memory.available": kept.String()}}); err != nil {
		t.Fatal(err)
	}
	says(t, apply(t, s.Workspace), "Resources: 0 added, 2 changed, 0 destroyed")
	for _, m := range []*machine.Machine{s.a, s.b} {
		eventually(t, 30*time.Second, "the node keeps memory from pods", func(ctx context.Context) error {
			n, err := s.clients.CoreV1().Nodes().Get(ctx, m.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			left := n.Status.Capacity.Memory().DeepCopy()
			left.Sub(kept)
			if got := n.Status.Allocatable.Memory(); got.Cmp(left) != 0 {
				return fmt.Errorf("%s of node %s are allocatable, want %s", got, m.Name, left.String())
			}
			return nil
		})
	}
	planEmpty(t, s.Workspace)
	after := awaitPods(t, s.clients, 3, time.Minute)
	if !slices.Equal(uids(before), uids(after)) {
		t.Errorf("pods %v became %v", uids(before), uids(after))
	}
}

func uids(pods []corev1.Pod) []string {
	var out []string
	for _, p := range pods {
		out = append(out, string(p.UID))
	}
	slices.Sort(out)
	return out
}

// testDrain removes a node while requests go on and a disruption budget stands: no request fails, and no more pods
// are missing at any time than the budget allows. Then the machine joins again.
func (s *standing) testDrain(t *testing.T) {
	const replicas = 6
	if err := s.Set(map[string]any{"replicas": replicas}); err != nil {
		t.Fatal(err)
	}
	apply(t, s.Workspace)
	awaitPods(t, s.clients, replicas, time.Minute)
	one := intstr.FromInt32(1)
	budgets := s.clients.PolicyV1().PodDisruptionBudgets(namespace)
	_, err := budgets.Create(t.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: web},
		Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": web}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the budget counts", func(ctx context.Context) error {
		b, err := budgets.Get(ctx, web, metav1.GetOptions{})
		if err == nil && b.Status.DisruptionsAllowed != 1 {
			err = fmt.Errorf("its status is %+v", b.Status)
		}
		return err
	})
	l, fewest := startLoad(t, s.urls()[:2]...), s.fewestReady(t)
	if err := s.Set(map[string]any{"workers": map[string]any{"a": hostVar(s.a)}}); err != nil {
		t.Fatal(err)
	}
	apply(t, s.Workspace)
	l.more(t, 50)
	l.end(t)
	if n := fewest(); n < replicas-1 {
		t.Errorf("only %d pods were ready during the drain; the budget allows one of %d to be missing", n, replicas)
	}
	for _, p := range awaitPods(t, s.clients, replicas, time.Minute) {
		if p.Spec.NodeName == s.b.Name {
			t.Errorf("pod %s is on the node that is gone", p.Name)
		}
	}
	planEmpty(t, s.Workspace)
	bare(t, s.b, s.bare[s.b.Name])

	if err := budgets.Delete(t.Context(), web, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// The other greeting makes all pods anew, spread over all nodes again. It does not wait for a machine that can not be a node.
	if err := s.Set(map[string]any{"replicas": 3, "greeting": "Hello", "workers": map[string]any{"a": hostVar(s.a), "b": hostVar(s.b)}}); err != nil {
		t.Fatal(err)
	}
	command(t, s.b, "systemd-run -q --unit=taken --socket-property=ListenStream=10250 --service-type=simple /bin/true")
	says(t, refused(t, s.Workspace, "Error: Host is not ready", `with fairlead_node.worker["b"]`, "port: tcp/10250 is taken by", "Nothing was changed there"),
		"fairlead_config_map.web: Modifications complete")
	bare(t, s.b, s.bare[s.b.Name], regexp.MustCompile("^(unit|unit-file|file) .*taken"))
	command(t, s.b, "systemctl stop taken.socket; systemctl reset-failed")
	apply(t, s.Workspace)
	awaitNodes(t, s.clients, time.Minute, s.b.Name)
	planEmpty(t, s.Workspace)
}

// fewestReady counts the ready pods from now on, and returns a function that stops and says the smallest number.
func (s *standing) fewestReady(t *testing.T) func() int {
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	fewest := -1
	done.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			pods, err := webPods(ctx, s.clients)
			if err != nil {
				continue
			}
			n := 0
			for i := range pods {
				if ready(&pods[i]) == nil {
					n++
				}
			}
			if fewest < 0 || n < fewest {
				fewest = n
			}
		}
	})
	stop := func() int { cancel(); done.Wait(); return fewest }
	t.Cleanup(func() { stop() })
	return stop
}

// testDeadNode takes a machine's power away for good: its pods are made elsewhere and the service answers; the
// node can be removed without its machine; and the machine can join again when it is back.
func (s *standing) testDeadNode(t *testing.T) {
	onB := func(p corev1.Pod) bool { return p.Spec.NodeName == s.b.Name }
	if !slices.ContainsFunc(awaitPods(t, s.clients, 3, time.Minute), onB) {
		// Another greeting makes all pods anew, spread over all nodes.
		if err := s.Set(map[string]any{"greeting": "Welcome"}); err != nil {
			t.Fatal(err)
		}
		apply(t, s.Workspace)
	}
	if pods := awaitPods(t, s.clients, 3, time.Minute); !slices.ContainsFunc(pods, onB) {
		t.Fatalf("no pod is on the machine that is to die: %v", containers(pods))
	}
	s.b.PowerCut()
	eventually(t, 3*time.Minute, "all pods elsewhere", func(ctx context.Context) error {
		pods, err := webPods(ctx, s.clients)
		if err != nil {
			return err
		}
		if len(pods) != 3 {
			return fmt.Errorf("there are %d pods", len(pods))
		}
		for i := range pods {
			if err := ready(&pods[i]); err != nil || pods[i].Spec.NodeName == s.b.Name {
				return fmt.Errorf("pod %s on %s: %w", pods[i].Name, pods[i].Spec.NodeName, err)
			}
		}
		return nil
	})
	l := startLoad(t, s.urls()[:2]...)
	l.more(t, 100)
	l.end(t)

	// Without being told so, Terraform does not give a machine up.
	workers := map[string]any{"a": hostVar(s.a)}
	if err := s.Set(map[string]any{"workers": workers}); err != nil {
		t.Fatal(err)
	}
	refused(t, s.Workspace, "Host can not be reached", "ignore_unreachable = true", s.b.Address.String())
	dead := hostVar(s.b)
	dead["ignore_unreachable"] = true
	if err := s.Set(map[string]any{"workers": map[string]any{"a": hostVar(s.a), "b": dead}}); err != nil {
		t.Fatal(err)
	}
	apply(t, s.Workspace)
	if err := s.Set(map[string]any{"workers": workers}); err != nil {
		t.Fatal(err)
	}
	says(t, apply(t, s.Workspace), "Warning: Host not cleaned up", "1 destroyed")
	planEmpty(t, s.Workspace)

	if err := s.b.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Set(map[string]any{"workers": map[string]any{"a": hostVar(s.a), "b": hostVar(s.b)}}); err != nil {
		t.Fatal(err)
	}
	apply(t, s.Workspace)
	awaitNodes(t, s.clients, time.Minute, s.names()...)
	planEmpty(t, s.Workspace)
}
