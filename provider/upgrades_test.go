package provider

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/host/hosttest"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// TestUpgradeStopsAtTheFirstUnhealthyHost upgrades two nodes of a cluster, the first of which fails: nothing is done on the
// second, which says why, while one of another cluster has its turn.
func TestUpgradeStopsAtTheFirstUnhealthyHost(t *testing.T) {
	encode := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	d := &data{hosts: newHosts(ssh.Config{}, ""), connector: &connector{}, releases: &releases{}}
	host := func(address, inspection string) *ssh.Fake {
		h := ssh.NewFake(address)
		h.Key = testHostKey
		h.Reply("uname -s; uname -m", "Linux\nx86_64\n")
		h.On("f='/run/fairlead.lock'", hosttest.HoldLock)
		h.Reply("PORTS=", "uid=0\nos=Linux\nmachine=x86_64\nkernel=6.1.0\nhostname=one\ncgroup=2\ncgroup.controllers=cpu memory pids\ninit=systemd\npackages=apt-get\n")
		h.Reply("base64", inspection)
		h.Reply("MainPID", "1 active running\n\n")
		d.hosts.conns[hostRef{Address: address, HostKey: testHostKey}.canonical()] = &hostConn{conn: h}
		d.hosts.conns[hostRef{Address: address}] = &hostConn{conn: h}
		return h
	}
	workers := map[string]*ssh.Fake{}
	for _, c := range []struct {
		cluster, control string
		workers          []string
	}{{"prod", "192.0.2.11", []string{"192.0.2.12", "192.0.2.13"}}, {"test", "192.0.2.21", []string{"192.0.2.22"}}} {
		server := "clusterName: " + c.cluster + "\n"
		host(c.control, "init=systemd\nserver="+encode(server)+"\ncluster="+encode(c.cluster+"\n")+"\n").SetFile("/etc/fairlead/server.yaml", server, 0o600)
		for _, address := range c.workers {
			// Its files can not be read, so that an upgrade ends early.
			h := host(address, "init=systemd\nagent="+encode("nodeName: n"+strings.ReplaceAll(address, ".", "-")+"\n")+"\ncluster="+encode(c.cluster+"\n")+"\n")
			workers[address] = h
		}
	}
	s, diags := configured(t, &heldProvider{data: d}, nil)
	clean(t, "configure", diags)
	// upgrade is what an upgrade of the node at the address said.
	upgrade := func(address, cluster string) *tfprotov6.Diagnostic {
		name := "n" + strings.ReplaceAll(address, ".", "-")
		is := s.node(map[string]tftypes.Value{
			"cluster": text(cluster), "id": text(cluster + "/" + name), "name": text(name), "address": text(address), "host_key": text(testHostKey),
			"internal_address": text(address), "version": text("0.0.0-old"),
		})
		to := changed(t, is, "version", text("0.0.0-dev"))
		resp, err := s.ApplyResourceChange(t.Context(), &tfprotov6.ApplyResourceChangeRequest{
			TypeName: "fairlead_node", PriorState: dynamic(t, is), PlannedState: dynamic(t, to), Config: dynamic(t, to),
		})
		if err != nil {
			t.Fatal(err)
		}
		if state, err := resp.NewState.Unmarshal(is.Type()); err != nil || !state.Equal(is) {
			t.Errorf("the state of %s is %v, want what it was; %v", address, state, err)
		}
		if len(resp.Diagnostics) != 1 || resp.Diagnostics[0].Summary != "Node not upgraded" {
			t.Fatalf("of %s it says %+v", address, resp.Diagnostics)
		}
		return resp.Diagnostics[0]
	}
	if says := upgrade("192.0.2.12", "prod@192.0.2.11"); !strings.Contains(says.Detail, "/etc/fairlead/ca.crt") {
		t.Errorf("of the first it says %s", says.Detail)
	}
	if says := upgrade("192.0.2.13", "prod@192.0.2.11"); !strings.Contains(says.Detail, "since the upgrade of 192.0.2.12 failed") {
		t.Errorf("of the second it says %s", says.Detail)
	}
	if slices.Contains(workers["192.0.2.13"].Transcript(), "< /etc/fairlead/ca.crt") {
		t.Error("the upgrade of the second began")
	}
	if says := upgrade("192.0.2.22", "test@192.0.2.21"); !strings.Contains(says.Detail, "/etc/fairlead/ca.crt") {
		t.Errorf("of another cluster it says %s", says.Detail)
	}
}
