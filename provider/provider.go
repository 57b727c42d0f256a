// Package provider is the Terraform provider: a file for each resource that has a life of its own (cluster, node,
// image), the data sources, and, through package kube, one line for each kind of Kubernetes object.
package provider

import (
	"context"
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/ephemeral"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/version"
	"github.com/fairlead-io/terraform-provider-fairlead/provider/kube"
)

// Address is the provider's source address.
const Address = "registry.terraform.io/fairlead-io/fairlead"

// New returns the provider's constructor.
func New() func() provider.Provider {
	return func() provider.Provider { return &fairleadProvider{} }
}

type fairleadProvider struct {
	// inRun says that Terraform has started the process, and others for further provider blocks.
	inRun bool
}

// data is what resources and data sources share.
type data struct {
	hosts     *hosts
	releases  *releases
	connector *connector
	kube      *kube.Clients
	upgrades  upgrades
	claims    hostClaims
	run       *runClaims // nil: this is the only provider of its run, or cannot tell
}

// KubeClients implements kube.Source.
func (d *data) KubeClients() *kube.Clients { return d.kube }

func (p *fairleadProvider) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = "fairlead"
	resp.Version = version.String()
}

func (p *fairleadProvider) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	ssh := sshAttributes()
	ssh["bastion"] = schema.SingleNestedAttribute{
		MarkdownDescription: "Host to go through. User, keys and passphrase that it leaves out are those of `ssh`; its host key must be given or be in known_hosts.",
		Optional:            true,
		Attributes:          loginAttributes("User. Default: that of `ssh`."),
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "Takes bare machines over SSH to a running Kubernetes-compatible cluster, and workloads onto it, in one apply.",
		Attributes: map[string]schema.Attribute{
			"ssh": schema.SingleNestedAttribute{
				MarkdownDescription: "How hosts are reached: the only credential that the provider needs. Values may come from other resources or be ephemeral; nothing is dialled before it is needed.",
				Optional:            true,
				Attributes:          ssh,
			},
			"releases": releasesAttribute(),
			"lost_clusters": schema.SetAttribute{
				MarkdownDescription: "Names of clusters whose control-plane host is dead and will not come back. They count as gone: what is in state of them goes without asking the host, and a destroy still removes the software from workers that answer. It is for the run that cleans up.",
				Optional:            true,
				ElementType:         types.StringType,
			},
			"kubeconfig_path": schema.StringAttribute{
				MarkdownDescription: "Kubeconfig file for resources that leave out `cluster`, where there is no SSH to the hosts; `~/` is the home directory.",
				Optional:            true,
				Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
			},
			"kubeconfig_context": schema.StringAttribute{
				MarkdownDescription: "Context of the kubeconfig; its current one by default.",
				Optional:            true,
			},
		},
	}
}

func sshAttributes() map[string]schema.Attribute {
	a := loginAttributes("User. Default: root.")
	delete(a, "address")
	delete(a, "host_key")
	a["known_hosts_file"] = schema.StringAttribute{
		MarkdownDescription: "Read instead of `~/.ssh/known_hosts` and `/etc/ssh/ssh_known_hosts`.",
		Optional:            true,
	}
	a["host_key_policy"] = schema.StringAttribute{
		MarkdownDescription: "`strict` (default) refuses hosts whose key neither `host_key` nor known_hosts vouches for; `accept-new` takes the key of a host that nothing is known about, and records it in state.",
		Optional:            true,
		Validators:          []validator.String{stringvalidator.OneOf(ssh.HostKeyStrict, ssh.HostKeyAcceptNew)},
	}
	a["sudo"] = schema.BoolAttribute{
		MarkdownDescription: "Use `sudo` without a password for what needs root. Default: true for users other than root.",
		Optional:            true,
	}
	return a
}

// loginAttributes are how one logs in to a host; user says what its default is.
func loginAttributes(user string) map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"address": schema.StringAttribute{MarkdownDescription: "Name or address.", Required: true, Validators: []validator.String{hostAddress{}}},
		"port": schema.Int64Attribute{
			MarkdownDescription: "Port. Default: 22.",
			Optional:            true,
			Validators:          []validator.Int64{int64validator.Between(1, 65535)},
		},
		"user": schema.StringAttribute{
			MarkdownDescription: user,
			Optional:            true,
			Validators:          []validator.String{stringvalidator.RegexMatches(regexp.MustCompile(`^[^\s:@/]+$`), "must be a user's name")},
		},
		"private_key": schema.StringAttribute{
			MarkdownDescription: "Private key in PEM or OpenSSH form.",
			Optional:            true,
			Sensitive:           true,
		},
		"private_key_file": schema.StringAttribute{MarkdownDescription: "File with a private key; `~/` is the home directory.", Optional: true},
		"passphrase": schema.StringAttribute{
			MarkdownDescription: "Passphrase of the private key.",
			Optional:            true,
			Sensitive:           true,
		},
		"use_agent": schema.BoolAttribute{
			MarkdownDescription: "Offer the keys of the agent at `SSH_AUTH_SOCK`. Default: when no key is given, the agent is used if there is one, and then the key files that ssh looks for; `false` leaves the agent out.",
			Optional:            true,
		},
		"host_key": schema.StringAttribute{
			MarkdownDescription: "Host key in authorized_keys form, or one a line.",
			Optional:            true,
			Validators:          []validator.String{hostKey{}},
		},
	}
}

// sshModel is the ssh attribute, and without the last fields the bastion's.
type sshModel struct {
	User           types.String `tfsdk:"user"`
	Port           types.Int64  `tfsdk:"port"`
	PrivateKey     types.String `tfsdk:"private_key"`
	PrivateKeyFile types.String `tfsdk:"private_key_file"`
	Passphrase     types.String `tfsdk:"passphrase"`
	UseAgent       types.Bool   `tfsdk:"use_agent"`
	KnownHostsFile types.String `tfsdk:"known_hosts_file"`
	HostKeyPolicy  types.String `tfsdk:"host_key_policy"`
	Sudo           types.Bool   `tfsdk:"sudo"`
	Bastion        types.Object `tfsdk:"bastion"`
}

type bastionModel struct {
	Address        types.String `tfsdk:"address"`
	User           types.String `tfsdk:"user"`
	Port           types.Int64  `tfsdk:"port"`
	PrivateKey     types.String `tfsdk:"private_key"`
	PrivateKeyFile types.String `tfsdk:"private_key_file"`
	Passphrase     types.String `tfsdk:"passphrase"`
	UseAgent       types.Bool   `tfsdk:"use_agent"`
	HostKey        types.String `tfsdk:"host_key"`
}

type providerModel struct {
	SSH               types.Object `tfsdk:"ssh"`
	Releases          types.Map    `tfsdk:"releases"`
	LostClusters      types.Set    `tfsdk:"lost_clusters"`
	KubeconfigPath    types.String `tfsdk:"kubeconfig_path"`
	KubeconfigContext types.String `tfsdk:"kubeconfig_context"`
}

func (p *fairleadProvider) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	var m providerModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	cfg := ssh.Config{}
	unknown := ""
	if m.SSH.IsUnknown() {
		unknown = "ssh"
	} else if !m.SSH.IsNull() {
		var s sshModel
		resp.Diagnostics.Append(m.SSH.As(ctx, &s, basetypes.ObjectAsOptions{})...)
		if resp.Diagnostics.HasError() {
			return
		}
		cfg, unknown = sshConfig(&s)
		if s.Bastion.IsUnknown() {
			unknown = "ssh.bastion"
		} else if !s.Bastion.IsNull() {
			var b bastionModel
			resp.Diagnostics.Append(s.Bastion.As(ctx, &b, basetypes.ObjectAsOptions{})...)
			if resp.Diagnostics.HasError() {
				return
			}
			var in string
			cfg.Bastion, in = bastionConfig(&b)
			if in != "" {
				unknown = in
			}
		}
	}
	var wrong *ssh.ConfigError
	if unknown == "" && errors.As(cfg.Check(), &wrong) {
		at := path.Root("ssh")
		for _, name := range strings.Split(wrong.Setting(), ".") {
			at = at.AtName(name)
		}
		resp.Diagnostics.AddAttributeError(at, "SSH configuration does not work", "ssh."+wrong.Setting()+": "+wrong.Err.Error())
		return
	}
	d := &data{hosts: newHosts(cfg, unknown), releases: configureReleases(ctx, m.Releases, &resp.Diagnostics)}
	if resp.Diagnostics.HasError() {
		return
	}
	if p.inRun {
		run, err := ofThisRun()
		if err != nil {
			tflog.Warn(ctx, "other provider blocks can not be told of hosts", map[string]any{"error": err.Error()})
		}
		d.run = run
	}
	d.connector = &connector{hosts: d.hosts}
	if !m.LostClusters.IsUnknown() {
		resp.Diagnostics.Append(m.LostClusters.ElementsAs(ctx, &d.connector.lost, false)...)
	}
	if !m.KubeconfigPath.IsNull() {
		ref := &kubeconfigRef{path: expandHome(m.KubeconfigPath.ValueString()), context: m.KubeconfigContext.ValueString()}
		if m.KubeconfigPath.IsUnknown() {
			ref.unknown = "kubeconfig_path"
		}
		if m.KubeconfigContext.IsUnknown() {
			ref.unknown = "kubeconfig_context"
		}
		if attribute, err := ref.check(); err != nil {
			resp.Diagnostics.AddAttributeError(path.Root(attribute), "Kubeconfig does not work", err.Error())
			return
		}
		d.connector.kubeconfig = ref
	} else if !m.KubeconfigContext.IsNull() {
		resp.Diagnostics.AddAttributeError(path.Root("kubeconfig_context"), "kubeconfig_context without kubeconfig_path",
			"A context belongs to a kubeconfig: set kubeconfig_path too.")
		return
	}
	d.kube = kube.NewClients(d.connector)
	resp.ResourceData, resp.DataSourceData, resp.EphemeralResourceData = d, d, d
}

// sshConfig also names the first attribute whose value is not known yet.
func sshConfig(s *sshModel) (cfg ssh.Config, unknown string) {
	unknown = firstUnknown("ssh.", map[string]attr.Value{
		"user": s.User, "port": s.Port, "private_key": s.PrivateKey, "private_key_file": s.PrivateKeyFile, "passphrase": s.Passphrase,
		"use_agent": s.UseAgent, "known_hosts_file": s.KnownHostsFile, "host_key_policy": s.HostKeyPolicy, "sudo": s.Sudo,
	})
	cfg = ssh.Config{
		User: s.User.ValueString(), Port: int(s.Port.ValueInt64()),
		PrivateKey: []byte(s.PrivateKey.ValueString()), PrivateKeyFile: s.PrivateKeyFile.ValueString(), Passphrase: []byte(s.Passphrase.ValueString()),
		UseAgent: s.UseAgent.ValueBool(), NoAgent: s.UseAgent.Equal(types.BoolValue(false)), KnownHostsFile: s.KnownHostsFile.ValueString(), HostKeyPolicy: s.HostKeyPolicy.ValueString(),
	}
	cfg.Sudo = s.Sudo.ValueBool() || s.Sudo.IsNull() && cfg.User != "" && cfg.User != "root"
	return cfg, unknown
}

func bastionConfig(b *bastionModel) (cfg *ssh.Config, unknown string) {
	unknown = firstUnknown("ssh.bastion.", map[string]attr.Value{
		"address": b.Address, "user": b.User, "port": b.Port, "private_key": b.PrivateKey,
		"private_key_file": b.PrivateKeyFile, "passphrase": b.Passphrase, "use_agent": b.UseAgent, "host_key": b.HostKey,
	})
	return &ssh.Config{
		Address: b.Address.ValueString(), User: b.User.ValueString(), Port: int(b.Port.ValueInt64()),
		PrivateKey: []byte(b.PrivateKey.ValueString()), PrivateKeyFile: b.PrivateKeyFile.ValueString(), Passphrase: []byte(b.Passphrase.ValueString()),
		UseAgent: b.UseAgent.ValueBool(), NoAgent: b.UseAgent.Equal(types.BoolValue(false)), HostKey: b.HostKey.ValueString(),
	}, unknown
}

func firstUnknown(prefix string, values map[string]attr.Value) string {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if values[name].IsUnknown() {
			return prefix + name
		}
	}
	return ""
}

func expandHome(p string) string {
	if len(p) > 1 && p[:2] == "~/" {
		if home, err := os.UserHomeDir(); err == nil {
			return home + p[1:]
		}
	}
	return p
}

func (p *fairleadProvider) Resources(context.Context) []func() resource.Resource {
	return append([]func() resource.Resource{newClusterResource, newNodeResource, newImageResource}, workloads()...)
}

func (p *fairleadProvider) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{newClusterDataSource, newNodesDataSource, newPodsDataSource}
}

func (p *fairleadProvider) EphemeralResources(context.Context) []func() ephemeral.EphemeralResource {
	return []func() ephemeral.EphemeralResource{newKubeconfigEphemeral}
}
