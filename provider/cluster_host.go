package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// plannedHost is the host of a plan; nil while it is not known as a whole, since the list, and the host in it, may come from
// a variable.
func plannedHost(ctx context.Context, plan *tfsdk.Plan, diags *diag.Diagnostics) *hostModel {
	var hosts types.List
	diags.Append(plan.GetAttribute(ctx, path.Root("control_plane"), &hosts)...)
	if diags.HasError() || len(hosts.Elements()) == 0 || hosts.Elements()[0].IsUnknown() {
		return nil
	}
	h := &hostModel{}
	if diags.Append(plan.GetAttribute(ctx, controlPlaneHost, h)...); diags.HasError() {
		return nil
	}
	return h
}

// planNodeName has a host without pods have no node's name, unless it is configured, and leaves open that of a host that is
// to have pods again: neither is what is in state.
func planNodeName(ctx context.Context, h *hostModel, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	at := controlPlaneHost.AtName("node_name")
	var configured types.String
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, at, &configured)...)
	switch {
	case !configured.IsNull():
	case h.Pods.IsUnknown(), h.Pods.ValueBool() && h.NodeName.IsNull():
		resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, at, types.StringUnknown())...)
	case !h.Pods.ValueBool():
		resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, at, types.StringNull())...)
	}
}
