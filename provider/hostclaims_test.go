package provider

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/host/hosttest"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// node is a fairlead_node as it is configured; unknown values are those that Terraform does not know yet.
func (s *served) node(set map[string]tftypes.Value) tftypes.Value {
	unknown := tftypes.NewValue(tftypes.String, tftypes.UnknownValue)
	values := map[string]tftypes.Value{"cluster": unknown, "id": unknown, "name": unknown, "host_key": unknown, "internal_address": unknown, "version": unknown}
	for name, v := range set {
		values[name] = v
	}
	return filled(s.types["fairlead_node"], values)
}

// plan plans a resource as Terraform does, and returns what it was answered with.
func (s *served) plan(t *testing.T, kind string, prior, proposed tftypes.Value, private []byte) *tfprotov6.PlanResourceChangeResponse {
	t.Helper()
	resp, err := s.PlanResourceChange(t.Context(), &tfprotov6.PlanResourceChangeRequest{
		TypeName: kind, PriorState: dynamic(t, prior), ProposedNewState: dynamic(t, proposed), Config: dynamic(t, proposed), PriorPrivate: private,
	})
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// TestTwoResourcesWithOneHost wants the second one refused at plan, however its address is written.
func TestTwoResourcesWithOneHost(t *testing.T) {
	const kind = "fairlead_node"
	port := func(n int) tftypes.Value { return tftypes.NewValue(tftypes.Number, n) }
	at := func(address string) map[string]tftypes.Value {
		return map[string]tftypes.Value{"address": text(address)}
	}
	for name, tc := range map[string]struct {
		first, second map[string]tftypes.Value
		says          string
	}{
		"same":             {at("192.0.2.12"), at("192.0.2.12"), "Host 192.0.2.12:2222 is that of a fairlead_node in this configuration too"},
		"port":             {at("192.0.2.12"), map[string]tftypes.Value{"address": text("192.0.2.12"), "port": port(2222)}, "192.0.2.12:2222"},
		"other port":       {at("192.0.2.12"), map[string]tftypes.Value{"address": text("192.0.2.12"), "port": port(22)}, ""},
		"name":             {at("Worker.example."), at("worker.EXAMPLE"), "worker.example:2222"},
		"IPv6":             {at("2001:db8::1"), at("2001:DB8:0::1"), "[2001:db8::1]:2222"},
		"local":            {at("local"), map[string]tftypes.Value{"address": text("local"), "port": port(22)}, "Host local is"},
		"other":            {at("192.0.2.12"), at("192.0.2.13"), ""},
		"unknown":          {at("192.0.2.12"), map[string]tftypes.Value{"address": tftypes.NewValue(tftypes.String, tftypes.UnknownValue)}, ""},
		"of the cluster":   {at("192.0.2.12"), map[string]tftypes.Value{"address": text("192.0.2.11"), "cluster": text("prod@192.0.2.11:2222")}, "the control plane of cluster prod"},
		"as the cluster's": {at("192.0.2.12"), map[string]tftypes.Value{"address": text("192.0.2.11"), "cluster": text("prod@192.0.2.11:22")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveOffline(t, nil)
			sshType := s.provider.AttributeTypes["ssh"].(tftypes.Object)
			s = serveOffline(t, map[string]tftypes.Value{"ssh": filled(sshType, map[string]tftypes.Value{"port": port(2222)})})
			none := tftypes.NewValue(s.types[kind], nil)
			clean(t, "plan", s.plan(t, kind, none, s.node(tc.first), nil).Diagnostics)
			wrong := "address"
			if tc.says == "" {
				wrong = ""
			}
			expectOne(t, s.plan(t, kind, none, s.node(tc.second), nil).Diagnostics, wrong, tc.says)
		})
	}
	t.Run("control plane", func(t *testing.T) {
		s := serveOffline(t, nil)
		cluster := s.clusterState(22, testHostKey, false)
		clean(t, "plan", s.plan(t, "fairlead_cluster", cluster, cluster, nil).Diagnostics)
		none := tftypes.NewValue(s.types[kind], nil)
		expectOne(t, s.plan(t, kind, none, s.node(at("127.0.0.1")), nil).Diagnostics, "address", "that of a fairlead_cluster in this configuration")
	})
}

// TestReplacedResourceKeepsItsHost plans a replacement as Terraform does, once as a change and once as a new resource
// with what the first plan kept for itself, and then what takes the place of a resource that goes.
func TestReplacedResourceKeepsItsHost(t *testing.T) {
	const kind = "fairlead_node"
	s := serveOffline(t, nil)
	none := tftypes.NewValue(s.types[kind], nil)
	is := map[string]tftypes.Value{"address": text("192.0.2.12"), "cluster": text("prod@192.0.2.11"), "name": text("one")}
	first := s.plan(t, kind, s.node(is), s.node(is), nil)
	clean(t, "plan of a change", first.Diagnostics)
	clean(t, "plan of a replacement", s.plan(t, kind, none, s.node(is), first.PlannedPrivate).Diagnostics)

	s = serveOffline(t, nil)
	clean(t, "plan of a removal", s.plan(t, kind, s.node(is), none, nil).Diagnostics)
	clean(t, "plan of what takes its place", s.plan(t, kind, none, s.node(is), nil).Diagnostics)
}

// TestRenamedResourceKeepsItsHost destroys a resource whose host another one has been made for in the same run, as when
// it has got another key of for_each: what is on the host is the other's.
func TestRenamedResourceKeepsItsHost(t *testing.T) {
	host := ssh.NewFake("127.0.0.1")
	host.On("f='/run/fairlead.lock'", hosttest.HoldLock)
	d := &data{hosts: newHosts(ssh.Config{}, ""), connector: &connector{}, releases: &releases{}}
	ref := hostRef{Address: "127.0.0.1", Port: 22, HostKey: testHostKey}
	d.hosts.conns[ref.canonical()] = &hostConn{conn: host}
	d.took(hostRef{Address: "127.0.0.1"})
	s, diags := configured(t, &heldProvider{data: d}, nil)
	clean(t, "configure", diags)
	is := s.clusterState(22, testHostKey, false)
	none := dynamic(t, tftypes.NewValue(is.Type(), nil))
	resp, err := s.ApplyResourceChange(t.Context(), &tfprotov6.ApplyResourceChangeRequest{
		TypeName: "fairlead_cluster", PriorState: dynamic(t, is), PlannedState: none, Config: none,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Diagnostics) != 1 || resp.Diagnostics[0].Severity != tfprotov6.DiagnosticSeverityWarning || resp.Diagnostics[0].Summary != "Host taken over" {
		t.Errorf("it says %+v", resp.Diagnostics)
	}
	if done := host.Transcript(); len(done) != 1 {
		t.Errorf("it did %q", done)
	}
}

// TestHostOfAnotherCluster destroys a resource whose host has become something else, as by another configuration.
func TestHostOfAnotherCluster(t *testing.T) {
	inspection := func(role, cluster, config string) string {
		encode := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
		return "init=systemd\n" + role + "=" + encode(config) + "\ncluster=" + encode(cluster) + "\n"
	}
	for now, is := range map[string]string{
		`the control plane of cluster "other"`: inspection("server", "other", "clusterName: other\n"),
		`node "one" of cluster "prod"`:         inspection("agent", "prod", "nodeName: one\n"),
	} {
		host := ssh.NewFake("127.0.0.1")
		host.On("f='/run/fairlead.lock'", hosttest.HoldLock)
		host.Reply("base64", is)
		host.Reply("MainPID", "1 active running\n\n")
		d := &data{hosts: newHosts(ssh.Config{}, ""), connector: &connector{}, releases: &releases{}}
		d.hosts.conns[hostRef{Address: "127.0.0.1", Port: 22, HostKey: testHostKey}.canonical()] = &hostConn{conn: host}
		s, diags := configured(t, &heldProvider{data: d}, nil)
		clean(t, "configure", diags)
		state := s.clusterState(22, testHostKey, false)
		none := dynamic(t, tftypes.NewValue(state.Type(), nil))
		resp, err := s.ApplyResourceChange(t.Context(), &tfprotov6.ApplyResourceChangeRequest{
			TypeName: "fairlead_cluster", PriorState: dynamic(t, state), PlannedState: none, Config: none,
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(resp.Diagnostics) != 1 || resp.Diagnostics[0].Summary != "Host left as it is" || !strings.Contains(resp.Diagnostics[0].Detail, now) {
			t.Errorf("it says %+v, want %s", resp.Diagnostics, now)
		}
		if did := host.Transcript(); len(did) != 3 { // the lock, and what is on the host and whether it runs
			t.Errorf("it did %q", did)
		}
	}
	node := nodeModel{Cluster: types.StringValue("prod@192.0.2.11"), Name: types.StringValue("one")}
	unnamed := nodeModel{Cluster: node.Cluster, Name: types.StringNull()}
	for name, c := range map[string]struct {
		node   nodeModel
		is     bootstrap.Installed
		others bool
	}{
		"bare":            {node, bootstrap.Installed{}, false},
		"begun":           {node, bootstrap.Installed{Begun: true}, false},
		"itself":          {node, bootstrap.Installed{Present: true, Role: "agent", Cluster: "prod", NodeName: "one"}, false},
		"not named yet":   {unnamed, bootstrap.Installed{Present: true, Role: "agent", NodeName: "one"}, false},
		"another name":    {node, bootstrap.Installed{Present: true, Role: "agent", Cluster: "prod", NodeName: "two"}, true},
		"another cluster": {unnamed, bootstrap.Installed{Present: true, Role: "agent", Cluster: "other", NodeName: "one"}, true},
		"a control plane": {node, bootstrap.Installed{Present: true, Role: "server", Cluster: "prod", NodeName: "one"}, true},
	} {
		if got := c.node.isOthers(&c.is); got != c.others {
			t.Errorf("%s: it is others' %t", name, got)
		}
	}
}
