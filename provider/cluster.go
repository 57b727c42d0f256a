package provider

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

const (
	clusterCreateTimeout = 15 * time.Minute
	clusterDeleteTimeout = 10 * time.Minute
	readTimeout          = time.Minute
)

func newClusterResource() resource.Resource { return &clusterResource{} }

// clusterResource is fairlead_cluster: the control plane on its host.
type clusterResource struct{ data *data }

type clusterModel struct {
	ID               types.String   `tfsdk:"id"`
	Name             types.String   `tfsdk:"name"`
	ControlPlane     []hostModel    `tfsdk:"control_plane"`
	PodCIDR          types.String   `tfsdk:"pod_cidr"`
	ServiceCIDR      types.String   `tfsdk:"service_cidr"`
	Domain           types.String   `tfsdk:"domain"`
	NodePorts        types.String   `tfsdk:"node_ports"`
	CertificateNames types.List     `tfsdk:"certificate_names"`
	OIDC             types.Object   `tfsdk:"oidc"`
	Audit            types.Object   `tfsdk:"audit"`
	Version          types.String   `tfsdk:"version"`
	APIServer        types.String   `tfsdk:"api_server"`
	CACertificate    types.String   `tfsdk:"ca_certificate"`
	OnDestroy        types.Object   `tfsdk:"on_destroy"`
	Timeouts         timeouts.Value `tfsdk:"timeouts"`
}

type hostModel struct {
	Address         types.String `tfsdk:"address"`
	Port            types.Int64  `tfsdk:"port"`
	HostKey         types.String `tfsdk:"host_key"`
	NodeName        types.String `tfsdk:"node_name"`
	InternalAddress types.String `tfsdk:"internal_address"`
	Pods            types.Bool   `tfsdk:"pods"`
	nodeSettings
}

func (m *hostModel) ref() hostRef {
	return hostRef{Address: m.Address.ValueString(), Port: int(m.Port.ValueInt64()), HostKey: m.HostKey.ValueString()}
}

type clusterDestroyModel struct {
	Uninstall         types.Bool `tfsdk:"uninstall"`
	KeepPackages      types.Bool `tfsdk:"keep_packages"`
	IgnoreUnreachable types.Bool `tfsdk:"ignore_unreachable"`
}

var controlPlaneHost = path.Root("control_plane").AtListIndex(0)

var clusterPaths = hostPaths{address: controlPlaneHost.AtName("address"), hostKey: controlPlaneHost.AtName("host_key")}

func (r *clusterResource) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = "fairlead_cluster"
}

func (r *clusterResource) Configure(_ context.Context, req resource.ConfigureRequest, _ *resource.ConfigureResponse) {
	r.data, _ = req.ProviderData.(*data)
}

func (r *clusterResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m clusterModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel, ok := withTimeout(ctx, m.Timeouts.Create, clusterCreateTimeout, &resp.Diagnostics)
	if !ok {
		return
	}
	defer cancel()
	conn, spec, bin := r.prepare(ctx, &m, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	spec.Node.Owner = newOwner(ctx, r.data, m.ControlPlane[0].ref(), resp.Private, &resp.Diagnostics)
	at := m.paths(ctx, req.Config, &resp.Diagnostics)
	target := bootstrap.Target{Conn: conn, Role: bootstrap.RoleServer, Node: spec.Node, NoPods: !spec.Pods}
	err := r.data.locked(ctx, m.ControlPlane[0].ref(), conn, "install the control plane", func(ctx context.Context) error {
		r.install(ctx, target, spec, bin, at, &m, resp)
		return nil
	})
	if err != nil {
		diagnose(&resp.Diagnostics, at, "Control plane not installed", unlockable(ctx, err, spec.Cluster, bin, target))
	}
}

// paths are clusterPaths with the settings that the configuration has.
func (m *clusterModel) paths(ctx context.Context, config tfsdk.Config, diags *diag.Diagnostics) hostPaths {
	at := clusterPaths
	at.settings = map[string]path.Path{}
	for _, name := range []string{"pod_cidr", "service_cidr"} {
		var v types.String
		if diags.Append(config.GetAttribute(ctx, path.Root(name), &v)...); !v.IsNull() {
			at.settings[name] = path.Root(name)
		}
	}
	if !m.ControlPlane[0].EvictionHard.IsNull() {
		at.settings["eviction_hard"] = controlPlaneHost.AtName("eviction_hard")
	}
	return at
}

func (r *clusterResource) install(ctx context.Context, target bootstrap.Target, spec bootstrap.ControlPlane, bin bootstrap.Binary, at hostPaths, m *clusterModel, resp *resource.CreateResponse) {
	conn := target.Conn
	if err := bootstrap.Preflight(ctx, spec.Cluster, bin, []bootstrap.Target{target}); err != nil {
		diagnose(&resp.Diagnostics, at, "Host can not be checked", err)
		return
	}
	// From here on the host is changed: what fails is kept in state, so that a destroy undoes it.
	m.known(conn, nil)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	got, err := bootstrap.InstallServer(ctx, conn, spec, bin, progress(ctx))
	if err != nil {
		forget(ctx, &resp.State, err)
		diagnose(&resp.Diagnostics, clusterPaths, "Control plane not installed", err)
		return
	}
	r.data.took(m.ControlPlane[0].ref())
	m.known(conn, got)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *clusterResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, old clusterModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &old)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if m.sameOnHost(old) {
		resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
		return
	}
	ctx, cancel, ok := withTimeout(ctx, m.Timeouts.Update, clusterCreateTimeout, &resp.Diagnostics)
	if !ok {
		return
	}
	defer cancel()
	if m.ControlPlane[0].HostKey.IsUnknown() {
		m.ControlPlane[0].HostKey = old.ControlPlane[0].HostKey
	}
	conn, spec, bin := r.prepare(ctx, &m, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	spec.Node.Owner = ownerOf(ctx, r.data, m.ControlPlane[0].ref(), req.Private)
	err := r.data.locked(ctx, m.ControlPlane[0].ref(), conn, "update the control plane", func(ctx context.Context) error {
		r.change(ctx, conn, spec, bin, &m, &old, resp)
		return nil
	})
	if err != nil {
		diagnose(&resp.Diagnostics, clusterPaths, "Control plane not updated", err)
	}
}

func (r *clusterResource) change(ctx context.Context, conn ssh.Conn, spec bootstrap.ControlPlane, bin bootstrap.Binary, m, old *clusterModel, resp *resource.UpdateResponse) {
	if err := spec.Node.Owner.Check(ctx, conn); err != nil {
		diagnose(&resp.Diagnostics, clusterPaths, "Control plane not updated", err)
		return
	}
	if m.Version != old.Version {
		if _, err := bootstrap.Upgrade(ctx, conn, bin, progress(ctx)); err != nil {
			diagnose(&resp.Diagnostics, clusterPaths, "Control plane not upgraded", err)
			return
		}
	}
	stopsPods := old.ControlPlane[0].Pods.ValueBool() && !spec.Pods
	if stopsPods {
		if err := r.removeNode(ctx, old); err != nil {
			resp.Diagnostics.AddError("Host still has pods", err.Error())
			return
		}
	}
	got, err := bootstrap.InstallServer(ctx, conn, spec, bin, progress(ctx))
	if err == nil && stopsPods {
		err = bootstrap.RemovePods(ctx, conn, progress(ctx))
	}
	if err != nil {
		diagnose(&resp.Diagnostics, clusterPaths, "Control plane not updated", err)
		return
	}
	m.known(conn, got)
	if spec.Pods {
		if err := r.relabelNode(ctx, old, m, got.NodeName); err != nil {
			resp.Diagnostics.AddError("Node's labels and taints not updated", err.Error())
			return
		}
	}
	setPrivate(ctx, resp.Private, adoptKey, false, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// removeNode takes the host's node out of the cluster, for a host that is to run no pods any more.
func (r *clusterResource) removeNode(ctx context.Context, m *clusterModel) error {
	client, err := r.data.kube.Get(ctx, m.ID.ValueString())
	if err != nil {
		return err
	}
	name := m.ControlPlane[0].NodeName.ValueString()
	d := drainer{client: client.Typed, node: name, timeout: defaultDrainTimeout, progress: progress(ctx), advice: "Move or remove them, and apply again."}
	if err := d.run(ctx); err != nil {
		return err
	}
	return d.remove(ctx)
}

func (r *clusterResource) relabelNode(ctx context.Context, old, m *clusterModel, name string) error {
	was, is := &old.ControlPlane[0], &m.ControlPlane[0]
	if was.Labels.Equal(is.Labels) && was.Taints.Equal(is.Taints) {
		return nil
	}
	client, err := r.data.kube.Get(ctx, m.ID.ValueString())
	if err != nil {
		return err
	}
	return relabel(ctx, client, name, stringMap(ctx, was.Labels), stringMap(ctx, is.Labels), stringList(ctx, was.Taints), stringList(ctx, is.Taints))
}

// sameOnHost says whether only what a destroy does and how long things may take differ: of that the host knows
// nothing, and it need not answer.
func (m clusterModel) sameOnHost(old clusterModel) bool {
	m.OnDestroy, m.Timeouts = old.OnDestroy, old.Timeouts
	return !old.APIServer.IsNull() && reflect.DeepEqual(m, old)
}

func (r *clusterResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m clusterModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() || len(m.ControlPlane) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	conn, err := r.data.hosts.get(ctx, m.ControlPlane[0].ref())
	if err != nil {
		r.readUnreachable(ctx, &m, err, resp)
		return
	}
	got, err := bootstrap.Inspect(ctx, conn)
	if err != nil {
		diagnose(&resp.Diagnostics, clusterPaths, "Cluster can not be read", err)
		return
	}
	switch {
	case !got.Present && got.Begun && m.APIServer.IsNull():
		return // a create that ended early: a destroy has to undo it
	case !got.Present:
		resp.State.RemoveResource(ctx)
		return
	case got.Cluster != m.Name.ValueString() || got.Role != "server":
		resp.Diagnostics.AddAttributeError(clusterPaths.address, "Host belongs to another cluster",
			"The host runs the "+got.Role+" of cluster "+got.Cluster+". Nothing was changed.")
		return
	}
	if o := ownerOf(ctx, r.data, m.ControlPlane[0].ref(), req.Private); o.Lost(&got.Owner) {
		resp.Diagnostics.AddAttributeWarning(clusterPaths.address, "Host is another resource's", "It is "+got.Place()+" and of "+got.Owner.String()+". This resource had it before; a destroy leaves it as it is.")
	}
	m.Version = types.StringValue(got.Version)
	m.known(conn, got)
	if got.Healthy {
		r.overlayNode(ctx, &m, &resp.Diagnostics)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// overlayNode takes over the live labels and taints of the host's node, where some are configured. A node that the cluster
// does not know has none, and keeps what the state says: its agent registers it with them.
func (r *clusterResource) overlayNode(ctx context.Context, m *clusterModel, diags *diag.Diagnostics) {
	h := &m.ControlPlane[0]
	if !h.Pods.ValueBool() || h.Labels.IsNull() && h.Taints.IsNull() {
		return
	}
	client, err := r.data.kube.Get(ctx, m.ID.ValueString())
	var node *corev1.Node
	if err == nil {
		node, err = client.Typed.CoreV1().Nodes().Get(ctx, h.NodeName.ValueString(), metav1.GetOptions{})
	}
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		diagnose(diags, clusterPaths, "Node of the control-plane host can not be read", err)
	default:
		diags.Append(h.nodeSettings.overlay(ctx, node)...)
	}
}

// readUnreachable is for a host that does not answer. Only a cluster that is given up by name is gone; one whose host
// a destroy is to ignore stays as it is in state.
func (r *clusterResource) readUnreachable(ctx context.Context, m *clusterModel, err error, resp *resource.ReadResponse) {
	name := m.Name.ValueString()
	switch {
	case notReadYet(&resp.Diagnostics, err):
	case !unreachable(err):
		diagnose(&resp.Diagnostics, clusterPaths, "Cluster can not be read", err)
	case r.data.connector.isLost(name):
		resp.Diagnostics.AddWarning("Cluster given up", err.Error()+"\n\nCluster "+name+" is one of the provider's lost_clusters; the host still has what is on it.")
		resp.State.RemoveResource(ctx)
	case ignoresUnreachable(m.OnDestroy):
		resp.Diagnostics.AddWarning("Cluster not read", err.Error()+"\n\nIts state is what it was, since on_destroy ignores a host that does not answer.")
	default:
		resp.Diagnostics.AddAttributeError(clusterPaths.address, "Host can not be reached", err.Error()+
			"\n\nWhat exists is kept in state; try again when the host answers. If it will not come back, set lost_clusters = [\""+name+"\"] in the provider block.")
	}
}

// ignoresUnreachable reads on_destroy of a cluster or node.
func ignoresUnreachable(onDestroy types.Object) bool {
	ignore, _ := onDestroy.Attributes()["ignore_unreachable"].(types.Bool)
	return ignore.ValueBool()
}

func (r *clusterResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m clusterModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel, ok := withTimeout(ctx, m.Timeouts.Delete, clusterDeleteTimeout, &resp.Diagnostics)
	if !ok {
		return
	}
	defer cancel()
	d := clusterDestroyModel{Uninstall: types.BoolValue(true)}
	if !m.OnDestroy.IsNull() {
		resp.Diagnostics.Append(m.OnDestroy.As(ctx, &d, basetypes.ObjectAsOptions{})...)
	}
	if resp.Diagnostics.HasError() || !d.Uninstall.ValueBool() {
		return
	}
	ref := m.ControlPlane[0].ref()
	conn, err := r.data.hosts.get(ctx, ref)
	if err == nil {
		err = r.data.locked(ctx, ref, conn, "remove the control plane", func(ctx context.Context) error {
			if r.data.isTaken(ref) {
				takenOver(&resp.Diagnostics, clusterPaths)
				return nil
			}
			got, err := bootstrap.Inspect(ctx, conn)
			if err != nil {
				return err
			}
			o := ownerOf(ctx, r.data, ref, req.Private)
			if got.Present && (got.Role != bootstrap.RoleServer || got.Cluster != m.Name.ValueString()) || o.Lost(&got.Owner) {
				othersNow(&resp.Diagnostics, clusterPaths, got)
				return nil
			}
			return bootstrap.Uninstall(ctx, conn, !d.KeepPackages.ValueBool(), progress(ctx))
		})
	}
	removed(&resp.Diagnostics, clusterPaths, "Control plane not removed", err,
		d.IgnoreUnreachable.ValueBool() || r.data.connector.isLost(m.Name.ValueString()), "lost_clusters = [\""+m.Name.ValueString()+"\"] in the provider block")
}

// takenOver says that nothing was removed from a host.
func takenOver(diags *diag.Diagnostics, at hostPaths) {
	diags.AddAttributeWarning(at.address, "Host taken over", "Another resource of this configuration has been made for the same host in this run. "+
		"What is on the host is that resource's now, so nothing was removed. A moved block says so before the plan.")
}

// othersNow says that nothing was removed from a host that is something else than the resource made of it.
func othersNow(diags *diag.Diagnostics, at hostPaths, got *bootstrap.Installed) {
	diags.AddAttributeWarning(at.address, "Host left as it is", "The host is "+got.Place()+" now, which this resource did not make"+madeBy(got)+". Nothing was removed from it.")
}

// madeBy says whose a host is, where that is known.
func madeBy(got *bootstrap.Installed) string {
	if got.Owner.ID == "" {
		return ""
	}
	return " but " + got.Owner.String()
}

// forget takes a resource out of the state of its creation where the host was refused after all: nothing of it is there,
// and a destroy would remove what made it be refused.
func forget(ctx context.Context, state *tfsdk.State, err error) {
	var refused *bootstrap.PreflightError
	if errors.As(err, &refused) {
		state.RemoveResource(ctx)
	}
}

// removed reports what a removal ended with; a host that does not answer is passed over when that was asked for, and
// giveUp says how to ask.
func removed(diags *diag.Diagnostics, at hostPaths, summary string, err error, ignoreUnreachable bool, giveUp string) {
	switch {
	case err == nil:
	case unreachable(err) && ignoreUnreachable:
		diags.AddAttributeWarning(at.address, "Host not cleaned up", err.Error()+"\n\nThe resource is removed all the same, as on_destroy says; the host still has everything on it.")
	case unreachable(err):
		diags.AddAttributeError(at.address, "Host can not be reached", err.Error()+
			"\n\nTo remove a host that will not come back, set "+giveUp+", and destroy again.")
	default:
		diagnose(diags, at, summary, err)
	}
}

func (r *clusterResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	id, err := parseClusterID(req.ID)
	if err != nil {
		resp.Diagnostics.AddError("Not an id of a cluster", err.Error())
		return
	}
	conn, err := r.data.hosts.get(ctx, hostRef{Address: id.Address, Port: id.Port, HostKey: id.HostKey})
	if err != nil {
		diagnose(&resp.Diagnostics, hostPaths{address: path.Root("id"), hostKey: path.Root("id")}, "Cluster can not be imported", err)
		return
	}
	m, err := importCluster(ctx, conn, id)
	if err != nil {
		resp.Diagnostics.AddError("Cluster can not be imported", err.Error())
		return
	}
	m.Timeouts = nullTimeouts()
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// prepare connects to the host and turns the plan into what bootstrap works with.
func (r *clusterResource) prepare(ctx context.Context, m *clusterModel, diags *diag.Diagnostics) (ssh.Conn, bootstrap.ControlPlane, bootstrap.Binary) {
	var spec bootstrap.ControlPlane
	var bin bootstrap.Binary
	h := &m.ControlPlane[0]
	if h.HostKey.IsUnknown() {
		h.HostKey = types.StringNull()
	}
	conn, err := r.data.hosts.get(ctx, h.ref())
	if err != nil {
		diagnose(diags, clusterPaths, "Host can not be reached", err)
		return nil, spec, bin
	}
	if bin, err = r.data.releases.binaryFor(ctx, conn); err != nil {
		diagnose(diags, clusterPaths, "No program for the host", err)
		return nil, spec, bin
	}
	spec = bootstrap.ControlPlane{
		Cluster: bootstrap.Cluster{
			Name: m.Name.ValueString(), PodCIDR: m.PodCIDR.ValueString(), ServiceCIDR: m.ServiceCIDR.ValueString(),
			Domain: m.Domain.ValueString(), NodePorts: m.NodePorts.ValueString(),
		},
		Node: bootstrap.Node{Name: h.NodeName.ValueString(), Address: h.InternalAddress.ValueString()},
		Pods: h.Pods.ValueBool(), OIDC: oidcConfig(ctx, m.OIDC, diags), Audit: auditConfig(ctx, m.Audit, diags),
	}
	diags.Append(m.CertificateNames.ElementsAs(ctx, &spec.CertificateNames, false)...)
	h.nodeSettings.into(ctx, &spec.Node)
	return conn, spec, bin
}

// id is the cluster's id by what the model says of its host.
func (m *clusterModel) id() clusterID {
	h := &m.ControlPlane[0]
	return clusterID{Name: m.Name.ValueString(), Address: h.Address.ValueString(), Port: int(h.Port.ValueInt64()), HostKey: fingerprint(h.HostKey.ValueString())}
}

// known fills in what only the host could tell; got is nil as long as nothing is installed.
func (m *clusterModel) known(conn ssh.Conn, got *bootstrap.Installed) {
	h := &m.ControlPlane[0]
	if h.HostKey.ValueString() == "" && conn.HostKey() != "" {
		h.HostKey = types.StringValue(conn.HostKey())
	} else if h.HostKey.IsUnknown() {
		h.HostKey = types.StringNull()
	}
	m.ID = types.StringValue(m.id().String())
	if got != nil {
		m.APIServer = types.StringValue(apiServerURL(got))
		m.CACertificate = types.StringValue(string(got.CA))
		h.InternalAddress = types.StringValue(got.Address)
		if got.NodeName != "" {
			h.NodeName = types.StringValue(got.NodeName)
		} else if h.NodeName.IsUnknown() { // it runs no pods
			h.NodeName = types.StringNull()
		}
		return
	}
	for _, v := range []*types.String{&m.APIServer, &m.CACertificate, &h.NodeName, &h.InternalAddress} {
		if v.IsUnknown() {
			*v = types.StringNull()
		}
	}
}
