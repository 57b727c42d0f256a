package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilversion "k8s.io/apimachinery/pkg/util/version"
	"k8s.io/component-helpers/nodedeclaredfeatures"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/version"
)

// The causes by which a client sees that a resize can not succeed on the pod's node, whenever it is tried.
const (
	causeNodeCapacity        metav1.CauseType = "NodeCapacity"
	causeUnsupportedPlatform metav1.CauseType = "UnsupportedPlatform"
)

// boundPod returns the pod of an update that changes what its node has to run, and the pod before; nil otherwise.
func boundPod(r *Request) (pod, old *corev1.Pod) {
	if r.Verb != kind.Update || r.Subresource != "" && r.Subresource != "resize" {
		return nil, nil
	}
	pod, ok := r.Object.(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" || pod.Generation == r.Old.GetGeneration() {
		return nil, nil
	}
	return pod, r.Old.(*corev1.Pod)
}

// getNode looks the pod's node up, and refuses the request without it.
func getNode(ctx context.Context, c Reader, r *Request, pod *corev1.Pod) (*corev1.Node, error) {
	node, err := client.Get[*corev1.Node](ctx, c(), "", pod.Spec.NodeName)
	switch {
	case apierrors.IsNotFound(err):
		return nil, forbidden(r, fmt.Errorf("node %q not found", pod.Spec.NodeName))
	case err != nil:
		return nil, forbidden(r, fmt.Errorf("failed to get node %q: %w", pod.Spec.NodeName, err))
	}
	return node, nil
}

// declaredFeatures refuses changes of a pod that its node does not say that it can follow (KEP 5328).
type declaredFeatures struct {
	silent
	client  Reader
	version *utilversion.Version
}

func newDeclaredFeatures(c Reader) *declaredFeatures {
	return &declaredFeatures{client: c, version: utilversion.MustParse(version.KubernetesVersion)}
}

func (*declaredFeatures) Name() string { return "NodeDeclaredFeatureValidator" }

func (p *declaredFeatures) Validate(ctx context.Context, r *Request) error {
	pod, old := boundPod(r)
	if pod == nil {
		return nil
	}
	known := nodedeclaredfeatures.DefaultFramework
	needs, err := known.InferForPodUpdate(
		&nodedeclaredfeatures.PodInfo{Spec: &old.Spec, Status: &old.Status}, &nodedeclaredfeatures.PodInfo{Spec: &pod.Spec, Status: &pod.Status}, p.version)
	if err != nil {
		return forbidden(r, fmt.Errorf("failed to infer pod capability requirements: %w", err))
	}
	if needs.IsEmpty() {
		return nil
	}
	node, err := getNode(ctx, p.client, r, pod)
	if err != nil {
		return err
	}
	match, err := known.MatchNode(needs, node)
	if err != nil {
		return forbidden(r, fmt.Errorf("failed to match pod requirements against node %q: %w", node.Name, err))
	}
	if !match.IsMatch {
		return forbidden(r, fmt.Errorf("pod update requires features %s which are not available on node %q", strings.Join(match.UnsatisfiedRequirements, ", "), node.Name))
	}
	return nil
}

// podResize refuses a resize that its node could never make.
type podResize struct {
	silent
	client Reader
}

func (*podResize) Name() string { return "PodResizeValidator" }

func (p *podResize) Validate(ctx context.Context, r *Request) error {
	pod, _ := boundPod(r)
	if pod == nil || r.Subresource != "resize" {
		return nil
	}
	node, err := getNode(ctx, p.client, r, pod)
	if err != nil {
		return err
	}
	if os, ok := node.Labels[corev1.LabelOSStable]; ok && os != string(corev1.Linux) {
		return withCause(forbidden(r, fmt.Errorf("pod resize is only supported on linux nodes, node %q is %q", node.Name, os)), causeUnsupportedPlatform)
	}
	if lacks := beyond(pod, node.Status.Allocatable); len(lacks) > 0 {
		return withCause(forbidden(r, errors.New("node didn't have enough allocatable resources: "+strings.Join(lacks, "; "))), causeNodeCapacity)
	}
	return nil
}

// beyond lists what the pod requests more of than a node has for all pods together.
func beyond(pod *corev1.Pod, allocatable corev1.ResourceList) []string {
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	var lacks []string
	if want, has := requests.Cpu(), allocatable.Cpu(); want.Cmp(*has) > 0 {
		lacks = append(lacks, fmt.Sprintf("cpu, requested: %d, allocatable: %d", want.MilliValue(), has.MilliValue()))
	}
	if want, has := requests.Memory(), allocatable.Memory(); want.Cmp(*has) > 0 {
		lacks = append(lacks, fmt.Sprintf("memory, requested: %d, allocatable: %d", want.Value(), has.Value()))
	}
	return lacks
}

func withCause(err *apierrors.StatusError, cause metav1.CauseType) error {
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: cause})
	return err
}
