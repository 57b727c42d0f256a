package authz

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

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
func (a *Authorizer) related(ctx context.Context, node string, n need) (bool, string) {
	if n.name == "" {
		return false, "No Object name found"
	}
	if a.nodes.needs(node, n) || a.boundNeeds(ctx, node, n) {
		return true, ""
	}
	return false, unrelated(node)
}

// boundNeeds looks at the pods that are bound to the node now. An agent may have learned of a pod from its watch before
// the graph did from its own.
func (a *Authorizer) boundNeeds(ctx context.Context, node string, n need) bool {
	pods, err := client.List[*corev1.Pod](ctx, a.client, client.Query{Namespace: n.namespace, Index: kind.NodeNameIndex, Value: node})
	return err == nil && slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return slices.Contains(needsOf(p), n) })
}

// volumeNeeds says whether a volume that one of the node's pods claims is mounted with the secret.
func (a *Authorizer) volumeNeeds(ctx context.Context, node, namespace, secret string) bool {
	for n := range a.nodes.of(node, "persistentvolumeclaims") {
		claim, err := client.Get[*corev1.PersistentVolumeClaim](ctx, a.client, n.namespace, n.name)
		if err != nil || claim.Spec.VolumeName == "" {
			continue
		}
		volume, err := client.Get[*corev1.PersistentVolume](ctx, a.client, "", claim.Spec.VolumeName)
		if err == nil && claims(volume, n) && slices.Contains(mountSecrets(volume), corev1.SecretReference{Namespace: namespace, Name: secret}) {
			return true
		}
	}
	return false
}

// claims says whether the volume is bound to the claim; the claim's own word for it is its author's.
func claims(volume *corev1.PersistentVolume, claim need) bool {
	ref := volume.Spec.ClaimRef
	return ref != nil && ref.Namespace == claim.namespace && ref.Name == claim.name
}

func (a *Authorizer) nodeContent(ctx context.Context, node string, at Attributes) (bool, string) {
	switch {
	case at.Verb != "get" && at.Verb != "list" && at.Verb != "watch":
		return false, "can only read resources of this type"
	case at.Subresource != "":
		return false, "cannot read subresource"
	case at.Namespace == "":
		return false, "can only read namespaced object of this type"
	}
	ok, why := a.related(ctx, node, need{at.Resource, at.Namespace, exactName(at)})
	if !ok && at.Resource == "secrets" && a.volumeNeeds(ctx, node, at.Namespace, exactName(at)) {
		return true, ""
	}
	return ok, why
}

const onlyGet = "can only get individual resources of this type"

func (a *Authorizer) nodeClaim(ctx context.Context, node string, at Attributes) (bool, string) {
	switch {
	case at.Subresource == "status" && (at.Verb == "update" || at.Verb == "patch"):
	case at.Subresource == "status":
		return false, "can only get/update/patch this type"
	case at.Verb != "get":
		return false, onlyGet
	case at.Subresource != "":
		return false, "cannot get subresource"
	}
	return a.related(ctx, node, need{at.Resource, at.Namespace, at.Name})
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
	return a.related(ctx, node, need{"persistentvolumeclaims", volume.Spec.ClaimRef.Namespace, volume.Spec.ClaimRef.Name})
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

func (a *Authorizer) nodeAccount(ctx context.Context, node string, at Attributes) (bool, string) {
	if !(at.Verb == "create" && at.Subresource == "token" || at.Verb == "get" && at.Subresource == "") {
		return false, "can only create tokens for individual service accounts"
	}
	return a.related(ctx, node, need{at.Resource, at.Namespace, at.Name})
}

// nodePod lets a node read the pods that are its own. What it may write is for admission's node restriction to say, which
// has the pod before it.
func (a *Authorizer) nodePod(ctx context.Context, node string, at Attributes) (bool, string) {
	switch at.Subresource + " " + at.Verb {
	case " get":
		return a.related(ctx, node, need{at.Resource, at.Namespace, at.Name})
	case " list", " watch":
		if sel, err := fields.ParseSelector(at.Fields); err == nil {
			if v, ok := sel.RequiresExactMatch("spec.nodeName"); ok && v == node {
				return true, ""
			}
		}
		if name := exactName(at); name != "" {
			return a.related(ctx, node, need{at.Resource, at.Namespace, name})
		}
		return false, "can only list/watch pods with spec.nodeName field selector"
	case " create", " delete", "status update", "status patch", "eviction create":
		return true, ""
	}
	return false, ""
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
