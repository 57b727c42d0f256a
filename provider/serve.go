package provider

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// Serve answers Terraform until it has no more to ask. With debug it waits for a debugger, and prints how Terraform
// finds it.
func Serve(debug bool) error {
	var opts []tf6server.ServeOpt
	if debug {
		opts = append(opts, tf6server.WithManagedDebug())
	}
	return tf6server.Serve(Address, func() tfprotov6.ProviderServer { return newServer(&fairleadProvider{inRun: !debug}) }, opts...)
}

// server is the framework's server but for one thing: the framework misses the required attributes of an object
// that is not known as a whole, as in `containers = [var.container]` while a module is validated.
type server struct {
	tfprotov6.ProviderServer
	// types returns the types of resources, which are asked for when there is something to judge.
	types func() (map[string]tftypes.Type, error)
}

func newServer(p provider.Provider) *server {
	s := &server{ProviderServer: providerserver.NewProtocol6(p)()}
	s.types = sync.OnceValues(s.resourceTypes)
	return s
}

func (s *server) resourceTypes() (map[string]tftypes.Type, error) {
	resp, err := s.GetProviderSchema(context.Background(), &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		return nil, fmt.Errorf("cannot read the provider's own schema: %w", err)
	}
	types := map[string]tftypes.Type{}
	for name, schema := range resp.ResourceSchemas {
		types[name] = schema.ValueType()
	}
	return types, nil
}

// missing is what the framework says of a required attribute that is null.
const missing = "Missing Configuration for Required Attribute"

// ValidateResourceConfig implements tfprotov6.ResourceServer.
func (s *server) ValidateResourceConfig(ctx context.Context, req *tfprotov6.ValidateResourceConfigRequest) (*tfprotov6.ValidateResourceConfigResponse, error) {
	resp, err := s.ProviderServer.ValidateResourceConfig(ctx, req)
	if err != nil || !slices.ContainsFunc(resp.Diagnostics, func(d *tfprotov6.Diagnostic) bool { return d.Summary == missing }) {
		return resp, err
	}
	types, err := s.types()
	if err != nil {
		return nil, err
	}
	config, err := req.Config.Unmarshal(types[req.TypeName])
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration of a %s: %w", req.TypeName, err)
	}
	resp.Diagnostics = slices.DeleteFunc(resp.Diagnostics, func(d *tfprotov6.Diagnostic) bool {
		return d.Summary == missing && d.Attribute != nil && insideUnknown(config, d.Attribute.Steps())
	})
	return resp, nil
}

// insideUnknown says whether the attribute that the steps lead to is part of something that is not known.
func insideUnknown(config tftypes.Value, steps []tftypes.AttributePathStep) bool {
	for n := range len(steps) {
		v, _, err := tftypes.WalkAttributePath(config, tftypes.NewAttributePathWithSteps(steps[:n]))
		if err != nil {
			return false
		}
		if value, ok := v.(tftypes.Value); ok && !value.IsKnown() {
			return true
		}
	}
	return false
}
