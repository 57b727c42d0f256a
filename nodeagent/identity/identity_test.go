package identity_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/joinapi"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authority is a cluster's.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	ends time.Time // of what it signs
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, ends: time.Now().Add(time.Hour)}
	var err error
	if a.key, err = certs.NewKey(); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

// sign makes a certificate for both ends of a connection.
func (a *authority) sign(pub any, commonName string, names ...string) []byte {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: commonName}, DNSNames: names,
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: a.ends, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, pub, a.key)
	if err != nil {
		a.t.Error(err)
	}
	return certs.EncodeCertificate(der)
}

func (a *authority) pair(commonName string, names ...string) tls.Certificate {
	a.t.Helper()
	k, err := certs.NewKey()
	if err != nil {
		a.t.Fatal(err)
	}
	keyPEM, err := certs.EncodeKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	p, err := tls.X509KeyPair(a.sign(k.Public(), commonName, names...), keyPEM)
	if err != nil {
		a.t.Fatal(err)
	}
	return p
}

// server answers joins with these statuses, one after the other, and then signs.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	statuses []int
	tokens   []string // that were sent
}

func (a *authority) serve(statuses ...int) *server {
	s := &server{statuses: statuses}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req joinapi.Request
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil || r.URL.Path != joinapi.JoinPath || req.Node != "w1" {
			a.t.Errorf("%s of node %q, %v", r.URL.Path, req.Node, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tokens = append(s.tokens, req.Token)
		if len(s.statuses) > 0 {
			w.WriteHeader(s.statuses[0])
			_, _ = io.WriteString(w, "no")
			s.statuses = s.statuses[1:]
			return
		}
		signed := func(request string) string {
			block, _ := pem.Decode([]byte(request))
			csr, err := x509.ParseCertificateRequest(block.Bytes)
			if err != nil {
				a.t.Error(err)
			}
			return string(a.sign(csr.PublicKey, certs.NodeUserPrefix+req.Node, req.Node))
		}
		_ = json.NewEncoder(w).Encode(joinapi.Response{ClientCertificate: signed(req.ClientRequest), ServingCertificate: signed(req.ServingRequest)})
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{a.pair("server", certs.APIServerName)}, MinVersion: tls.VersionTLS13}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	a.t.Cleanup(s.Close)
	return s
}

// config is that of a node with a token.
func (a *authority) config(servers ...string) identity.Config {
	a.t.Helper()
	dir := a.t.TempDir()
	c := identity.Config{
		NodeName: "w1", Dir: filepath.Join(dir, "pki"), Servers: servers, CA: certs.EncodeCertificate(a.cert.Raw), TokenFile: filepath.Join(dir, "token"),
		Logger: slog.New(slog.DiscardHandler),
	}
	if err := os.WriteFile(c.TokenFile, []byte("id.key\n"), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return c
}

func there(t *testing.T, file string) bool {
	t.Helper()
	_, err := os.Stat(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// TestJoin joins once, by the server that answers, after one that cannot answer yet. From then on the files do.
func TestJoin(t *testing.T) {
	a := newAuthority(t)
	s := a.serve(http.StatusServiceUnavailable)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := "https://" + l.Addr().String()
	_ = l.Close()
	cfg := a.config(dead, s.URL)
	if joined, err := identity.Exists(cfg.Dir); joined || err != nil {
		t.Errorf("before: %v, %v", joined, err)
	}
	if _, err := identity.Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.tokens, []string{"id.key", "id.key"}) || there(t, cfg.TokenFile) {
		t.Errorf("tokens %q were sent; the file is there: %v", s.tokens, there(t, cfg.TokenFile))
	}
	files, err := os.ReadDir(cfg.Dir)
	if err != nil || len(files) != 2 {
		t.Errorf("files %v, %v", files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has mode %v, %v", f.Name(), info.Mode(), err)
		}
	}
	s.Close()
	if _, err := identity.Open(t.Context(), cfg); err != nil {
		t.Errorf("again, without a server: %v", err)
	}
	if joined, err := identity.Exists(cfg.Dir); !joined || err != nil {
		t.Errorf("after: %v, %v", joined, err)
	}
}

// TestJoinFails wants a cause at once where trying again does not help, and a token that is given to nobody else.
func TestJoinFails(t *testing.T) {
	a := newAuthority(t)
	refused := a.serve(http.StatusUnauthorized)
	cfg := a.config(refused.URL)
	if _, err := identity.Open(t.Context(), cfg); err == nil || err.Error() != "cannot join the cluster: 401 Unauthorized: no" {
		t.Errorf("refused: %v", err)
	}
	if !there(t, cfg.TokenFile) || len(refused.tokens) != 1 {
		t.Errorf("%d tokens were sent; the file is there: %v", len(refused.tokens), there(t, cfg.TokenFile))
	}

	other := newAuthority(t).serve()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	other.Config.ErrorLog = log.New(&nth{left: 2, reached: cancel}, "", 0) // of handshakes that fail
	var unknown x509.UnknownAuthorityError
	if _, err := identity.Open(ctx, a.config(other.URL)); !errors.As(err, &unknown) || len(other.tokens) > 0 {
		t.Errorf("a server of another cluster: %v, got tokens %q", err, other.tokens)
	}

	without := a.config(refused.URL)
	if err := os.Remove(without.TokenFile); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.Open(t.Context(), without); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no certificate, and no join token") {
		t.Errorf("without a token: %v", err)
	}

	late := a.config(a.serve().URL)
	a.ends = time.Now().Add(-time.Hour)
	soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for _, ctx := range []context.Context{soon, t.Context()} { // the first gets it, the second finds it
		if _, err := identity.Open(ctx, late); err == nil || !strings.Contains(err.Error(), "join the node again") {
			t.Errorf("with a certificate that has ended: %v", err)
		}
	}
	for _, servers := range [][]string{nil, {"http://192.0.2.1:6443"}, {"https://192.0.2.1"}} {
		if _, err := identity.Open(t.Context(), a.config(servers...)); err == nil {
			t.Errorf("servers %q were taken", servers)
		}
	}
}

// nth calls reached when so many more lines were written.
type nth struct {
	left    int
	reached func()
}

func (n *nth) Write(line []byte) (int, error) {
	if n.left--; n.left == 0 {
		n.reached()
	}
	return len(line), nil
}

// TestServing wants the agent's own API to be the API server's alone.
func TestServing(t *testing.T) {
	a := newAuthority(t)
	id, err := identity.Open(t.Context(), a.config(a.serve().URL))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.TLS = id.ServingTLS()
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	for who, tc := range map[string]struct {
		pairs []tls.Certificate
		may   bool
	}{
		"the API server":        {[]tls.Certificate{a.pair(certs.AgentClientName)}, true},
		"an administrator":      {[]tls.Certificate{a.pair("admin")}, false},
		"another node":          {[]tls.Certificate{a.pair(certs.NodeUserPrefix + "w2")}, false},
		"that of other cluster": {[]tls.Certificate{newAuthority(t).pair(certs.AgentClientName)}, false},
		"nobody":                {nil, false},
	} {
		config := &tls.Config{RootCAs: pool, ServerName: "w1", MinVersion: tls.VersionTLS13, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(tc.pairs) == 0 {
				return &tls.Certificate{}, nil
			}
			return &tc.pairs[0], nil
		}}
		hc := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
		resp, err := hc.Get(s.URL)
		if err == nil {
			_ = resp.Body.Close()
		}
		if (err == nil) != tc.may {
			t.Errorf("%s: %v", who, err)
		}
	}
}
