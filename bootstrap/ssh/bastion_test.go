package ssh_test

import (
	"testing"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh/sshtest"
)

// TestBastionsSettings goes through a bastion whose settings are its own, or those of what is behind it.
func TestBastionsSettings(t *testing.T) {
	const passphrase = "open sesame"
	ours, bastions := sshtest.NewKey(t, "ed25519", ""), sshtest.NewKey(t, "ed25519", "")
	locked := sshtest.NewKey(t, "ed25519", passphrase)
	behind := sshtest.Start(t, sshtest.Options{Authorized: []*sshtest.Key{ours}})
	same := sshtest.Start(t, sshtest.Options{Authorized: []*sshtest.Key{ours}})
	other := sshtest.Start(t, sshtest.Options{Authorized: []*sshtest.Key{bastions, locked}})
	agentOnly := startAgent(t, bastions)
	t.Setenv("HOME", t.TempDir())
	for name, test := range map[string]struct {
		through *sshtest.Server
		set     func(c, bastion *ssh.Config)
		works   bool
	}{
		"the same key":        {same, func(_, _ *ssh.Config) {}, true},
		"own key":             {other, func(_, b *ssh.Config) { b.PrivateKey = bastions.PEM }, true},
		"the same passphrase": {other, func(_, b *ssh.Config) { b.PrivateKey = locked.PEM }, true},
		"own passphrase":      {other, func(_, b *ssh.Config) { b.PrivateKey, b.Passphrase = locked.PEM, []byte("another") }, false},
		"own agent":           {other, func(_, b *ssh.Config) { b.UseAgent = true }, true},
		"not the agent":       {other, func(c, b *ssh.Config) { c.UseAgent, b.NoAgent = true, true }, false},
		"own user":            {same, func(_, b *ssh.Config) { b.User = "fairlead-nobody" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("SSH_AUTH_SOCK", agentOnly)
			c := configFor(behind, ours)
			c.Passphrase = []byte(passphrase)
			c.Bastion = &ssh.Config{Address: test.through.Address, Port: test.through.Port, HostKey: test.through.HostKeys[0].Authorized}
			test.set(&c, c.Bastion)
			checked := c.Check()
			conn, err := ssh.Dial(t.Context(), c)
			if err == nil {
				_ = conn.Close()
			}
			if (err == nil) != test.works {
				t.Errorf("it works %t, want %t: %v", err == nil, test.works, err)
			}
			if test.works && checked != nil {
				t.Errorf("it works, and the check says %v", checked)
			}
		})
	}
}
