package provider

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/resource"
)

func TestSchemasAreValid(t *testing.T) {
	names := map[string]bool{}
	for _, newResource := range workloads() {
		ctx := t.Context()
		var meta resource.MetadataResponse
		newResource().Metadata(ctx, resource.MetadataRequest{ProviderTypeName: "fairlead"}, &meta)
		names[meta.TypeName] = true
		t.Run(meta.TypeName, func(t *testing.T) {
			var schema resource.SchemaResponse
			newResource().Schema(ctx, resource.SchemaRequest{}, &schema)
			if diags := schema.Schema.ValidateImplementation(ctx); diags.HasError() {
				t.Error(diags)
			}
		})
	}
	for _, name := range []string{"fairlead_namespace", "fairlead_deployment", "fairlead_service", "fairlead_config_map", "fairlead_secret"} {
		if !names[name] {
			t.Errorf("there is no resource %s", name)
		}
	}
}
