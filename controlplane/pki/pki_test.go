package pki

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
)

func TestAuthoritySurvivesRestartAndInterruption(t *testing.T) {
	dir := t.TempDir()
	first, err := OpenAuthority(dir, "ca", "test")
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenAuthority(dir, "ca", "test")
	if err != nil {
		t.Fatal(err)
	}
	if string(first.PEM()) != string(again.PEM()) {
		t.Error("a second open made another authority")
	}
	if info, err := os.Stat(filepath.Join(dir, "ca.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v; want mode 0600", info, err)
	}

	// A crash between key and certificate: the key is kept.
	if err := os.Remove(filepath.Join(dir, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	completed, err := OpenAuthority(dir, "ca", "test")
	if err != nil {
		t.Fatal(err)
	}
	if !completed.key.Public().(*ecdsa.PublicKey).Equal(first.key.Public()) {
		t.Error("completing an interrupted creation changed the key")
	}

	// A certificate whose key is lost can not be replaced silently.
	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAuthority(dir, "ca", "test"); err == nil {
		t.Error("an authority without its key was opened")
	}
}

func TestSignRequest(t *testing.T) {
	ca, err := OpenAuthority(t.TempDir(), "ca", "test")
	if err != nil {
		t.Fatal(err)
	}
	key, err := certs.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	req, err := certs.NewRequest(key, "whatever the requester likes")
	if err != nil {
		t.Fatal(err)
	}
	certPEM, err := ca.SignRequest(req, Subject{CommonName: "system:node:a", Organizations: []string{certs.NodesGroup}, Client: true, Life: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := certs.ParseCertificate(certPEM)
	if err != nil {
		t.Fatal(err)
	}
	if cert.Subject.CommonName != "system:node:a" {
		t.Errorf("common name %q was taken from the request", cert.Subject.CommonName)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: ca.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	// A bootstrap takes hosts whose clocks are behind by less than this.
	behind := time.Now().Add(-2 * time.Minute)
	if _, err := cert.Verify(x509.VerifyOptions{Roots: ca.Pool(), CurrentTime: behind, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("on a host whose clock is behind: %v", err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: ca.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
		t.Error("a client certificate verifies as a server's")
	}
	if _, err := ca.SignRequest([]byte("no request"), Subject{}); err == nil {
		t.Error("garbage was signed")
	}
}

func TestKeyPairsHandshakeAndRenew(t *testing.T) {
	c, err := OpenCluster(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	serving := c.ServingKeyPair("cluster.local", []string{"192.0.2.1", "api.example"})
	client := c.AgentClientKeyPair()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	server := tls.Server(a, &tls.Config{GetCertificate: serving.GetCertificate, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: c.Authority.Pool()})
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	conn := tls.Client(b, &tls.Config{ServerName: certs.APIServerName, RootCAs: c.Authority.Pool(), GetClientCertificate: client.GetClientCertificate})
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := conn.ConnectionState().PeerCertificates[0].VerifyHostname("api.example"); err != nil {
		t.Error(err)
	}

	first, _ := serving.Certificate()
	if same, _ := serving.Certificate(); same != first {
		t.Error("a fresh certificate was replaced")
	}
	serving.mu.Lock()
	serving.renewAt = time.Now().Add(-time.Second)
	serving.mu.Unlock()
	if next, err := serving.Certificate(); err != nil || next == first {
		t.Errorf("a certificate past its renewal was kept (%v)", err)
	}
}

func TestAdminKubeconfig(t *testing.T) {
	dir := t.TempDir()
	c, err := OpenCluster(filepath.Join(dir, "pki"), "prod")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "admin.kubeconfig")
	write := func(server string) string {
		t.Helper()
		if err := c.WriteAdminKubeconfig(path, "prod", server); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	first := write("https://192.0.2.1:6443")
	if again := write("https://192.0.2.1:6443"); again != first {
		t.Error("a good kubeconfig was replaced")
	}
	if moved := write("https://192.0.2.2:6443"); moved == first {
		t.Error("a kubeconfig of another address was kept")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kubeconfig: %v, %v; want mode 0600", info, err)
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Host != "https://192.0.2.2:6443" {
		t.Errorf("host %s", cfg.Host)
	}
}
