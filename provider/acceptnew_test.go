package provider

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh/sshtest"
)

// proved is a host that does what a played one does, behind the key of a real server.
type proved struct {
	ssh.Conn
	key string
}

func (p *proved) HostKey() string { return p.key }

// behindSSH is the provider's data with the control-plane host behind whatever SSH server its address leads to: the
// server's key is verified, and the played host answers then.
func (c *playedCluster) behindSSH(t *testing.T, base ssh.Config) *data {
	d := c.data()
	d.hosts.base = base
	d.hosts.dial = func(ctx context.Context, config ssh.Config) (ssh.Conn, error) {
		conn, err := ssh.Dial(ctx, config)
		if err != nil {
			return nil, err
		}
		defer func() {
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		}()
		return &proved{c.control, conn.HostKey()}, nil
	}
	return d
}

// TestAcceptNewHostKey takes the key that a host has at first, and then no other.
func TestAcceptNewHostKey(t *testing.T) {
	key := sshtest.NewKey(t, "ed25519", "")
	first := sshtest.Start(t, sshtest.Options{Authorized: []*sshtest.Key{key}})
	anew := sshtest.Start(t, sshtest.Options{Authorized: []*sshtest.Key{key}})
	knownHosts := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(knownHosts, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := playCluster(t)
	base := ssh.Config{User: "root", PrivateKey: key.PEM, KnownHostsFile: knownHosts}
	cluster := fmt.Sprintf(`resource "fairlead_cluster" "main" {
  name          = "prod"
  control_plane = [{ address = "127.0.0.1", port = %d }]
}`, first.Port)
	const name = "fairlead_cluster.main"
	firstKey, newKey := first.HostKeys[0].Authorized, anew.HostKeys[0].Authorized
	id := clusterID{Name: "prod", Address: "127.0.0.1", Port: first.Port, HostKey: fingerprint(firstKey)}.String()
	runStepsOn(t, func() provider.Provider { return &heldProvider{data: c.behindSSH(t, base)} },
		resource.TestStep{Config: cluster, ExpectError: regexp.MustCompile(`(?s)Host key not verified.*give\s+host_key.*or\s+set\s+host_key_policy\s+=\s+"accept-new"`)},
		resource.TestStep{
			PreConfig: func() { base.HostKeyPolicy = ssh.HostKeyAcceptNew }, Config: cluster,
			Check: resource.ComposeAggregateTestCheckFunc(
				resource.TestCheckResourceAttr(name, "control_plane.0.host_key", firstKey),
				resource.TestCheckResourceAttr(name, "id", id),
				func(*terraform.State) error {
					if known, err := os.ReadFile(knownHosts); err != nil || len(known) > 0 {
						return fmt.Errorf("known_hosts became %q, %v", known, err)
					}
					return nil
				},
			),
		},
	)

	// The same host with another key, as its state sees it.
	s, diags := configured(t, &heldProvider{data: c.behindSSH(t, base)}, nil)
	clean(t, "configure", diags)
	is := s.clusterState(anew.Port, firstKey, false)
	read, err := s.ReadResource(t.Context(), &tfprotov6.ReadResourceRequest{TypeName: "fairlead_cluster", CurrentState: dynamic(t, is)})
	if err != nil {
		t.Fatal(err)
	}
	const attribute = `AttributeName("control_plane").ElementKeyInt(0).AttributeName("host_key")`
	if len(read.Diagnostics) != 1 || read.Diagnostics[0].Attribute.String() != attribute {
		t.Fatalf("with another key, it says %+v", read.Diagnostics)
	}
	_, newFingerprint, _ := strings.Cut(fingerprint(newKey), " ")
	_, firstFingerprint, _ := strings.Cut(fingerprint(firstKey), " ")
	for _, want := range []string{newFingerprint, "but the key known for it is ssh-ed25519 " + firstFingerprint, "set host_key to its new key", "-refresh=false"} {
		if !strings.Contains(read.Diagnostics[0].Detail, want) {
			t.Errorf("it does not say %q: %s", want, read.Diagnostics[0].Detail)
		}
	}
	if state, err := read.NewState.Unmarshal(is.Type()); err != nil || !state.Equal(is) {
		t.Errorf("the state became %v, %v", state, err)
	}

	// What that says to do.
	to := s.clusterState(anew.Port, newKey, false)
	planned := s.plan(t, "fairlead_cluster", is, to, nil)
	clean(t, "plan of the new key", planned.Diagnostics)
	resp, err := s.ApplyResourceChange(t.Context(), &tfprotov6.ApplyResourceChangeRequest{
		TypeName: "fairlead_cluster", PriorState: dynamic(t, is), PlannedState: planned.PlannedState, Config: dynamic(t, to), PlannedPrivate: planned.PlannedPrivate,
	})
	if err != nil {
		t.Fatal(err)
	}
	clean(t, "apply of the new key", resp.Diagnostics)
	state, err := resp.NewState.Unmarshal(is.Type())
	if err != nil {
		t.Fatal(err)
	}
	at := tftypes.NewAttributePath().WithAttributeName("control_plane").WithElementKeyInt(0).WithAttributeName("host_key")
	if got, _, err := tftypes.WalkAttributePath(state, at); err != nil || !got.(tftypes.Value).Equal(text(newKey)) {
		t.Errorf("the host key in state is %v, %v", got, err)
	}
}
