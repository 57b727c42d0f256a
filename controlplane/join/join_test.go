package join_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/join"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/pki"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/joinapi"
)

type cluster struct {
	*apitest.Env
	t *testing.T
}

// start runs an API server that lets nodes in.
func start(t *testing.T) *cluster {
	c := &cluster{t: t}
	c.Env = apitest.Start(t, apitest.Options{Change: func(cfg *api.Config) {
		cfg.Extra = map[string]http.Handler{}
		for _, path := range []string{joinapi.JoinPath, joinapi.RenewPath} {
			cfg.Extra[path] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h := &join.Handler{Client: c.Client, Authority: c.Keys.Authority, Logger: slog.New(slog.DiscardHandler)}
				h.Routes()[path].ServeHTTP(w, r)
			})
		}
	}})
	return c
}

// token makes one that is good for a node from a time on.
func (c *cluster) token(node string, life time.Duration, from time.Time) string {
	c.t.Helper()
	token, secret, err := join.NewToken(node, life, from)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := client.Create(c.t.Context(), c.Client, secret); err != nil {
		c.t.Fatal(err)
	}
	return token
}

// post sends a request, with a client certificate where there is one, and returns the answer.
func (c *cluster) post(path string, body []byte, cert *tls.Certificate) (int, []byte) {
	c.t.Helper()
	config := &tls.Config{RootCAs: c.Keys.Authority.Pool(), MinVersion: tls.VersionTLS13}
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	defer hc.CloseIdleConnections()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, c.Address+path, bytes.NewReader(body))
	if err != nil {
		c.t.Error(err)
		return 0, nil
	}
	resp, err := hc.Do(req)
	if err != nil {
		c.t.Error(err)
		return 0, nil
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Error(err)
	}
	return resp.StatusCode, data
}

// key is a node's.
func key(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := certs.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// request asks for certificates of a key, in the name of an administrator of another host.
func request(t *testing.T, k *ecdsa.PrivateKey, token, node string) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}, DNSNames: []string{"kubernetes.default"},
	}, k)
	if err != nil {
		t.Fatal(err)
	}
	csr := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	body, err := json.Marshal(joinapi.Request{Token: token, Node: node, ClientRequest: csr, ServingRequest: csr})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func refusal(code int, body []byte) bool {
	return code == http.StatusUnauthorized && strings.TrimSpace(string(body)) == join.ErrToken.Error()
}

// TestTokens holds that a token is good for one node, once, until it expires, and that whoever guesses learns nothing and uses
// nothing up.
func TestTokens(t *testing.T) {
	c := start(t)
	k := key(t)
	good := c.token("w1", time.Minute, time.Now())
	id, secret, _ := strings.Cut(good, ".")
	for what, body := range map[string][]byte{
		"another node's":   request(t, k, good, "w2"),
		"expired":          request(t, k, c.token("w1", time.Minute, time.Now().Add(-time.Minute)), "w1"),
		"unknown":          request(t, k, "0123456789abcdef."+secret, "w1"),
		"another key":      request(t, k, id+"."+strings.Repeat("0", len(secret)), "w1"),
		"without a key":    request(t, k, id, "w1"),
		"empty key":        request(t, k, id+".", "w1"),
		"empty":            request(t, k, "", "w1"),
		"of another place": request(t, k, "../default/x."+secret, "w1"),
	} {
		if code, answer := c.post(joinapi.JoinPath, body, nil); !refusal(code, answer) {
			t.Errorf("%s: %d %s", what, code, answer)
		}
	}
	stored, err := client.Get[*corev1.Secret](t.Context(), c.Client, metav1.NamespaceSystem, "join-token-"+id)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range stored.Data {
		if strings.Contains(string(v), secret) {
			t.Errorf("the token is stored in %s", name)
		}
	}

	var mu sync.Mutex
	codes := map[int]int{}
	var all sync.WaitGroup
	body := request(t, k, good, "w1")
	for range 8 {
		all.Go(func() {
			code, _ := c.post(joinapi.JoinPath, body, nil)
			mu.Lock()
			defer mu.Unlock()
			codes[code]++
		})
	}
	all.Wait()
	if codes[http.StatusOK] != 1 || codes[http.StatusUnauthorized] != 7 {
		t.Errorf("eight uses of a token: %v", codes)
	}
}

// A Secret of another type is no token, whatever it holds: who may write Secrets there may not make nodes by that.
func TestOtherSecretIsNoToken(t *testing.T) {
	c := start(t)
	token, secret, err := join.NewToken("w1", time.Minute, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	secret.Type = corev1.SecretTypeOpaque
	if _, err := client.Create(t.Context(), c.Client, secret); err != nil {
		t.Fatal(err)
	}
	if code, answer := c.post(joinapi.JoinPath, request(t, key(t), token, "w1"), nil); !refusal(code, answer) {
		t.Errorf("%d %s", code, answer)
	}
}

// TestCertificates looks at what a node gets: its own name and rights, whatever it asked for.
func TestCertificates(t *testing.T) {
	c := start(t)
	k := key(t)
	got := c.join("w1", k)
	clientCert, err := certs.ParseCertificate([]byte(got.ClientCertificate))
	if err != nil {
		t.Fatal(err)
	}
	servingCert, err := certs.ParseCertificate([]byte(got.ServingCertificate))
	if err != nil {
		t.Fatal(err)
	}
	for cert, want := range map[*x509.Certificate]struct {
		organizations, names []string
		usage                x509.ExtKeyUsage
	}{
		clientCert:  {[]string{"system:nodes"}, nil, x509.ExtKeyUsageClientAuth},
		servingCert: {nil, []string{"w1"}, x509.ExtKeyUsageServerAuth},
	} {
		if cert.Subject.CommonName != "system:node:w1" || !slices.Equal(cert.Subject.Organization, want.organizations) || !slices.Equal(cert.DNSNames, want.names) ||
			len(cert.IPAddresses) > 0 || !slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{want.usage}) || cert.IsCA || !k.PublicKey.Equal(cert.PublicKey) {
			t.Errorf("%s, organizations %q, names %q %v, usages %v, authority %v", cert.Subject.CommonName, cert.Subject.Organization, cert.DNSNames, cert.IPAddresses, cert.ExtKeyUsage, cert.IsCA)
		}
		if life := cert.NotAfter.Sub(cert.NotBefore); life > pki.NodeLife+time.Hour {
			t.Errorf("it lives %v", life)
		}
	}
}

// join lets a node in.
func (c *cluster) join(node string, k *ecdsa.PrivateKey) (got joinapi.Response) {
	c.t.Helper()
	token, err := join.Create(c.t.Context(), c.Client, node, time.Minute)
	if err != nil {
		c.t.Fatal(err)
	}
	code, body := c.post(joinapi.JoinPath, request(c.t, k, token, node), nil)
	if code != http.StatusOK {
		c.t.Fatalf("%d %s", code, body)
	}
	if err := json.Unmarshal(body, &got); err != nil {
		c.t.Fatal(err)
	}
	return got
}

// TestRenew holds that a node renews its own certificates, nobody else does, and none that was removed from the cluster.
func TestRenew(t *testing.T) {
	c := start(t)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "w1"}}
	if _, err := client.Create(t.Context(), c.Client, node); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Create(t.Context(), c.Client, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "w2"}}); err != nil {
		t.Fatal(err)
	}
	k := key(t)
	keyPEM, err := certs.EncodeKey(k)
	if err != nil {
		t.Fatal(err)
	}
	pair := func(certPEM []byte) *tls.Certificate {
		p, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil {
			t.Fatal(err)
		}
		return &p
	}
	own := pair([]byte(c.join("w1", k).ClientCertificate))
	as := func(name, group string) *tls.Certificate {
		cert, err := c.Keys.Authority.Sign(k.Public(), pki.Subject{CommonName: name, Organizations: []string{group}, Client: true, Life: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return pair(cert)
	}
	for what, tc := range map[string]struct {
		node string
		cert *tls.Certificate
	}{
		"another node":          {"w2", own},
		"nobody":                {"w1", nil},
		"an administrator":      {"w1", as("admin", "system:masters")},
		"a user of a node name": {"w1", as("system:node:w1", "users")},
		"a user among nodes":    {"w1", as("w1", "system:nodes")},
	} {
		// A token for the node is of no use here.
		token := c.token(tc.node, time.Minute, time.Now())
		if code, answer := c.post(joinapi.RenewPath, request(t, k, token, tc.node), tc.cert); !refusal(code, answer) {
			t.Errorf("%s: %d %s", what, code, answer)
		}
	}
	body := request(t, k, "", "w1")
	if code, answer := c.post(joinapi.RenewPath, body, own); code != http.StatusOK || !strings.Contains(string(answer), "BEGIN CERTIFICATE") {
		t.Errorf("the node itself: %d %s", code, answer)
	}
	if err := client.Delete[*corev1.Node](t.Context(), c.Client, "", "w1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if code, answer := c.post(joinapi.RenewPath, body, own); !refusal(code, answer) {
		t.Errorf("a node that was removed: %d %s", code, answer)
	}
}

func TestBadRequests(t *testing.T) {
	c := start(t)
	k := key(t)
	garbage, err := json.Marshal(joinapi.Request{Token: c.token("w1", time.Minute, time.Now()), Node: "w1", ClientRequest: "x", ServingRequest: "x"})
	if err != nil {
		t.Fatal(err)
	}
	for what, tc := range map[string]struct {
		body []byte
		says string
	}{
		"no JSON":         {[]byte("hello"), "cannot decode request"},
		"too much":        {append(bytes.Repeat([]byte(" "), joinapi.MaxBytes), '{', '}'), "request body too large"},
		"name of a node":  {request(t, k, "", "W1"), `node name "W1"`},
		"no node":         {request(t, k, "", ""), `node name ""`},
		"no such request": {garbage, "request"},
	} {
		if code, answer := c.post(joinapi.JoinPath, tc.body, nil); code != http.StatusBadRequest || !strings.Contains(string(answer), tc.says) {
			t.Errorf("%s: %d %s, want %q", what, code, answer, tc.says)
		}
	}
	for what, err := range map[string]error{
		"no life":        second(join.Create(t.Context(), c.Client, "w1", 0)),
		"two days":       second(join.Create(t.Context(), c.Client, "w1", 48*time.Hour)),
		"name of a node": second(join.Create(t.Context(), c.Client, "W1", time.Hour)),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "cannot make a join token") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func second(_ string, err error) error { return err }
