package provider

import (
	"context"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/ephemeral"
	"github.com/hashicorp/terraform-plugin-framework/ephemeral/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
)

func newKubeconfigEphemeral() ephemeral.EphemeralResource { return &kubeconfigEphemeral{} }

// kubeconfigEphemeral is ephemeral.fairlead_kubeconfig: a way into the cluster that is never in state or plan.
type kubeconfigEphemeral struct{ data *data }

type kubeconfigModel struct {
	Cluster       types.String `tfsdk:"cluster"`
	User          types.String `tfsdk:"user"`
	Groups        types.List   `tfsdk:"groups"`
	Lifetime      types.String `tfsdk:"lifetime"`
	Kubeconfig    types.String `tfsdk:"kubeconfig"`
	Host          types.String `tfsdk:"host"`
	CACertificate types.String `tfsdk:"ca_certificate"`
	Certificate   types.String `tfsdk:"client_certificate"`
	Key           types.String `tfsdk:"client_key"`
	Expires       types.String `tfsdk:"expires"`
}

func (e *kubeconfigEphemeral) Metadata(_ context.Context, _ ephemeral.MetadataRequest, resp *ephemeral.MetadataResponse) {
	resp.TypeName = "fairlead_kubeconfig"
}

func (e *kubeconfigEphemeral) Configure(_ context.Context, req ephemeral.ConfigureRequest, _ *ephemeral.ConfigureResponse) {
	e.data, _ = req.ProviderData.(*data)
}

func (e *kubeconfigEphemeral) Schema(_ context.Context, _ ephemeral.SchemaRequest, resp *ephemeral.SchemaResponse) {
	out := func(description string, sensitive bool) schema.StringAttribute {
		return schema.StringAttribute{MarkdownDescription: description, Computed: true, Sensitive: sensitive}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "A kubeconfig with a client certificate that lives for an hour, for other providers and for write-only arguments. It is made anew in every run and is never in state or plan.",
		Attributes: map[string]schema.Attribute{
			"cluster":            schema.StringAttribute{MarkdownDescription: "Id of the `fairlead_cluster`.", Required: true},
			"user":               schema.StringAttribute{MarkdownDescription: "Name of the user. Default: `terraform`.", Optional: true, Computed: true},
			"groups":             schema.ListAttribute{MarkdownDescription: "Groups of the user. Default: `system:masters`, who may do everything.", Optional: true, ElementType: types.StringType},
			"lifetime":           schema.StringAttribute{MarkdownDescription: "How long the certificate is good, at most `24h`. Default: `1h`.", Optional: true, Validators: []validator.String{duration{}}},
			"kubeconfig":         out("Kubeconfig file, YAML.", true),
			"host":               out("URL of the API server.", false),
			"ca_certificate":     out("The cluster's certificate authority, PEM.", false),
			"client_certificate": out("Client certificate, PEM.", false),
			"client_key":         out("Key of the client certificate, PEM.", true),
			"expires":            out("When the certificate ends, RFC 3339.", false),
		},
	}
}

func (e *kubeconfigEphemeral) Open(ctx context.Context, req ephemeral.OpenRequest, resp *ephemeral.OpenResponse) {
	var m kubeconfigModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	id, err := parseClusterID(m.Cluster.ValueString())
	if err != nil {
		resp.Diagnostics.AddAttributeError(path.Root("cluster"), "Not an id of a cluster", err.Error())
		return
	}
	life := credentialLife
	if s := m.Lifetime.ValueString(); s != "" {
		if life, err = time.ParseDuration(s); err != nil || life > 24*time.Hour {
			resp.Diagnostics.AddAttributeError(path.Root("lifetime"), "Invalid lifetime", s+" is not a duration of at most 24h")
			return
		}
	}
	user, groups := credentialUser, []string{certs.AdminGroup}
	if s := m.User.ValueString(); s != "" {
		user = s
	}
	if !m.Groups.IsNull() {
		groups = stringList(ctx, m.Groups)
	}
	at := hostPaths{address: path.Root("cluster"), hostKey: path.Root("cluster")}
	conn, err := e.data.hosts.get(ctx, hostRef{Address: id.Address, Port: id.Port, HostKey: id.HostKey})
	if err != nil {
		diagnose(&resp.Diagnostics, at, "Kubeconfig not issued", err)
		return
	}
	cred, err := bootstrap.IssueCredential(ctx, conn, user, groups, life)
	if err != nil {
		diagnose(&resp.Diagnostics, at, "Kubeconfig not issued", err)
		return
	}
	kubeconfig, err := kubeconfigOf(id.Name, user, cred)
	if err != nil {
		resp.Diagnostics.AddError("Kubeconfig not issued", err.Error())
		return
	}
	m.User, m.Kubeconfig, m.Host = types.StringValue(user), types.StringValue(string(kubeconfig)), types.StringValue(cred.Server)
	m.CACertificate, m.Certificate, m.Key = types.StringValue(string(cred.CA)), types.StringValue(string(cred.Certificate)), types.StringValue(string(cred.Key))
	m.Expires = types.StringValue(cred.Expires.UTC().Format(time.RFC3339))
	resp.Diagnostics.Append(resp.Result.Set(ctx, &m)...)
}

func kubeconfigOf(cluster, user string, cred *bootstrap.Credential) ([]byte, error) {
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters[cluster] = &clientcmdapi.Cluster{Server: cred.Server, CertificateAuthorityData: cred.CA}
	cfg.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: cred.Certificate, ClientKeyData: cred.Key}
	cfg.Contexts[cluster] = &clientcmdapi.Context{Cluster: cluster, AuthInfo: user}
	cfg.CurrentContext = cluster
	return clientcmd.Write(*cfg)
}
