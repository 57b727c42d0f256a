package admission

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/authz"
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
	case *corev1.PersistentVolumeClaim:
		return claimStatus(r, node)
	case *coordinationv1.Lease:
		return ownLease(r, node)
	case *storagev1.CSINode:
		if r.Name != node {
			return forbidden(r, errors.New("can only access CSINode with the same name as the requesting node"))
		}
	case *certificatesv1.CertificateSigningRequest:
		return ownCertificate(r, node)
	}
	return nil
}

func ownNode(r *Request, node string) error {
	if r.Name != node {
		return forbidden(r, fmt.Errorf("node %q is not allowed to modify node %q", node, r.Name))
	}
	obj, _ := r.Object.(*corev1.Node)
	if obj == nil {
		return nil
	}
	old, _ := r.Old.(*corev1.Node)
	if old == nil {
		return newNode(r, node, obj)
	}
	if obj.Spec.ConfigSource != nil && !apiequality.Semantic.DeepEqual(obj.Spec.ConfigSource, old.Spec.ConfigSource) {
		return forbidden(r, fmt.Errorf("node %q is not allowed to update configSource to a new non-nil configSource", node))
	}
	// an agent that could take its taints away could call pods to itself
	if !apiequality.Semantic.DeepEqual(obj.Spec.Taints, old.Spec.Taints) {
		return forbidden(r, fmt.Errorf("node %q is not allowed to modify taints", node))
	}
	if !apiequality.Semantic.DeepEqual(obj.OwnerReferences, old.OwnerReferences) {
		return forbidden(r, fmt.Errorf("node %q is not allowed to modify ownerReferences", node))
	}
	if labels := foreignLabels(obj.Labels, old.Labels); len(labels) > 0 {
		return forbidden(r, fmt.Errorf("is not allowed to modify labels: %s", strings.Join(labels, ", ")))
	}
	return nil
}

func newNode(r *Request, node string, obj *corev1.Node) error {
	if obj.Spec.ConfigSource != nil {
		return forbidden(r, fmt.Errorf("node %q is not allowed to create pods with a non-nil configSource", node))
	}
	if labels := foreignLabels(obj.Labels, nil); len(labels) > 0 {
		return forbidden(r, fmt.Errorf("node %q is not allowed to set the following labels: %s", node, strings.Join(labels, ", ")))
	}
	return nil
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
	if r.Name != node {
		return forbidden(r, errors.New("can only access node lease with the same name as the requesting node"))
	}
	return nil
}

// ownCertificate holds a node to certificates in its own name. Whatever else a request may ask for is for the signer to
// say.
func ownCertificate(r *Request, node string) error {
	request, ok := r.Object.(*certificatesv1.CertificateSigningRequest)
	if !ok || r.Verb != kind.Create {
		return nil
	}
	if signer := request.Spec.SignerName; signer != certificatesv1.KubeletServingSignerName && signer != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return nil
	}
	parsed, err := kind.ParseCertificateRequest(request.Spec.Request)
	if err != nil {
		return forbidden(r, fmt.Errorf("unable to parse csr: %w", err))
	}
	if parsed.Subject.CommonName != nodeUserPrefix+node {
		return forbidden(r, fmt.Errorf("can only create a node CSR with CN=%s%s", nodeUserPrefix, node))
	}
	return nil
}

// claimStatus lets a node say how large the volume of a claim has become and what it does to it.
func claimStatus(r *Request, node string) error {
	if r.Subresource != "status" {
		return forbidden(r, errors.New("may only update PVC status"))
	}
	obj, isClaim := r.Object.(*corev1.PersistentVolumeClaim)
	old, wasClaim := r.Old.(*corev1.PersistentVolumeClaim)
	if !isClaim || !wasClaim {
		return forbidden(r, fmt.Errorf("unexpected operation %q", r.Verb))
	}
	rest := func(claim *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaim {
		claim = claim.DeepCopy()
		claim.ResourceVersion, claim.ManagedFields = "", nil
		claim.Status.Capacity, claim.Status.Conditions = nil, nil
		claim.Status.AllocatedResources, claim.Status.AllocatedResourceStatuses = nil, nil
		return claim
	}
	if !apiequality.Semantic.DeepEqual(rest(obj), rest(old)) {
		return forbidden(r, fmt.Errorf("node %q is not allowed to update fields other than status.quantity and status.conditions", node))
	}
	return nil
}

func (p *nodeRestriction) ownPod(ctx context.Context, r *Request, node string) error {
	switch r.Subresource {
	case "":
		switch r.Verb {
		case kind.Create:
			return p.mirrorPod(ctx, r, node)
		case kind.Delete:
			return boundTo(r, r.Old, fmt.Errorf("node %q can only delete pods with spec.nodeName set to itself", node), node)
		}
		return forbidden(r, fmt.Errorf("unexpected operation %q, node %q can only create and delete mirror pods", r.Verb, node))
	case "status":
		return podStatus(r, node)
	case "eviction":
		pod, err := client.Get[*corev1.Pod](ctx, p.client(), r.Namespace, r.Name)
		if err != nil {
			return err
		}
		return boundTo(r, pod, fmt.Errorf("node %s can only evict pods with spec.nodeName set to itself", node), node)
	}
	return forbidden(r, fmt.Errorf("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", r.Subresource))
}

func podStatus(r *Request, node string) error {
	if r.Verb != kind.Update {
		return forbidden(r, fmt.Errorf("unexpected operation %q", r.Verb))
	}
	if err := boundTo(r, r.Old, fmt.Errorf("node %q can only update pod status for pods with spec.nodeName set to itself", node), node); err != nil {
		return err
	}
	obj, old := r.Object.(*corev1.Pod), r.Old.(*corev1.Pod)
	switch {
	case !maps.Equal(obj.Labels, old.Labels):
		return forbidden(r, fmt.Errorf("node %q cannot update labels through pod status", node))
	case !apiequality.Semantic.DeepEqual(obj.Status.ResourceClaimStatuses, old.Status.ResourceClaimStatuses):
		return forbidden(r, fmt.Errorf("node %q cannot update resource claim statues", node))
	case !apiequality.Semantic.DeepEqual(obj.Status.ExtendedResourceClaimStatus, old.Status.ExtendedResourceClaimStatus):
		return forbidden(r, fmt.Errorf("node %q cannot update extended resource claim status", node))
	}
	return nil
}

func boundTo(r *Request, obj kind.Object, otherwise error, node string) error {
	if pod, ok := obj.(*corev1.Pod); !ok || pod.Spec.NodeName != node {
		return forbidden(r, otherwise)
	}
	return nil
}

// mirrorPod allows the one kind of pod that an agent makes: the image of a pod that it runs without the API. It belongs
// to the node, and it may not be a way to read what the node has no pod for.
func (p *nodeRestriction) mirrorPod(ctx context.Context, r *Request, node string) error {
	pod := r.Object.(*corev1.Pod)
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; !mirror {
		return forbidden(r, fmt.Errorf("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, node))
	}
	if pod.Spec.NodeName != node {
		return forbidden(r, fmt.Errorf("node %q can only create pods with spec.nodeName set to itself", node))
	}
	if err := p.ownedByNode(ctx, r, pod, node); err != nil {
		return err
	}
	if resource := authz.Reference(pod); resource != "" {
		return forbidden(r, fmt.Errorf("node %q can not create pods that reference %s", node, resource))
	}
	return nil
}

func (p *nodeRestriction) ownedByNode(ctx context.Context, r *Request, pod *corev1.Pod, node string) error {
	if len(pod.OwnerReferences) > 1 {
		return forbidden(r, fmt.Errorf("node %q can only create pods with a single owner reference set to itself", node))
	}
	if len(pod.OwnerReferences) == 0 {
		return forbidden(r, fmt.Errorf("node %q can only create pods with an owner reference set to itself", node))
	}
	owner := pod.OwnerReferences[0]
	switch {
	case owner.APIVersion != "v1" || owner.Kind != "Node" || owner.Name != node:
		return forbidden(r, fmt.Errorf("node %q can only create pods with an owner reference set to itself", node))
	case owner.Controller == nil || !*owner.Controller:
		return forbidden(r, fmt.Errorf("node %q can only create pods with a controller owner reference set to itself", node))
	case owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion:
		return forbidden(r, fmt.Errorf("node %q must not set blockOwnerDeletion on an owner reference", node))
	}
	obj, err := client.Get[*corev1.Node](ctx, p.client(), "", node)
	if apierrors.IsNotFound(err) {
		return err
	}
	if err != nil {
		return forbidden(r, fmt.Errorf("error looking up node %s to verify uid: %w", node, err))
	}
	if owner.UID != obj.UID {
		return forbidden(r, fmt.Errorf("node %s UID mismatch: expected %s got %s", node, owner.UID, obj.UID))
	}
	return nil
}
