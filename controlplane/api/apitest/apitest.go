// Package apitest runs a whole API server for tests: a real etcd member, the store, admission, and the HTTP
// server over TLS on loopback.
package apitest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/authz"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/etcd"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/pki"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/quota"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/registry"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/store"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/webhook"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
)

// startup bounds how long a server may take to get ready.
const startup = 30 * time.Second

// Options of an environment. The zero value is a server with Kubernetes' admission.
type Options struct {
	// NoAdmission leaves out all plug-ins.
	NoAdmission bool
	// Audit takes the audit log; nil means none.
	Audit      io.Writer
	AuditLevel api.AuditLevel
	// Events is how many events the store keeps for each resource; 0 means its default.
	Events int
	// Change may alter the server's configuration before it starts.
	Change func(*api.Config)
	Logger *slog.Logger
}

// Env is a running server with the namespaces default, kube-system and kube-node-lease, each with its default
// service account. It ends with the test.
type Env struct {
	Registry *registry.Registry
	Client   client.Client
	Store    *store.Store
	Member   *etcd.Member
	Keys     *pki.Cluster
	Server   *api.Server
	Ledger   *quota.Ledger // of admission, for a quota controller
	Address  string        // https://127.0.0.1:PORT
	TB       testing.TB
}

// Start runs a server until the test ends.
func Start(tb testing.TB, o Options) *Env {
	tb.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Env{TB: tb, Ledger: quota.NewLedger()}
	var err error
	if e.Member, err = etcd.Start(context.Background(), etcd.Config{DataDir: tb.TempDir(), Log: o.Logger}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := e.Member.Close(); err != nil {
			tb.Errorf("cannot close etcd: %v", err)
		}
	})
	e.Store = store.New(e.Member.Client, kind.Builtin().Kinds(), store.Options{Log: o.Logger, Events: o.Events})
	e.background("store", e.Store.Run)
	var plugins []admission.Plugin
	if !o.NoAdmission {
		caller := webhook.New(func() client.Client { return e.Client })
		tb.Cleanup(caller.Close)
		plugins, err = admission.Default(func() client.Client { return e.Client }, admission.Options{
			ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"), Authorizer: e.Allowed, Webhooks: caller, Logger: o.Logger,
			Kinds: func() *kind.Table { return e.Registry.Kinds() }, Ledger: e.Ledger,
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	e.Registry = registry.New(registry.Config{Store: e.Store, Kinds: kind.Builtin(), Admission: plugins, Logger: o.Logger})
	e.Client = registry.NewClient(e.Registry, "test")
	if e.Keys, err = pki.OpenCluster(tb.TempDir(), "test"); err != nil {
		tb.Fatal(err)
	}
	e.serve(o)
	e.namespaces()
	return e
}

// serve starts the HTTP server and waits until it is ready.
func (e *Env) serve(o Options) {
	e.TB.Helper()
	serving := e.Keys.ServingKeyPair("cluster.local", nil)
	c := api.Config{
		Registry: e.Registry, Logger: o.Logger, ServiceAccountKey: e.Keys.ServiceAccountKey, Credentials: e.Keys.Authority,
		TLS:   &tls.Config{GetCertificate: serving.GetCertificate, ClientCAs: e.Keys.Authority.Pool(), ClientAuth: tls.VerifyClientCertIfGiven, MinVersion: tls.VersionTLS13},
		Audit: api.Audit{Writer: o.Audit, Level: o.AuditLevel},
	}
	if o.Change != nil {
		o.Change(&c)
	}
	s, err := api.New(c)
	if err != nil {
		e.TB.Fatal(err)
	}
	e.Server = s
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		e.TB.Fatal(err)
	}
	e.Address = "https://" + l.Addr().String()
	e.background("server", func(ctx context.Context) error { return s.Serve(ctx, l) })
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: e.Keys.Authority.Pool()}}}
	defer hc.CloseIdleConnections()
	e.Eventually("the server is ready", func() bool {
		resp, err := hc.Get(e.Address + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// Allowed asks the server's authorizer.
func (e *Env) Allowed(ctx context.Context, at authz.Attributes) bool {
	return e.Server.Allowed(ctx, at)
}

func (e *Env) namespaces() {
	e.TB.Helper()
	for _, name := range []string{"default", "kube-system", "kube-node-lease"} {
		e.Namespace(name)
	}
}

// Namespace makes a namespace with its default service account.
func (e *Env) Namespace(name string) {
	e.TB.Helper()
	ctx := context.Background()
	if _, err := client.Create(ctx, e.Client, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil && !apierrors.IsAlreadyExists(err) {
		e.TB.Fatal(err)
	}
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "default"}}
	if _, err := client.Create(ctx, e.Client, sa); err != nil && !apierrors.IsAlreadyExists(err) {
		e.TB.Fatal(err)
	}
}

// background runs a part until the test ends, and fails the test when the part fails before that.
func (e *Env) background(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := run(ctx); err != nil && ctx.Err() == nil {
			e.TB.Errorf("%s: %v", name, err)
		}
	})
	e.TB.Cleanup(func() { cancel(); wait.Wait() })
}

// Eventually waits for a condition by polling it, and fails the test when it does not come true.
func (e *Env) Eventually(what string, ok func() bool) {
	e.TB.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(startup)
	defer end.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end.C:
			e.TB.Fatalf("not within %v: %s", startup, what)
		}
	}
}

// Admin is how an administrator reaches the server.
func (e *Env) Admin() *rest.Config { return e.As("admin", "system:masters") }

// As is how a user with a client certificate of their own reaches the server.
func (e *Env) As(name string, groups ...string) *rest.Config {
	e.TB.Helper()
	cert, key := e.credential(name, groups)
	return e.config(rest.Config{TLSClientConfig: rest.TLSClientConfig{CertData: cert, KeyData: key}})
}

// Token is how the bearer of a token reaches the server.
func (e *Env) Token(token string) *rest.Config {
	return e.config(rest.Config{BearerToken: token})
}

// config completes a configuration. Its connections are closed before the server ends, which otherwise gives each a
// second to end by itself.
func (e *Env) config(c rest.Config) *rest.Config {
	c.Host, c.QPS, c.CAData = e.Address, -1, e.Keys.Authority.PEM()
	c.Wrap(func(rt http.RoundTripper) http.RoundTripper {
		e.TB.Cleanup(func() { utilnet.CloseIdleConnectionsFor(rt) })
		return rt
	})
	return &c
}

func (e *Env) credential(name string, groups []string) (cert, key []byte) {
	e.TB.Helper()
	k, err := certs.NewKey()
	if err != nil {
		e.TB.Fatal(err)
	}
	if key, err = certs.EncodeKey(k); err != nil {
		e.TB.Fatal(err)
	}
	if cert, err = e.Keys.Authority.Sign(k.Public(), pki.Subject{CommonName: name, Organizations: groups, Client: true, Life: time.Hour}); err != nil {
		e.TB.Fatal(err)
	}
	return cert, key
}

// Kube returns a typed client of a configuration.
func (e *Env) Kube(c *rest.Config) *kubernetes.Clientset {
	e.TB.Helper()
	k, err := kubernetes.NewForConfig(c)
	if err != nil {
		e.TB.Fatal(err)
	}
	return k
}

// Kubeconfig writes an administrator's kubeconfig and returns its path.
func (e *Env) Kubeconfig() string {
	e.TB.Helper()
	cert, key := e.credential("admin", []string{"system:masters"})
	path := filepath.Join(e.TB.TempDir(), "kubeconfig")
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		CurrentContext: "test",
		Clusters:       map[string]*clientcmdapi.Cluster{"test": {Server: e.Address, CertificateAuthorityData: e.Keys.Authority.PEM()}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"test": {ClientCertificateData: cert, ClientKeyData: key}},
		Contexts:       map[string]*clientcmdapi.Context{"test": {Cluster: "test", AuthInfo: "test", Namespace: "default"}},
	}, path)
	if err != nil {
		e.TB.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		e.TB.Fatal(err)
	}
	return path
}

// HTTP returns a client for raw requests as an administrator.
func (e *Env) HTTP() *http.Client {
	e.TB.Helper()
	hc, err := rest.HTTPClientFor(e.Admin())
	if err != nil {
		e.TB.Fatal(err)
	}
	return hc
}

// AgentIdentity returns what an agent of this cluster serves with: a certificate for the node's name, and the
// authority of its clients.
func (e *Env) AgentIdentity(node string) (tls.Certificate, *x509.CertPool) {
	e.TB.Helper()
	pair := pki.NewKeyPair(e.Keys.Authority, pki.Subject{CommonName: "system:node:" + node, DNSNames: []string{node}, Server: true, Life: time.Hour})
	cert, err := pair.Certificate()
	if err != nil {
		e.TB.Fatal(err)
	}
	return *cert, e.Keys.Authority.Pool()
}
