package provider

import (
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// TestControlPlaneOfOneHost wants every other number of hosts refused on the attribute before anything is dialled, and
// nothing said of a number that is not known yet.
func TestControlPlaneOfOneHost(t *testing.T) {
	s := serve(t, nil)
	typ := s.types["fairlead_cluster"]
	hosts := typ.AttributeTypes["control_plane"].(tftypes.List)
	host := func(address string) tftypes.Value {
		return filled(hosts.ElementType.(tftypes.Object), map[string]tftypes.Value{"address": text(address)})
	}
	for name, tc := range map[string]struct {
		hosts any
		given string // what it says of their number; empty: it takes them
	}{
		"none":         {[]tftypes.Value{}, "0 are given"},
		"one":          {[]tftypes.Value{host("192.0.2.11")}, ""},
		"two":          {[]tftypes.Value{host("192.0.2.11"), host("192.0.2.12")}, "2 are given"},
		"unknown list": {tftypes.UnknownValue, ""},
		"unknown host": {[]tftypes.Value{tftypes.NewValue(hosts.ElementType, tftypes.UnknownValue)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			config := dynamic(t, filled(typ, map[string]tftypes.Value{"name": text("prod"), "control_plane": tftypes.NewValue(hosts, tc.hosts)}))
			resp, err := s.ValidateResourceConfig(t.Context(), &tfprotov6.ValidateResourceConfigRequest{TypeName: "fairlead_cluster", Config: config})
			if err != nil {
				t.Fatal(err)
			}
			if tc.given == "" {
				clean(t, "validation", resp.Diagnostics)
				return
			}
			expectOne(t, resp.Diagnostics, "control_plane", "this release has control planes of one host, and "+tc.given)
			if !strings.Contains(resp.Diagnostics[0].Detail, "fairlead_node") {
				t.Errorf("it does not say where other hosts go: %s", resp.Diagnostics[0].Detail)
			}
		})
	}
}

// TestControlPlaneIsNotKnownYet plans a cluster that is there, whose hosts come from something that this apply makes.
func TestControlPlaneIsNotKnownYet(t *testing.T) {
	s := serveOffline(t, nil)
	is := s.clusterState(22, testHostKey, false)
	hosts := is.Type().(tftypes.Object).AttributeTypes["control_plane"].(tftypes.List)
	for name, unknown := range map[string]any{
		"list": tftypes.UnknownValue, "host": []tftypes.Value{tftypes.NewValue(hosts.ElementType, tftypes.UnknownValue)},
	} {
		clean(t, "plan of an unknown "+name, s.plan(t, "fairlead_cluster", is, changed(t, is, "control_plane", tftypes.NewValue(hosts, unknown)), nil).Diagnostics)
	}
}
