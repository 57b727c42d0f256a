package scheduler

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
)

// maxCounters bounds how many counters are kept up to date; the ones that were not asked for longest go.
const maxCounters = 256

// cluster is what the scheduler knows of nodes and of the pods on them, bound or assumed. Every change costs
// what it changes, and not what there is. It is not safe for concurrent use.
type cluster struct {
	nodes      map[string]*nodeInfo
	list       []*nodeInfo // those that exist, by name
	pods       map[types.UID]placed
	owners     map[types.UID]map[string]int // pods by controller and node
	counters   map[string]*counter
	forbidden  map[string]*forbidden
	namespaces map[string]map[string]string // labels
	images     map[string]int               // how many nodes have it
	services   map[string][]service         // by namespace
	budgets    map[types.NamespacedName]budget
	clock      uint64 // counts uses of counters
}

// placed is a pod on a node.
type placed struct {
	*podInfo
	node    string
	counted bool // as one that stays: pods that end reserve resources but do not count for spreading
}

// nodeInfo is a node and what its pods take. node is nil while only pods of it are known.
type nodeInfo struct {
	name        string
	node        *corev1.Node
	allocatable resources
	maxPods     int
	silent      bool // it has never said whether it is ready; its taint may not be there yet
	used        resources
	cpu, mem    int64 // used, as scored
	pods        map[types.UID]*podInfo
	ports       map[hostPort]int
	images      map[string]int64 // sizes
}

// counter counts the pods on each node that a term matches.
type counter struct {
	term   term
	onNode map[string]int
	total  int
	used   uint64
}

// forbidden is an anti-affinity term that pods in the cluster have, by where they are. What it matches may not
// go where one of them is.
type forbidden struct {
	term   term
	onNode map[string]int
}

func newCluster() *cluster {
	return &cluster{
		nodes: map[string]*nodeInfo{}, pods: map[types.UID]placed{}, owners: map[types.UID]map[string]int{},
		counters: map[string]*counter{}, forbidden: map[string]*forbidden{}, namespaces: map[string]map[string]string{},
		images: map[string]int{}, services: map[string][]service{}, budgets: map[types.NamespacedName]budget{},
	}
}

func (c *cluster) info(name string) *nodeInfo {
	n := c.nodes[name]
	if n == nil {
		n = &nodeInfo{name: name, pods: map[types.UID]*podInfo{}, ports: map[hostPort]int{}}
		c.nodes[name] = n
	}
	return n
}

// setNode takes a node's state and says whether a pod that did not fit might now.
func (c *cluster) setNode(node *corev1.Node) bool {
	n := c.info(node.Name)
	old := n.node
	n.node = node
	wasSilent := n.silent
	n.silent = !slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady })
	if old == nil {
		at, _ := slices.BinarySearchFunc(c.list, node.Name, func(n *nodeInfo, name string) int {
			if n.name < name {
				return -1
			}
			if n.name > name {
				return 1
			}
			return 0
		})
		c.list = slices.Insert(c.list, at, n)
	}
	if old == nil || !equality.Semantic.DeepEqual(old.Status.Allocatable, node.Status.Allocatable) {
		n.allocatable = resourcesOf(node.Status.Allocatable)
		n.maxPods = int(node.Status.Allocatable.Pods().Value())
	}
	if old == nil || !equality.Semantic.DeepEqual(old.Status.Images, node.Status.Images) {
		c.setImages(n, node.Status.Images)
	}
	return old == nil || wasSilent != n.silent ||
		!equality.Semantic.DeepEqual(old.Status.Allocatable, node.Status.Allocatable) ||
		!equality.Semantic.DeepEqual(old.Spec.Taints, node.Spec.Taints) ||
		old.Spec.Unschedulable != node.Spec.Unschedulable ||
		!maps.Equal(old.Labels, node.Labels)
}

func (c *cluster) setImages(n *nodeInfo, list []corev1.ContainerImage) {
	for name := range n.images {
		if c.images[name]--; c.images[name] == 0 {
			delete(c.images, name)
		}
	}
	n.images = nil
	for _, image := range list {
		for _, name := range image.Names {
			if n.images == nil {
				n.images = map[string]int64{}
			}
			if _, ok := n.images[name]; !ok {
				c.images[name]++
			}
			n.images[name] = image.SizeBytes
		}
	}
}

func (c *cluster) removeNode(name string) {
	n := c.nodes[name]
	if n == nil || n.node == nil {
		return
	}
	c.setImages(n, nil)
	n.node = nil
	c.list = slices.DeleteFunc(c.list, func(o *nodeInfo) bool { return o == n })
	if len(n.pods) == 0 {
		delete(c.nodes, name)
	}
}

// setPod takes a pod that is on a node, or is assumed to be.
func (c *cluster) setPod(p *podInfo, node string) {
	uid := p.pod.UID
	staying := p.pod.DeletionTimestamp == nil
	if old, ok := c.pods[uid]; ok {
		if old.node == node && old.counted == staying && maps.Equal(old.pod.Labels, p.pod.Labels) && sameRequests(old.podInfo, p) {
			c.pods[uid] = placed{p, node, staying}
			c.nodes[node].pods[uid] = p
			return
		}
		c.removePod(uid)
	}
	c.pods[uid] = placed{p, node, staying}
	n := c.info(node)
	n.change(p, 1)
	if staying {
		c.count(p, node, 1)
	}
}

// change adds a pod to what n holds, or takes it off.
func (n *nodeInfo) change(p *podInfo, sign int) {
	if sign > 0 {
		n.pods[p.pod.UID] = p
	} else {
		delete(n.pods, p.pod.UID)
	}
	n.used.add(&p.request, int64(sign))
	n.cpu += int64(sign) * p.cpu
	n.mem += int64(sign) * p.mem
	for _, h := range p.ports {
		if n.ports[h] += sign; n.ports[h] == 0 {
			delete(n.ports, h)
		}
	}
}

func sameRequests(a, b *podInfo) bool {
	return a.request.cpu == b.request.cpu && a.request.memory == b.request.memory && a.request.storage == b.request.storage &&
		maps.Equal(a.request.other, b.request.other)
}

func (c *cluster) removePod(uid types.UID) bool {
	p, ok := c.pods[uid]
	if !ok {
		return false
	}
	delete(c.pods, uid)
	n := c.nodes[p.node]
	n.change(p.podInfo, -1)
	if p.counted {
		c.count(p.podInfo, p.node, -1)
	}
	if n.node == nil && len(n.pods) == 0 {
		delete(c.nodes, p.node)
	}
	return true
}

// count adds a pod to, or takes it from, everything that counts pods by node.
func (c *cluster) count(p *podInfo, node string, sign int) {
	if p.owner != "" {
		if c.owners[p.owner] == nil {
			c.owners[p.owner] = map[string]int{}
		}
		bump(c.owners[p.owner], node, sign)
		if len(c.owners[p.owner]) == 0 {
			delete(c.owners, p.owner)
		}
	}
	for _, n := range c.counters {
		if n.term.matches(p.pod.Namespace, p.pod.Labels, c.namespaces) {
			bump(n.onNode, node, sign)
			n.total += sign
		}
	}
	for i := range p.antiAffinity {
		t := &p.antiAffinity[i]
		key := t.topology + "|" + t.key
		f := c.forbidden[key]
		if f == nil {
			f = &forbidden{term: *t, onNode: map[string]int{}}
			c.forbidden[key] = f
		}
		bump(f.onNode, node, sign)
		if len(f.onNode) == 0 {
			delete(c.forbidden, key)
		}
	}
}

func bump(counts map[string]int, node string, by int) {
	if counts[node] += by; counts[node] == 0 {
		delete(counts, node)
	}
}

// counter returns how many pods t matches on each node. The first call for a term looks at every pod, later
// ones at none.
func (c *cluster) counter(t *term) *counter {
	c.clock++
	n := c.counters[t.key]
	if n == nil {
		if len(c.counters) >= maxCounters {
			c.dropCounter()
		}
		n = &counter{term: *t, onNode: map[string]int{}}
		for _, p := range c.pods {
			if p.counted && t.matches(p.pod.Namespace, p.pod.Labels, c.namespaces) {
				n.onNode[p.node]++
				n.total++
			}
		}
		c.counters[t.key] = n
	}
	n.used = c.clock
	return n
}

func (c *cluster) dropCounter() {
	oldest := ""
	for key, n := range c.counters {
		if oldest == "" || n.used < c.counters[oldest].used {
			oldest = key
		}
	}
	delete(c.counters, oldest)
}

// setNamespace takes a namespace's labels; counters that select namespaces by label begin anew.
func (c *cluster) setNamespace(name string, set map[string]string) {
	if maps.Equal(c.namespaces[name], set) {
		return
	}
	if set == nil {
		delete(c.namespaces, name)
	} else {
		c.namespaces[name] = set
	}
	for key, n := range c.counters {
		if n.term.nsSelector != nil {
			delete(c.counters, key)
		}
	}
}
