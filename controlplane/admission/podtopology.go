package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// topologyLabels are those of a node that its pods get, so that they learn their zone by the downward API (KEP 4742).
var topologyLabels = []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion}

// podTopology copies a node's zone and region to the pods that are bound to it.
type podTopology struct {
	silent
	client Reader
}

func (*podTopology) Name() string { return "PodTopologyLabels" }

func (p *podTopology) Admit(ctx context.Context, r *Request) error {
	if r.Verb != kind.Create {
		return nil
	}
	switch {
	case r.Subresource == "binding" && r.Body != nil:
		binding, ok := r.Body.Object.(*corev1.Binding)
		if !ok || binding.Target.Kind != "Node" {
			return nil
		}
		return p.label(ctx, binding.Target.Name, &binding.Labels)
	case r.Subresource == "":
		if pod, ok := r.Object.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
			return p.label(ctx, pod.Spec.NodeName, &pod.Labels)
		}
	}
	return nil
}

func (p *podTopology) label(ctx context.Context, name string, labels *map[string]string) error {
	node, err := client.Get[*corev1.Node](ctx, p.client(), "", name)
	if err != nil {
		if apierrors.IsNotFound(err) {
			return nil // a pod may name a node that is not there yet
		}
		return err
	}
	for _, key := range topologyLabels {
		value, ok := node.Labels[key]
		if !ok {
			continue
		}
		if *labels == nil {
			*labels = map[string]string{}
		}
		(*labels)[key] = value
	}
	return nil
}
