package provider

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// TestRequiredInsideUnknown wants a required attribute to be missed in an object that is known, and not in one that
// is not known yet.
func TestRequiredInsideUnknown(t *testing.T) {
	s := newServer(New()())
	types, err := s.types()
	if err != nil {
		t.Fatal(err)
	}
	typ := types["fairlead_cluster"].(tftypes.Object)
	host := typ.AttributeTypes["control_plane"].(tftypes.List).ElementType.(tftypes.Object)
	empty := map[string]tftypes.Value{}
	for name, t := range host.AttributeTypes {
		empty[name] = tftypes.NewValue(t, nil)
	}
	for _, tc := range []struct {
		name string
		host tftypes.Value
		want int
	}{
		{"known", tftypes.NewValue(host, empty), 1},
		{"unknown", tftypes.NewValue(host, tftypes.UnknownValue), 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			values := map[string]tftypes.Value{}
			for name, t := range typ.AttributeTypes {
				values[name] = tftypes.NewValue(t, nil)
			}
			values["name"] = tftypes.NewValue(tftypes.String, "prod")
			values["control_plane"] = tftypes.NewValue(typ.AttributeTypes["control_plane"], []tftypes.Value{tc.host})
			config, err := tfprotov6.NewDynamicValue(typ, tftypes.NewValue(typ, values))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := s.ValidateResourceConfig(t.Context(), &tfprotov6.ValidateResourceConfigRequest{TypeName: "fairlead_cluster", Config: &config})
			if err != nil {
				t.Fatal(err)
			}
			if len(resp.Diagnostics) != tc.want {
				t.Errorf("%d diagnostics, want %d: %v", len(resp.Diagnostics), tc.want, resp.Diagnostics)
			}
			for _, d := range resp.Diagnostics {
				if d.Summary != missing {
					t.Errorf("unexpected: %s: %s", d.Summary, d.Detail)
				}
			}
		})
	}
}
