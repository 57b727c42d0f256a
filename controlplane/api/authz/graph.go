package authz

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
)

// need is an object that a pod needs on its node.
type need struct{ resource, namespace, name string }

// graph knows which node needs which objects, by the pods that are bound to it.
type graph struct {
	mu    sync.RWMutex
	pods  map[string]podNeeds     // by NAMESPACE/NAME
	nodes map[string]map[need]int // by node: how many of its pods need the object
}

type podNeeds struct {
	uid       types.UID
	node      string
	ephemeral int // containers
	needs     []need
}

func newGraph() *graph { return &graph{pods: map[string]podNeeds{}, nodes: map[string]map[need]int{}} }

func (g *graph) onPod(e client.Event) {
	pod, ok := e.Object.(*corev1.Pod)
	if !ok {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	key := pod.Namespace + "/" + pod.Name
	had, known := g.pods[key]
	if e.Type != watch.Deleted && known && had.same(pod) {
		return
	}
	if known {
		g.add(had, -1)
		delete(g.pods, key)
	}
	if e.Type == watch.Deleted || pod.Spec.NodeName == "" {
		return
	}
	p := podNeeds{pod.UID, pod.Spec.NodeName, len(pod.Spec.EphemeralContainers), needsOf(pod)}
	g.pods[key] = p
	g.add(p, 1)
}

// same says whether the pod needs what it needed: once it is bound, only ephemeral containers are ever added to it.
func (p *podNeeds) same(pod *corev1.Pod) bool {
	return p.uid == pod.UID && p.node == pod.Spec.NodeName && p.ephemeral == len(pod.Spec.EphemeralContainers)
}

func (g *graph) add(p podNeeds, n int) {
	m := g.nodes[p.node]
	if m == nil {
		m = map[need]int{}
		g.nodes[p.node] = m
	}
	for _, nd := range p.needs {
		if m[nd] += n; m[nd] <= 0 {
			delete(m, nd)
		}
	}
	if len(m) == 0 {
		delete(g.nodes, p.node)
	}
}

func (g *graph) needs(node string, n need) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.nodes[node][n] > 0
}

// of are the objects of one resource that pods of the node need.
func (g *graph) of(node, resource string) map[need]bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	found := map[need]bool{}
	for n := range g.nodes[node] {
		if n.resource == resource {
			found[n] = true
		}
	}
	return found
}
