package scheduler

import (
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Weights of the scores, as Kubernetes' default profile has them. Each score is 0 to 100.
const (
	weightLeast    = 1
	weightBalanced = 1
	weightImages   = 1
	weightTaints   = 3
	weightNode     = 2
	weightSpread   = 2
	weightPods     = 2

	maxScore = 100
)

// A node's images count between these sizes: below, pulling costs nothing; above, more makes no difference.
const (
	minImage = 23 << 20
	maxImage = 1000 << 20
)

// Skews up to these cost a workload without constraints of its own nothing, on nodes and in zones.
const (
	hostSkew = 3
	zoneSkew = 5
)

// score returns a score for each of nodes, all of which fit p.
func (c *cluster) score(p *podInfo, nodes []*nodeInfo) []int64 {
	total := make([]int64, len(nodes))
	for i, n := range nodes {
		total[i] = weightLeast*leastAllocated(p, n) + weightBalanced*balanced(p, n)
	}
	c.scoreImages(p, nodes, total)
	scoreTaints(p, nodes, total)
	scoreNodeAffinity(p, nodes, total)
	c.scoreSpread(p, nodes, total)
	c.scorePodAffinity(p, nodes, total)
	return total
}

// leastAllocated prefers nodes with much left.
func leastAllocated(p *podInfo, n *nodeInfo) int64 {
	free := func(used, have int64) int64 {
		if have <= 0 || used > have {
			return 0
		}
		return (have - used) * maxScore / have
	}
	return (free(n.cpu+p.cpu, n.allocatable.cpu) + free(n.mem+p.mem, n.allocatable.memory)) / 2
}

// balanced prefers nodes whose CPU and memory are used alike.
func balanced(p *podInfo, n *nodeInfo) int64 {
	part := func(used, have int64) float64 {
		if have <= 0 {
			return 1
		}
		return min(1, float64(used)/float64(have))
	}
	cpu := part(n.used.cpu+p.request.cpu, n.allocatable.cpu)
	memory := part(n.used.memory+p.request.memory, n.allocatable.memory)
	return int64((1 - math.Abs(cpu-memory)/2) * maxScore)
}

// scoreImages prefers nodes that have the pod's images, the more so the more nodes have them, lest all pods of
// one image go where it happened to be pulled first.
func (c *cluster) scoreImages(p *podInfo, nodes []*nodeInfo, total []int64) {
	if len(c.images) == 0 {
		return
	}
	containers := int64(len(p.pod.Spec.Containers) + len(p.pod.Spec.InitContainers))
	for i, n := range nodes {
		if len(n.images) == 0 {
			continue
		}
		var size int64
		add := func(list []corev1.Container) {
			for j := range list {
				name := withTag(list[j].Image)
				size += n.images[name] * int64(c.images[name]) / int64(len(c.list))
			}
		}
		add(p.pod.Spec.InitContainers)
		add(p.pod.Spec.Containers)
		size = min(max(size, minImage), maxImage*containers)
		total[i] += weightImages * maxScore * (size - minImage) / (maxImage*containers - minImage)
	}
}

func withTag(image string) string {
	if strings.LastIndex(image, ":") <= strings.LastIndex(image, "/") {
		return image + ":latest"
	}
	return image
}

// scoreTaints prefers nodes with fewer taints that would rather not have the pod.
func scoreTaints(p *podInfo, nodes []*nodeInfo, total []int64) {
	raw := make([]int64, len(nodes))
	found := false
	for i, n := range nodes {
		for j := range n.node.Spec.Taints {
			t := &n.node.Spec.Taints[j]
			if t.Effect == corev1.TaintEffectPreferNoSchedule && !tolerated(p.pod.Spec.Tolerations, t) {
				raw[i]++
				found = true
			}
		}
	}
	if found {
		addNormal(total, raw, weightTaints, true)
	}
}

func scoreNodeAffinity(p *podInfo, nodes []*nodeInfo, total []int64) {
	if p.preferred == nil {
		return
	}
	raw := make([]int64, len(nodes))
	for i, n := range nodes {
		raw[i] = p.preferred.Score(n.node)
	}
	addNormal(total, raw, weightNode, false)
}

// addNormal scales raw so that its maximum is 100 and adds it; inverse makes less better.
func addNormal(total, raw []int64, weight int64, inverse bool) {
	var highest int64
	for _, r := range raw {
		highest = max(highest, r)
	}
	for i, r := range raw {
		s := int64(0)
		if highest > 0 {
			s = r * maxScore / highest
		}
		if inverse {
			s = maxScore - s
		}
		total[i] += weight * s
	}
}

// skewed is one way in which a pod's like are counted for spreading.
type skewed struct {
	domains
	maxSkew int
}

// scoreSpread prefers places with fewer of the pod's like: as its own soft constraints say, or else, over nodes
// and zones, the pods of the same controller.
func (c *cluster) scoreSpread(p *podInfo, nodes []*nodeInfo, total []int64) {
	var ways []skewed
	for i := range p.softSpread {
		s := &p.softSpread[i]
		ways = append(ways, skewed{c.domainsOf(s.topology, c.counter(&s.term).onNode), s.maxSkew})
	}
	if len(p.softSpread) == 0 && len(p.hardSpread) == 0 {
		onNode := c.likeOf(p)
		if len(onNode) == 0 {
			return
		}
		ways = []skewed{{domains{label: "", counts: onNode}, hostSkew}, {c.domainsOf(corev1.LabelTopologyZone, onNode), zoneSkew}}
	}
	if len(ways) == 0 {
		return
	}
	raw := make([]float64, len(nodes))
	lowest, highest := math.MaxFloat64, 0.0
	for _, w := range ways {
		// more domains make each pod of skew weigh more, so that nodes do not drown zones
		weight := math.Log(float64(len(w.counts) + 2))
		for i, n := range nodes {
			value, ok := w.valueOf(n)
			if ok {
				raw[i] += float64(w.counts[value])*weight + float64(w.maxSkew-1)
			}
		}
	}
	for _, r := range raw {
		lowest, highest = min(lowest, r), max(highest, r)
	}
	for i, r := range raw {
		s := float64(maxScore)
		if highest > 0 {
			s = maxScore * (highest + lowest - r) / highest
		}
		total[i] += weightSpread * int64(s)
	}
}

func (w *skewed) valueOf(n *nodeInfo) (string, bool) {
	if w.label == "" {
		return n.name, true
	}
	v, ok := n.node.Labels[w.label]
	return v, ok
}

// likeOf counts by node the pods that do what p does: those of its controller, or of the services that select it.
func (c *cluster) likeOf(p *podInfo) map[string]int {
	if p.owner != "" {
		return c.owners[p.owner]
	}
	var out map[string]int
	for i := range c.services[p.pod.Namespace] {
		t := &c.services[p.pod.Namespace][i].term
		if !t.matches(p.pod.Namespace, p.pod.Labels, nil) {
			continue
		}
		onNode := c.counter(t).onNode
		if out == nil {
			out = onNode
			continue
		}
		sum := make(map[string]int, len(out))
		for n, v := range out {
			sum[n] = v
		}
		for n, v := range onNode {
			sum[n] += v
		}
		out = sum
	}
	return out
}

// scorePodAffinity adds the weights of the pod's preferences for the company of others.
func (c *cluster) scorePodAffinity(p *podInfo, nodes []*nodeInfo, total []int64) {
	if len(p.prefer) == 0 {
		return
	}
	raw := make([]int64, len(nodes))
	for j := range p.prefer {
		w := &p.prefer[j]
		d := c.domainsOf(w.topology, c.counter(&w.term).onNode)
		for i, n := range nodes {
			if value, ok := n.node.Labels[d.label]; ok {
				raw[i] += w.weight * int64(d.counts[value])
			}
		}
	}
	lowest, highest := raw[0], raw[0]
	for _, r := range raw {
		lowest, highest = min(lowest, r), max(highest, r)
	}
	if highest == lowest {
		return
	}
	for i, r := range raw {
		total[i] += weightPods * maxScore * (r - lowest) / (highest - lowest)
	}
}
