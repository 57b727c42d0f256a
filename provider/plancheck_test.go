package provider

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// TestHostsAreCheckedAtPlan wants all that is in the way of a new host in the plan, as a warning on the attribute, and nothing
// about hosts of which the plan can not know whether they will be there, or be other ones by then.
func TestHostsAreCheckedAtPlan(t *testing.T) {
	const facts = "uid=0\nos=Linux\nmachine=x86_64\nhostname=one\ncgroup=2\ncgroup.controllers=cpu memory pids\ninit=systemd\npackages=apt-get\ntool=flock 2.38\n"
	agent := "init=systemd\nagent=" + base64.StdEncoding.EncodeToString([]byte("nodeName: one\n")) + "\n"
	unknown := tftypes.NewValue(tftypes.String, tftypes.UnknownValue)
	for name, c := range map[string]struct {
		facts, inspection string
		refused           error // of the connection
		set               map[string]tftypes.Value
		says              []string
	}{
		"fit":            {facts: facts + "kernel=6.1.0\nroute=- 10.244.0.0/16\n", inspection: "init=systemd\n"}, // the cluster may have another range
		"not fit":        {facts: facts + "kernel=4.4.0\nport=tcp 10250 1 nginx\n", inspection: "init=systemd\n", says: []string{"Host is not ready: 192.0.2.12", "kernel: version 4.4.0", "tcp/10250 is taken by nginx", "The apply checks this again"}},
		"ours":           {facts: facts + "kernel=4.4.0\n", inspection: agent},
		"begun":          {facts: facts + "kernel=4.4.0\n", inspection: "init=systemd\nbegun=yes\n"},
		"not there":      {refused: &ssh.ConnError{Host: "192.0.2.12", Err: syscall.EHOSTUNREACH}},
		"not let in":     {refused: &ssh.AuthError{Host: "192.0.2.12", User: "root", Err: errors.New("refused")}, says: []string{"SSH login refused: 192.0.2.12", "cannot log in to 192.0.2.12 as root"}},
		"key not known":  {facts: facts + "kernel=4.4.0\n", inspection: "init=systemd\n", set: map[string]tftypes.Value{"host_key": unknown}},
		"address by run": {facts: facts + "kernel=4.4.0\n", inspection: "init=systemd\n", set: map[string]tftypes.Value{"address": unknown}},
	} {
		t.Run(name, func(t *testing.T) {
			host := ssh.NewFake("192.0.2.12")
			host.Reply("uname -s; uname -m", "Linux\nx86_64\n")
			host.Reply("PORTS=", c.facts)
			host.Reply("base64", c.inspection)
			host.Reply("MainPID", "1 active running\n\n")
			d := &data{hosts: newHosts(ssh.Config{}, ""), connector: &connector{}, releases: &releases{}}
			d.hosts.dial = func(context.Context, ssh.Config) (ssh.Conn, error) { return host, c.refused }
			s, diags := configured(t, &heldProvider{data: d}, nil)
			clean(t, "configure", diags)
			null := tftypes.NewValue(tftypes.String, nil)
			config := map[string]tftypes.Value{"address": text("192.0.2.12"), "host_key": null, "name": null, "internal_address": null, "id": null, "version": null}
			proposed := map[string]tftypes.Value{"address": text("192.0.2.12")}
			for name, v := range c.set {
				config[name], proposed[name] = v, v
			}
			resp, err := s.PlanResourceChange(t.Context(), &tfprotov6.PlanResourceChangeRequest{
				TypeName: "fairlead_node", PriorState: dynamic(t, tftypes.NewValue(s.types["fairlead_node"], nil)),
				ProposedNewState: dynamic(t, s.node(proposed)), Config: dynamic(t, s.node(config)),
			})
			if err != nil {
				t.Fatal(err)
			}
			said := ""
			for _, d := range resp.Diagnostics {
				said += d.Summary + ": " + d.Detail + "\n"
				if d.Severity != tfprotov6.DiagnosticSeverityWarning || d.Attribute.String() != `AttributeName("address")` {
					t.Errorf("%s on %s: %s", d.Severity, d.Attribute, d.Summary)
				}
			}
			if len(c.says) == 0 && said != "" {
				t.Errorf("it says %s", said)
			}
			for _, want := range c.says {
				if !strings.Contains(said, want) {
					t.Errorf("it does not say %q: %s", want, said)
				}
			}
			for _, line := range host.Transcript() {
				if strings.HasPrefix(line, "> ") {
					t.Errorf("the plan wrote: %s", line)
				}
			}
		})
	}
}
