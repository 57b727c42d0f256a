package provider

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/version"
	"github.com/fairlead-io/terraform-provider-fairlead/provider/kube"
)

const (
	nodeCreateTimeout = 10 * time.Minute
	// nodeDeleteTimeout covers a drain of defaultDrainTimeout and the removal of the software.
	nodeDeleteTimeout   = defaultDrainTimeout + 5*time.Minute
	defaultDrainTimeout = 5 * time.Minute
)

func newNodeResource() resource.Resource { return &nodeResource{} }

// nodeResource is fairlead_node: a host that runs pods of a cluster.
type nodeResource struct{ data *data }

type nodeModel struct {
	ID              types.String `tfsdk:"id"`
	Cluster         types.String `tfsdk:"cluster"`
	Address         types.String `tfsdk:"address"`
	Port            types.Int64  `tfsdk:"port"`
	HostKey         types.String `tfsdk:"host_key"`
	Name            types.String `tfsdk:"name"`
	InternalAddress types.String `tfsdk:"internal_address"`
	nodeSettings
	Version   types.String   `tfsdk:"version"`
	OnDestroy types.Object   `tfsdk:"on_destroy"`
	Timeouts  timeouts.Value `tfsdk:"timeouts"`
}

func (m *nodeModel) ref() hostRef {
	return hostRef{Address: m.Address.ValueString(), Port: int(m.Port.ValueInt64()), HostKey: m.HostKey.ValueString()}
}

var nodePaths = hostPaths{address: path.Root("address"), hostKey: path.Root("host_key")}

func (r *nodeResource) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = "fairlead_node"
}

func (r *nodeResource) Configure(_ context.Context, req resource.ConfigureRequest, _ *resource.ConfigureResponse) {
	r.data, _ = req.ProviderData.(*data)
}

// ModifyPlan makes a newer provider show as an in-place update of version.
func (r *nodeResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root("version"), version.String())...)
	var m nodeModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if r.data == nil || resp.Diagnostics.HasError() || m.Address.IsUnknown() || m.Port.IsUnknown() {
		return
	}
	if !m.Cluster.IsUnknown() {
		r.data.inCluster(m.Cluster.ValueString(), m.ref(), nodePaths.address, &resp.Diagnostics)
	}
	if !resp.Diagnostics.HasError() {
		r.data.planHost(ctx, "fairlead_node", m.ref(), nodePaths.address, req, resp)
	}
	var hostKey types.String // in the plan it is unknown, too, where the configuration has none
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, nodePaths.hostKey, &hostKey)...)
	if req.State.Raw.IsNull() && !resp.Diagnostics.HasError() && !hostKey.IsUnknown() {
		target := bootstrap.Target{Role: bootstrap.RoleAgent, Node: bootstrap.Node{Name: m.Name.ValueString()}}
		m.nodeSettings.into(ctx, &target.Node)
		r.data.checkAtPlan(ctx, m.ref(), m.paths(), bootstrap.Cluster{Unknown: true}, target, &resp.Diagnostics)
	}
}

// paths are nodePaths with the settings that the configuration has.
func (m *nodeModel) paths() hostPaths {
	at := nodePaths
	if !m.EvictionHard.IsNull() {
		at.settings = map[string]path.Path{"eviction_hard": path.Root("eviction_hard")}
	}
	return at
}

func (r *nodeResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m nodeModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel, ok := withTimeout(ctx, m.Timeouts.Create, nodeCreateTimeout, &resp.Diagnostics)
	if !ok {
		return
	}
	defer cancel()
	p := r.prepare(ctx, &m, &resp.Diagnostics)
	p.node.Owner = newOwner(ctx, r.data, m.ref(), resp.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	target := bootstrap.Target{Conn: p.host, Role: bootstrap.RoleAgent, Node: p.node}
	err := r.data.locked(ctx, m.ref(), p.host, "join a node", func(ctx context.Context) error {
		if p.join(ctx, target, &m, resp); !resp.Diagnostics.HasError() {
			r.data.took(m.ref())
		}
		return nil
	})
	if err != nil {
		diagnose(&resp.Diagnostics, nodePaths, "Node did not join", unlockable(ctx, err, p.cluster, p.bin, target))
	}
}

func (p *joining) join(ctx context.Context, target bootstrap.Target, m *nodeModel, resp *resource.CreateResponse) {
	if err := bootstrap.Preflight(ctx, p.cluster, p.bin, []bootstrap.Target{target}); err != nil {
		diagnose(&resp.Diagnostics, m.paths(), "Host can not be checked", err)
		return
	}
	m.known(p.host, nil)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	got, err := bootstrap.JoinNode(ctx, p.control, p.host, p.cluster, p.node, p.bin, progress(ctx))
	if err != nil {
		forget(ctx, &resp.State, err)
		diagnose(&resp.Diagnostics, nodePaths, "Node did not join", err)
		return
	}
	m.known(p.host, got)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *nodeResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, old nodeModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &old)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if m.sameOnHost(&old) {
		m.keep(&old)
		resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
		return
	}
	defer r.data.upgrades.begin()()
	ctx, cancel, ok := withTimeout(ctx, m.Timeouts.Update, nodeCreateTimeout, &resp.Diagnostics) // from its turn on
	if !ok {
		return
	}
	defer cancel()
	if m.HostKey.IsUnknown() {
		m.HostKey = old.HostKey
	}
	p := r.prepare(ctx, &m, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	p.node.Owner = ownerOf(ctx, r.data, m.ref(), req.Private)
	err := r.data.locked(ctx, m.ref(), p.host, "update a node", func(ctx context.Context) error {
		r.change(ctx, &p, &m, &old, resp)
		return nil
	})
	if err != nil {
		diagnose(&resp.Diagnostics, nodePaths, "Node not updated", err)
	}
}

func (r *nodeResource) change(ctx context.Context, p *joining, m, old *nodeModel, resp *resource.UpdateResponse) {
	err := p.node.Owner.Check(ctx, p.host)
	if err != nil {
		diagnose(&resp.Diagnostics, nodePaths, "Node not updated", err)
		return
	}
	upgrade := !old.Version.IsNull() && m.Version != old.Version
	switch {
	case old.Version.IsNull():
		// The cluster does not know the node: what is on the host belongs to a node that was removed.
		err = bootstrap.Uninstall(ctx, p.host, false, progress(ctx))
	case upgrade:
		if err := r.data.upgrades.allowed(p.control.Host()); err != nil {
			resp.Diagnostics.AddAttributeError(path.Root("version"), "Node not upgraded", err.Error()+
				"\n\nWhen that host is mended, run again: the upgrade goes on with the hosts that are left.")
			return
		}
		_, err = bootstrap.Upgrade(ctx, p.host, p.bin, progress(ctx))
	}
	var got *bootstrap.Installed
	if err == nil {
		got, err = bootstrap.JoinNode(ctx, p.control, p.host, p.cluster, p.node, p.bin, progress(ctx))
	}
	if err != nil {
		summary := "Node not updated"
		if upgrade {
			summary = "Node not upgraded"
			r.data.upgrades.fail(p.control.Host(), p.host.Host())
		}
		diagnose(&resp.Diagnostics, nodePaths, summary, err)
		return
	}
	m.known(p.host, got)
	client, err := r.data.kube.Get(ctx, m.Cluster.ValueString())
	if err == nil {
		err = relabel(ctx, client, got.NodeName, stringMap(ctx, old.Labels), p.node.Labels, stringList(ctx, old.Taints), p.node.Taints)
	}
	if err != nil {
		resp.Diagnostics.AddError("Node's labels and taints not updated", err.Error())
		return
	}
	setPrivate(ctx, resp.Private, adoptKey, false, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// sameOnHost says whether only what a destroy does and how long things may take differ: of that the host knows
// nothing, and it need not answer.
func (m *nodeModel) sameOnHost(old *nodeModel) bool {
	return m.Address.Equal(old.Address) && m.Port.Equal(old.Port) && (m.HostKey.IsUnknown() || m.HostKey.Equal(old.HostKey)) &&
		(&connector{}).SameCluster(m.Cluster.ValueString(), old.Cluster.ValueString()) && m.Version.Equal(old.Version) &&
		m.nodeSettings.equal(&old.nodeSettings) && !old.Name.IsNull() &&
		(m.Name.IsUnknown() || m.Name.Equal(old.Name)) && (m.InternalAddress.IsUnknown() || m.InternalAddress.Equal(old.InternalAddress))
}

// keep takes what the plan leaves open from the state.
func (m *nodeModel) keep(old *nodeModel) {
	m.HostKey, m.Name, m.InternalAddress = old.HostKey, old.Name, old.InternalAddress
	m.ID = types.StringValue(nodeID(m.Cluster.ValueString(), m.Name.ValueString()))
}

// Read asks the cluster about the node and the host about its software. A node is gone when the cluster says so;
// a cluster or host that does not answer is an error, never a reason to forget it.
func (r *nodeResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m nodeModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() || m.Name.IsNull() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	client, err := r.data.kube.Get(ctx, m.Cluster.ValueString())
	if errors.Is(err, kube.ErrClusterGone) {
		r.readRemoved(ctx, &m, resp)
		return
	}
	if notReadYet(&resp.Diagnostics, err) {
		return
	}
	if err != nil {
		diagnose(&resp.Diagnostics, hostPaths{address: path.Root("cluster"), hostKey: path.Root("cluster")}, "Node can not be read", err)
		return
	}
	node, err := client.Typed.CoreV1().Nodes().Get(ctx, m.Name.ValueString(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		r.readRemoved(ctx, &m, resp)
		return
	}
	if err != nil {
		resp.Diagnostics.AddError("Node can not be read", err.Error())
		return
	}
	resp.Diagnostics.Append(m.overlay(ctx, node)...)
	if v := node.Status.NodeInfo.KubeletVersion; v != "" {
		m.Version = types.StringValue(providerVersion(v))
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// readRemoved is for a node that its cluster does not know (any more), or whose cluster is gone. What is on its host decides: as long as
// there is something of ours, the resource stays, without a version, so that the next apply joins it anew.
func (r *nodeResource) readRemoved(ctx context.Context, m *nodeModel, resp *resource.ReadResponse) {
	conn, err := r.data.hosts.get(ctx, m.ref())
	if unreachable(err) && ignoresUnreachable(m.OnDestroy) {
		resp.Diagnostics.AddAttributeWarning(nodePaths.address, "Node not read", err.Error()+"\n\nIts state is what it was, since on_destroy ignores a host that does not answer.")
		return
	}
	if notReadYet(&resp.Diagnostics, err) {
		return
	}
	if err != nil {
		diagnose(&resp.Diagnostics, nodePaths, "Node can not be read", err)
		return
	}
	got, err := bootstrap.Inspect(ctx, conn)
	if err != nil {
		diagnose(&resp.Diagnostics, nodePaths, "Node can not be read", err)
		return
	}
	if !got.Present && !got.Begun {
		resp.State.RemoveResource(ctx)
		return
	}
	m.Version = types.StringNull()
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *nodeResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	cluster, name, host, err := parseNodeID(req.ID)
	if err != nil {
		resp.Diagnostics.AddError("Not an id of a node", err.Error())
		return
	}
	client, err := r.data.kube.Get(ctx, cluster)
	if err != nil {
		resp.Diagnostics.AddError("Node can not be imported", err.Error())
		return
	}
	node, err := client.Typed.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		resp.Diagnostics.AddError("Node can not be imported", err.Error())
		return
	}
	m := importNode(cluster, node, host)
	r.importSettings(ctx, m, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// importSettings takes what only the host knows. The cluster knows the node all the same, so that a host which does not answer
// is no reason to refuse it.
func (r *nodeResource) importSettings(ctx context.Context, m *nodeModel, diags *diag.Diagnostics) {
	conn, err := r.data.hosts.get(ctx, m.ref())
	var agent *config.Agent
	if err == nil {
		agent, err = bootstrap.AgentConfigOf(ctx, conn)
	}
	if err != nil {
		diags.AddWarning("Settings of the node not imported", err.Error()+
			"\n\nThe node is imported without its host_key, labels, taints and eviction_hard; those of the configuration are set by the next apply.")
		return
	}
	if name := m.Name.ValueString(); agent.NodeName != name {
		diags.AddError("Node can not be imported", "Host "+m.Address.ValueString()+" is node "+strconv.Quote(agent.NodeName)+", not "+strconv.Quote(name)+".")
		return
	}
	m.known(conn, nil)
	diags.Append(m.nodeSettings.of(ctx, agent)...)
}

// joining is what a create or update of a node works with.
type joining struct {
	control, host ssh.Conn
	cluster       bootstrap.Cluster
	node          bootstrap.Node
	bin           bootstrap.Binary
}

func (r *nodeResource) prepare(ctx context.Context, m *nodeModel, diags *diag.Diagnostics) (j joining) {
	id, err := parseClusterID(m.Cluster.ValueString())
	if err != nil {
		diags.AddAttributeError(path.Root("cluster"), "Not an id of a cluster", err.Error())
		return j
	}
	// Both hosts are dialled before anything is said, so that one run names all that is wrong.
	at := hostPaths{address: path.Root("cluster"), hostKey: path.Root("cluster")}
	if j.control, err = r.data.hosts.get(ctx, hostRef{Address: id.Address, Port: id.Port, HostKey: id.HostKey}); err != nil {
		diagnose(diags, at, "Control-plane host can not be reached", err)
	}
	if m.HostKey.IsUnknown() {
		m.HostKey = types.StringNull()
	}
	if j.host, err = r.data.hosts.get(ctx, m.ref()); err != nil {
		diagnose(diags, nodePaths, "Host can not be reached", err)
	}
	if diags.HasError() {
		return j
	}
	if j.bin, err = r.data.releases.binaryFor(ctx, j.host); err != nil {
		diagnose(diags, nodePaths, "No program for the host", err)
		return j
	}
	installed, err := bootstrap.Inspect(ctx, j.control)
	if err == nil && (!installed.Present || installed.Role != "server" || installed.Cluster != id.Name) {
		err = errors.New("the control-plane host does not run this cluster")
	}
	if err != nil {
		diagnose(diags, at, "Cluster can not be read", err)
		return j
	}
	if j.cluster, err = bootstrap.ClusterOf(ctx, j.control); err != nil {
		diagnose(diags, at, "Cluster can not be read", err)
		return j
	}
	j.cluster.CA = installed.CA
	j.node = bootstrap.Node{Name: m.Name.ValueString(), Address: m.InternalAddress.ValueString()}
	m.nodeSettings.into(ctx, &j.node)
	return j
}

// known fills in what only the host could tell; got is nil as long as nothing is installed.
func (m *nodeModel) known(conn ssh.Conn, got *bootstrap.Installed) {
	if m.HostKey.ValueString() == "" {
		m.HostKey = types.StringNull()
		if k := conn.HostKey(); k != "" {
			m.HostKey = types.StringValue(k)
		}
	}
	if got != nil {
		m.Name, m.InternalAddress = types.StringValue(got.NodeName), types.StringValue(got.Address)
	}
	for _, v := range []*types.String{&m.Name, &m.InternalAddress} {
		if v.IsUnknown() {
			*v = types.StringNull()
		}
	}
	m.ID = types.StringValue(nodeID(m.Cluster.ValueString(), m.Name.ValueString()))
}
