package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/pki"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

const tokenDir = config.DefaultServerDir + "/tokens"

func keyDir(cfg *config.Server) string { return filepath.Join(cfg.DataDir, "pki") }

func readServer() (*config.Server, error) {
	cfg := &config.Server{}
	return cfg, config.Read(config.ServerFile, cfg)
}

// registry is the nodes that have reported.
type registry struct {
	mu    sync.Mutex
	nodes map[string]time.Time
}

func server(ctx context.Context, _ []string) error {
	if version == "broken" {
		return errors.New("this version cannot read its data")
	}
	cfg, err := readServer()
	if err != nil {
		return err
	}
	keys, err := pki.OpenCluster(keyDir(cfg), cfg.ClusterName)
	if err != nil {
		return err
	}
	r := &registry{nodes: map[string]time.Time{}}
	if cfg.Node != nil {
		if err := makeNodeThings(); err != nil {
			return err
		}
		go r.beat(ctx, cfg.Node.NodeName)
	}
	pair := keys.ServingKeyPair("cluster.local", append([]string{cfg.Advertise}, cfg.CertificateNames...))
	s := &http.Server{Addr: cfg.Listen, Handler: r.routes(), ReadHeaderTimeout: time.Second, TLSConfig: &tls.Config{
		GetCertificate: pair.GetCertificate, ClientCAs: keys.Authority.Pool(), ClientAuth: tls.VerifyClientCertIfGiven,
	}}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	fmt.Fprintln(os.Stderr, "serving", version)
	if err := s.ListenAndServeTLS("", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (r *registry) beat(ctx context.Context, node string) {
	for tick := time.NewTicker(100 * time.Millisecond); ctx.Err() == nil; {
		r.mu.Lock()
		r.nodes[node] = time.Now()
		r.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (r *registry) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	mux.HandleFunc("GET /api/v1/nodes/{name}", admin(r.getNode))
	mux.HandleFunc("GET /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}", admin(r.getLease))
	mux.HandleFunc("POST /stub/{name}", r.report)
	return mux
}

func admin(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		if len(q.TLS.PeerCertificates) == 0 || q.TLS.PeerCertificates[0].Subject.Organization[0] != certs.AdminGroup {
			http.Error(w, "forbidden", http.StatusForbidden)
			return
		}
		h(w, q)
	}
}

func (r *registry) seen(w http.ResponseWriter, q *http.Request) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.nodes[q.PathValue("name")]
	if !ok {
		http.NotFound(w, q)
	}
	return at, ok
}

func (r *registry) getNode(w http.ResponseWriter, q *http.Request) {
	if _, ok := r.seen(w, q); ok {
		n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: q.PathValue("name")}}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		_ = json.NewEncoder(w).Encode(n)
	}
}

func (r *registry) getLease(w http.ResponseWriter, q *http.Request) {
	if at, ok := r.seen(w, q); ok {
		renewed := metav1.NewMicroTime(at)
		_ = json.NewEncoder(w).Encode(coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{RenewTime: &renewed}})
	}
}

// report takes a node's sign of life: with a token the first time, and without afterwards.
func (r *registry) report(w http.ResponseWriter, q *http.Request) {
	name := q.PathValue("name")
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := q.Header.Get("Token"); t != "" {
		if !strings.HasPrefix(t, name+".") || os.Remove(filepath.Join(tokenDir, filepath.Base(t))) != nil {
			http.Error(w, "bad token", http.StatusForbidden)
			return
		}
	}
	r.nodes[name] = time.Now()
}

// agent joins, makes the things that a removal has to remove, and reports until it ends.
func agent(ctx context.Context, _ []string) error {
	if version == "broken" {
		return errors.New("this version cannot read its data")
	}
	cfg := &config.Agent{}
	if err := config.Read(config.AgentFile, cfg); err != nil {
		return err
	}
	ca, err := os.ReadFile(cfg.CAFile)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	u, err := url.Parse(cfg.Servers[0])
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: 5 * time.Second}
	u.Path = "/stub/" + cfg.NodeName
	joined := filepath.Join(cfg.DataDir, "pki", "client.pem")
	if _, err := os.Stat(joined); err != nil {
		secret, err := os.ReadFile(cfg.TokenFile)
		if err != nil {
			return err
		}
		if err := post(ctx, client, u.String(), string(bytes.TrimSpace(secret))); err != nil {
			return err
		}
		_ = os.MkdirAll(filepath.Dir(joined), 0o700)
		if err := errors.Join(os.WriteFile(joined, nil, 0o600), os.Remove(cfg.TokenFile)); err != nil {
			return err
		}
	}
	if err := makeNodeThings(); err != nil {
		return err
	}
	l := &http.Server{Addr: fmt.Sprintf(":%d", config.DefaultAgentPort), ReadHeaderTimeout: time.Second}
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	go func() { _ = l.ListenAndServe() }()
	fmt.Fprintln(os.Stderr, "reporting", version)
	for tick := time.NewTicker(100 * time.Millisecond); ctx.Err() == nil; {
		if err := post(ctx, client, u.String(), ""); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

func post(ctx context.Context, client *http.Client, to, token string) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, to, nil)
	if err != nil {
		return err
	}
	q.Header.Set("Token", token)
	resp, err := client.Do(q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// makeNodeThings makes a link, a table and a mount, as a node with pods has them.
func makeNodeThings() error {
	script := `ip link show fairlead0 >/dev/null 2>&1 || ip link add fairlead0 type bridge
nft add table ip fairlead
mkdir -p ` + config.DefaultAgentDir + `/volume /run/fairlead
mountpoint -q ` + config.DefaultAgentDir + `/volume || mount -t tmpfs tmpfs ` + config.DefaultAgentDir + `/volume`
	if out, err := exec.Command("sh", "-c", "set -e\n"+script).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot make a node's things: %w: %s", err, out)
	}
	return nil
}
