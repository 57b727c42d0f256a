package scheduler

import "math"

// topology is what the constraints of one pod between pods and places come to: made once a pod, then asked for
// each node.
type topology struct {
	pod       *podInfo
	spreads   []domains
	affinity  []domains
	firstOne  bool // no pod matches the pod's affinity yet but it does itself: it may begin
	anti      []domains
	forbidden []domains
}

// domains counts pods by the value of a topology label.
type domains struct {
	label  string
	counts map[string]int
	spread *spread
	least  int // of any domain, for spread
}

func (c *cluster) topologyOf(p *podInfo) *topology {
	t := &topology{pod: p}
	for i := range p.hardSpread {
		t.spreads = append(t.spreads, c.spreadDomains(p, &p.hardSpread[i]))
	}
	matched := 0
	for i := range p.affinity {
		d := c.domainsOf(p.affinity[i].topology, c.counter(&p.affinity[i]).onNode)
		matched += len(d.counts)
		t.affinity = append(t.affinity, d)
	}
	t.firstOne = matched == 0
	for i := range p.affinity {
		t.firstOne = t.firstOne && p.affinity[i].matches(p.pod.Namespace, p.pod.Labels, c.namespaces)
	}
	for i := range p.antiAffinity {
		t.anti = append(t.anti, c.domainsOf(p.antiAffinity[i].topology, c.counter(&p.antiAffinity[i]).onNode))
	}
	for _, f := range c.forbidden {
		if f.term.matches(p.pod.Namespace, p.pod.Labels, c.namespaces) {
			t.forbidden = append(t.forbidden, c.domainsOf(f.term.topology, f.onNode))
		}
	}
	return t
}

// domainsOf sums counts of nodes by their value of label.
func (c *cluster) domainsOf(label string, onNode map[string]int) domains {
	d := domains{label: label, counts: map[string]int{}}
	for name, count := range onNode {
		n := c.nodes[name]
		if n == nil || n.node == nil {
			continue
		}
		if value, ok := n.node.Labels[label]; ok {
			d.counts[value] += count
		}
	}
	return d
}

// spreadDomains counts only nodes that the pod could be spread over: those with every label of its hard
// constraints, and as the constraint's policies say.
func (c *cluster) spreadDomains(p *podInfo, s *spread) domains {
	d := domains{label: s.topology, counts: map[string]int{}, spread: s}
	onNode := c.counter(&s.term).onNode
	for _, n := range c.list {
		value, ok := n.node.Labels[s.topology]
		if !ok || !hasLabels(n, p.hardSpread) {
			continue
		}
		if s.honourNode && p.constrained && !allowed(p, n.node) || s.honourTaints && repelled(p, n) {
			continue
		}
		d.counts[value] += onNode[n.name]
	}
	d.least = math.MaxInt
	for _, count := range d.counts {
		d.least = min(d.least, count)
	}
	if len(d.counts) < s.minDomains || len(d.counts) == 0 {
		d.least = 0
	}
	return d
}

func hasLabels(n *nodeInfo, spreads []spread) bool {
	for i := range spreads {
		if _, ok := n.node.Labels[spreads[i].topology]; !ok {
			return false
		}
	}
	return true
}

// repelled says whether n has a taint that keeps p away.
func repelled(p *podInfo, n *nodeInfo) bool {
	for i := range n.node.Spec.Taints {
		if t := &n.node.Spec.Taints[i]; t.Effect != "PreferNoSchedule" && !tolerated(p.pod.Spec.Tolerations, t) {
			return true
		}
	}
	return false
}

func (t *topology) filter(n *nodeInfo, out []refusal) []refusal {
	for i := range t.spreads {
		d := &t.spreads[i]
		value, ok := n.node.Labels[d.label]
		if !ok {
			return append(out, refusedSpreadLabel)
		}
		count := d.counts[value]
		if d.spread.self {
			count++
		}
		if count-d.least > d.spread.maxSkew {
			return append(out, refusedSpread)
		}
	}
	for i := range t.affinity {
		value, ok := n.node.Labels[t.affinity[i].label]
		if !ok || t.affinity[i].counts[value] == 0 && !t.firstOne {
			return append(out, refusedAffinity)
		}
	}
	if inDomain(t.anti, n) {
		return append(out, refusedAntiAffinity)
	}
	if inDomain(t.forbidden, n) {
		return append(out, refusedByExisting)
	}
	return out
}

// inDomain says whether a pod of list is where n is.
func inDomain(list []domains, n *nodeInfo) bool {
	for i := range list {
		if value, ok := n.node.Labels[list[i].label]; ok && list[i].counts[value] > 0 {
			return true
		}
	}
	return false
}
