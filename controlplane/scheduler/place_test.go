package scheduler

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

type edit[T any] func(T)

func testNode(name, zone string, edits ...edit[*corev1.Node]) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name, corev1.LabelTopologyZone: zone}},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"),
			corev1.ResourceEphemeralStorage: resource.MustParse("10Gi"), corev1.ResourcePods: resource.MustParse("10"),
		}, Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}
	for _, e := range edits {
		e(n)
	}
	return n
}

func testPod(name string, edits ...edit[*corev1.Pod]) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: types.UID(name), Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{SchedulerName: corev1.DefaultSchedulerName, Containers: []corev1.Container{{Name: "c", Image: "web:1"}}},
	}
	for _, e := range edits {
		e(p)
	}
	return p
}

func requests(list ...string) edit[*corev1.Pod] {
	return func(p *corev1.Pod) {
		r := corev1.ResourceList{}
		for i := 0; i < len(list); i += 2 {
			r[corev1.ResourceName(list[i])] = resource.MustParse(list[i+1])
		}
		p.Spec.Containers[0].Resources.Requests = r
	}
}

// restartsAll has one container's end restart all.
func restartsAll(p *corev1.Pod) {
	p.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{{
		Action: corev1.ContainerRestartRuleActionRestartAllContainers, ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: "In", Values: []int32{1}},
	}}
}

func hostPortOf(port int32, ip string) edit[*corev1.Pod] {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: port, HostIP: ip}}
	}
}

func tainted(key string, effect corev1.TaintEffect) edit[*corev1.Node] {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: effect})
	}
}

func selects(key, value string) edit[*corev1.Pod] {
	return func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{key: value} }
}

func ownedBy(uid string) edit[*corev1.Pod] {
	return func(p *corev1.Pod) {
		yes := true
		p.OwnerReferences = []metav1.OwnerReference{{UID: types.UID(uid), Controller: &yes}}
	}
}

func webTerm(topology string) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{TopologyKey: topology, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}
}

func apart(topology string) edit[*corev1.Pod] {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{webTerm(topology)},
		}}
	}
}

func together(topology string) edit[*corev1.Pod] {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{webTerm(topology)},
		}}
	}
}

func spreadOver(topology string, when corev1.UnsatisfiableConstraintAction) edit[*corev1.Pod] {
	return func(p *corev1.Pod) {
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: topology, WhenUnsatisfiable: when,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		}}
	}
}

func labelled(key, value string) edit[*corev1.Pod] {
	return func(p *corev1.Pod) { p.Labels = map[string]string{key: value} }
}

// testCluster has nodes a and b in zone 1 and c in zone 2, but for edits, and pods on them by node.
func testCluster(nodes []*corev1.Node, on map[string][]*corev1.Pod) *Scheduler {
	s := &Scheduler{cluster: newCluster(), queue: newQueue()}
	if nodes == nil {
		nodes = threeNodes()
	}
	for _, n := range nodes {
		s.cluster.setNode(n)
	}
	for node, list := range on {
		for _, p := range list {
			s.cluster.setPod(newPodInfo(p), node)
		}
	}
	return s
}

func threeNodes() []*corev1.Node {
	return []*corev1.Node{testNode("a", "1"), testNode("b", "1"), testNode("c", "2")}
}

func TestPlace(t *testing.T) {
	full := testPod("full", requests("cpu", "4"))
	for _, tc := range []struct {
		name  string
		nodes []*corev1.Node
		on    map[string][]*corev1.Pod
		pod   *corev1.Pod
		want  string // nodes that are right, or the message
	}{
		{name: "no nodes", nodes: []*corev1.Node{}, pod: testPod("p"), want: "no nodes available to schedule pods"},
		{
			name: "resources, taints and cordons",
			nodes: []*corev1.Node{
				testNode("a", "1"), testNode("b", "1", tainted("gpu", corev1.TaintEffectNoSchedule)), testNode("c", "2", tainted("gpu", corev1.TaintEffectNoExecute)),
				testNode("d", "2", func(n *corev1.Node) { n.Spec.Unschedulable = true }),
			},
			on: map[string][]*corev1.Pod{"a": {full}}, pod: testPod("p", requests("cpu", "1")),
			want: "0/4 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable, 2 node(s) had untolerated taint {gpu: }.",
		},
		{
			name: "several resources at once", nodes: []*corev1.Node{testNode("a", "1")},
			pod:  testPod("p", requests("cpu", "5", "memory", "9Gi", "ephemeral-storage", "11Gi", "example.com/gpu", "1")),
			want: "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient ephemeral-storage, 1 Insufficient example.com/gpu, 1 Insufficient memory.",
		},
		{
			name: "init containers and sidecars reserve too", pod: testPod("p", requests("cpu", "1"), func(p *corev1.Pod) {
				always := corev1.ContainerRestartPolicyAlways
				three := corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("3")}}
				p.Spec.InitContainers = []corev1.Container{{Name: "side", RestartPolicy: &always, Resources: three}, {Name: "init", Resources: three}}
			}),
			want: "0/3 nodes are available: 3 Insufficient cpu.",
		},
		{
			name: "overhead", pod: testPod("p", requests("cpu", "4"), func(p *corev1.Pod) {
				p.Spec.Overhead = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
			}),
			want: "0/3 nodes are available: 3 Insufficient cpu.",
		},
		{
			name: "tolerated taint", nodes: []*corev1.Node{testNode("a", "1", tainted("gpu", corev1.TaintEffectNoSchedule))},
			pod: testPod("p", func(p *corev1.Pod) {
				p.Spec.Tolerations = []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}
			}),
			want: "a",
		},
		{
			name: "a node that has not said that it is ready", nodes: []*corev1.Node{testNode("a", "1", func(n *corev1.Node) { n.Status.Conditions = nil })},
			pod: testPod("p"), want: "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }.",
		},
		{name: "node selector", pod: testPod("p", selects(corev1.LabelHostname, "b")), want: "b"},
		{name: "node selector of no node", pod: testPod("p", selects("disk", "ssd")), want: "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."},
		{
			name: "a feature that one node declares", nodes: []*corev1.Node{testNode("a", "1"), testNode("b", "1", func(n *corev1.Node) { n.Status.DeclaredFeatures = []string{"RestartAllContainersOnContainerExits"} })},
			pod: testPod("p", restartsAll), want: "b",
		},
		{
			name: "a feature that no node declares", pod: testPod("p", restartsAll), want: "0/3 nodes are available: 3 node(s) didn't match Pod's required features.",
		},
		{
			name: "host port", on: map[string][]*corev1.Pod{"a": {testPod("x", hostPortOf(80, ""))}, "b": {testPod("y", hostPortOf(80, "192.0.2.1"))}},
			pod: testPod("p", hostPortOf(80, "192.0.2.2")), want: "b c",
		},
		{
			name: "host port everywhere", nodes: []*corev1.Node{testNode("a", "1")}, on: map[string][]*corev1.Pod{"a": {testPod("x", hostPortOf(80, ""))}},
			pod: testPod("p", hostPortOf(80, "")), want: "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.",
		},
		{
			name: "too many pods", nodes: []*corev1.Node{testNode("a", "1", func(n *corev1.Node) { n.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("1") })},
			on: map[string][]*corev1.Pod{"a": {testPod("x")}}, pod: testPod("p"), want: "0/1 nodes are available: 1 Too many pods.",
		},
		{name: "apart by host", on: map[string][]*corev1.Pod{"a": {testPod("x")}, "c": {testPod("y")}}, pod: testPod("p", apart(corev1.LabelHostname)), want: "b"},
		{
			name: "apart by zone", on: map[string][]*corev1.Pod{"a": {testPod("x")}, "c": {testPod("y")}}, pod: testPod("p", apart(corev1.LabelTopologyZone)),
			want: "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.",
		},
		{name: "others want to be alone", on: map[string][]*corev1.Pod{"a": {testPod("x", apart(corev1.LabelTopologyZone))}}, pod: testPod("p"), want: "c"},
		{
			name: "others want to be alone everywhere", on: map[string][]*corev1.Pod{"a": {testPod("x", apart(corev1.LabelTopologyZone))}, "c": {testPod("y", apart(corev1.LabelTopologyZone))}},
			pod: testPod("p"), want: "0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules.",
		},
		{name: "together", on: map[string][]*corev1.Pod{"c": {testPod("x")}}, pod: testPod("p", together(corev1.LabelTopologyZone)), want: "c"},
		{name: "the first of those that want to be together", pod: testPod("p", together(corev1.LabelTopologyZone)), want: "a b c"},
		{
			name: "together with others that are not there", pod: testPod("p", together(corev1.LabelTopologyZone), labelled("app", "db")),
			want: "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.",
		},
		{
			name: "hard spread", on: map[string][]*corev1.Pod{"a": {testPod("x")}},
			pod: testPod("p", spreadOver(corev1.LabelTopologyZone, corev1.DoNotSchedule)), want: "c",
		},
		{
			name: "hard spread without room where it would go", on: map[string][]*corev1.Pod{"a": {testPod("x")}, "c": {testPod("y", requests("cpu", "4"), labelled("app", "db"))}},
			pod:  testPod("p", requests("cpu", "1"), spreadOver(corev1.LabelTopologyZone, corev1.DoNotSchedule)),
			want: "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match pod topology spread constraints.",
		},
		{
			name: "hard spread without the label", nodes: []*corev1.Node{testNode("a", "1", func(n *corev1.Node) { delete(n.Labels, corev1.LabelTopologyZone) })},
			pod:  testPod("p", spreadOver(corev1.LabelTopologyZone, corev1.DoNotSchedule)),
			want: "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label).",
		},
		{
			name: "soft spread", on: map[string][]*corev1.Pod{"a": {testPod("x")}, "c": {testPod("y"), testPod("z")}},
			pod: testPod("p", spreadOver(corev1.LabelHostname, corev1.ScheduleAnyway)), want: "b",
		},
		{
			name: "a workload spreads over zones and nodes", on: map[string][]*corev1.Pod{"a": {testPod("x", ownedBy("rs"))}},
			pod: testPod("p", ownedBy("rs")), want: "c",
		},
		{
			name: "pods that end do not count for spreading", on: map[string][]*corev1.Pod{
				"a": {testPod("x", ownedBy("rs"))}, "b": {testPod("y", ownedBy("rs"))},
				"c": {testPod("z", ownedBy("rs"), func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} })},
			},
			pod: testPod("p", ownedBy("rs")), want: "c",
		},
		{name: "the emptiest", on: map[string][]*corev1.Pod{"a": {full}, "c": {testPod("y", requests("cpu", "2", "memory", "4Gi"))}}, pod: testPod("p"), want: "b"},
		{
			name: "rather not tainted", nodes: []*corev1.Node{testNode("a", "1", tainted("old", corev1.TaintEffectPreferNoSchedule)), testNode("b", "1")},
			pod: testPod("p"), want: "b",
		},
		{
			name: "preferred node", pod: testPod("p", func(p *corev1.Pod) {
				p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{
					Weight: 10, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
						{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{"b"}},
					}},
				}}}}
			}), want: "b",
		},
		{
			name: "preferred company", on: map[string][]*corev1.Pod{"b": {testPod("x")}}, pod: testPod("p", labelled("app", "db"), func(p *corev1.Pod) {
				p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{
					PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 100, PodAffinityTerm: webTerm(corev1.LabelHostname)}},
				}}
			}), want: "b",
		},
		{
			name: "where the image is", nodes: []*corev1.Node{testNode("a", "1"), testNode("b", "1", func(n *corev1.Node) {
				n.Status.Images = []corev1.ContainerImage{{Names: []string{"web:1"}, SizeBytes: 900 << 20}}
			})},
			pod: testPod("p"), want: "b",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := testCluster(tc.nodes, tc.on)
			seen := map[string]bool{}
			for range 50 { // ties are broken by chance
				node, refused := s.place(newPodInfo(tc.pod))
				if node == "" {
					node = refused.message()
				}
				seen[node] = true
			}
			for got := range seen {
				if got != tc.want && !(strings.Count(tc.want, " ") < 3 && strings.Contains(" "+tc.want+" ", " "+got+" ")) {
					t.Errorf("got %q, want %q", got, tc.want)
				}
			}
		})
	}
}

// Whatever comes and goes, the sums that are kept agree with what there is, and no node has more than it can hold.
func TestSumsAgree(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	s := testCluster(nil, nil)
	live := map[types.UID]*corev1.Pod{}
	edits := []edit[*corev1.Pod]{apart(corev1.LabelHostname), together(corev1.LabelTopologyZone), spreadOver(corev1.LabelHostname, corev1.DoNotSchedule), hostPortOf(80, ""), ownedBy("rs"), labelled("app", "db")}
	for i := range 5000 {
		switch r.IntN(5) {
		case 0, 1, 2:
			p := testPod(fmt.Sprint(i), requests("cpu", fmt.Sprintf("%dm", r.IntN(1500)), "example.com/x", "0"))
			for range r.IntN(3) {
				edits[r.IntN(len(edits))](p)
			}
			info := newPodInfo(p)
			if node, _ := s.place(info); node != "" {
				s.cluster.setPod(info, node)
				live[p.UID] = p
			}
		case 3:
			for uid := range live {
				s.cluster.removePod(uid)
				delete(live, uid)
				break
			}
		case 4:
			for uid, p := range live {
				if p.DeletionTimestamp == nil {
					p = p.DeepCopy()
					p.DeletionTimestamp = &metav1.Time{}
					live[uid] = p
					s.cluster.setPod(newPodInfo(p), s.cluster.pods[uid].node)
				}
				break
			}
		}
		if i%100 == 0 {
			check(t, s.cluster)
		}
	}
	for uid := range live {
		s.cluster.removePod(uid)
	}
	if len(s.cluster.owners)+len(s.cluster.forbidden)+len(s.cluster.pods) != 0 {
		t.Errorf("left: %v %v %v", s.cluster.owners, s.cluster.forbidden, s.cluster.pods)
	}
}

func check(t *testing.T, c *cluster) {
	t.Helper()
	fresh := newCluster()
	for _, n := range c.list {
		fresh.setNode(n.node)
	}
	for _, p := range c.pods {
		fresh.setPod(newPodInfo(p.pod), p.node)
	}
	for name, n := range c.nodes {
		f := fresh.nodes[name]
		if n.used.cpu != f.used.cpu || n.cpu != f.cpu || n.mem != f.mem || len(n.pods) != len(f.pods) || fmt.Sprint(n.ports) != fmt.Sprint(f.ports) {
			t.Fatalf("node %s: %+v, counted anew %+v", name, n, f)
		}
		if n.used.cpu > n.allocatable.cpu || len(n.pods) > n.maxPods {
			t.Fatalf("node %s holds too much: %+v", name, n.used)
		}
		for port, count := range n.ports {
			if count > 1 {
				t.Fatalf("node %s gave port %v %d times", name, port, count)
			}
		}
	}
	if fmt.Sprint(c.owners) != fmt.Sprint(fresh.owners) {
		t.Fatalf("owners %v, counted anew %v", c.owners, fresh.owners)
	}
	for key, n := range c.counters {
		if again := fresh.counter(&n.term); fmt.Sprint(n.onNode) != fmt.Sprint(again.onNode) || n.total != again.total {
			t.Fatalf("counter %s: %v, counted anew %v", key, n.onNode, again.onNode)
		}
	}
}

func BenchmarkPlace(b *testing.B) {
	var nodes []*corev1.Node
	for i := range 200 {
		nodes = append(nodes, testNode(fmt.Sprintf("n%03d", i), fmt.Sprint(i%3), func(n *corev1.Node) {
			n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("64"), corev1.ResourceMemory: resource.MustParse("256Gi"), corev1.ResourcePods: resource.MustParse("100000")}
		}))
	}
	s := testCluster(nodes, nil)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p := newPodInfo(testPod(fmt.Sprint(i), ownedBy("rs"), requests("cpu", "1m")))
		node, _ := s.place(p)
		s.cluster.setPod(p, node)
	}
}
