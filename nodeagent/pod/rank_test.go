package pod

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/eviction"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/pressure"
)

// podThatAsks is a pod with a priority and a request of memory and storage for each of its containers, which are named a, b, ….
func podThatAsks(name string, priority int32, requests ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: corev1.PodSpec{Priority: &priority}}
	for i, r := range requests {
		q := resource.MustParse(r)
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
			Name:      string(rune('a' + i)),
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceMemory: q, corev1.ResourceEphemeralStorage: q}},
		})
	}
	return p
}

func TestRank(t *testing.T) {
	list := func() []candidate {
		return []candidate{
			{pod: podThatAsks("within, important", 10, "100"), known: true, used: 99},
			{pod: podThatAsks("within", 0, "60", "40"), known: true, used: 90},
			{pod: podThatAsks("at its request", 0, "100"), known: true, used: 100},
			{pod: podThatAsks("beyond, important", 10, "10"), known: true, used: 1000},
			{pod: podThatAsks("a little beyond", 0, "100"), known: true, used: 101},
			{pod: podThatAsks("asks nothing", 0), known: true, used: 50},
			{pod: podThatAsks("unknown", 20), known: false},
			{pod: podThatAsks("unimportant, within", -1, "100"), known: true, used: 1},
		}
	}
	for name, want := range map[corev1.ResourceName]string{
		corev1.ResourceMemory:           "unknown; asks nothing; a little beyond; beyond, important; unimportant, within; at its request; within; within, important",
		corev1.ResourceEphemeralStorage: "unknown; asks nothing; a little beyond; beyond, important; unimportant, within; at its request; within; within, important",
		pressure.Inodes:                 "unknown; unimportant, within; a little beyond; at its request; within; asks nothing; beyond, important; within, important",
		pressure.PIDs:                   "unknown; unimportant, within; a little beyond; at its request; within; asks nothing; beyond, important; within, important",
	} {
		l := list()
		rank(l, name)
		var got []string
		for _, c := range l {
			got = append(got, c.pod.Name)
		}
		if got := strings.Join(got, "; "); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestExplain(t *testing.T) {
	memory := pressure.Shortage{Signal: eviction.MemoryAvailable, Resource: corev1.ResourceMemory, Threshold: 100 << 20, Available: 50 << 20}
	pod := podThatAsks("p", 0, "1Mi", "10Mi", "0")
	c := candidate{pod: pod, used: 14 << 20, containers: map[string]int64{"a": 2 << 20, "b": 9 << 20, "c": 3 << 20}}
	const node = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
	const containers = "Container a was using 2Mi, request is 1Mi, has larger consumption of memory. Container c was using 3Mi, request is 0, has larger consumption of memory. "
	message, notes := c.explain(memory)
	if message != node+containers || notes["offending_containers"] != "a,c" || notes["offending_containers_usage"] != "2Mi,3Mi" || notes["starved_resource"] != "memory" {
		t.Errorf("%q %v", message, notes)
	}
	pod.Spec.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("12Mi")}}
	message, notes = c.explain(memory)
	if message != node+"Pod p was using 14Mi, request is 12Mi, has larger consumption of memory. "+containers || notes["offending_pod_usage"] != "14Mi" {
		t.Errorf("%q %v", message, notes)
	}
	disk := pressure.Shortage{Signal: eviction.NodeFSAvailable, Resource: corev1.ResourceEphemeralStorage, Threshold: 100 << 20, Available: 50 << 20}
	const full = "The node was low on resource: ephemeral-storage. Threshold quantity: 100Mi, available: 50Mi. "
	for _, tc := range []struct {
		used int64
		want string
	}{
		{13 << 20, "Pod p was using 13Mi, request is 11Mi, has larger consumption of ephemeral-storage. "}, // 10 of them in volumes
		{11 << 20, ""},
		{3 << 20, ""},
	} {
		c := candidate{pod: pod, used: tc.used, containers: map[string]int64{"b": 3 << 20}}
		if message, _ := c.explain(disk); message != full+tc.want {
			t.Errorf("%d: %q", tc.used, message)
		}
	}
	c.containers = nil
	if message, _ := c.explain(pressure.Shortage{Signal: eviction.PIDAvailable, Resource: pressure.PIDs, Threshold: 5, Available: 4}); message != "The node was low on resource: pids. Threshold quantity: 5, available: 4. " {
		t.Errorf("%q", message)
	}
}

func TestBears(t *testing.T) {
	memory, disk, pids := corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure
	with := func(f func(*corev1.Pod)) *corev1.Pod {
		p := podThatAsks("p", 0)
		p.Spec.Containers = []corev1.Container{{Name: "a"}}
		f(p)
		return p
	}
	tolerating := func(t corev1.Toleration) *corev1.Pod {
		return with(func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{t} })
	}
	for name, tc := range map[string]struct {
		pod                     *corev1.Pod
		memory, disk, pid, both bool
	}{
		"best effort":      {with(func(*corev1.Pod) {}), false, false, false, false},
		"burstable":        {podThatAsks("p", 0, "1Mi"), true, false, false, false},
		"critical":         {with(func(p *corev1.Pod) { *p.Spec.Priority = systemCritical }), true, true, true, true},
		"nearly critical":  {with(func(p *corev1.Pod) { *p.Spec.Priority = systemCritical - 1 }), false, false, false, false},
		"mirror":           {with(func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }), true, true, true, true},
		"from a file":      {with(func(p *corev1.Pod) { p.Annotations = map[string]string{"kubernetes.io/config.source": "file"} }), true, true, true, true},
		"tolerates memory": {tolerating(corev1.Toleration{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}), true, false, false, false},
		"tolerates all":    {tolerating(corev1.Toleration{Operator: corev1.TolerationOpExists}), true, false, false, false},
		"tolerates disk":   {tolerating(corev1.Toleration{Key: corev1.TaintNodeDiskPressure, Operator: corev1.TolerationOpExists}), false, false, false, false},
	} {
		for _, c := range []struct {
			under []corev1.NodeConditionType
			want  bool
		}{
			{nil, true}, {[]corev1.NodeConditionType{memory}, tc.memory}, {[]corev1.NodeConditionType{disk}, tc.disk},
			{[]corev1.NodeConditionType{pids}, tc.pid}, {[]corev1.NodeConditionType{memory, disk}, tc.both},
		} {
			if got := bears(tc.pod, c.under); got != c.want {
				t.Errorf("%s, %v: %t", name, c.under, got)
			}
		}
	}
}
