package node

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// grace is how long a node may be silent before it counts as unreachable.
const grace = 40 * time.Second

// conditionTaints are the taints that conditions put on a node, by the status that does.
var conditionTaints = []struct {
	condition corev1.NodeConditionType
	status    corev1.ConditionStatus
	key       string
}{
	{corev1.NodeReady, corev1.ConditionFalse, corev1.TaintNodeNotReady},
	{corev1.NodeReady, corev1.ConditionUnknown, corev1.TaintNodeUnreachable},
	{corev1.NodeMemoryPressure, corev1.ConditionTrue, corev1.TaintNodeMemoryPressure},
	{corev1.NodeDiskPressure, corev1.ConditionTrue, corev1.TaintNodeDiskPressure},
	{corev1.NodePIDPressure, corev1.ConditionTrue, corev1.TaintNodePIDPressure},
	{corev1.NodeNetworkUnavailable, corev1.ConditionTrue, corev1.TaintNodeNetworkUnavailable},
}

// heartbeatConditions are what only the node itself knows, and nobody when it is silent.
var heartbeatConditions = []corev1.NodeConditionType{
	corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure,
}

func condition(n *corev1.Node, t corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == t {
			return &n.Status.Conditions[i]
		}
	}
	return nil
}

func readiness(n *corev1.Node) corev1.ConditionStatus {
	if c := condition(n, corev1.NodeReady); c != nil {
		return c.Status
	}
	return ""
}

// silenced returns n with everything unknown that it has not said for too long; n itself when that is so already.
func silenced(n *corev1.Node, now time.Time) *corev1.Node {
	next := n.DeepCopy()
	changed := false
	for _, t := range heartbeatConditions {
		c := condition(next, t)
		switch {
		case c == nil:
			next.Status.Conditions = append(next.Status.Conditions, corev1.NodeCondition{
				Type: t, Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status.",
				LastHeartbeatTime: n.CreationTimestamp, LastTransitionTime: metav1.NewTime(now),
			})
			changed = true
		case c.Status != corev1.ConditionUnknown:
			c.Status, c.Reason, c.Message = corev1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status."
			c.LastTransitionTime = metav1.NewTime(now)
			changed = true
		}
	}
	if !changed {
		return n
	}
	return next
}

// taintsFor returns n's taints as its conditions and spec.unschedulable ask for them. A node that has never
// said whether it is ready is not.
func taintsFor(n *corev1.Node, now time.Time) []corev1.Taint {
	type id struct {
		key    string
		effect corev1.TaintEffect
	}
	want := map[id]bool{}
	managed := map[string]bool{corev1.TaintNodeUnschedulable: true}
	if n.Spec.Unschedulable {
		want[id{corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule}] = true
	}
	for _, t := range conditionTaints {
		managed[t.key] = true
		if c := condition(n, t.condition); c != nil && c.Status == t.status {
			want[id{t.key, corev1.TaintEffectNoSchedule}] = true
			if t.condition == corev1.NodeReady {
				want[id{t.key, corev1.TaintEffectNoExecute}] = true
			}
		}
	}
	if readiness(n) == "" {
		want[id{corev1.TaintNodeNotReady, corev1.TaintEffectNoSchedule}] = true
	}
	var out []corev1.Taint
	for _, t := range n.Spec.Taints {
		key := id{t.Key, t.Effect}
		if managed[t.Key] && t.Effect != corev1.TaintEffectPreferNoSchedule && !want[key] {
			continue
		}
		delete(want, key)
		out = append(out, t)
	}
	var missing []corev1.Taint
	for key := range want {
		t := corev1.Taint{Key: key.key, Effect: key.effect, TimeAdded: &metav1.Time{Time: now}}
		missing = append(missing, t)
	}
	slices.SortFunc(missing, func(a, b corev1.Taint) int {
		if a.Key+string(a.Effect) < b.Key+string(b.Effect) {
			return -1
		}
		return 1
	})
	return append(out, missing...)
}

func sameTaints(a, b []corev1.Taint) bool {
	return slices.EqualFunc(a, b, func(x, y corev1.Taint) bool { return x.Key == y.Key && x.Effect == y.Effect && x.Value == y.Value })
}

// evictAt returns when a pod with these tolerations has to leave a node with these taints: never, when evict
// is false. start returns from when the time that a pod tolerates a taint counts.
func evictAt(tolerations []corev1.Toleration, taints []corev1.Taint, start func(*corev1.Taint) time.Time) (at time.Time, evict bool) {
	for i := range taints {
		taint := &taints[i]
		if taint.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		patience, forever := tolerated(tolerations, taint)
		if forever {
			continue
		}
		if leaves := start(taint).Add(patience); !evict || leaves.Before(at) {
			at, evict = leaves, true
		}
	}
	return at, evict
}

// tolerated returns for how long taint is tolerated: the shortest of all tolerations that say a time.
func tolerated(tolerations []corev1.Toleration, taint *corev1.Taint) (patience time.Duration, forever bool) {
	for i := range tolerations {
		t := &tolerations[i]
		if !tolerates(t, taint) {
			continue
		}
		if t.TolerationSeconds == nil {
			forever = forever || patience == 0
			continue
		}
		seconds := time.Duration(max(0, *t.TolerationSeconds)) * time.Second
		if seconds == 0 {
			return 0, false
		}
		if patience == 0 || seconds < patience {
			patience = seconds
		}
		forever = false
	}
	return patience, forever
}

func tolerates(t *corev1.Toleration, taint *corev1.Taint) bool {
	if t.Effect != "" && t.Effect != taint.Effect || t.Key != "" && t.Key != taint.Key {
		return false
	}
	switch t.Operator {
	case corev1.TolerationOpExists:
		return true
	case "", corev1.TolerationOpEqual:
		return t.Key != "" && t.Value == taint.Value
	default:
		return false
	}
}
