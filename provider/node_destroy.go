package provider

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
	"github.com/fairlead-io/terraform-provider-fairlead/provider/kube"
)

type nodeDestroyModel struct {
	Drain             types.Bool   `tfsdk:"drain"`
	DrainTimeout      types.String `tfsdk:"drain_timeout"`
	Uninstall         types.Bool   `tfsdk:"uninstall"`
	KeepPackages      types.Bool   `tfsdk:"keep_packages"`
	IgnoreUnreachable types.Bool   `tfsdk:"ignore_unreachable"`
}

// drainTimeout is how long the drain may take; the plan has checked what is said of it.
func (d *nodeDestroyModel) drainTimeout() time.Duration {
	if t, err := time.ParseDuration(d.DrainTimeout.ValueString()); err == nil {
		return t
	}
	return defaultDrainTimeout
}

const ignoreNode = "on_destroy = { ignore_unreachable = true }, apply"

// Delete cordons, drains, deletes the Node object, and removes the software, in this order.
func (r *nodeResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m nodeModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	d := nodeDestroyModel{Drain: types.BoolValue(true), Uninstall: types.BoolValue(true)}
	if !m.OnDestroy.IsNull() {
		resp.Diagnostics.Append(m.OnDestroy.As(ctx, &d, basetypes.ObjectAsOptions{})...)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel, ok := withTimeout(ctx, m.Timeouts.Delete, nodeDeleteTimeout-defaultDrainTimeout+d.drainTimeout(), &resp.Diagnostics)
	if !ok {
		return
	}
	defer cancel()
	left := false
	leave := func(ctx context.Context) bool {
		err := r.leave(ctx, &m, &d)
		if err != nil {
			resp.Diagnostics.AddError("Node not removed from its cluster", err.Error())
		}
		left = err == nil
		return left
	}
	if !d.Uninstall.ValueBool() {
		leave(ctx)
		return
	}
	// A host that does not answer, or that another run changes, is learned of before the node is drained, which would
	// wait for its pods.
	conn, err := r.data.hosts.get(ctx, m.ref())
	if err == nil {
		err = r.data.locked(ctx, m.ref(), conn, "remove a node", func(ctx context.Context) error {
			if r.data.isTaken(m.ref()) {
				takenOver(&resp.Diagnostics, nodePaths)
				return nil
			}
			got, err := bootstrap.Inspect(ctx, conn)
			if err != nil {
				return err
			}
			if !leave(ctx) {
				return nil
			}
			if o := ownerOf(ctx, r.data, m.ref(), req.Private); m.isOthers(got) || o.Lost(&got.Owner) {
				othersNow(&resp.Diagnostics, nodePaths, got)
				return nil
			}
			return bootstrap.Uninstall(ctx, conn, !d.KeepPackages.ValueBool(), progress(ctx))
		})
	}
	ignore := d.IgnoreUnreachable.ValueBool()
	if !left && unreachable(err) && ignore && !leave(ctx) {
		return
	}
	removed(&resp.Diagnostics, nodePaths, "Node's software not removed", err, ignore, ignoreNode)
}

// isOthers says whether the host is something else than this node, such as one of another cluster.
func (m *nodeModel) isOthers(got *bootstrap.Installed) bool {
	if !got.Present {
		return false
	}
	id, problem := readClusterID(m.Cluster.ValueString())
	name := m.Name.ValueString() // empty: it did not get so far
	return got.Role != bootstrap.RoleAgent || problem == "" && got.Cluster != "" && got.Cluster != id.Name || name != "" && got.NodeName != name
}

// leave takes the node out of the cluster, where it has got into it. A dead node's pods can not be waited for when it
// is to be ignored.
func (r *nodeResource) leave(ctx context.Context, m *nodeModel, d *nodeDestroyModel) error {
	if m.Name.ValueString() == "" {
		return nil
	}
	client, err := r.data.kube.Get(ctx, m.Cluster.ValueString())
	if errors.Is(err, kube.ErrClusterGone) {
		return nil
	}
	if err != nil {
		return err
	}
	name := m.Name.ValueString()
	dr := drainer{
		client: client.Typed, node: name, timeout: d.drainTimeout(), ignoreUnreachable: d.IgnoreUnreachable.ValueBool(), progress: progress(ctx),
		advice: `Give it longer with on_destroy = { drain_timeout = "…" }, or skip the drain with drain = false.`,
	}
	if d.Drain.ValueBool() {
		if err := dr.run(ctx); err != nil {
			return err
		}
	}
	return dr.remove(ctx)
}
