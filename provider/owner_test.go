package provider

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/host/hosttest"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// TestHostOfAnotherResource reads, changes and destroys a resource whose host another one has taken: it is left alone. A
// resource that was imported means what is there.
func TestHostOfAnotherResource(t *testing.T) {
	encode := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	host := ssh.NewFake("127.0.0.1")
	host.Key = testHostKey
	host.Reply("uname -s; uname -m", "Linux\nx86_64\n")
	host.On("f='/run/fairlead.lock'", hosttest.HoldLock)
	host.Reply("PORTS=", "uid=0\nos=Linux\nmachine=x86_64\nkernel=6.1.0\nhostname=one\ncgroup=2\ncgroup.controllers=cpu memory pids\ninit=systemd\npackages=apt-get\n")
	host.Reply("base64", "init=systemd\nserver="+encode("clusterName: prod\n")+"\ncluster="+encode("prod\n")+
		"\nowner="+encode(`{"id":"other","host":"control.example:22","folder":"/other","by":"ops@laptop","since":"2026-01-02T03:04:05Z","done":true}`)+"\n")
	host.Reply("MainPID", "1 active running\n\n")
	d := &data{hosts: newHosts(ssh.Config{}, ""), connector: &connector{}, releases: &releases{}}
	d.hosts.conns[hostRef{Address: "127.0.0.1", Port: 22, HostKey: testHostKey}.canonical()] = &hostConn{conn: host}
	s, diags := configured(t, &heldProvider{data: d}, nil)
	clean(t, "configure", diags)
	is := s.clusterState(22, testHostKey, false)
	none := tftypes.NewValue(is.Type(), nil)
	made := s.plan(t, "fairlead_cluster", none, is, nil).PlannedPrivate
	imported := s.plan(t, "fairlead_cluster", is, is, nil).PlannedPrivate
	const whose = `the control plane of cluster "prod"`
	const other = "a resource with the address control.example:22, since 2026-01-02 03:04:05 UTC; ops@laptop applied it in /other"
	for name, c := range map[string]struct {
		from, to tftypes.Value
		private  []byte
		summary  string // of the only thing that it says; empty: it goes on
	}{
		"create":           {none, is, nil, "Host is not ready"},
		"update":           {changed(t, is, "version", text("0.0.0-old")), is, made, "Host is not ready"},
		"update, imported": {changed(t, is, "version", text("0.0.0-old")), is, imported, ""},
		"destroy":          {is, none, made, "Host left as it is"},
		"destroy, import":  {is, none, imported, ""},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := s.ApplyResourceChange(t.Context(), &tfprotov6.ApplyResourceChangeRequest{
				TypeName: "fairlead_cluster", PriorState: dynamic(t, c.from), PlannedState: dynamic(t, c.to), Config: dynamic(t, c.to), PlannedPrivate: c.private,
			})
			if err != nil {
				t.Fatal(err)
			}
			said := ""
			for _, d := range resp.Diagnostics {
				said += d.Summary + ": " + d.Detail + "\n"
			}
			if c.summary == "" && strings.Contains(said, other) {
				t.Errorf("it says %s", said)
			}
			for _, want := range []string{c.summary, whose, other} {
				if c.summary != "" && !strings.Contains(said, want) {
					t.Errorf("it does not say %q: %s", want, said)
				}
			}
			state, err := resp.NewState.Unmarshal(is.Type())
			if err != nil || c.summary != "" && c.summary != "Host left as it is" && !state.Equal(c.from) {
				t.Errorf("the state is %v, want what it was; %v", state, err)
			}
		})
	}
	for name, private := range map[string][]byte{"its own": made, "imported": imported, "never planned": nil} {
		resp, err := s.ReadResource(t.Context(), &tfprotov6.ReadResourceRequest{TypeName: "fairlead_cluster", CurrentState: dynamic(t, is), Private: private})
		if err != nil {
			t.Fatal(err)
		}
		warned := len(resp.Diagnostics) == 1 && resp.Diagnostics[0].Severity == tfprotov6.DiagnosticSeverityWarning && strings.Contains(resp.Diagnostics[0].Detail, other)
		if warned != (name == "its own") {
			t.Errorf("reading what is %s, it says %+v", name, resp.Diagnostics)
		}
	}
}
