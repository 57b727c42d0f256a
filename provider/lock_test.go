package provider

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// TestHostChangedByAnotherRun wants a create, an update and a destroy to end before anything is done when another run has
// the host, with who that is, and the state as it was.
func TestHostChangedByAnotherRun(t *testing.T) {
	host := ssh.NewFake("127.0.0.1")
	host.Key = testHostKey
	host.Reply("uname -s; uname -m", "Linux\nx86_64\n")
	host.Reply("f='/run/fairlead.lock'", "taken\nops@laptop, process 4242, join a node; since 2026-01-02 03:04:05 UTC\n")
	d := &data{hosts: newHosts(ssh.Config{}, ""), connector: &connector{}, releases: &releases{}}
	d.hosts.conns[hostRef{Address: "127.0.0.1", Port: 22, HostKey: testHostKey}.canonical()] = &hostConn{conn: host}
	s, diags := configured(t, &heldProvider{data: d}, nil)
	clean(t, "configure", diags)
	typ := s.types["fairlead_cluster"]
	is := s.clusterState(22, testHostKey, false)
	none := tftypes.NewValue(typ, nil)
	for name, change := range map[string]struct{ from, to tftypes.Value }{
		"create":  {none, is},
		"update":  {changed(t, is, "version", text("0.0.0-old")), is},
		"destroy": {is, none},
	} {
		t.Run(name, func(t *testing.T) {
			host.Forget()
			resp, err := s.ApplyResourceChange(t.Context(), &tfprotov6.ApplyResourceChangeRequest{
				TypeName: "fairlead_cluster", PriorState: dynamic(t, change.from), PlannedState: dynamic(t, change.to), Config: dynamic(t, change.to),
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(resp.Diagnostics) != 1 {
				t.Fatalf("it says %+v", resp.Diagnostics)
			}
			says := resp.Diagnostics[0]
			if says.Attribute.String() != `AttributeName("control_plane").ElementKeyInt(0).AttributeName("address")` ||
				!strings.Contains(says.Detail, "127.0.0.1: another run is changing it: ops@laptop, process 4242, join a node; since 2026-01-02") {
				t.Errorf("it says %s: %s: %s", says.Attribute, says.Summary, says.Detail)
			}
			state, err := resp.NewState.Unmarshal(typ)
			if err != nil || !state.Equal(change.from) {
				t.Errorf("the state is %v, want what it was; %v", state, err)
			}
			if done := slices.DeleteFunc(host.Transcript(), func(s string) bool { return strings.HasPrefix(s, "$ uname") }); len(done) != 1 {
				t.Errorf("it did %q", done)
			}
		})
	}
}

// changed is an object with another value of a member.
func changed(t *testing.T, object tftypes.Value, name string, v tftypes.Value) tftypes.Value {
	t.Helper()
	values := map[string]tftypes.Value{}
	if err := object.As(&values); err != nil {
		t.Fatal(err)
	}
	values = maps.Clone(values) // As may give the object's own
	values[name] = v
	return tftypes.NewValue(object.Type(), values)
}

// TestHostThatCannotBeLocked wants all that is wrong with a host said at once, also where the lock alone would have failed.
func TestHostThatCannotBeLocked(t *testing.T) {
	host := ssh.NewFake("127.0.0.1")
	host.Key = testHostKey
	host.Reply("uname -s; uname -m", "Linux\nx86_64\n")
	host.Fail("f='/run/fairlead.lock'", 1, "the command flock is missing; install util-linux")
	host.Reply("PORTS=", "uid=0\nos=Linux\nmachine=x86_64\nkernel=4.4.0\nhostname=one\ncgroup=2\ncgroup.controllers=cpu memory pids\ninit=systemd\npackages=apt-get\n")
	d := &data{hosts: newHosts(ssh.Config{}, ""), connector: &connector{}, releases: &releases{}}
	d.hosts.conns[hostRef{Address: "127.0.0.1", Port: 22, HostKey: testHostKey}.canonical()] = &hostConn{conn: host}
	s, diags := configured(t, &heldProvider{data: d}, nil)
	clean(t, "configure", diags)
	is := s.clusterState(22, testHostKey, false)
	resp, err := s.ApplyResourceChange(t.Context(), &tfprotov6.ApplyResourceChangeRequest{
		TypeName: "fairlead_cluster", PriorState: dynamic(t, tftypes.NewValue(is.Type(), nil)), PlannedState: dynamic(t, is), Config: dynamic(t, is),
	})
	if err != nil {
		t.Fatal(err)
	}
	var says string
	for _, d := range resp.Diagnostics {
		says += d.Summary + ": " + d.Detail + "\n"
	}
	for _, want := range []string{"Host is not ready", "kernel: version 4.4.0", "the command flock is missing"} {
		if !strings.Contains(says, want) {
			t.Errorf("it does not say %q: %s", want, says)
		}
	}
	if state, err := resp.NewState.Unmarshal(is.Type()); err != nil || !state.IsNull() {
		t.Errorf("the state is %v, want none; %v", state, err)
	}
}
