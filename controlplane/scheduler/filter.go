package scheduler

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/nodedeclaredfeatures"
)

// cause is a set of reasons why pods do not fit, to know which events may help them.
type cause uint16

const (
	causeNode      cause = 1 << iota // labels, taints, name: of the node itself
	causeResources                   // what other pods of the node take
	causeSpread
	causeAffinity
)

// refusal is why a node does not fit.
type refusal struct {
	text  string
	cause cause
}

// The texts that Kubernetes has for them, which users search for.
var (
	refusedUnschedulable = refusal{"node(s) were unschedulable", causeNode}
	refusedSelector      = refusal{"node(s) didn't match Pod's node affinity/selector", causeNode}
	refusedFeatures      = refusal{"node(s) didn't match Pod's required features", causeNode}
	refusedPorts         = refusal{"node(s) didn't have free ports for the requested pod ports", causeResources}
	refusedCount         = refusal{"Too many pods", causeResources}
	refusedSpread        = refusal{"node(s) didn't match pod topology spread constraints", causeSpread}
	refusedSpreadLabel   = refusal{"node(s) didn't match pod topology spread constraints (missing required label)", causeNode}
	refusedAffinity      = refusal{"node(s) didn't match pod affinity rules", causeAffinity}
	refusedAntiAffinity  = refusal{"node(s) didn't match pod anti-affinity rules", causeAffinity}
	refusedByExisting    = refusal{"node(s) didn't satisfy existing pods anti-affinity rules", causeAffinity}
)

// filter appends to out why p can not go to n; nothing means that it can. All resources that lack are named,
// of everything else the first that does not fit.
func filter(p *podInfo, n *nodeInfo, t *topology, out []refusal) []refusal {
	node := n.node
	if node.Spec.Unschedulable && !tolerated(p.pod.Spec.Tolerations, &unschedulableTaint) {
		return append(out, refusedUnschedulable)
	}
	for i := range node.Spec.Taints {
		taint := &node.Spec.Taints[i]
		if taint.Effect != corev1.TaintEffectPreferNoSchedule && !tolerated(p.pod.Spec.Tolerations, taint) {
			return append(out, refusedByTaint(taint))
		}
	}
	if n.silent && !tolerated(p.pod.Spec.Tolerations, &notReadyTaint) {
		return append(out, refusedByTaint(&notReadyTaint))
	}
	if p.constrained && !allowed(p, node) {
		return append(out, refusedSelector)
	}
	if !p.needs.IsEmpty() && !declares(node, p.needs) {
		return append(out, refusedFeatures)
	}
	if len(p.ports) > 0 && portsTaken(p, n) {
		return append(out, refusedPorts)
	}
	before := len(out)
	if out = filterResources(p, n, out); len(out) > before {
		return out
	}
	return t.filter(n, out)
}

// Taints that follow from a node's own fields, for the time until a controller has written them.
var (
	unschedulableTaint = corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	notReadyTaint      = corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
)

func refusedByTaint(t *corev1.Taint) refusal {
	return refusal{fmt.Sprintf("node(s) had untolerated taint {%s: %s}", t.Key, t.Value), causeNode}
}

func declares(node *corev1.Node, needs nodedeclaredfeatures.FeatureSet) bool {
	m, err := nodedeclaredfeatures.DefaultFramework.MatchNode(needs, node)
	return err == nil && m.IsMatch
}

func allowed(p *podInfo, node *corev1.Node) bool {
	ok, err := p.required.Match(node)
	return ok && err == nil
}

func portsTaken(p *podInfo, n *nodeInfo) bool {
	for taken := range n.ports {
		if slices.ContainsFunc(p.ports, taken.conflicts) {
			return true
		}
	}
	return false
}

func filterResources(p *podInfo, n *nodeInfo, out []refusal) []refusal {
	if len(n.pods)+1 > n.maxPods {
		out = append(out, refusedCount)
	}
	lacks := func(name corev1.ResourceName, want, used, have int64) {
		if want > 0 && want > have-used {
			out = append(out, refusal{"Insufficient " + string(name), causeResources})
		}
	}
	lacks(corev1.ResourceCPU, p.request.cpu, n.used.cpu, n.allocatable.cpu)
	lacks(corev1.ResourceMemory, p.request.memory, n.used.memory, n.allocatable.memory)
	lacks(corev1.ResourceEphemeralStorage, p.request.storage, n.used.storage, n.allocatable.storage)
	for name, want := range p.request.other {
		lacks(name, want, n.used.other[name], n.allocatable.other[name])
	}
	return out
}

func tolerated(tolerations []corev1.Toleration, taint *corev1.Taint) bool {
	for i := range tolerations {
		t := &tolerations[i]
		if t.Effect != "" && t.Effect != taint.Effect || t.Key != "" && t.Key != taint.Key {
			continue
		}
		switch t.Operator {
		case corev1.TolerationOpExists:
			return true
		case "", corev1.TolerationOpEqual:
			if t.Key != "" && t.Value == taint.Value {
				return true
			}
		}
	}
	return false
}
