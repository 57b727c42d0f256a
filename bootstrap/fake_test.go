package bootstrap_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/host/hosttest"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/pki"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fakeHost is a host with systemd whose service can be told how to behave, and an API server behind it.
type fakeHost struct {
	*ssh.Fake
	address string
	keys    *pki.Cluster

	mu       sync.Mutex
	facts    string
	active   bool   // the service runs
	revision string // that it was started with
	pid      int
	dies     bool // the service ends as soon as it starts
	joined   bool // an agent has its certificate
	ready    bool // /readyz
	nodes    map[string]*corev1.Node
	renewed  time.Time
	frozen   bool // the agents renew nothing
}

func newHost(t *testing.T, name, address string) *fakeHost {
	t.Helper()
	keys, err := pki.OpenCluster(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	h := &fakeHost{Fake: ssh.NewFake(address), address: address, keys: keys, ready: true, nodes: map[string]*corev1.Node{}, renewed: time.Now()}
	h.facts = hosttest.Facts(name, address)
	h.answer("PORTS=", func(string) string { return h.facts })
	h.On("f='/run/fairlead.lock'", hosttest.HoldLock)
	h.answer("base64", h.inspection)
	h.answer("MainPID", func(string) string {
		if h.dies {
			h.pid++
			return "0 activating auto-restart exit-code\n"
		}
		if !h.active {
			return "0 inactive dead\n"
		}
		return fmt.Sprintf("%d active running\n%s\n", h.pid, h.revision)
	})
	h.answer("systemctl restart", func(string) string {
		h.active, h.pid = true, h.pid+1
		for path, f := range h.Files() {
			if _, after, ok := strings.Cut(string(f.Data), "Environment=FAIRLEAD_REVISION="); ok && strings.HasSuffix(path, ".service") {
				h.revision, _, _ = strings.Cut(after, "\n")
			}
		}
		h.joined = true
		if !h.dies {
			h.RemoveFile("/etc/fairlead/token")
		}
		return ""
	})
	h.answer("ctr --address", func(string) string { return "running\n" })
	h.answer("client.pem", func(string) string {
		if h.joined {
			return "/var/lib/fairlead/agent/pki/client.pem\n"
		}
		return ""
	})
	h.answer("journalctl", func(string) string { return "panic: no more paper\n" })
	h.answer("token create", func(string) string { return "the-token\n" })
	h.On("credential sign", h.sign)
	h.serve(t)
	return h
}

// answer is On for output that depends on the host's state.
func (h *fakeHost) answer(match string, reply func(line string) string) {
	h.On(match, func(_ context.Context, c ssh.Command) (string, string, int, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		return reply(c.Line), "", 0, nil
	})
}

// set changes the host's state.
func (h *fakeHost) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

// inspection answers the script by the files that are there.
func (h *fakeHost) inspection(string) string {
	files := h.Files()
	var b strings.Builder
	if f, ok := files["/usr/local/bin/fairlead"]; ok {
		fmt.Fprintf(&b, "sha256=%s\nversion={\"version\":%q}\n", sha256Of(f.Data), strings.TrimSpace(string(f.Data)))
	}
	b.WriteString("init=systemd\n")
	if h.active && files["/etc/fairlead/server.yaml"].Data != nil {
		h.SetFile("/var/lib/fairlead/server/pki/cluster-ca.crt", string(h.keys.Authority.PEM()), 0o644)
	}
	for _, f := range []struct{ key, path string }{
		{"server", "/etc/fairlead/server.yaml"}, {"agent", "/etc/fairlead/agent.yaml"}, {"cluster", "/etc/fairlead/cluster"},
		{"ca.server", "/var/lib/fairlead/server/pki/cluster-ca.crt"}, {"ca.agent", "/etc/fairlead/ca.crt"}, {"owner", "/etc/fairlead/owner"},
	} {
		if file, ok := h.Files()[f.path]; ok {
			fmt.Fprintf(&b, "%s=%s\n", f.key, base64.StdEncoding.EncodeToString(file.Data))
		}
	}
	return b.String()
}

func (h *fakeHost) sign(_ context.Context, c ssh.Command) (string, string, int, error) {
	request, err := io.ReadAll(c.Stdin)
	if err != nil {
		return "", "", 0, err
	}
	cert, err := h.keys.Authority.SignRequest(request, pki.Subject{CommonName: "u", Organizations: []string{"system:masters"}, Client: true, Life: time.Hour})
	if err != nil {
		return "", err.Error(), 1, nil
	}
	out, err := json.Marshal(map[string]string{"ca": string(h.keys.Authority.PEM()), "certificate": string(cert),
		"server": "https://" + h.address + ":6443", "expires": "2030-01-02T03:04:05Z"})
	return string(out), "", 0, err
}

// serve starts the API server and has 127.0.0.1:6443 of the host lead to it.
func (h *fakeHost) serve(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if !h.ready || h.dies {
			http.Error(w, "[+]ping ok\n[-]etcd-readiness failed: etcd has no leader\nreadyz check failed", http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/api/v1/nodes/{name}", func(w http.ResponseWriter, q *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if n := h.nodes[q.PathValue("name")]; n != nil && len(q.TLS.PeerCertificates) == 1 {
			_ = json.NewEncoder(w).Encode(n)
			return
		}
		http.NotFound(w, q)
	})
	mux.HandleFunc("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}", func(w http.ResponseWriter, q *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if !h.frozen {
			h.renewed = time.Now()
		}
		renewed := metav1.NewMicroTime(h.renewed)
		_ = json.NewEncoder(w).Encode(coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{RenewTime: &renewed}})
	})
	s := httptest.NewUnstartedServer(mux)
	pair := h.keys.ServingKeyPair("cluster.local", nil)
	s.TLS = &tls.Config{GetCertificate: pair.GetCertificate, ClientCAs: h.keys.Authority.Pool(), ClientAuth: tls.VerifyClientCertIfGiven}
	s.StartTLS()
	t.Cleanup(s.Close)
	to := func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", s.Listener.Addr().String())
	}
	h.OnDial("tcp 127.0.0.1:6443", to)
	h.OnDial("tcp 127.0.0.1:10250", to)
}

// node is a node as the API has it.
func node(name, address string, ready corev1.ConditionStatus) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, Reason: "KubeletNotReady", Message: "network is not there"}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
	return n
}

// binaryOf is a small binary with this content.
func binaryOf(t *testing.T, content string) bootstrap.Binary {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fairlead")
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	b := binaryAt(t, path, content)
	b.Arch = "amd64"
	return b
}

// revisions depend on the authority, which every test makes anew.
var revisions = regexp.MustCompile("FAIRLEAD_REVISION=[0-9a-f]{16}")

// sinces are when hosts were marked.
var sinces = regexp.MustCompile(`"since":"[^"]*"`)

// golden compares a transcript and the files that were written in it with a file of testdata.
func golden(t *testing.T, name string, c *ssh.Fake) {
	t.Helper()
	var b strings.Builder
	for _, entry := range c.Transcript() {
		if first, _, ok := strings.Cut(entry, "\n"); ok && strings.Contains(entry, "PORTS=") {
			entry = first + "\n(facts.sh)" // pinned in package host
		} else if ok && strings.Contains(first, "/run/fairlead.lock") {
			entry = first + "\n(hold.sh)" // of package hostlock
		}
		b.WriteString(entry + "\n\n")
		if words := strings.Fields(entry); words[0] == ">" && !strings.HasSuffix(words[1], ".crt") {
			if f, ok := c.Files()[words[1]]; ok {
				b.WriteString(string(f.Data) + "\n")
			}
		}
	}
	text := sinces.ReplaceAllString(revisions.ReplaceAllString(b.String(), "FAIRLEAD_REVISION=(revision)"), `"since":"(now)"`)
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("the commands differ from %s (go test -update writes it anew):\n%s", file, text)
	}
}
