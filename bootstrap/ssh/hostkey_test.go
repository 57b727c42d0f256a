package ssh_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	xssh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh/sshtest"
)

// certify signs a host key.
func certify(t *testing.T, ca, key *sshtest.Key, principal string, until time.Time) string {
	t.Helper()
	cert := &xssh.Certificate{
		Key: key.Signer.PublicKey(), CertType: xssh.HostCert, KeyId: "test", ValidPrincipals: []string{principal},
		ValidAfter: uint64(time.Now().Add(-2 * time.Hour).Unix()), ValidBefore: uint64(until.Unix()),
	}
	if err := cert.SignCert(rand.Reader, ca.Signer); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(xssh.MarshalAuthorizedKey(cert)))
}

func TestHostKeys(t *testing.T) {
	user := sshtest.NewKey(t, "ed25519", "")
	ed, ecdsa := sshtest.NewKey(t, "ed25519", ""), sshtest.NewKey(t, "ecdsa", "")
	other, ca := sshtest.NewKey(t, "ed25519", ""), sshtest.NewKey(t, "ed25519", "")
	authorized := []*sshtest.Key{user}
	both := sshtest.Start(t, sshtest.Options{HostKeys: []*sshtest.Key{ed, ecdsa}, Authorized: authorized})
	onlyECDSA := sshtest.Start(t, sshtest.Options{HostKeys: []*sshtest.Key{ecdsa}, Authorized: authorized})
	certified := sshtest.Start(t, sshtest.Options{HostKeys: []*sshtest.Key{ed}, Authorized: authorized,
		HostCertificate: certify(t, ca, ed, "127.0.0.1", time.Now().Add(time.Hour))})
	expired := sshtest.Start(t, sshtest.Options{HostKeys: []*sshtest.Key{ed}, Authorized: authorized,
		HostCertificate: certify(t, ca, ed, "127.0.0.1", time.Now().Add(-time.Hour))})

	line := func(s *sshtest.Server, k *sshtest.Key) string {
		return knownhosts.Line([]string{fmt.Sprintf("%s:%d", s.Address, s.Port)}, k.Signer.PublicKey())
	}
	hashed := func(s *sshtest.Server, k *sshtest.Key) string {
		name := knownhosts.HashHostname(knownhosts.Normalize(fmt.Sprintf("%s:%d", s.Address, s.Port)))
		return name + " " + k.Authorized
	}
	tests := map[string]struct {
		server  *sshtest.Server
		hostKey string // of the configuration
		known   string // known_hosts
		policy  string
		proves  *sshtest.Key // nil: refused
		message string       // that the refusal contains
	}{
		"given":                        {server: both, hostKey: ed.Authorized, proves: ed},
		"given, the host's second":     {server: both, hostKey: ecdsa.Authorized, proves: ecdsa},
		"given, several":               {server: onlyECDSA, hostKey: ed.Authorized + "\n" + ecdsa.Authorized, proves: ecdsa},
		"fingerprint":                  {server: both, hostKey: "ssh-ed25519 " + xssh.FingerprintSHA256(ed.Signer.PublicKey()), proves: ed},
		"fingerprint, another":         {server: both, hostKey: "ssh-ed25519 " + xssh.FingerprintSHA256(other.Signer.PublicKey()), message: "installed anew"},
		"given, another":               {server: both, hostKey: other.Authorized, message: xssh.FingerprintSHA256(other.Signer.PublicKey())},
		"given, of another type":       {server: onlyECDSA, hostKey: ed.Authorized, message: "no key of the types that host_key knows"},
		"given wins over accept-new":   {server: both, hostKey: other.Authorized, policy: "accept-new", message: "installed anew"},
		"known":                        {server: both, known: line(both, ed), proves: ed},
		"known, the host's second":     {server: both, known: line(both, ecdsa), proves: ecdsa},
		"known, hashed":                {server: both, known: hashed(both, ecdsa), proves: ecdsa},
		"known, another":               {server: both, known: line(both, other), message: "known_hosts:1"},
		"known, another, accept-new":   {server: both, known: line(both, other), policy: "accept-new", message: "known_hosts:1"},
		"known, of another type":       {server: onlyECDSA, known: line(onlyECDSA, ed), message: "no key of the types"},
		"known, revoked":               {server: both, known: line(both, ed) + "\n@revoked * " + ed.Authorized, message: "revoked"},
		"unknown":                      {server: both, known: "", message: `host_key_policy = "accept-new"`},
		"unknown, accept-new":          {server: onlyECDSA, known: "", policy: "accept-new", proves: ecdsa},
		"revoked, accept-new":          {server: onlyECDSA, known: "@revoked * " + ecdsa.Authorized, policy: "accept-new", message: "revoked"},
		"certificate":                  {server: certified, known: "@cert-authority [127.0.0.1]:* " + ca.Authorized, proves: ed},
		"certificate, expired":         {server: expired, known: "@cert-authority [127.0.0.1]:* " + ca.Authorized, message: "expired"},
		"certificate of a revoked CA":  {server: certified, known: "@cert-authority * " + ca.Authorized + "\n@revoked * " + ca.Authorized, message: "revoked"},
		"certificate of a stranger":    {server: certified, known: "@cert-authority * " + other.Authorized, message: "cannot verify the host key"},
		"certificate, none to be seen": {server: both, known: "@cert-authority * " + ca.Authorized, message: "cannot verify the host key"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			known := strings.ReplaceAll(test.known, "[127.0.0.1]:*", fmt.Sprintf("[127.0.0.1]:%d", test.server.Port))
			known = strings.ReplaceAll(known, " * ", fmt.Sprintf(" [127.0.0.1]:%d ", test.server.Port))
			file := filepath.Join(t.TempDir(), "known_hosts")
			if err := os.WriteFile(file, []byte(known+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			c := configFor(test.server, user)
			c.HostKey, c.KnownHostsFile, c.HostKeyPolicy = test.hostKey, file, test.policy
			conn, err := ssh.Dial(t.Context(), c)
			if err == nil {
				defer conn.Close()
			}
			if test.proves != nil {
				if err != nil {
					t.Fatal(err)
				}
				if got := conn.HostKey(); !strings.Contains(got, strings.Fields(test.proves.Authorized)[1]) && test.server != certified {
					t.Errorf("HostKey is %s", got)
				}
				return
			}
			var refused *ssh.HostKeyError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), test.message) {
				t.Fatalf("got %v, want a HostKeyError with %q", err, test.message)
			}
		})
	}
}
