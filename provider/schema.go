package provider

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	gossh "golang.org/x/crypto/ssh"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

func (r *clusterResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A Kubernetes-compatible control plane on a host of yours, installed over SSH: etcd, API server, scheduler and controllers in one service.",
		Attributes: map[string]schema.Attribute{
			"id": computed("Names the cluster and how its control plane is reached; what other resources take as `cluster`. It holds nothing secret."),
			"name": schema.StringAttribute{
				MarkdownDescription: "Name of the cluster, a DNS label.",
				Required:            true,
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
				Validators:          []validator.String{dnsLabel{}},
			},
			"control_plane": schema.ListNestedAttribute{
				MarkdownDescription: "Hosts of the control plane: exactly one in this release.",
				Required:            true,
				Validators:          []validator.List{oneHost{}},
				NestedObject:        schema.NestedAttributeObject{Attributes: controlPlaneAttributes()},
			},
			"pod_cidr":     fixedString("IPv4 range of all pods; each node gets a /24 of it.", config.DefaultPodCIDR, ipv4Range{}),
			"service_cidr": fixedString("IPv4 range of services; it must not overlap `pod_cidr`.", config.DefaultServiceCIDR, ipv4Range{}),
			"domain":       fixedString("DNS domain of services.", config.DefaultDomain, dnsSubdomain{}),
			"node_ports":   fixedString("Ports for services of type NodePort, FIRST-LAST.", config.DefaultNodePorts, portRange{}),
			"certificate_names": schema.ListAttribute{
				MarkdownDescription: "Further names and addresses of the API server's certificate.",
				Optional:            true,
				ElementType:         types.StringType,
				Validators:          []validator.List{listvalidator.ValueStringsAre(certificateName{})},
			},
			"oidc":           oidcAttribute(),
			"audit":          auditAttribute(),
			"version":        schema.StringAttribute{MarkdownDescription: "Version on the host. A newer provider updates it in place; running pods are not touched.", Computed: true},
			"api_server":     computed("URL of the API server as nodes reach it."),
			"ca_certificate": computed("The cluster's certificate authority, PEM."),
			"on_destroy": schema.SingleNestedAttribute{
				MarkdownDescription: "What a destroy does.",
				Optional:            true,
				Attributes: map[string]schema.Attribute{
					"uninstall":          boolDefault("Remove the software and all data of the cluster from the host.", true),
					"keep_packages":      boolDefault("Keep the packages that were installed for the cluster (containerd, runc, nftables, conntrack).", false),
					"ignore_unreachable": boolDefault("Give the host up when it does not answer, leaving on it what is there.", false),
				},
			},
			"timeouts": timeouts.Attributes(ctx, timeouts.Opts{Create: true, Update: true, Delete: true}),
		},
	}
}

func controlPlaneAttributes() map[string]schema.Attribute {
	a := hostAttributes()
	a["pods"] = boolDefault("Run pods on this host too.", true)
	a["node_name"] = schema.StringAttribute{
		MarkdownDescription: "Name of the host's node. Default: the host's name, and null without pods.",
		Optional:            true,
		Computed:            true,
		PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown(), stringplanmodifier.RequiresReplaceIf(otherName, "another name replaces it", "another name replaces it")},
		Validators:          []validator.String{dnsSubdomain{}},
	}
	return a
}

// otherName lets a host that has run no pods get a node, whatever its name is to be.
func otherName(_ context.Context, req planmodifier.StringRequest, resp *stringplanmodifier.RequiresReplaceIfFuncResponse) {
	resp.RequiresReplace = !req.StateValue.IsNull()
}

func hostAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"address": schema.StringAttribute{
			MarkdownDescription: "Name or address that SSH answers at, or `local` for the machine that Terraform runs on.",
			Required:            true,
			PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			Validators:          []validator.String{hostAddress{}},
		},
		"port": schema.Int64Attribute{
			MarkdownDescription: "SSH port. Default: the provider's.",
			Optional:            true,
			Validators:          []validator.Int64{int64validator.Between(1, 65535)},
		},
		"host_key": schema.StringAttribute{
			MarkdownDescription: "The host's SSH key in authorized_keys form (`ssh-ed25519 AAAA…`). Default: known_hosts is asked; with `host_key_policy = \"accept-new\"` the key of a host that is not known is recorded here.",
			Optional:            true,
			Computed:            true,
			PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			Validators:          []validator.String{hostKey{}},
		},
		"internal_address": schema.StringAttribute{
			MarkdownDescription: "Address that the other nodes reach this one at. Default: the address of its default route.",
			Optional:            true,
			Computed:            true,
			PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown(), stringplanmodifier.RequiresReplace()},
			Validators:          []validator.String{ipAddress{}},
		},
		"labels": schema.MapAttribute{
			MarkdownDescription: "Labels of the node.",
			Optional:            true,
			ElementType:         types.StringType,
			Validators:          []validator.Map{labels{}},
		},
		"taints": schema.ListAttribute{
			MarkdownDescription: "Taints of the node, `KEY=VALUE:EFFECT`.",
			Optional:            true,
			ElementType:         types.StringType,
			Validators:          []validator.List{listvalidator.ValueStringsAre(taint{})},
		},
		"eviction_hard": schema.MapAttribute{
			MarkdownDescription: "Below what the node is short of something and evicts pods, by a kubelet's signal: a quantity, or a percentage of all there is; `0%` turns a signal off. " +
				"What is not named keeps its default: `memory.available` 100Mi, `nodefs.available` 10%, `nodefs.inodesFree` 5%, `imagefs.available` 15%, `imagefs.inodesFree` 5%, `pid.available` 5%.",
			Optional:    true,
			ElementType: types.StringType,
			Validators:  []validator.Map{evictionHard{}},
		},
	}
}

func (r *nodeResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	a := hostAttributes()
	a["id"] = computed("CLUSTER/NAME.")
	a["cluster"] = clusterAttribute(true)
	a["name"] = schema.StringAttribute{
		MarkdownDescription: "Name of the node. Default: the host's name.",
		Optional:            true,
		Computed:            true,
		PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown(), stringplanmodifier.RequiresReplace()},
		Validators:          []validator.String{dnsSubdomain{}},
	}
	a["version"] = schema.StringAttribute{MarkdownDescription: "Version on the host. A newer provider updates it in place; running pods are not touched.", Computed: true}
	a["on_destroy"] = schema.SingleNestedAttribute{
		MarkdownDescription: "What a destroy does: cordon, drain, delete the Node, uninstall, in this order.",
		Optional:            true,
		Attributes: map[string]schema.Attribute{
			"drain": boolDefault("Evict the node's pods first, respecting disruption budgets.", true),
			"drain_timeout": schema.StringAttribute{
				MarkdownDescription: "How long the drain may take, such as `10m`. Default: `5m`.",
				Optional:            true,
				Validators:          []validator.String{duration{}},
			},
			"uninstall":          boolDefault("Remove the software and the pods' data from the host.", true),
			"keep_packages":      boolDefault("Keep the packages that were installed for the node (containerd, runc, nftables, conntrack).", false),
			"ignore_unreachable": boolDefault("Give the host up when it does not answer: for a machine that is dead.", false),
		},
	}
	a["timeouts"] = timeouts.Attributes(ctx, timeouts.Opts{Create: true, Update: true, Delete: true})
	resp.Schema = schema.Schema{
		MarkdownDescription: "A host that runs pods of a cluster, installed over SSH.",
		Attributes:          a,
	}
}

func clusterAttribute(required bool) schema.StringAttribute {
	return schema.StringAttribute{
		MarkdownDescription: "Id of the `fairlead_cluster`.",
		Required:            required,
		Optional:            !required,
		Validators:          []validator.String{clusterIDRule{}},
		PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplaceIf(otherCluster, "another cluster replaces it", "another cluster replaces it")},
	}
}

// otherCluster lets an id change while the cluster stays the same, as when its host gets another key.
func otherCluster(_ context.Context, req planmodifier.StringRequest, resp *stringplanmodifier.RequiresReplaceIfFuncResponse) {
	resp.RequiresReplace = req.PlanValue.IsUnknown() || !(&connector{}).SameCluster(req.StateValue.ValueString(), req.PlanValue.ValueString())
}

func computed(description string) schema.StringAttribute {
	return schema.StringAttribute{
		MarkdownDescription: description,
		Computed:            true,
		PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
	}
}

func fixedString(description, value string, rules ...validator.String) schema.StringAttribute {
	return schema.StringAttribute{
		MarkdownDescription: description + " Default: `" + value + "`.",
		Optional:            true,
		Computed:            true,
		Default:             stringdefault.StaticString(value),
		PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
		Validators:          rules,
	}
}

func boolDefault(description string, value bool) schema.BoolAttribute {
	return schema.BoolAttribute{
		MarkdownDescription: fmt.Sprintf("%s Default: %v.", description, value),
		Optional:            true,
		Computed:            true,
		Default:             booldefault.StaticBool(value),
	}
}

var (
	nodeDestroyTypes = map[string]attr.Type{
		"drain": types.BoolType, "drain_timeout": types.StringType, "uninstall": types.BoolType, "keep_packages": types.BoolType, "ignore_unreachable": types.BoolType,
	}
	clusterDestroyTypes = map[string]attr.Type{"uninstall": types.BoolType, "keep_packages": types.BoolType, "ignore_unreachable": types.BoolType}
)

func nullTimeouts() timeouts.Value { return nullTimeoutsOf("create", "update", "delete") }

func nullTimeoutsOf(operations ...string) timeouts.Value {
	t := map[string]attr.Type{}
	for _, o := range operations {
		t[o] = types.StringType
	}
	return timeouts.Value{Object: types.ObjectNull(t)}
}

// withTimeout bounds an operation by what its resource says, or by standard.
func withTimeout(ctx context.Context, get func(context.Context, time.Duration) (time.Duration, diag.Diagnostics), standard time.Duration, diags *diag.Diagnostics) (context.Context, context.CancelFunc, bool) {
	d, ds := get(ctx, standard)
	diags.Append(ds...)
	if diags.HasError() {
		return ctx, nil, false
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d, fmt.Errorf("no end within %v, which the resource's timeouts can raise: %w", d, context.DeadlineExceeded))
	return ctx, cancel, true
}

// stringMap and stringList read what a plan has checked already; null and unknown are empty.
func stringMap(ctx context.Context, v types.Map) map[string]string {
	out := map[string]string{}
	v.ElementsAs(ctx, &out, false)
	return out
}

func stringList(ctx context.Context, v types.List) []string {
	var out []string
	v.ElementsAs(ctx, &out, false)
	return out
}

// fingerprint is a host key as ids and ssh.Config.HostKey take it: TYPE SHA256:FINGERPRINT of the first key.
func fingerprint(hostKey string) string {
	key, _, _, _, err := gossh.ParseAuthorizedKey([]byte(hostKey))
	if err != nil {
		return ""
	}
	return key.Type() + " " + gossh.FingerprintSHA256(key)
}

func apiServerURL(got *bootstrap.Installed) string {
	_, port, err := net.SplitHostPort(got.APIAddress)
	if err != nil {
		return ""
	}
	return "https://" + net.JoinHostPort(got.Address, port)
}

// importCluster makes a state of what the control-plane host says of itself.
func importCluster(ctx context.Context, conn ssh.Conn, id clusterID) (*clusterModel, error) {
	got, err := bootstrap.Inspect(ctx, conn)
	if err != nil {
		return nil, err
	}
	if !got.Present || got.Role != "server" || got.Cluster != id.Name {
		return nil, fmt.Errorf("cannot import cluster %s: host %s does not run its control plane", id.Name, id.Address)
	}
	c, err := bootstrap.ServerConfigOf(ctx, conn)
	if err != nil {
		return nil, err
	}
	h := hostModel{
		Address: types.StringValue(id.Address), Port: types.Int64Null(), Pods: types.BoolValue(got.Pods),
	}
	names, err := bootstrap.CertificateNamesOf(ctx, conn, c)
	if err != nil {
		return nil, err
	}
	certificateNames := types.ListNull(types.StringType)
	diags := h.nodeSettings.of(ctx, c.Node)
	if len(names) > 0 {
		l, more := types.ListValueFrom(ctx, types.StringType, names)
		diags.Append(more...)
		certificateNames = l
	}
	if id.Port != 0 {
		h.Port = types.Int64Value(int64(id.Port))
	}
	oidc, more := types.ObjectValueFrom(ctx, oidcTypes, oidcModelOf(c.OIDC))
	diags.Append(more...)
	audit, more := types.ObjectValueFrom(ctx, auditTypes, auditModelOf(c.Audit))
	if diags.Append(more...); diags.HasError() {
		return nil, fmt.Errorf("cannot import cluster %s: %s", id.Name, diags.Errors()[0].Detail())
	}
	m := &clusterModel{
		Name: types.StringValue(c.ClusterName), ControlPlane: []hostModel{h},
		PodCIDR: types.StringValue(c.PodCIDR), ServiceCIDR: types.StringValue(c.ServiceCIDR), Domain: types.StringValue(c.Domain), NodePorts: types.StringValue(c.NodePorts),
		CertificateNames: certificateNames, Version: types.StringValue(got.Version), OnDestroy: types.ObjectNull(clusterDestroyTypes),
		OIDC: oidc, Audit: audit,
	}
	m.known(conn, got)
	return m, nil
}
