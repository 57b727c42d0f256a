package admission

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const (
	nodeUserPrefix = "system:node:"
	nodeGroup      = "system:nodes"
)

// nodeRestriction lets the agent of a node write its own node, its own lease and the pods that are bound to
// it, and of these only what an agent has to. What it may read is for authorization to say.
type nodeRestriction struct {
	silent
	client Reader
}

func (*nodeRestriction) Name() string { return "NodeRestriction" }

// nodeOf returns the node whose agent the user is, and whether it is one.
func nodeOf(u *kind.User) (string, bool) {
	if u == nil || !slices.Contains(u.Groups, nodeGroup) {
		return "", false
	}
	return strings.CutPrefix(u.Name, nodeUserPrefix)
}

func (p *nodeRestriction) Admit(ctx context.Context, r *Request) error {
	node, ok := nodeOf(r.User)
	if !ok {
		if r.User != nil && slices.Contains(r.User.Groups, nodeGroup) {
			return forbidden(r, fmt.Errorf("could not determine node from user %q", r.User.Name))
		}
		return nil
	}
	if node == "" {
		return forbidden(r, fmt.Errorf("could not determine node from user %q", r.User.Name))
	}
	switch r.Kind.New().(type) {
	case *corev1.Node:
		return ownNode(r, node)
	case *corev1.Pod:
		return p.ownPod(ctx, r, node)
	case *coordinationv1.Lease:
		return ownLease(r, node)
	case *storagev1.CSINode:
		if r.Verb == kind.Create && r.Object.GetName() != node {
			return forbidden(r, fmt.Errorf("can only access CSINode with the same name as the requesting node"))
		}
	}
	return nil
}

func ownNode(r *Request, node string) error {
	name := r.Name
	if name == "" && r.Object != nil {
		name = r.Object.GetName()
	}
	if name != node {
		return forbidden(r, fmt.Errorf("node %q is not allowed to modify node %q", node, name))
	}
	obj, _ := r.Object.(*corev1.Node)
	if r.Subresource != "" || obj == nil {
		return nil
	}
	old, _ := r.Old.(*corev1.Node)
	if old == nil {
		if labels := foreignLabels(obj.Labels, nil); len(labels) > 0 {
			return forbidden(r, fmt.Errorf("node %q is not allowed to set the following labels: %s", node, strings.Join(labels, ", ")))
		}
		return ownReferences(r, node, obj, nil)
	}
	if labels := foreignLabels(obj.Labels, old.Labels); len(labels) > 0 {
		return forbidden(r, fmt.Errorf("is not allowed to modify labels: %s", strings.Join(labels, ", ")))
	}
	// an agent that could take its taints away could call pods to itself
	if !apiequality.Semantic.DeepEqual(obj.Spec.Taints, old.Spec.Taints) {
		return forbidden(r, fmt.Errorf("node %q is not allowed to modify taints", node))
	}
	return ownReferences(r, node, obj, old)
}

func ownReferences(r *Request, node string, obj, old *corev1.Node) error {
	if old == nil && len(obj.OwnerReferences) == 0 {
		return nil
	}
	if old != nil && apiequality.Semantic.DeepEqual(obj.OwnerReferences, old.OwnerReferences) {
		return nil
	}
	return forbidden(r, fmt.Errorf("node %q is not allowed to modify ownerReferences", node))
}

// agentLabels are the labels in Kubernetes' own namespaces that an agent may set on its node.
var agentLabels = map[string]bool{
	corev1.LabelHostname: true, corev1.LabelArchStable: true, corev1.LabelOSStable: true, corev1.LabelWindowsBuild: true,
	corev1.LabelInstanceType: true, corev1.LabelInstanceTypeStable: true,
	corev1.LabelFailureDomainBetaZone: true, corev1.LabelFailureDomainBetaRegion: true,
	corev1.LabelTopologyZone: true, corev1.LabelTopologyRegion: true,
	"beta.kubernetes.io/os": true, "beta.kubernetes.io/arch": true,
}

// foreignLabels returns the labels that differ and that an agent may not touch: those that schedulers and
// administrators rely on, such as node-restriction.kubernetes.io/ and node-role.kubernetes.io/.
func foreignLabels(now, before map[string]string) []string {
	changed := map[string]bool{}
	for key, value := range now {
		if was, ok := before[key]; !ok || was != value {
			changed[key] = true
		}
	}
	for key := range before {
		if _, ok := now[key]; !ok {
			changed[key] = true
		}
	}
	maps.DeleteFunc(changed, func(key string, _ bool) bool { return agentMaySet(key) })
	return slices.Sorted(maps.Keys(changed))
}

func agentMaySet(key string) bool {
	namespace, _, ok := strings.Cut(key, "/")
	if !ok || agentLabels[key] {
		return true
	}
	within := func(domain string) bool { return namespace == domain || strings.HasSuffix(namespace, "."+domain) }
	if within("kubelet.kubernetes.io") || within("node.kubernetes.io") {
		return true
	}
	return !within("kubernetes.io") && !within("k8s.io")
}

func ownLease(r *Request, node string) error {
	if r.Namespace != corev1.NamespaceNodeLease {
		return forbidden(r, fmt.Errorf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease))
	}
	name := r.Name
	if name == "" && r.Object != nil {
		name = r.Object.GetName()
	}
	if name != node {
		return forbidden(r, fmt.Errorf("can only access node lease with the same name as the requesting node"))
	}
	return nil
}

func (p *nodeRestriction) ownPod(ctx context.Context, r *Request, node string) error {
	switch {
	case r.Subresource == "" && r.Verb == kind.Create:
		return mirrorPod(r, node)
	case r.Subresource == "" && r.Verb == kind.Delete:
		return boundTo(r, r.Old, node, "delete")
	case r.Subresource == "status" && r.Verb == kind.Update:
		if err := boundTo(r, r.Old, node, "update status for"); err != nil {
			return err
		}
		if !maps.Equal(r.Object.GetLabels(), r.Old.GetLabels()) {
			return forbidden(r, fmt.Errorf("node %q cannot update labels through pod status", node))
		}
		return nil
	case r.Subresource == "eviction":
		pod, err := client.Get[*corev1.Pod](ctx, p.client(), r.Namespace, r.Name)
		if err != nil {
			return err
		}
		return boundTo(r, pod, node, "evict")
	}
	return forbidden(r, fmt.Errorf("unexpected operation %q, subresource %q: node %q may not do this to pods", r.Verb, r.Subresource, node))
}

func boundTo(r *Request, obj kind.Object, node, verb string) error {
	pod, ok := obj.(*corev1.Pod)
	if !ok || pod.Spec.NodeName != node {
		return forbidden(r, fmt.Errorf("node %q can only %s pods with spec.nodeName set to itself", node, verb))
	}
	return nil
}

// mirrorPod allows the one kind of pod that an agent makes: the image of a pod that it runs without the API.
func mirrorPod(r *Request, node string) error {
	pod := r.Object.(*corev1.Pod)
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; !mirror {
		return forbidden(r, fmt.Errorf("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, node))
	}
	if pod.Spec.NodeName != node {
		return forbidden(r, fmt.Errorf("node %q can only create pods with spec.nodeName set to itself", node))
	}
	if pod.Spec.ServiceAccountName != "" {
		return forbidden(r, fmt.Errorf("node %q can not create pods that reference a service account", node))
	}
	for _, v := range pod.Spec.Volumes {
		if v.Secret != nil || v.ConfigMap != nil || v.PersistentVolumeClaim != nil || v.Projected != nil {
			return forbidden(r, errors.New("a mirror pod may not reference secrets, configmaps, persistentvolumeclaims or projected volumes"))
		}
	}
	return nil
}

// NodeToken says why a user may not have a service account's token that is bound to pod (nil: to no pod). The
// agent of a node gets tokens for the pods on its node only; for all other users it is nil. It is for the
// token subresource of service accounts, which writes no object and so passes no plug-in.
func NodeToken(u *kind.User, pod *corev1.Pod) error {
	node, ok := nodeOf(u)
	switch {
	case !ok:
		return nil
	case pod == nil:
		return errors.New("node requested token not bound to a pod")
	case pod.Spec.NodeName != node:
		return errors.New("node requested token bound to a pod scheduled on a different node")
	}
	return nil
}
