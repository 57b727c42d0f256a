package provider

import (
	"context"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// served is the provider as Terraform drives it, with some attributes of its block set.
type served struct {
	tfprotov6.ProviderServer
	provider tftypes.Object
	types    map[string]tftypes.Object
}

func serve(t *testing.T, set map[string]tftypes.Value) *served {
	t.Helper()
	s, diags := configured(t, New()(), set)
	clean(t, "configure", diags)
	return s
}

// offline is the provider with hosts that do not answer, not even the one that it runs on.
type offline struct{ fairleadProvider }

func (p *offline) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	p.fairleadProvider.Configure(ctx, req, resp)
	if d, ok := resp.ResourceData.(*data); ok {
		d.hosts.dial = func(_ context.Context, c ssh.Config) (ssh.Conn, error) {
			return nil, &ssh.ConnError{Host: c.Address, Err: syscall.EHOSTUNREACH}
		}
	}
}

// serveOffline is serve for plans of hosts that nobody has.
func serveOffline(t *testing.T, set map[string]tftypes.Value) *served {
	t.Helper()
	s, diags := configured(t, &offline{}, set)
	clean(t, "configure", diags)
	return s
}

// configured is serve with what the configuration was answered with.
func configured(t *testing.T, p provider.Provider, set map[string]tftypes.Value) (*served, []*tfprotov6.Diagnostic) {
	t.Helper()
	s := &served{ProviderServer: newServer(p), types: map[string]tftypes.Object{}}
	schema, err := s.GetProviderSchema(t.Context(), &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range schema.ResourceSchemas {
		s.types[name] = r.ValueType().(tftypes.Object)
	}
	s.provider = schema.Provider.ValueType().(tftypes.Object)
	config := dynamic(t, filled(s.provider, set))
	resp, err := s.ConfigureProvider(t.Context(), &tfprotov6.ConfigureProviderRequest{Config: config})
	if err != nil {
		t.Fatal(err)
	}
	return s, resp.Diagnostics
}

// filled is an object of the type with these members, and the others null.
func filled(typ tftypes.Object, set map[string]tftypes.Value) tftypes.Value {
	values := map[string]tftypes.Value{}
	for name, at := range typ.AttributeTypes {
		values[name] = tftypes.NewValue(at, nil)
	}
	for name, v := range set {
		values[name] = v
	}
	return tftypes.NewValue(typ, values)
}

func dynamic(t *testing.T, v tftypes.Value) *tfprotov6.DynamicValue {
	t.Helper()
	d, err := tfprotov6.NewDynamicValue(v.Type(), v)
	if err != nil {
		t.Fatal(err)
	}
	return &d
}

// closedPort is a port of this machine that refuses connections.
func closedPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// clusterState is the state of cluster prod, whose host is at a port of this machine.
func (s *served) clusterState(port int, hostKey string, ignore bool) tftypes.Value {
	typ := s.types["fairlead_cluster"]
	hosts := typ.AttributeTypes["control_plane"].(tftypes.List)
	host := filled(hosts.ElementType.(tftypes.Object), map[string]tftypes.Value{
		"address": text("127.0.0.1"), "port": tftypes.NewValue(tftypes.Number, port), "host_key": text(hostKey),
		"pods": tftypes.NewValue(tftypes.Bool, true), "node_name": text("one"), "internal_address": text("127.0.0.1"),
	})
	set := map[string]tftypes.Value{
		"name": text("prod"), "id": text("prod@127.0.0.1:" + strconv.Itoa(port)), "version": text("0.0.0-dev"), "api_server": text("https://127.0.0.1:6443"),
		"ca_certificate": text("CA"), "pod_cidr": text("10.244.0.0/16"), "service_cidr": text("10.96.0.0/16"), "domain": text("cluster.local"), "node_ports": text("30000-32767"),
		"control_plane": tftypes.NewValue(hosts, []tftypes.Value{host}),
	}
	if ignore {
		set["on_destroy"] = filled(typ.AttributeTypes["on_destroy"].(tftypes.Object), map[string]tftypes.Value{"ignore_unreachable": tftypes.NewValue(tftypes.Bool, true)})
	}
	return filled(typ, set)
}

const testHostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJY2w1lCEnMGbMnHu4kUkq6jVDaIOJHxwSfHPn3Tcbrz"

// TestDeadControlPlane reads a cluster, and what is on it, whose host does not answer.
func TestDeadControlPlane(t *testing.T) {
	port := closedPort(t)
	lost := map[string]tftypes.Value{"lost_clusters": tftypes.NewValue(tftypes.Set{ElementType: tftypes.String}, []tftypes.Value{text("prod")})}
	for _, c := range []struct {
		name     string
		provider map[string]tftypes.Value
		ignore   bool
		severity tfprotov6.DiagnosticSeverity
		says     string
		kept     bool
	}{
		{"unreachable", nil, false, tfprotov6.DiagnosticSeverityError, `lost_clusters = ["prod"]`, true},
		{"ignored", nil, true, tfprotov6.DiagnosticSeverityWarning, "on_destroy ignores", true},
		{"lost", lost, false, tfprotov6.DiagnosticSeverityWarning, "lost_clusters", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, c.provider)
			resp, err := s.ReadResource(t.Context(), &tfprotov6.ReadResourceRequest{TypeName: "fairlead_cluster", CurrentState: dynamic(t, s.clusterState(port, testHostKey, c.ignore))})
			if err != nil {
				t.Fatal(err)
			}
			if len(resp.Diagnostics) != 1 || resp.Diagnostics[0].Severity != c.severity || !strings.Contains(resp.Diagnostics[0].Detail, c.says) {
				t.Fatalf("it says %+v", resp.Diagnostics)
			}
			state, err := resp.NewState.Unmarshal(s.types["fairlead_cluster"])
			if err != nil || state.IsNull() == c.kept {
				t.Errorf("kept is %t, want %t; %v", !state.IsNull(), c.kept, err)
			}
		})
	}
	t.Run("workload of a lost cluster", func(t *testing.T) {
		s := serve(t, lost)
		typ := s.types["fairlead_config_map"]
		metadata := filled(typ.AttributeTypes["metadata"].(tftypes.Object), map[string]tftypes.Value{"name": text("a"), "namespace": text("default")})
		state := filled(typ, map[string]tftypes.Value{"id": text("prod@127.0.0.1/default/a"), "cluster": text("prod@127.0.0.1"), "metadata": metadata})
		resp, err := s.ReadResource(t.Context(), &tfprotov6.ReadResourceRequest{TypeName: "fairlead_config_map", CurrentState: dynamic(t, state)})
		if err != nil {
			t.Fatal(err)
		}
		clean(t, "read", resp.Diagnostics)
		if got, err := resp.NewState.Unmarshal(typ); err != nil || !got.IsNull() {
			t.Errorf("the object is kept: %v, %v", got, err)
		}
	})
}

// TestClusterIDFollowsItsHostKey plans another key of the host, as after an installation anew: the id has it, and is
// what the apply will say.
func TestClusterIDFollowsItsHostKey(t *testing.T) {
	s := serve(t, nil)
	const other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKm8eDfK2DkoKDnRiQkBgA2hKHnBwVSAqzSSg6EhTqhW"
	proposed := dynamic(t, s.clusterState(2222, other, false))
	resp, err := s.PlanResourceChange(t.Context(), &tfprotov6.PlanResourceChangeRequest{
		TypeName: "fairlead_cluster", PriorState: dynamic(t, s.clusterState(2222, testHostKey, false)), ProposedNewState: proposed, Config: proposed,
	})
	if err != nil {
		t.Fatal(err)
	}
	clean(t, "plan", resp.Diagnostics)
	if len(resp.RequiresReplace) > 0 {
		t.Errorf("it replaces the cluster for %v", resp.RequiresReplace)
	}
	planned, err := resp.PlannedState.Unmarshal(s.types["fairlead_cluster"])
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]tftypes.Value{}
	if err := planned.As(&values); err != nil {
		t.Fatal(err)
	}
	want := clusterID{Name: "prod", Address: "127.0.0.1", Port: 2222, HostKey: fingerprint(other)}.String()
	var id string
	if err := values["id"].As(&id); err != nil || id != want || want == "prod@127.0.0.1:2222" {
		t.Errorf("the planned id is %q, want %q; %v", id, want, err)
	}
}

// TestKeyThatDoesNotWork wants the provider's block to be refused, on the key, before anything is dialled.
func TestKeyThatDoesNotWork(t *testing.T) {
	s := providerserver.NewProtocol6(New()())()
	schema, err := s.GetProviderSchema(t.Context(), &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	typ := schema.Provider.ValueType().(tftypes.Object)
	ssh := typ.AttributeTypes["ssh"].(tftypes.Object)
	bastion := ssh.AttributeTypes["bastion"].(tftypes.Object)
	for at, block := range map[string]map[string]tftypes.Value{
		`AttributeName("ssh").AttributeName("private_key")`: {"private_key": text("no key")},
		`AttributeName("ssh").AttributeName("bastion").AttributeName("private_key")`: {
			"bastion": filled(bastion, map[string]tftypes.Value{"address": text("192.0.2.1"), "private_key": text("no key")})},
	} {
		config := filled(typ, map[string]tftypes.Value{"ssh": filled(ssh, block)})
		resp, err := s.ConfigureProvider(t.Context(), &tfprotov6.ConfigureProviderRequest{Config: dynamic(t, config)})
		if err != nil {
			t.Fatal(err)
		}
		if len(resp.Diagnostics) != 1 || resp.Diagnostics[0].Attribute.String() != at || strings.Contains(resp.Diagnostics[0].Detail, "no key") {
			t.Errorf("want a diagnostic on %s, got %+v", at, resp.Diagnostics)
		}
	}
}
