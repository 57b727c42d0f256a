package authz

import (
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const (
	nodesGroup = "system:nodes"
	nodePrefix = "system:node:"
)

// nodeOf returns the node's name when the user is one.
func nodeOf(u *kind.User) (string, bool) {
	name, ok := strings.CutPrefix(u.Name, nodePrefix)
	return name, ok && name != "" && slices.Contains(u.Groups, nodesGroup)
}

// need is an object that a pod needs on its node.
type need struct{ resource, namespace, name string }

// graph knows which node needs which objects, by the pods that are bound to it.
type graph struct {
	mu    sync.RWMutex
	pods  map[string]podNeeds     // by NAMESPACE/NAME
	nodes map[string]map[need]int // by node: how many of its pods need the object
}

type podNeeds struct {
	node  string
	needs []need
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
	if e.Type != watch.Deleted && known && had.node == pod.Spec.NodeName {
		return // what a bound pod mounts does not change
	}
	if known {
		g.add(had, -1)
		delete(g.pods, key)
	}
	if e.Type == watch.Deleted || pod.Spec.NodeName == "" {
		return
	}
	p := podNeeds{pod.Spec.NodeName, needsOf(pod)}
	g.pods[key] = p
	g.add(p, 1)
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

// needsOf lists what a pod mounts and refers to.
func needsOf(pod *corev1.Pod) []need {
	set := map[need]bool{}
	add := func(resource, name string) {
		if name != "" {
			set[need{resource, pod.Namespace, name}] = true
		}
	}
	add("pods", pod.Name)
	add("serviceaccounts", pod.Spec.ServiceAccountName)
	for _, s := range pod.Spec.ImagePullSecrets {
		add("secrets", s.Name)
	}
	for i := range pod.Spec.Volumes {
		volumeNeeds(&pod.Spec.Volumes[i], add)
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			envNeeds(list[i].EnvFrom, list[i].Env, add)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		c := &pod.Spec.EphemeralContainers[i]
		envNeeds(c.EnvFrom, c.Env, add)
	}
	out := make([]need, 0, len(set))
	for n := range set {
		out = append(out, n)
	}
	return out
}

func volumeNeeds(v *corev1.Volume, add func(resource, name string)) {
	switch {
	case v.Secret != nil:
		add("secrets", v.Secret.SecretName)
	case v.ConfigMap != nil:
		add("configmaps", v.ConfigMap.Name)
	case v.PersistentVolumeClaim != nil:
		add("persistentvolumeclaims", v.PersistentVolumeClaim.ClaimName)
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if s.Secret != nil {
				add("secrets", s.Secret.Name)
			}
			if s.ConfigMap != nil {
				add("configmaps", s.ConfigMap.Name)
			}
		}
	}
}

func envNeeds(from []corev1.EnvFromSource, env []corev1.EnvVar, add func(resource, name string)) {
	for _, f := range from {
		if f.SecretRef != nil {
			add("secrets", f.SecretRef.Name)
		}
		if f.ConfigMapRef != nil {
			add("configmaps", f.ConfigMapRef.Name)
		}
	}
	for _, e := range env {
		if e.ValueFrom == nil {
			continue
		}
		if e.ValueFrom.SecretKeyRef != nil {
			add("secrets", e.ValueFrom.SecretKeyRef.Name)
		}
		if e.ValueFrom.ConfigMapKeyRef != nil {
			add("configmaps", e.ValueFrom.ConfigMapKeyRef.Name)
		}
	}
}

func (g *graph) needs(node string, n need) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.nodes[node][n] > 0
}

// allowed decides for a node what the objects of its pods and itself are about. Neither allowed nor a reason
// means that roles decide (system:node has what is the same for all nodes).
func (g *graph) allowed(node string, a Attributes) (bool, string) {
	if !a.IsResource {
		return false, ""
	}
	switch {
	case a.Group == "" && (a.Resource == "secrets" || a.Resource == "configmaps" || a.Resource == "persistentvolumeclaims"):
		return g.content(node, a)
	case a.Group == "" && a.Resource == "serviceaccounts":
		return g.serviceAccount(node, a)
	case a.Group == "" && a.Resource == "pods":
		return g.pod(node, a)
	case a.Group == "" && a.Resource == "nodes":
		return nodeItself(node, a)
	case a.Group == "coordination.k8s.io" && a.Resource == "leases":
		return nodeLease(node, a)
	}
	return false, ""
}

// exactName returns the one name that a get names, or a list or watch selects by metadata.name.
func exactName(a Attributes) string {
	if a.Name != "" {
		return a.Name
	}
	sel, err := fields.ParseSelector(a.Fields)
	if err != nil {
		return ""
	}
	name, _ := sel.RequiresExactMatch("metadata.name")
	return name
}

func (g *graph) content(node string, a Attributes) (bool, string) {
	if a.Verb != "get" && a.Verb != "list" && a.Verb != "watch" || a.Subresource != "" {
		return false, "can only read resources of this type"
	}
	name := exactName(a)
	if name == "" || a.Namespace == "" {
		return false, "can only read a namespaced object by name"
	}
	if g.needs(node, need{a.Resource, a.Namespace, name}) {
		return true, ""
	}
	return false, "no relationship found between node '" + node + "' and this object"
}

func (g *graph) serviceAccount(node string, a Attributes) (bool, string) {
	if !(a.Verb == "create" && a.Subresource == "token" || a.Verb == "get" && a.Subresource == "") {
		return false, "can only get service accounts and create their tokens"
	}
	if g.needs(node, need{"serviceaccounts", a.Namespace, a.Name}) {
		return true, ""
	}
	return false, "no relationship found between node '" + node + "' and this object"
}

// pod lets a node read the pods that are its own, write their status and delete them.
func (g *graph) pod(node string, a Attributes) (bool, string) {
	const reason = "can only access pods that are bound to this node"
	switch a.Verb {
	case "list", "watch":
		sel, err := fields.ParseSelector(a.Fields)
		if err != nil {
			return false, reason
		}
		if v, ok := sel.RequiresExactMatch("spec.nodeName"); ok && v == node {
			return true, ""
		}
		return false, "can only list and watch pods with spec.nodeName=" + node + " field selector"
	case "get", "delete":
		if a.Subresource == "" && g.needs(node, need{"pods", a.Namespace, a.Name}) {
			return true, ""
		}
		return false, reason
	case "update", "patch":
		if a.Subresource == "status" && g.needs(node, need{"pods", a.Namespace, a.Name}) {
			return true, ""
		}
		return false, reason
	case "create":
		if a.Subresource == "eviction" && g.needs(node, need{"pods", a.Namespace, a.Name}) {
			return true, ""
		}
	}
	return false, reason
}

// nodeItself lets a node register, read and update itself. Admission's node restriction looks at what it sets.
func nodeItself(node string, a Attributes) (bool, string) {
	switch a.Verb {
	case "create":
		return a.Subresource == "", "" // the name is in the body; node restriction holds it to its own
	case "get", "update", "patch":
		if a.Name == node && (a.Subresource == "" || a.Subresource == "status") {
			return true, ""
		}
		if a.Verb == "get" && a.Subresource == "" {
			return true, "" // as for list: routes are made from the other nodes' addresses
		}
		return false, "node '" + node + "' can only change its own Node object"
	case "list", "watch":
		return true, "" // addresses and pod ranges of the others are what routes are made from
	}
	return false, "nodes cannot do this to nodes"
}

func nodeLease(node string, a Attributes) (bool, string) {
	if a.Namespace != corev1.NamespaceNodeLease {
		return false, "can only access leases in the " + corev1.NamespaceNodeLease + " system namespace"
	}
	switch a.Verb {
	case "create":
		return true, "" // the name is in the body; node restriction holds it to its own
	case "get", "update", "patch", "delete":
		if a.Name == node {
			return true, ""
		}
	}
	return false, "can only access node lease with the same name as the requesting node"
}
