package authz

import (
	"context"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
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

// nodeResource decides about one resource; name is that of the node.
type nodeResource func(a *Authorizer, ctx context.Context, node string, at Attributes) (bool, string)

// nodeResources are the resources of which each node may use its own objects alone.
var nodeResources = map[schema.GroupResource]nodeResource{
	{Resource: "secrets"}:                                    (*Authorizer).nodeContent,
	{Resource: "configmaps"}:                                 (*Authorizer).nodeContent,
	{Resource: "persistentvolumeclaims"}:                     (*Authorizer).nodeClaim,
	{Resource: "persistentvolumes"}:                          (*Authorizer).nodeVolume,
	{Group: "storage.k8s.io", Resource: "volumeattachments"}: (*Authorizer).nodeAttachment,
	{Group: "storage.k8s.io", Resource: "csinodes"}:          (*Authorizer).nodeCSI,
	{Resource: "serviceaccounts"}:                            (*Authorizer).nodeAccount,
	{Resource: "pods"}:                                       (*Authorizer).nodePod,
	{Resource: "nodes"}:                                      (*Authorizer).nodeItself,
	{Group: "coordination.k8s.io", Resource: "leases"}:       (*Authorizer).nodeLease,
}

// uniformNodeRules are what all nodes may do.
var uniformNodeRules = append(nodeRules(), agentRules()...)

// node decides for a node. What it does not allow, roles may.
func (a *Authorizer) node(ctx context.Context, node string, at Attributes) (bool, string) {
	if !at.IsResource {
		return false, ""
	}
	if decide := nodeResources[schema.GroupResource{Group: at.Group, Resource: at.Resource}]; decide != nil {
		return decide(a, ctx, node, at)
	}
	return slices.ContainsFunc(uniformNodeRules, func(r rbacv1.PolicyRule) bool { return covers(&r, &at) }), ""
}

func unrelated(node string) string {
	return "no relationship found between node '" + node + "' and this object"
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

// related allows what one of the node's pods needs.
func (a *Authorizer) related(node string, n need) (bool, string) {
	if n.name == "" {
		return false, "No Object name found"
	}
	if a.nodes.needs(node, n) {
		return true, ""
	}
	return false, unrelated(node)
}

func (a *Authorizer) nodeContent(_ context.Context, node string, at Attributes) (bool, string) {
	switch {
	case at.Verb != "get" && at.Verb != "list" && at.Verb != "watch":
		return false, "can only read resources of this type"
	case at.Subresource != "":
		return false, "cannot read subresource"
	case at.Namespace == "":
		return false, "can only read namespaced object of this type"
	}
	return a.related(node, need{at.Resource, at.Namespace, exactName(at)})
}

const onlyGet = "can only get individual resources of this type"

func (a *Authorizer) nodeClaim(_ context.Context, node string, at Attributes) (bool, string) {
	switch {
	case at.Subresource == "status" && (at.Verb == "update" || at.Verb == "patch"):
	case at.Subresource == "status":
		return false, "can only get/update/patch this type"
	case at.Verb != "get":
		return false, onlyGet
	case at.Subresource != "":
		return false, "cannot get subresource"
	}
	return a.related(node, need{at.Resource, at.Namespace, at.Name})
}

// nodeVolume lets a node read the volumes whose claims its pods use.
func (a *Authorizer) nodeVolume(ctx context.Context, node string, at Attributes) (bool, string) {
	if at.Verb != "get" || at.Subresource != "" {
		return false, onlyGet
	}
	volume, err := client.Get[*corev1.PersistentVolume](ctx, a.client, "", at.Name)
	if err != nil || volume.Spec.ClaimRef == nil {
		return false, unrelated(node)
	}
	return a.related(node, need{"persistentvolumeclaims", volume.Spec.ClaimRef.Namespace, volume.Spec.ClaimRef.Name})
}

func (a *Authorizer) nodeAttachment(ctx context.Context, node string, at Attributes) (bool, string) {
	if at.Verb != "get" || at.Subresource != "" {
		return false, onlyGet
	}
	if attachment, err := client.Get[*storagev1.VolumeAttachment](ctx, a.client, "", at.Name); err != nil || attachment.Spec.NodeName != node {
		return false, unrelated(node)
	}
	return true, ""
}

func (a *Authorizer) nodeCSI(_ context.Context, node string, at Attributes) (bool, string) {
	switch at.Verb {
	case "get", "create", "update", "patch", "delete":
	default:
		return false, "can only get, create, update, patch, or delete a CSINode"
	}
	if at.Subresource != "" {
		return false, "cannot authorize CSINode subresources"
	}
	if at.Verb != "create" && at.Name != node { // the name of a new one is in the body; node restriction holds it to its own
		return false, "can only access CSINode with the same name as the requesting node"
	}
	return true, ""
}

func (a *Authorizer) nodeAccount(_ context.Context, node string, at Attributes) (bool, string) {
	if !(at.Verb == "create" && at.Subresource == "token" || at.Verb == "get" && at.Subresource == "") {
		return false, "can only create tokens for individual service accounts"
	}
	return a.related(node, need{at.Resource, at.Namespace, at.Name})
}

// nodePod lets a node read the pods that are its own, write their status and delete them.
func (au *Authorizer) nodePod(_ context.Context, node string, a Attributes) (bool, string) {
	g := au.nodes
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
func (*Authorizer) nodeItself(_ context.Context, node string, a Attributes) (bool, string) {
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

func (*Authorizer) nodeLease(_ context.Context, node string, a Attributes) (bool, string) {
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
