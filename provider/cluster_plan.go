package provider

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/version"
)

// ValidateConfig checks what only the control plane would find out when it starts.
func (r *clusterResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var oidc, audit types.Object
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("oidc"), &oidc)...)
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("audit"), &audit)...)
	if !resp.Diagnostics.HasError() {
		validateOIDC(ctx, oidc, &resp.Diagnostics)
		validateAudit(ctx, audit, &resp.Diagnostics)
	}
	var pods, services types.String
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("pod_cidr"), &pods)...)
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("service_cidr"), &services)...)
	if pods.IsUnknown() || services.IsUnknown() {
		return
	}
	a, errA := netip.ParsePrefix(cmp.Or(pods.ValueString(), config.DefaultPodCIDR))
	b, errB := netip.ParsePrefix(cmp.Or(services.ValueString(), config.DefaultServiceCIDR))
	if errA == nil && errB == nil && a.Overlaps(b) {
		at := path.Root("service_cidr")
		if services.IsNull() {
			at = path.Root("pod_cidr")
		}
		invalid(&resp.Diagnostics, at, "Ranges overlap", fmt.Sprintf("service_cidr %s overlaps pod_cidr %s: an address must be one or the other", b, a))
	}
}

// ModifyPlan makes a newer provider show as an in-place update of version, and keeps what does not change known.
func (r *clusterResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root("version"), version.String())...)
	r.planHost(ctx, req, resp)
	h := plannedHost(ctx, &req.Plan, &resp.Diagnostics)
	if h == nil {
		return
	}
	planNodeName(ctx, h, req, resp)
	if req.State.Raw.IsNull() {
		return
	}
	var name types.String
	resp.Diagnostics.Append(req.Plan.GetAttribute(ctx, path.Root("name"), &name)...)
	if !name.IsUnknown() && !h.Address.IsUnknown() && !h.Port.IsUnknown() && !h.HostKey.IsUnknown() {
		m := clusterModel{Name: name, ControlPlane: []hostModel{*h}}
		resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root("id"), m.id().String())...)
	}
}

// planHost claims the host, where it is known. The list may come from a variable as a whole.
func (r *clusterResource) planHost(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	var hosts types.List
	resp.Diagnostics.Append(req.Plan.GetAttribute(ctx, path.Root("control_plane"), &hosts)...)
	if r.data == nil || resp.Diagnostics.HasError() || hosts.IsUnknown() || len(hosts.Elements()) == 0 {
		return
	}
	host, ok := hosts.Elements()[0].(types.Object)
	if !ok || host.IsUnknown() {
		return
	}
	address, _ := host.Attributes()["address"].(types.String)
	port, _ := host.Attributes()["port"].(types.Int64)
	if address.IsUnknown() || port.IsUnknown() {
		return
	}
	r.data.planHost(ctx, "fairlead_cluster", hostRef{Address: address.ValueString(), Port: int(port.ValueInt64())}, clusterPaths.address, req, resp)
	if req.State.Raw.IsNull() && !resp.Diagnostics.HasError() {
		r.checkAtPlan(ctx, req, resp)
	}
}

// checkAtPlan looks at the host of a new cluster, whose address is known.
func (r *clusterResource) checkAtPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	var m clusterModel
	var hostKey types.String // in the plan it is unknown, too, where the configuration has none
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, clusterPaths.hostKey, &hostKey)...)
	if resp.Diagnostics.HasError() || hostKey.IsUnknown() {
		return
	}
	h := &m.ControlPlane[0]
	cluster := bootstrap.Cluster{PodCIDR: m.PodCIDR.ValueString(), ServiceCIDR: m.ServiceCIDR.ValueString(), Unknown: m.PodCIDR.IsUnknown() || m.ServiceCIDR.IsUnknown()}
	target := bootstrap.Target{Role: bootstrap.RoleServer, Node: bootstrap.Node{Name: h.NodeName.ValueString()}, NoPods: !h.Pods.ValueBool()}
	h.nodeSettings.into(ctx, &target.Node)
	r.data.checkAtPlan(ctx, h.ref(), m.paths(ctx, req.Config, &resp.Diagnostics), cluster, target, &resp.Diagnostics)
}
