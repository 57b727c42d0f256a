package ssh_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh/agent"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh/sshtest"
)

// startAgent serves keys on a socket until the test ends, and returns the socket.
func startAgent(t *testing.T, keys ...*sshtest.Key) string {
	t.Helper()
	ring := agent.NewKeyring()
	for _, k := range keys {
		if err := ring.Add(agent.AddedKey{PrivateKey: k.Private, Comment: "in the ring"}); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() { _ = agent.ServeAgent(ring, conn); _ = conn.Close() })
		}
	})
	t.Cleanup(func() { _ = l.Close(); served.Wait() })
	return socket
}

func writeKey(t *testing.T, k *sshtest.Key) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "id")
	if err := os.WriteFile(file, k.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAuthentication(t *testing.T) {
	good, stranger := sshtest.NewKey(t, "ed25519", ""), sshtest.NewKey(t, "ecdsa", "")
	locked := sshtest.NewKey(t, "ed25519", "open sesame")
	s := sshtest.Start(t, sshtest.Options{Authorized: []*sshtest.Key{good, locked}})
	file, lockedFile, strangerFile := writeKey(t, good), writeKey(t, locked), writeKey(t, stranger)
	t.Setenv("HOME", t.TempDir())
	tests := map[string]struct {
		set     func(*ssh.Config)
		agent   []*sshtest.Key
		message string // of the error; empty: it works
		as      any    // the error's type
	}{
		"key":              {set: func(c *ssh.Config) { c.PrivateKey = good.PEM }},
		"key file":         {set: func(c *ssh.Config) { c.PrivateKeyFile = file }},
		"passphrase":       {set: func(c *ssh.Config) { c.PrivateKeyFile, c.Passphrase = lockedFile, []byte("open sesame") }},
		"wrong passphrase": {set: func(c *ssh.Config) { c.PrivateKeyFile, c.Passphrase = lockedFile, []byte("x") }, message: "passphrase is wrong", as: new(*ssh.ConfigError)},
		"no passphrase":    {set: func(c *ssh.Config) { c.PrivateKeyFile = lockedFile }, message: "no passphrase is given", as: new(*ssh.ConfigError)},
		"no such file":     {set: func(c *ssh.Config) { c.PrivateKeyFile = file + "x" }, message: "no such file", as: new(*ssh.ConfigError)},
		"no key":           {set: func(c *ssh.Config) { c.PrivateKey = []byte("hello") }, message: "not a private key", as: new(*ssh.ConfigError)},
		"agent":            {set: func(c *ssh.Config) { c.UseAgent = true }, agent: []*sshtest.Key{stranger, good}},
		"agent by default": {set: func(*ssh.Config) {}, agent: []*sshtest.Key{good}},
		"agent forbidden":  {set: func(c *ssh.Config) { c.NoAgent = true }, agent: []*sshtest.Key{good}, message: "there is no key to offer", as: new(*ssh.AuthError)},
		"no agent":         {set: func(c *ssh.Config) { c.UseAgent = true }, message: "SSH_AUTH_SOCK", as: new(*ssh.ConfigError)},
		"refused": {set: func(c *ssh.Config) { c.PrivateKeyFile, c.UseAgent = strangerFile, true }, agent: []*sshtest.Key{stranger},
			message: "the host refused " + strangerFile + `, agent key "in the ring"`, as: new(*ssh.AuthError)},
		"nothing to offer": {set: func(*ssh.Config) {}, message: "there is no key to offer", as: new(*ssh.AuthError)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("SSH_AUTH_SOCK", "")
			if test.agent != nil {
				t.Setenv("SSH_AUTH_SOCK", startAgent(t, test.agent...))
			}
			var log bytes.Buffer
			c := configFor(s, good)
			c.PrivateKey = nil
			c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			test.set(&c)
			conn, err := ssh.Dial(t.Context(), c)
			if err == nil {
				_ = conn.Close()
			}
			switch {
			case test.message == "" && err != nil:
				t.Fatal(err)
			case test.message != "" && (err == nil || !strings.Contains(err.Error(), test.message) || !errors.As(err, test.as)):
				t.Fatalf("got %v, want a %T with %q", err, test.as, test.message)
			}
			if s := log.String(); strings.Contains(s, "PRIVATE") || strings.Contains(s, "sesame") {
				t.Errorf("the log has a secret: %s", s)
			}
		})
	}
}

func TestConfigPrintsNoSecret(t *testing.T) {
	c := ssh.Config{User: "u", Address: "h", Port: 22, PrivateKey: []byte("PRIVATE"), Passphrase: []byte("sesame")}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "config", c)
	for _, s := range []string{c.String(), c.GoString(), log.String()} {
		if !strings.Contains(s, "u@h:22") || strings.Contains(s, "PRIVATE") || strings.Contains(s, "sesame") {
			t.Errorf("printed as %s", s)
		}
	}
}

func TestValidate(t *testing.T) {
	tests := map[string]struct {
		config ssh.Config
		field  string
	}{
		"no address":         {ssh.Config{}, "Address"},
		"policy":             {ssh.Config{Address: "h", HostKeyPolicy: "lax"}, "HostKeyPolicy"},
		"port":               {ssh.Config{Address: "h", Port: 70000}, "Port"},
		"host key":           {ssh.Config{Address: "h", HostKey: "AAAA"}, "HostKey"},
		"bastion's host key": {ssh.Config{Address: "h", Bastion: &ssh.Config{Address: "b", HostKey: "AAAA"}}, "Bastion.HostKey"},
		"bastion's policy":   {ssh.Config{Address: "h", Bastion: &ssh.Config{Address: "b", HostKeyPolicy: "accept-new"}}, "Bastion.HostKeyPolicy"},
		"local bastion":      {ssh.Config{Address: "h", Bastion: &ssh.Config{Address: "local"}}, "Bastion.Address"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var wrong *ssh.ConfigError
			if _, err := ssh.Dial(context.Background(), test.config); !errors.As(err, &wrong) || wrong.Field != test.field {
				t.Errorf("got %v, want a ConfigError of %s", err, test.field)
			}
		})
	}
}
