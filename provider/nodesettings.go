package provider

import (
	"context"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// nodeSettings are those of a host that runs pods, in a cluster's control plane and as a node.
type nodeSettings struct {
	Labels       types.Map  `tfsdk:"labels"`
	Taints       types.List `tfsdk:"taints"`
	EvictionHard types.Map  `tfsdk:"eviction_hard"`
}

func noSettings() nodeSettings {
	return nodeSettings{Labels: types.MapNull(types.StringType), Taints: types.ListNull(types.StringType), EvictionHard: types.MapNull(types.StringType)}
}

func (s *nodeSettings) equal(other *nodeSettings) bool {
	return s.Labels.Equal(other.Labels) && s.Taints.Equal(other.Taints) && s.EvictionHard.Equal(other.EvictionHard)
}

// into gives bootstrap what a plan has checked already.
func (s *nodeSettings) into(ctx context.Context, n *bootstrap.Node) {
	n.Labels, n.Taints, n.EvictionHard = stringMap(ctx, s.Labels), stringList(ctx, s.Taints), stringMap(ctx, s.EvictionHard)
}

// of takes what a host was installed with. A setting that is not there is null, and so are all of a host without pods, whose
// agent is nil.
func (s *nodeSettings) of(ctx context.Context, agent *config.Agent) diag.Diagnostics {
	*s = noSettings()
	if agent == nil {
		return nil
	}
	var diags, d diag.Diagnostics
	if len(agent.Labels) > 0 {
		s.Labels, d = types.MapValueFrom(ctx, types.StringType, agent.Labels)
		diags.Append(d...)
	}
	if len(agent.Taints) > 0 {
		s.Taints, d = types.ListValueFrom(ctx, types.StringType, agent.Taints)
		diags.Append(d...)
	}
	if len(agent.EvictionHard) > 0 {
		s.EvictionHard, d = types.MapValueFrom(ctx, types.StringType, agent.EvictionHard)
		diags.Append(d...)
	}
	return diags
}

// overlay takes over the live labels and taints of those that are configured. Others are somebody else's.
func (s *nodeSettings) overlay(ctx context.Context, node *corev1.Node) diag.Diagnostics {
	var diags, d diag.Diagnostics
	if !s.Labels.IsNull() {
		labels := stringMap(ctx, s.Labels)
		for k := range labels {
			if v, ok := node.Labels[k]; ok {
				labels[k] = v
			} else {
				delete(labels, k)
			}
		}
		s.Labels, d = types.MapValueFrom(ctx, types.StringType, labels)
		diags.Append(d...)
	}
	if !s.Taints.IsNull() {
		var live []string
		for _, t := range node.Spec.Taints {
			live = append(live, formatTaint(t))
		}
		taints := slices.DeleteFunc(stringList(ctx, s.Taints), func(s string) bool {
			return !slices.Contains(live, formatTaint(parseTaint(s)))
		})
		s.Taints, d = types.ListValueFrom(ctx, types.StringType, taints)
		diags.Append(d...)
	}
	return diags
}
