package provider

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
	"github.com/fairlead-io/terraform-provider-fairlead/provider/kube"
)

const (
	// credentialLife is short because the certificate is kept in memory only and another is a second away.
	credentialLife = time.Hour
	// credentialUser is who the provider is to the cluster, as audit logs show it.
	credentialUser = "terraform"
	issueTimeout   = 30 * time.Second
	tlsTimeout     = 10 * time.Second
)

// connector reaches clusters: by SSH to the control-plane host that the id names, through which the API's
// connections go too, so that nothing but SSH needs to be open to where Terraform runs; or, for the empty id, by
// the provider's kubeconfig.
type connector struct {
	hosts      *hosts
	kubeconfig *kubeconfigRef
	// lost are the names of clusters that the user has given up.
	lost []string
}

type kubeconfigRef struct{ path, context, unknown string }

// check says which attribute of the provider names what is not in the file. A file that is not there yet is no error.
func (k *kubeconfigRef) check() (attribute string, err error) {
	if k.unknown != "" {
		return "", nil
	}
	file, err := clientcmd.LoadFromFile(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "kubeconfig_path", fmt.Errorf("cannot read kubeconfig %s: %w", k.path, err)
	}
	if k.context == "" && file.CurrentContext == "" {
		return "kubeconfig_path", fmt.Errorf("kubeconfig %s has no current context: set kubeconfig_context to one of its own (%s)", k.path, contextsOf(file))
	}
	if _, ok := file.Contexts[cmp.Or(k.context, file.CurrentContext)]; ok {
		return "", nil
	}
	attribute = "kubeconfig_path"
	if k.context != "" {
		attribute = "kubeconfig_context"
	}
	return attribute, fmt.Errorf("kubeconfig %s has no context %q; it has %s", k.path, cmp.Or(k.context, file.CurrentContext), contextsOf(file))
}

func contextsOf(file *clientcmdapi.Config) string {
	if len(file.Contexts) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(file.Contexts)), ", ")
}

// Connect implements kube.Connector.
func (c *connector) Connect(ctx context.Context, cluster string) (*rest.Config, error) {
	if cluster == "" {
		return c.fromKubeconfig()
	}
	id, err := parseClusterID(cluster)
	if err != nil {
		return nil, err
	}
	if c.isLost(id.Name) {
		return nil, fmt.Errorf("cluster %s is one of the provider's lost_clusters: %w", id.Name, kube.ErrClusterGone)
	}
	t := &tunnel{hosts: c.hosts, ref: hostRef{Address: id.Address, Port: id.Port, HostKey: id.HostKey}}
	if err := t.renew(ctx); err != nil {
		return nil, errors.Join(err, t.gone(ctx, id.Name))
	}
	return t.restConfig(), nil
}

func (c *connector) isLost(name string) bool { return slices.Contains(c.lost, name) }

// SameCluster implements kube.ClusterComparer: a cluster keeps its name when its host moves or gets another key.
func (c *connector) SameCluster(a, b string) bool {
	x, errX := parseClusterID(a)
	y, errY := parseClusterID(b)
	if errX != nil || errY != nil {
		return a == b
	}
	return x.Name == y.Name
}

// CheckCluster implements kube.ClusterChecker.
func (c *connector) CheckCluster(cluster string) error {
	if cluster == "" && c.kubeconfig == nil {
		return errors.New("the resource has no cluster attribute, and the provider has no kubeconfig_path")
	}
	return nil
}

func (c *connector) fromKubeconfig() (*rest.Config, error) {
	if err := c.CheckCluster(""); err != nil {
		return nil, fmt.Errorf("cannot reach a cluster: %w", err)
	}
	if c.kubeconfig.unknown != "" {
		return nil, fmt.Errorf("cannot use the provider's %s: %w", c.kubeconfig.unknown, kube.ErrNotKnownYet)
	}
	if attribute, err := c.kubeconfig.check(); err != nil { // the file may be newer than the check of the provider's block
		return nil, fmt.Errorf("cannot use the provider's %s: %w", attribute, err)
	}
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: c.kubeconfig.path},
		&clientcmd.ConfigOverrides{CurrentContext: c.kubeconfig.context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("cannot use the provider's kubeconfig_path %s: %w", c.kubeconfig.path, err)
	}
	return cfg, nil
}

// tunnel is the way to one cluster's API through SSH, with a client certificate that it renews before it ends.
type tunnel struct {
	hosts *hosts
	ref   hostRef

	mu   sync.Mutex
	cred *bootstrap.Credential
	cert *tls.Certificate
	ends time.Time // when to renew
}

func (t *tunnel) conn(ctx context.Context) (ssh.Conn, error) { return t.hosts.get(ctx, t.ref) }

func (t *tunnel) renew(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cert != nil && time.Now().Before(t.ends) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, issueTimeout)
	defer cancel()
	var cred *bootstrap.Credential
	err := t.withConn(ctx, func(conn ssh.Conn) (err error) {
		cred, err = bootstrap.IssueCredential(ctx, conn, credentialUser, []string{certs.AdminGroup}, credentialLife)
		return err
	})
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(cred.Certificate, cred.Key)
	if err != nil {
		return fmt.Errorf("cannot use the credential that %s signed: %w", t.ref.Address, err)
	}
	t.cred, t.cert, t.ends = cred, &pair, certs.RenewAt(time.Now(), cred.Expires)
	return nil
}

// gone returns kube.ErrClusterGone when the host answers and says that it does not run the cluster; nil while that
// is not certain.
func (t *tunnel) gone(ctx context.Context, cluster string) error {
	conn, err := t.conn(ctx)
	if err != nil {
		return nil
	}
	got, err := bootstrap.Inspect(ctx, conn)
	if err == nil && (!got.Present || got.Role != bootstrap.RoleServer || got.Cluster != cluster) {
		return fmt.Errorf("host %s does not run cluster %s: %w", t.ref.Address, cluster, kube.ErrClusterGone)
	}
	return nil
}

// withConn runs do with a connection, and once more with a new one when the first turns out to be broken.
func (t *tunnel) withConn(ctx context.Context, do func(ssh.Conn) error) error {
	for attempt := 0; ; attempt++ {
		conn, err := t.conn(ctx)
		if err != nil {
			return err
		}
		err = do(conn)
		var broken *ssh.ConnError
		if err == nil || !errors.As(err, &broken) || attempt > 0 {
			return err
		}
		t.hosts.drop(t.ref, conn)
	}
}

func (t *tunnel) credential() *bootstrap.Credential {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cred
}

func (t *tunnel) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	var out net.Conn
	err := t.withConn(ctx, func(conn ssh.Conn) (err error) {
		out, err = conn.Dial(ctx, "tcp", t.credential().APIAddress)
		return err
	})
	return out, err
}

func (t *tunnel) restConfig() *rest.Config {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(t.credential().CA)
	return &rest.Config{
		Host: "https://" + certs.APIServerName,
		Transport: &http.Transport{
			DialContext:         t.dial,
			ForceAttemptHTTP2:   true,
			TLSHandshakeTimeout: tlsTimeout,
			IdleConnTimeout:     90 * time.Second,
			TLSClientConfig: &tls.Config{
				MinVersion: tls.VersionTLS12,
				RootCAs:    roots,
				ServerName: certs.APIServerName,
				GetClientCertificate: func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
					if err := t.renew(info.Context()); err != nil {
						return nil, err
					}
					t.mu.Lock()
					defer t.mu.Unlock()
					return t.cert, nil
				},
			},
		},
		UserAgent: "terraform-provider-fairlead",
	}
}

var (
	_ kube.Connector       = (*connector)(nil)
	_ kube.ClusterComparer = (*connector)(nil)
	_ kube.ClusterChecker  = (*connector)(nil)
)
