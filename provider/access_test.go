package provider

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// TestAccessIsCheckedAtPlan wants what the control plane would refuse at its start on the attribute, and nothing said
// of what is not known yet.
func TestAccessIsCheckedAtPlan(t *testing.T) {
	s := serve(t, nil)
	typ := s.types["fairlead_cluster"]
	hosts := typ.AttributeTypes["control_plane"].(tftypes.List)
	host := filled(hosts.ElementType.(tftypes.Object), map[string]tftypes.Value{"address": text("192.0.2.11")})
	unknown := tftypes.NewValue(tftypes.String, tftypes.UnknownValue)
	for name, tc := range map[string]struct {
		attribute string
		set       map[string]tftypes.Value
		at        string
	}{
		"issuer":           {"oidc", map[string]tftypes.Value{"issuer_url": text("http://issuer.example"), "client_id": text("c")}, "issuer_url"},
		"no client":        {"oidc", map[string]tftypes.Value{"issuer_url": text("https://issuer.example")}, "client_id"},
		"no certificate":   {"oidc", map[string]tftypes.Value{"issuer_url": text("https://issuer.example"), "client_id": text("c"), "ca_certificate": text("x")}, "ca_certificate"},
		"good":             {"oidc", map[string]tftypes.Value{"issuer_url": text("https://issuer.example"), "client_id": text("c")}, ""},
		"no audience":      {"oidc", map[string]tftypes.Value{"issuer_url": text("https://issuer.example"), "client_id": text("c"), "audiences": tftypes.NewValue(tftypes.List{ElementType: tftypes.String}, []tftypes.Value{})}, "audiences"},
		"unknown issuer":   {"oidc", map[string]tftypes.Value{"issuer_url": unknown}, ""},
		"policy":           {"audit", map[string]tftypes.Value{"policy": text("{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: All}]}")}, "policy"},
		"unknown policy":   {"audit", map[string]tftypes.Value{"policy": unknown}, ""},
		"level":            {"audit", map[string]tftypes.Value{"level": text("All")}, "level"},
		"level and policy": {"audit", map[string]tftypes.Value{"level": text("None"), "policy": text("{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None}]}")}, "level"},
	} {
		t.Run(name, func(t *testing.T) {
			config := filled(typ, map[string]tftypes.Value{
				"name": text("prod"), "control_plane": tftypes.NewValue(hosts, []tftypes.Value{host}),
				tc.attribute: filled(typ.AttributeTypes[tc.attribute].(tftypes.Object), tc.set),
			})
			resp, err := s.ValidateResourceConfig(t.Context(), &tfprotov6.ValidateResourceConfigRequest{TypeName: "fairlead_cluster", Config: dynamic(t, config)})
			if err != nil {
				t.Fatal(err)
			}
			if tc.at == "" {
				clean(t, "validation", resp.Diagnostics)
				return
			}
			want := tftypes.NewAttributePath().WithAttributeName(tc.attribute).WithAttributeName(tc.at)
			if len(resp.Diagnostics) != 1 || !want.Equal(resp.Diagnostics[0].Attribute) {
				t.Errorf("it says %+v", resp.Diagnostics)
			}
		})
	}
}
