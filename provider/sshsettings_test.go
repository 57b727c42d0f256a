package provider

import (
	"reflect"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// configuredData is what the provider's resources get for a block with these attributes, and fails on a diagnostic.
func configuredData(t *testing.T, set map[string]tftypes.Value) *data {
	t.Helper()
	p := New()()
	var schema provider.SchemaResponse
	p.Schema(t.Context(), provider.SchemaRequest{}, &schema)
	typ := schema.Schema.Type().TerraformType(t.Context()).(tftypes.Object)
	var resp provider.ConfigureResponse
	p.Configure(t.Context(), provider.ConfigureRequest{Config: tfsdk.Config{Raw: filled(typ, set), Schema: schema.Schema}}, &resp)
	if resp.Diagnostics.HasError() {
		t.Fatal(resp.Diagnostics)
	}
	return resp.ResourceData.(*data)
}

// TestSSHSettings wants a host dialled by the settings of the provider's block, or by its own where it has them.
func TestSSHSettings(t *testing.T) {
	sshType := serve(t, nil).provider.AttributeTypes["ssh"].(tftypes.Object)
	bastionType := sshType.AttributeTypes["bastion"].(tftypes.Object)
	type set = map[string]tftypes.Value
	number := func(n int) tftypes.Value { return tftypes.NewValue(tftypes.Number, n) }
	yes, no := tftypes.NewValue(tftypes.Bool, true), tftypes.NewValue(tftypes.Bool, false)
	at := hostRef{Address: "192.0.2.11"}
	const otherKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKm8eDfK2DkoKDnRiQkBgA2hKHnBwVSAqzSSg6EhTqhW"
	file := t.TempDir() + "/later"
	for name, tc := range map[string]struct {
		ssh  set // nil: the block has none
		host hostRef
		want ssh.Config
	}{
		"nothing said": {nil, at, ssh.Config{Address: "192.0.2.11"}},
		"all": {
			set{"user": text("ops"), "port": number(2222), "private_key_file": text(file), "passphrase": text("sesame"), "use_agent": yes,
				"known_hosts_file": text(file), "host_key_policy": text("accept-new")}, at,
			ssh.Config{User: "ops", Address: "192.0.2.11", Port: 2222, PrivateKeyFile: file, Passphrase: []byte("sesame"), UseAgent: true,
				KnownHostsFile: file, HostKeyPolicy: ssh.HostKeyAcceptNew, Sudo: true},
		},
		"the host's own": {
			set{"port": number(2222), "host_key_policy": text("accept-new")}, hostRef{"192.0.2.11", 22, otherKey},
			ssh.Config{Address: "192.0.2.11", Port: 22, HostKey: otherKey, HostKeyPolicy: ssh.HostKeyAcceptNew},
		},
		"root":                 {set{"user": text("root")}, at, ssh.Config{User: "root", Address: "192.0.2.11"}},
		"user without sudo":    {set{"user": text("ops"), "sudo": no}, at, ssh.Config{User: "ops", Address: "192.0.2.11"}},
		"sudo of another root": {set{"sudo": yes}, at, ssh.Config{Address: "192.0.2.11", Sudo: true}},
		"without the agent":    {set{"use_agent": no}, at, ssh.Config{Address: "192.0.2.11", NoAgent: true}},
		"bastion": {
			set{"user": text("ops"), "port": number(2222), "bastion": filled(bastionType, set{"address": text("jump.example")})}, at,
			ssh.Config{User: "ops", Address: "192.0.2.11", Port: 2222, Sudo: true, Bastion: &ssh.Config{Address: "jump.example"}},
		},
		"bastion's own": {
			set{"bastion": filled(bastionType, set{"address": text("jump.example"), "user": text("jump"), "port": number(222), "private_key_file": text(file),
				"passphrase": text("hush"), "use_agent": no, "host_key": text(testHostKey)})}, at,
			ssh.Config{Address: "192.0.2.11", Bastion: &ssh.Config{User: "jump", Address: "jump.example", Port: 222, PrivateKeyFile: file,
				Passphrase: []byte("hush"), NoAgent: true, HostKey: testHostKey}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			block := map[string]tftypes.Value{}
			if tc.ssh != nil {
				block["ssh"] = filled(sshType, tc.ssh)
			}
			got, err := configuredData(t, block).hosts.config(tc.host)
			if err != nil {
				t.Fatal(err)
			}
			for c := &got; c != nil; c = c.Bastion {
				c.Logger = nil
				if len(c.PrivateKey) == 0 {
					c.PrivateKey = nil
				}
				if len(c.Passphrase) == 0 {
					c.Passphrase = nil
				}
			}
			if !reflect.DeepEqual(got, tc.want) {
				type plain ssh.Config // prints all of it
				t.Errorf("got %+v\nwith bastion %+v\nwant %+v\nwith bastion %+v", plain(got), (*plain)(got.Bastion), plain(tc.want), (*plain)(tc.want.Bastion))
			}
		})
	}
}
