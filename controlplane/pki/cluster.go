package pki

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/atomicfile"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
)

const (
	servingLife = 90 * 24 * time.Hour
	clientLife  = 90 * 24 * time.Hour
	adminLife   = 365 * 24 * time.Hour
	// NodeLife is long, so that a node that was off for months still comes back; its key never leaves it.
	NodeLife = 365 * 24 * time.Hour
	// MaxCredentialLife bounds what `fairlead credential sign` gives out.
	MaxCredentialLife = 24 * time.Hour
)

// Cluster is the keys of a control-plane host.
type Cluster struct {
	Authority *Authority // of the API: clients, servers, agents
	Etcd      *Authority // of etcd members alone
	// ServiceAccountKey signs service account tokens.
	ServiceAccountKey *ecdsa.PrivateKey
}

// OpenCluster reads the keys below dir, and makes those that are not there yet.
func OpenCluster(dir, clusterName string) (*Cluster, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot create key directory: %w", err)
	}
	api, err := OpenAuthority(dir, "cluster-ca", "fairlead "+clusterName)
	if err != nil {
		return nil, err
	}
	etcd, err := OpenAuthority(dir, "etcd-ca", "fairlead "+clusterName+" etcd")
	if err != nil {
		return nil, err
	}
	sa, err := openKey(filepath.Join(dir, "service-account.key"))
	if err != nil {
		return nil, err
	}
	return &Cluster{Authority: api, Etcd: etcd, ServiceAccountKey: sa}, nil
}

func openKey(path string) (*ecdsa.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if err == nil {
		return certs.ParseKey(data)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read key: %w", err)
	}
	key, err := certs.NewKey()
	if err != nil {
		return nil, err
	}
	if data, err = certs.EncodeKey(key); err != nil {
		return nil, err
	}
	return key, atomicfile.Write(path, data, 0o600)
}

// ServingKeyPair returns the API server's serving certificate for these further names and addresses.
func (c *Cluster) ServingKeyPair(domain string, names []string) *KeyPair {
	s := Subject{
		CommonName: "fairlead-server",
		DNSNames:   []string{"localhost", "kubernetes", "kubernetes.default", certs.APIServerName, certs.APIServerName + "." + domain},
		Addresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		Server:     true,
		Life:       servingLife,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			s.Addresses = append(s.Addresses, ip)
		} else if n != "" {
			s.DNSNames = append(s.DNSNames, n)
		}
	}
	return NewKeyPair(c.Authority, s)
}

// AgentClientKeyPair returns the client certificate that the API server shows to agents.
func (c *Cluster) AgentClientKeyPair() *KeyPair {
	return NewKeyPair(c.Authority, Subject{CommonName: certs.AgentClientName, Client: true, Life: clientLife})
}

// WriteAdminKubeconfig writes a kubeconfig of a cluster administrator to path (0600), unless one of this
// authority and server is there whose certificate is good for at least a third of its life.
func (c *Cluster) WriteAdminKubeconfig(path, clusterName, server string) error {
	if c.adminKubeconfigGood(path, server) {
		return nil
	}
	key, err := certs.NewKey()
	if err != nil {
		return err
	}
	keyPEM, err := certs.EncodeKey(key)
	if err != nil {
		return err
	}
	certPEM, err := c.Authority.Sign(key.Public(), Subject{CommonName: "fairlead-admin", Organizations: []string{certs.AdminGroup}, Client: true, Life: adminLife})
	if err != nil {
		return err
	}
	data, err := Kubeconfig(clusterName, server, c.Authority.PEM(), certPEM, keyPEM)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, data, 0o600)
}

func (c *Cluster) adminKubeconfigGood(path, server string) bool {
	cfg, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return false
	}
	ctx := cfg.Contexts[cfg.CurrentContext]
	if ctx == nil || cfg.Clusters[ctx.Cluster] == nil || cfg.AuthInfos[ctx.AuthInfo] == nil {
		return false
	}
	cluster, user := cfg.Clusters[ctx.Cluster], cfg.AuthInfos[ctx.AuthInfo]
	cert, err := certs.ParseCertificate(user.ClientCertificateData)
	if err != nil || cert.CheckSignatureFrom(c.Authority.cert) != nil {
		return false
	}
	return cluster.Server == server && string(cluster.CertificateAuthorityData) == string(c.Authority.PEM()) &&
		time.Now().Before(certs.RenewAt(cert.NotBefore, cert.NotAfter))
}

// Kubeconfig returns a kubeconfig file with everything in it.
func Kubeconfig(clusterName, server string, ca, cert, key []byte) ([]byte, error) {
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters[clusterName] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	cfg.AuthInfos[clusterName+"-admin"] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	cfg.Contexts[clusterName] = &clientcmdapi.Context{Cluster: clusterName, AuthInfo: clusterName + "-admin"}
	cfg.CurrentContext = clusterName
	data, err := clientcmd.Write(*cfg)
	if err != nil {
		return nil, fmt.Errorf("cannot encode kubeconfig: %w", err)
	}
	return data, nil
}

// ReadCluster opens the API's authority below dir for signing, and makes nothing: on a host that is no
// control plane it fails.
func ReadCluster(dir string) (*Authority, error) {
	certPEM, err := os.ReadFile(filepath.Join(dir, "cluster-ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("cannot read the cluster's authority (is this a control-plane host?): %w", err)
	}
	keyPEM, err := os.ReadFile(filepath.Join(dir, "cluster-ca.key"))
	if err != nil {
		return nil, fmt.Errorf("cannot read the cluster's authority: %w", err)
	}
	return parseAuthority(certPEM, keyPEM, dir)
}
