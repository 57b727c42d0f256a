package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	tftypes "github.com/hashicorp/terraform-plugin-framework/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/version"
	"github.com/fairlead-io/terraform-provider-fairlead/provider/kube"
)

// relabel makes a Node's labels and taints what the configuration says now; those that it never named are
// somebody else's and stay.
func relabel(ctx context.Context, client *kube.Client, name string, oldLabels, labels map[string]string, oldTaints, taints []string) error {
	nodes := client.Typed.CoreV1().Nodes()
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		node, err := nodes.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		patchLabels := map[string]any{}
		for k := range oldLabels {
			patchLabels[k] = nil
		}
		for k, v := range labels {
			patchLabels[k] = v
		}
		want := parseTaints(taints)
		keep := slices.DeleteFunc(node.Spec.Taints, func(t corev1.Taint) bool {
			// A node has one taint of a key and effect: ours takes the place of what somebody made of it.
			return slices.ContainsFunc(want, func(w corev1.Taint) bool { return w.MatchTaint(&t) }) ||
				slices.ContainsFunc(parseTaints(oldTaints), func(old corev1.Taint) bool { return formatTaint(old) == formatTaint(t) })
		})
		keep = append(keep, want...)
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"labels": patchLabels, "resourceVersion": node.ResourceVersion},
			"spec":     map[string]any{"taints": keep},
		})
		if err != nil {
			return err
		}
		_, err = nodes.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	})
}

func parseTaints(texts []string) []corev1.Taint {
	var taints []corev1.Taint
	for _, s := range texts {
		taints = append(taints, parseTaint(s))
	}
	return taints
}

func parseTaint(s string) corev1.Taint {
	kv, effect, _ := strings.Cut(s, ":")
	key, value, _ := strings.Cut(kv, "=")
	return corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffect(effect)}
}

func formatTaint(t corev1.Taint) string {
	if t.Value == "" {
		return fmt.Sprintf("%s:%s", t.Key, t.Effect)
	}
	return fmt.Sprintf("%s=%s:%s", t.Key, t.Value, t.Effect)
}

// overlay takes over the live values of what is configured.
func (m *nodeModel) overlay(ctx context.Context, node *corev1.Node) diag.Diagnostics {
	diags := m.nodeSettings.overlay(ctx, node)
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			m.InternalAddress = tftypes.StringValue(a.Address)
		}
	}
	return diags
}

// importNode makes a state of what the cluster knows; the address to dial is the node's own, unless host says another.
func importNode(cluster string, node *corev1.Node, host *hostRef) *nodeModel {
	m := &nodeModel{
		ID: tftypes.StringValue(nodeID(cluster, node.Name)), Cluster: tftypes.StringValue(cluster), Name: tftypes.StringValue(node.Name),
		nodeSettings: noSettings(),
		OnDestroy:    tftypes.ObjectNull(nodeDestroyTypes), Timeouts: nullTimeouts(),
		Version: tftypes.StringValue(providerVersion(node.Status.NodeInfo.KubeletVersion)),
	}
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			m.Address, m.InternalAddress = tftypes.StringValue(a.Address), tftypes.StringValue(a.Address)
		}
	}
	if host != nil {
		m.Address = tftypes.StringValue(host.Address)
		if host.Port != 0 {
			m.Port = tftypes.Int64Value(int64(host.Port))
		}
		if host.HostKey != "" {
			m.HostKey = tftypes.StringValue(host.HostKey)
		}
	}
	return m
}

// providerVersion is fairlead's own version in what a node reports.
func providerVersion(kubeletVersion string) string {
	_, v, ok := strings.Cut(kubeletVersion, version.NodeSeparator)
	if !ok {
		return kubeletVersion
	}
	return v
}
