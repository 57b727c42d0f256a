package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/ephemeral"
	"github.com/hashicorp/terraform-plugin-framework/ephemeral/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
)

const (
	// tokenLife is how long a token outlives a Terraform that was killed; it is renewed when half of it has passed.
	tokenLife, maxTokenLife = 10 * time.Minute, 24 * time.Hour
	minTokenLife            = time.Minute
	// renewRetry is when a renewal that failed is tried again.
	renewRetry = 10 * time.Second
	// openToken is where the private state has what Renew and Close need.
	openToken = "token"
)

func newKubeconfigEphemeral() ephemeral.EphemeralResource { return &kubeconfigEphemeral{} }

// kubeconfigEphemeral is ephemeral.fairlead_kubeconfig: a way into the cluster that is never in state or plan. Its
// token stays the same for as long as Terraform holds it open; what is renewed is how long the cluster takes it.
type kubeconfigEphemeral struct{ data *data }

var (
	_ ephemeral.EphemeralResourceWithRenew = (*kubeconfigEphemeral)(nil)
	_ ephemeral.EphemeralResourceWithClose = (*kubeconfigEphemeral)(nil)
)

type kubeconfigModel struct {
	Cluster       types.String `tfsdk:"cluster"`
	User          types.String `tfsdk:"user"`
	Groups        types.List   `tfsdk:"groups"`
	Lifetime      types.String `tfsdk:"lifetime"`
	RevokeOnClose types.Bool   `tfsdk:"revoke_on_close"`
	Kubeconfig    types.String `tfsdk:"kubeconfig"`
	Host          types.String `tfsdk:"host"`
	CACertificate types.String `tfsdk:"ca_certificate"`
	Token         types.String `tfsdk:"token"`
	Expires       types.String `tfsdk:"expires"`
}

// heldToken is what is kept of a token between Open, Renew and Close. The token itself is not in it.
type heldToken struct {
	Cluster  string        `json:"cluster"`
	ID       string        `json:"id"`
	Lifetime time.Duration `json:"lifetime"`
	Expires  time.Time     `json:"expires"`
	Keep     bool          `json:"keep,omitempty"` // is not to be revoked
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
		MarkdownDescription: "A kubeconfig with a bearer token, for other providers and for write-only arguments. The token is made anew in every run, is renewed for as long as the run needs it, and is revoked at its end. It is never in state or plan.",
		Attributes: map[string]schema.Attribute{
			"cluster": schema.StringAttribute{MarkdownDescription: "Id of the `fairlead_cluster`.", Required: true, Validators: []validator.String{clusterIDRule{}}},
			"user":    schema.StringAttribute{MarkdownDescription: "Name of the user. Default: `terraform`.", Optional: true, Computed: true},
			"groups":  schema.ListAttribute{MarkdownDescription: "Groups of the user. Default: `system:masters`, who may do everything.", Optional: true, ElementType: types.StringType},
			"lifetime": schema.StringAttribute{
				MarkdownDescription: "How long the token is good unless it is renewed, from `1m` to `24h`. Default: `10m`. No token is good for more than a day.",
				Optional:            true,
				Validators:          []validator.String{duration{least: minTokenLife, most: maxTokenLife}},
			},
			"revoke_on_close": schema.BoolAttribute{
				MarkdownDescription: "Revoke the token when Terraform does not need it any more. Default: true. With false it is good for its `lifetime` after that, for what a write-only argument hands on.",
				Optional:            true,
			},
			"kubeconfig":     out("Kubeconfig file, YAML.", true),
			"host":           out("URL of the API server.", false),
			"ca_certificate": out("The cluster's certificate authority, PEM.", false),
			"token":          out("Bearer token.", true),
			"expires":        out("When the token expires unless it is renewed, RFC 3339.", false),
		},
	}
}

func (e *kubeconfigEphemeral) Open(ctx context.Context, req ephemeral.OpenRequest, resp *ephemeral.OpenResponse) {
	var m kubeconfigModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	held := heldToken{Cluster: m.Cluster.ValueString(), Lifetime: tokenLife, Keep: !m.RevokeOnClose.IsNull() && !m.RevokeOnClose.ValueBool()}
	if s := m.Lifetime.ValueString(); s != "" {
		held.Lifetime, _ = time.ParseDuration(s) // the validator has checked it
	}
	user, groups := credentialUser, []string{certs.AdminGroup}
	if s := m.User.ValueString(); s != "" {
		user = s
	}
	if !m.Groups.IsNull() {
		groups = stringList(ctx, m.Groups)
	}
	id, conn, err := e.control(ctx, held.Cluster)
	if err != nil {
		diagnose(&resp.Diagnostics, kubeconfigPaths, "Kubeconfig not issued", err)
		return
	}
	token, err := bootstrap.OpenToken(ctx, conn, user, groups, held.Lifetime)
	if err != nil {
		diagnose(&resp.Diagnostics, kubeconfigPaths, "Kubeconfig not issued", err)
		return
	}
	held.ID, held.Expires = token.ID, token.Expires
	resp.RenewAt = held.renewAt(time.Now())
	resp.Diagnostics.Append(held.save(ctx, resp.Private)...)
	kubeconfig, err := kubeconfigOf(id.Name, user, token)
	if err != nil {
		resp.Diagnostics.AddError("Kubeconfig not issued", err.Error())
		return
	}
	m.User, m.Kubeconfig, m.Host = types.StringValue(user), types.StringValue(string(kubeconfig)), types.StringValue(token.Server)
	m.CACertificate, m.Token = types.StringValue(string(token.CA)), types.StringValue(token.Token)
	m.Expires = types.StringValue(token.Expires.UTC().Format(time.RFC3339))
	resp.Diagnostics.Append(resp.Result.Set(ctx, &m)...)
}

// Renew puts the expiry off. A cluster that does not answer, as when its server is being upgraded, is asked again
// until the token has expired.
func (e *kubeconfigEphemeral) Renew(ctx context.Context, req ephemeral.RenewRequest, resp *ephemeral.RenewResponse) {
	held, ds := loadHeld(ctx, req.Private)
	resp.Diagnostics.Append(ds...)
	if resp.Diagnostics.HasError() {
		return
	}
	_, conn, err := e.control(ctx, held.Cluster)
	var expires time.Time
	if err == nil {
		expires, err = bootstrap.RenewToken(ctx, conn, held.ID, held.Lifetime)
	}
	now := time.Now()
	switch {
	case err == nil:
		held.Expires = expires
		resp.RenewAt = held.renewAt(now)
	case now.Add(renewRetry).Before(held.Expires):
		tflog.Warn(ctx, "token not renewed yet", map[string]any{"id": held.ID, "error": err.Error(), "expires": held.Expires.String()})
		resp.RenewAt = now.Add(renewRetry)
	default:
		diagnose(&resp.Diagnostics, kubeconfigPaths, "Kubeconfig not renewed", err)
		return
	}
	resp.Diagnostics.Append(held.save(ctx, resp.Private)...)
}

// Close revokes the token. When that fails, the token ends by itself, so it is no error; nor is a cluster that this
// run has destroyed.
func (e *kubeconfigEphemeral) Close(ctx context.Context, req ephemeral.CloseRequest, resp *ephemeral.CloseResponse) {
	held, ds := loadHeld(ctx, req.Private)
	resp.Diagnostics.Append(ds...)
	if resp.Diagnostics.HasError() || held.Keep {
		return
	}
	id, conn, err := e.control(ctx, held.Cluster)
	if err == nil {
		if err = bootstrap.RevokeToken(ctx, conn, held.ID); err == nil {
			return
		}
		if got, ierr := bootstrap.Inspect(ctx, conn); ierr == nil && (!got.Present || got.Cluster != id.Name) {
			return
		}
	}
	resp.Diagnostics.AddWarning("Kubeconfig not revoked", fmt.Sprintf("%v\n\nIts token expires by itself at %s.", err, held.Expires.UTC().Format(time.RFC3339)))
}

var kubeconfigPaths = hostPaths{address: path.Root("cluster"), hostKey: path.Root("cluster")}

// control returns the connection to the cluster's control-plane host. One that broke while the token was held is
// replaced.
func (e *kubeconfigEphemeral) control(ctx context.Context, cluster string) (clusterID, ssh.Conn, error) {
	id, err := parseClusterID(cluster)
	if err != nil {
		return id, nil, err
	}
	t := &tunnel{hosts: e.data.hosts, ref: hostRef{Address: id.Address, Port: id.Port, HostKey: id.HostKey}}
	var out ssh.Conn
	err = t.withConn(ctx, func(conn ssh.Conn) error {
		out = conn
		_, err := conn.Run(ctx, ssh.Command{Line: "true"})
		return err
	})
	return id, out, err
}

// renewAt is when a token is to be renewed; zero when that would not put its expiry off.
func (h *heldToken) renewAt(now time.Time) time.Time {
	if left := h.Expires.Sub(now); left < h.Lifetime/2 {
		return time.Time{}
	}
	return now.Add(h.Lifetime / 2)
}

// private is the private state of a request or response.
type private interface {
	GetKey(ctx context.Context, key string) ([]byte, diag.Diagnostics)
	SetKey(ctx context.Context, key string, value []byte) diag.Diagnostics
}

func (h *heldToken) save(ctx context.Context, p private) diag.Diagnostics {
	data, err := json.Marshal(h)
	if err != nil {
		return diag.Diagnostics{diag.NewErrorDiagnostic("Token can not be kept", err.Error())}
	}
	return p.SetKey(ctx, openToken, data)
}

func loadHeld(ctx context.Context, p private) (h heldToken, diags diag.Diagnostics) {
	data, diags := p.GetKey(ctx, openToken)
	if diags.HasError() {
		return h, diags
	}
	if err := json.Unmarshal(data, &h); err != nil {
		diags.AddError("Token is not known", "Terraform's private state of the kubeconfig can not be read: "+err.Error())
	}
	return h, diags
}

func kubeconfigOf(cluster, user string, token *bootstrap.Token) ([]byte, error) {
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters[cluster] = &clientcmdapi.Cluster{Server: token.Server, CertificateAuthorityData: token.CA}
	cfg.AuthInfos[user] = &clientcmdapi.AuthInfo{Token: token.Token}
	cfg.Contexts[cluster] = &clientcmdapi.Context{Cluster: cluster, AuthInfo: user}
	cfg.CurrentContext = cluster
	return clientcmd.Write(*cfg)
}
