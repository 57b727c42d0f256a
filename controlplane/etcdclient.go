package controlplane

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// Timings of an external etcd's connections.
const (
	etcdDialTimeout      = 5 * time.Second
	etcdKeepAliveTime    = 10 * time.Second
	etcdKeepAliveTimeout = 5 * time.Second
)

// dialEtcd connects to an external etcd.
func dialEtcd(e config.Etcd) (*clientv3.Client, func(), error) {
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if e.CAFile != "" {
		ca, err := os.ReadFile(e.CAFile)
		if err != nil {
			return nil, nil, fmt.Errorf("etcd.caFile: %w", err)
		}
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM(ca) {
			return nil, nil, fmt.Errorf("etcd.caFile: %s holds no PEM certificate", e.CAFile)
		}
	}
	if e.CertFile != "" || e.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(e.CertFile, e.KeyFile)
		if err != nil {
			return nil, nil, fmt.Errorf("etcd.certFile: %w", err)
		}
		tlsConfig.Certificates = []tls.Certificate{pair}
	}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: e.Endpoints, TLS: tlsConfig, DialTimeout: etcdDialTimeout,
		DialKeepAliveTime: etcdKeepAliveTime, DialKeepAliveTimeout: etcdKeepAliveTimeout,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("cannot connect to etcd %v: %w", e.Endpoints, err)
	}
	return c, func() { _ = c.Close() }, nil
}
