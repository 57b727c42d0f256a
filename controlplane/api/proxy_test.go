package api_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/pki"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
)

// agent is a stand-in for a node's agent: it answers with the path it was asked for, and echoes upgraded
// connections unless upgraded serves them.
func agent(t *testing.T, e *apitest.Env, node string, upgraded http.Handler) *httptest.Server {
	t.Helper()
	cert, clients := e.AgentIdentity(node)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS.PeerCertificates[0].Subject.CommonName != certs.AgentClientName {
			http.Error(w, "not the API server", http.StatusForbidden)
			return
		}
		if r.Header.Get("Authorization") != "" {
			http.Error(w, "a credential was passed on", http.StatusInternalServerError)
			return
		}
		if r.Header.Get("Upgrade") == "" {
			_, _ = fmt.Fprint(w, r.URL.String())
			return
		}
		if upgraded != nil {
			upgraded.ServeHTTP(w, r)
			return
		}
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nX-Path: %s\r\n\r\n", r.Header.Get("Upgrade"), r.URL)
		line, _ := buf.ReadString('\n')
		_, _ = fmt.Fprint(conn, strings.ToUpper(line))
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// startWithNode runs a server with the node n1, whose agent has a certificate of the name certName, and a pod
// on it.
func startWithNode(t *testing.T, certName string) *apitest.Env {
	t.Helper()
	return startWithAgent(t, certName, nil)
}

func startWithAgent(t *testing.T, certName string, upgraded http.Handler) *apitest.Env {
	t.Helper()
	var agentTLS tls.Config
	e := apitest.Start(t, apitest.Options{Change: func(c *api.Config) { c.AgentTLS = &agentTLS }})
	agentTLS.RootCAs = e.Keys.Authority.Pool()
	agentTLS.GetClientCertificate = pki.NewKeyPair(e.Keys.Authority, pki.Subject{CommonName: certs.AgentClientName, Client: true, Life: time.Hour}).GetClientCertificate
	host, port, err := net.SplitHostPort(agent(t, e, certName, upgraded).Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	c := e.Kube(e.Admin()).CoreV1()
	node, err := c.Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: host}}
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(n)
	if _, err := c.Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "registry.example/a:1"}, {Name: "d", Image: "registry.example/a:1"}}}}
	if _, err := c.Pods("default").Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestLogsAndNodeProxy(t *testing.T) {
	e := startWithNode(t, "n1")
	c := e.Kube(e.Admin()).CoreV1()
	lines := int64(5)
	data, err := c.Pods("default").GetLogs("p", &corev1.PodLogOptions{Container: "d", TailLines: &lines}).DoRaw(t.Context())
	if err != nil || string(data) != "/containerLogs/default/p/d?tailLines=5" {
		t.Fatalf("logs: %q, %v", data, err)
	}
	if _, err := c.Pods("default").GetLogs("p", &corev1.PodLogOptions{}).Stream(t.Context()); !apierrors.IsBadRequest(err) ||
		!strings.Contains(err.Error(), "a container name must be specified for pod p, choose one of: [c d]") {
		t.Fatalf("logs of no container: %v", err)
	}
	if _, err := c.Pods("default").GetLogs("p", &corev1.PodLogOptions{Container: "x"}).DoRaw(t.Context()); !apierrors.IsBadRequest(err) {
		t.Fatalf("logs of another container: %v", err)
	}
	least, none, now := int64(-1), int64(0), metav1.Now()
	for want, o := range map[string]*corev1.PodLogOptions{
		"tailLines: Invalid value: -1: must be greater than or equal to 0": {TailLines: &least},
		"limitBytes: Invalid value: 0: must be greater than 0":             {LimitBytes: &none},
		"sinceSeconds: Invalid value: 0: must be greater than 0":           {SinceSeconds: &none},
		"at most one of `sinceTime` or `sinceSeconds` may be specified":    {SinceSeconds: &lines, SinceTime: &now},
	} {
		o.Container = "c"
		if _, err := c.Pods("default").GetLogs("p", o).Stream(t.Context()); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("logs by options that none can be read by: %v, want %s", err, want)
		}
	}
	data, err = c.RESTClient().Get().Resource("nodes").Name("n1").SubResource("proxy").Suffix("stats/summary").DoRaw(t.Context())
	if err != nil || string(data) != "/stats/summary" {
		t.Fatalf("node proxy: %q, %v", data, err)
	}
}

// TestAgentsAreVerified holds the server to the node's name in the agent's certificate.
func TestAgentsAreVerified(t *testing.T) {
	e := startWithNode(t, "another")
	_, err := e.Kube(e.Admin()).CoreV1().Pods("default").GetLogs("p", &corev1.PodLogOptions{Container: "c"}).DoRaw(t.Context())
	if !apierrors.IsServiceUnavailable(err) {
		t.Fatalf("logs from an agent with another node's certificate: %v", err)
	}
}

func TestStreamsAreUpgraded(t *testing.T) {
	e := startWithNode(t, "n1")
	admin := e.Admin()
	pair, err := tls.X509KeyPair(admin.CertData, admin.KeyData)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(admin.CAData)
	for path, want := range map[string]string{
		"exec?container=c&command=ls&command=-l&stdout=true&tty=false": "/exec/default/p/c?command=ls&command=-l&output=1",
		"attach?container=d&stdin=true":                                "/attach/default/p/d?input=1",
		"portforward?ports=8080":                                       "/portForward/default/p?ports=8080",
	} {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(e.Address, "https://"), &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "POST /api/v1/namespaces/default/pods/p/%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n", path); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(conn)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got := resp.Header.Get("X-Path"); resp.StatusCode != http.StatusSwitchingProtocols || got != want {
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
			t.Fatalf("%s: %d %q %s", path, resp.StatusCode, got, body)
		}
		if _, err := fmt.Fprint(conn, "hello\n"); err != nil {
			t.Fatal(err)
		}
		if line, err := r.ReadString('\n'); line != "HELLO\n" {
			t.Fatalf("%s: echo %q, %v", path, line, err)
		}
	}
	code, _, data := do(t, e.HTTP(), "POST", e.Address+"/api/v1/namespaces/default/pods/p/exec?container=c&command=ls", "", "", "")
	if code != http.StatusBadRequest {
		t.Fatalf("exec without an upgrade: %d %s", code, data)
	}
}

func TestProxiedPages(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	var seen *http.Request
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r
		switch r.URL.Path {
		case "/moved":
			w.Header().Set("Location", "/there?a=b")
			w.WriteHeader(http.StatusFound)
		case "/text":
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, `<a href="/x">`)
		case "/large":
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.Copy(w, io.LimitReader(zeros{}, 17<<20)) // the server may have had enough
		default:
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, `<p class="/x"><a href="/x?y=z">x</a><a href="rel"><a href="https://example.com/x"><img src="/i.png">`)
		}
	}))
	t.Cleanup(backend.Close)
	host, port, err := net.SplitHostPort(backend.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := e.Kube(e.Admin()).CoreV1()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.example/a:1"}}}}
	if p, err = c.Pods("default").Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p.Status.PodIP, p.Status.PodIPs = host, []corev1.PodIP{{IP: host}}
	if _, err := c.Pods("default").UpdateStatus(t.Context(), p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	base := "/api/v1/namespaces/default/pods/p:" + port + "/proxy"
	hc := e.HTTP()
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	links := strings.ReplaceAll(`<p class="/x"><a href="BASE/x?y=z">x</a><a href="rel"><a href="https://example.com/x"><img src="BASE/i.png">`, "BASE", base)
	for _, tc := range []struct {
		method, path   string
		code           int
		location, body string
	}{
		{"GET", "?a=b", 301, base + "/?a=b", ""},
		{"HEAD", "", 301, base + "/", ""},
		{"GET", "/", 200, "", links},
		{"POST", "", 200, "", links},
		{"OPTIONS", "/page", 200, "", links},
		{"GET", "/moved", 302, base + "/there?a=b", ""},
		{"GET", "/text", 200, "", `<a href="/x">`},
	} {
		seen = nil
		code, h, data := do(t, hc, tc.method, e.Address+base+tc.path, "", "", "")
		if code != tc.code || h.Get("Location") != tc.location || tc.body != "" && string(data) != tc.body {
			t.Errorf("%s %q: %d, location %q, %.300s", tc.method, tc.path, code, h.Get("Location"), data)
		}
		if tc.code == 301 {
			continue
		}
		if seen == nil || seen.Method != tc.method || seen.Host != strings.TrimPrefix(e.Address, "https://") || seen.Header.Get("X-Forwarded-Uri") == "" {
			t.Errorf("%s %q: the pod saw %+v", tc.method, tc.path, seen)
		}
	}
	code, _, data := do(t, hc, "GET", e.Address+base+"/large", "", "", "")
	if code != http.StatusServiceUnavailable || !strings.Contains(string(data), "a page of more than 16777216 bytes") {
		t.Errorf("a page that is too large: %d, %.300s", code, data)
	}
}

// zeros is text without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}
