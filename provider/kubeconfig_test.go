package provider

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// heldProvider is the provider with connections that are there already.
type heldProvider struct {
	fairleadProvider
	data *data
}

func (p *heldProvider) Configure(_ context.Context, _ provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	resp.ResourceData, resp.DataSourceData, resp.EphemeralResourceData = p.data, p.data, p.data
}

// kubeconfigRig is the ephemeral kubeconfig as Terraform drives it, with a control-plane host that answers as
// scripted.
type kubeconfigRig struct {
	server tfprotov6.ProviderServer
	schema *tfprotov6.Schema
	host   *ssh.Fake
}

func newKubeconfigRig(t *testing.T) *kubeconfigRig {
	t.Helper()
	host := ssh.NewFake("192.0.2.11")
	d := &data{hosts: newHosts(ssh.Config{}, "")}
	d.hosts.conns[hostRef{Address: "192.0.2.11"}] = &hostConn{conn: host}
	r := &kubeconfigRig{server: providerserver.NewProtocol6(&heldProvider{data: d})(), host: host}
	schema, err := r.server.GetProviderSchema(t.Context(), &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	r.schema = schema.EphemeralResourceSchemas["fairlead_kubeconfig"]
	none := tftypes.NewValue(schema.Provider.ValueType(), nil)
	config, err := tfprotov6.NewDynamicValue(none.Type(), none)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.server.ConfigureProvider(t.Context(), &tfprotov6.ConfigureProviderRequest{Config: &config}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *kubeconfigRig) config(t *testing.T, set map[string]tftypes.Value) *tfprotov6.DynamicValue {
	t.Helper()
	typ := r.schema.ValueType().(tftypes.Object)
	values := map[string]tftypes.Value{}
	for name, at := range typ.AttributeTypes {
		values[name] = tftypes.NewValue(at, nil)
	}
	for name, v := range set {
		values[name] = v
	}
	config, err := tfprotov6.NewDynamicValue(typ, tftypes.NewValue(typ, values))
	if err != nil {
		t.Fatal(err)
	}
	return &config
}

func text(s string) tftypes.Value { return tftypes.NewValue(tftypes.String, s) }

// reply has the host print a token that expires in a while.
func (r *kubeconfigRig) reply(command string, left time.Duration) {
	r.host.Reply("credential "+command, `{"id":"c0ffee","token":"t0ken","ca":"CA","server":"https://192.0.2.11:6443","expires":"`+time.Now().Add(left).UTC().Format(time.RFC3339)+`"}`)
}

func clean(t *testing.T, what string, diags []*tfprotov6.Diagnostic) {
	t.Helper()
	for _, d := range diags {
		t.Errorf("%s: %s: %s", what, d.Summary, d.Detail)
	}
}

// TestKubeconfigIsRenewedAndRevoked opens a kubeconfig, renews it, as well while the cluster does not answer, and
// closes it.
func TestKubeconfigIsRenewedAndRevoked(t *testing.T) {
	r := newKubeconfigRig(t)
	r.reply("open", 10*time.Minute)
	opened, err := r.server.OpenEphemeralResource(t.Context(), &tfprotov6.OpenEphemeralResourceRequest{TypeName: "fairlead_kubeconfig", Config: r.config(t, map[string]tftypes.Value{
		"cluster": text("prod@192.0.2.11"), "user": text("ci"), "groups": tftypes.NewValue(tftypes.List{ElementType: tftypes.String}, []tftypes.Value{text("deployers")}),
	})})
	if err != nil {
		t.Fatal(err)
	}
	clean(t, "open", opened.Diagnostics)
	if in := time.Until(opened.RenewAt); in < 4*time.Minute || in > 5*time.Minute {
		t.Errorf("to be renewed in %v, and it is good for 10 minutes", in)
	}
	result, err := opened.Result.Unmarshal(r.schema.ValueType())
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]tftypes.Value{}
	if err := result.As(&values); err != nil {
		t.Fatal(err)
	}
	var kubeconfig string
	if err := values["kubeconfig"].As(&kubeconfig); err != nil || !strings.Contains(kubeconfig, "token: t0ken") || !strings.Contains(kubeconfig, "server: https://192.0.2.11:6443") {
		t.Errorf("the kubeconfig is %s, %v", kubeconfig, err)
	}
	if strings.Contains(string(opened.Private), "t0ken") {
		t.Errorf("the private state has the token: %s", opened.Private)
	}

	renew := func(private []byte) *tfprotov6.RenewEphemeralResourceResponse {
		t.Helper()
		renewed, err := r.server.RenewEphemeralResource(t.Context(), &tfprotov6.RenewEphemeralResourceRequest{TypeName: "fairlead_kubeconfig", Private: private})
		if err != nil {
			t.Fatal(err)
		}
		return renewed
	}
	r.reply("renew", 10*time.Minute)
	renewed := renew(opened.Private)
	clean(t, "renew", renewed.Diagnostics)
	if in := time.Until(renewed.RenewAt); in < 4*time.Minute {
		t.Errorf("to be renewed again in %v", in)
	}
	r.host.Fail("credential renew", 1, "connection refused")
	late := renew(renewed.Private)
	clean(t, "renew that failed", late.Diagnostics)
	if in := time.Until(late.RenewAt); in <= 0 || in > renewRetry {
		t.Errorf("a renewal that failed is tried again in %v", in)
	}
	r.reply("renew", 2*time.Second) // the token's end is near: no renewal puts it off
	last := renew(late.Private)
	clean(t, "last renew", last.Diagnostics)
	if !last.RenewAt.IsZero() {
		t.Errorf("a token that ends is to be renewed at %v", last.RenewAt)
	}
	r.host.Fail("credential renew", 1, "it has expired")
	if over := renew(last.Private); len(over.Diagnostics) != 1 || over.Diagnostics[0].Severity != tfprotov6.DiagnosticSeverityError {
		t.Errorf("a token that could not be renewed in time: %v", over.Diagnostics)
	}

	closed, err := r.server.CloseEphemeralResource(t.Context(), &tfprotov6.CloseEphemeralResourceRequest{TypeName: "fairlead_kubeconfig", Private: last.Private})
	if err != nil {
		t.Fatal(err)
	}
	clean(t, "close", closed.Diagnostics)
	for _, want := range []string{
		`# /usr/local/bin/fairlead credential open --user 'ci' --group 'deployers' --ttl 10m0s`,
		`# /usr/local/bin/fairlead credential renew 'c0ffee' --ttl 10m0s`,
		`# /usr/local/bin/fairlead credential revoke 'c0ffee'`,
	} {
		if !slices.Contains(r.host.Transcript(), want) {
			t.Errorf("%s was not run: %q", want, r.host.Transcript())
		}
	}
}

// TestKubeconfigIsKept wants a token that outlives the run not to be revoked, and one that could not be revoked to be
// a warning.
func TestKubeconfigIsKept(t *testing.T) {
	for _, c := range []struct {
		name     string
		set      map[string]tftypes.Value
		warnings int
	}{
		{"kept", map[string]tftypes.Value{"revoke_on_close": tftypes.NewValue(tftypes.Bool, false)}, 0},
		{"not answered", nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newKubeconfigRig(t)
			r.reply("open", 10*time.Minute)
			r.host.Fail("credential revoke", 1, "connection refused")
			r.host.Fail("say init", 1, "no shell")
			set := map[string]tftypes.Value{"cluster": text("prod@192.0.2.11")}
			for name, v := range c.set {
				set[name] = v
			}
			opened, err := r.server.OpenEphemeralResource(t.Context(), &tfprotov6.OpenEphemeralResourceRequest{TypeName: "fairlead_kubeconfig", Config: r.config(t, set)})
			if err != nil {
				t.Fatal(err)
			}
			clean(t, "open", opened.Diagnostics)
			closed, err := r.server.CloseEphemeralResource(t.Context(), &tfprotov6.CloseEphemeralResourceRequest{TypeName: "fairlead_kubeconfig", Private: opened.Private})
			if err != nil {
				t.Fatal(err)
			}
			if len(closed.Diagnostics) != c.warnings {
				t.Errorf("closing says %v", closed.Diagnostics)
			}
			for _, d := range closed.Diagnostics {
				if d.Severity != tfprotov6.DiagnosticSeverityWarning || !strings.Contains(d.Detail, "expires by itself") {
					t.Errorf("closing says %s: %s", d.Summary, d.Detail)
				}
			}
		})
	}
}
