package node

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var epoch = time.Unix(1700000000, 0)

func nodeThat(status corev1.ConditionStatus) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	if status != "" {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}
	}
	return n
}

func TestTaints(t *testing.T) {
	const ready, notReady, unknown = corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionUnknown
	for _, tc := range []struct {
		name   string
		status corev1.ConditionStatus
		edit   func(*corev1.Node)
		want   string
	}{
		{"ready", ready, nil, ""},
		{"never heard of", "", nil, "node.kubernetes.io/not-ready:NoSchedule"},
		{"not ready", notReady, nil, "node.kubernetes.io/not-ready:NoExecute node.kubernetes.io/not-ready:NoSchedule"},
		{"silent", unknown, nil, "node.kubernetes.io/unreachable:NoExecute node.kubernetes.io/unreachable:NoSchedule"},
		{"cordoned", ready, func(n *corev1.Node) { n.Spec.Unschedulable = true }, "node.kubernetes.io/unschedulable:NoSchedule"},
		{"short of disk", ready, func(n *corev1.Node) {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue})
		}, "node.kubernetes.io/disk-pressure:NoSchedule"},
		{"back again, with a taint of the user's", ready, func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "mine", Effect: corev1.TaintEffectNoExecute}, {Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute}}
		}, "mine:NoExecute"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := nodeThat(tc.status)
			if tc.edit != nil {
				tc.edit(n)
			}
			var got []string
			for _, taint := range taintsFor(n, epoch) {
				got = append(got, taint.Key+":"+string(taint.Effect))
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("got %v", got)
			}
			n.Spec.Taints = taintsFor(n, epoch)
			if !sameTaints(taintsFor(n, epoch.Add(time.Hour)), n.Spec.Taints) {
				t.Error("a second look changes them again")
			}
		})
	}
}

func TestSilence(t *testing.T) {
	n := nodeThat(corev1.ConditionTrue)
	got := silenced(n, epoch)
	for _, c := range heartbeatConditions {
		if condition(got, c) == nil || condition(got, c).Status != corev1.ConditionUnknown {
			t.Errorf("%s is %+v", c, condition(got, c))
		}
	}
	if r := condition(got, corev1.NodeReady); r.Reason != "NodeStatusUnknown" || r.Message != "Kubelet stopped posting node status." {
		t.Errorf("ready is %+v", r)
	}
	if silenced(got, epoch.Add(time.Hour)) != got {
		t.Error("a second look changes it again")
	}
}

func TestEvictAt(t *testing.T) {
	taint := func(key string) corev1.Taint { return corev1.Taint{Key: key, Effect: corev1.TaintEffectNoExecute} }
	forever := func(key string) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists}
	}
	lasting := func(key string, seconds int64) corev1.Toleration {
		out := forever(key)
		out.TolerationSeconds = &seconds
		return out
	}
	for _, tc := range []struct {
		name        string
		taints      []corev1.Taint
		tolerations []corev1.Toleration
		want        int // seconds from the start, -1 for never
	}{
		{"nothing", nil, nil, -1},
		{"no toleration", []corev1.Taint{taint("a")}, nil, 0},
		{"only kept from being scheduled", []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectNoSchedule}}, nil, -1},
		{"for ever", []corev1.Taint{taint("a")}, []corev1.Toleration{forever("a")}, -1},
		{"for a time", []corev1.Taint{taint("a")}, []corev1.Toleration{lasting("a", 300)}, 300},
		{"the shorter of two", []corev1.Taint{taint("a")}, []corev1.Toleration{lasting("a", 300), forever("a"), lasting("", 20)}, 20},
		{"no time at all", []corev1.Taint{taint("a")}, []corev1.Toleration{lasting("a", 0), forever("a")}, 0},
		{"the first of two taints", []corev1.Taint{taint("a"), taint("b")}, []corev1.Toleration{lasting("a", 300), lasting("b", 60)}, 60},
		{"another value", []corev1.Taint{{Key: "a", Value: "x", Effect: corev1.TaintEffectNoExecute}}, []corev1.Toleration{{Key: "a", Value: "y"}}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			at, evict := evictAt(tc.tolerations, tc.taints, func(*corev1.Taint) time.Time { return epoch })
			if evict != (tc.want >= 0) || evict && at.Sub(epoch) != time.Duration(tc.want)*time.Second {
				t.Errorf("evict %v after %s", evict, at.Sub(epoch))
			}
		})
	}
}

func TestNextFreeRange(t *testing.T) {
	cluster := netip.MustParsePrefix("10.244.0.0/22")
	having := func(ranges ...string) []*corev1.Node {
		var out []*corev1.Node
		for _, r := range ranges {
			n := nodeThat("")
			n.Spec.PodCIDR = r
			out = append(out, n)
		}
		return out
	}
	for _, tc := range []struct {
		have []*corev1.Node
		want string
	}{
		{nil, "10.244.0.0/24"},
		{having("", "10.244.0.0/24"), "10.244.1.0/24"},
		{having("10.244.1.0/24", "192.0.2.0/24"), "10.244.0.0/24"},
		{having("10.244.0.0/23", "10.244.3.128/25"), "10.244.2.0/24"},
		{having("10.244.0.0/16"), ""},
	} {
		got, ok := nextFree(cluster, tc.have)
		if ok != (tc.want != "") || ok && got.String() != tc.want {
			t.Errorf("want %q, got %v %v", tc.want, got, ok)
		}
	}
}

func TestAllRangesAreGivenOnce(t *testing.T) {
	var nodes []*corev1.Node
	seen := map[string]bool{}
	for i := range 256 {
		r, ok := nextFree(netip.MustParsePrefix("10.244.0.0/16"), nodes)
		if !ok || seen[r.String()] {
			t.Fatalf("range %d is %v, %v", i, r, ok)
		}
		seen[r.String()] = true
		n := nodeThat("")
		n.Name, n.Spec.PodCIDR = fmt.Sprint(i), r.String()
		nodes = append(nodes, n)
	}
	if r, ok := nextFree(netip.MustParsePrefix("10.244.0.0/16"), nodes); ok {
		t.Errorf("one too many: %v", r)
	}
}
