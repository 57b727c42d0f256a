// Package identity is a node's keys and certificates: made on the node, signed through the join exchange,
// renewed in process before they end.
package identity

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/atomicfile"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/joinapi"
)

// Config says who the node is and where its API servers are.
type Config struct {
	NodeName  string
	Dir       string // of keys and certificates
	Servers   []string
	CA        []byte // PEM; verifies servers, and clients of the agent's own API
	TokenFile string
	Logger    *slog.Logger
}

// Identity holds the current certificates. It is safe for concurrent use.
type Identity struct {
	cfg     Config
	pool    *x509.CertPool
	dialer  *dialer
	client  atomic.Pointer[tls.Certificate]
	serving atomic.Pointer[tls.Certificate]
}

const (
	// Each file holds a key and its certificate, so that the two can not be of different ages.
	clientFile, servingFile = "client.pem", "serving.pem"

	requestTimeout = 15 * time.Second
	// renewEvery is how often the certificates' ends are looked at; they live for months.
	renewEvery = time.Hour
)

// Open reads the node's certificates, or joins with the token when there are none yet. It tries again, with
// growing pauses, while no server answers, until ctx ends; a refused token is an error at once.
func Open(ctx context.Context, cfg Config) (*Identity, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(cfg.CA) {
		return nil, errors.New("cannot use the cluster's CA: no PEM certificate in it")
	}
	d, err := newDialer(cfg.Servers)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot create key directory: %w", err)
	}
	id := &Identity{cfg: cfg, pool: pool, dialer: d}
	err = id.load()
	if err == nil {
		return id, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	token, err := os.ReadFile(cfg.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("cannot join: this node has no certificate, and no join token: %w", err)
	}
	if err := id.retry(ctx, joinapi.JoinPath, strings.TrimSpace(string(token))); err != nil {
		return nil, err
	}
	if err := os.Remove(cfg.TokenFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot remove used join token: %w", err)
	}
	return id, nil
}

// Run renews the certificates in time, until ctx ends.
func (id *Identity) Run(ctx context.Context) error {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		leaf := id.client.Load().Leaf
		if time.Now().After(certs.RenewAt(leaf.NotBefore, leaf.NotAfter)) {
			if err := id.exchange(ctx, joinapi.RenewPath, ""); err != nil {
				id.cfg.Logger.Error("cannot renew node certificates; trying again", "ends", leaf.NotAfter, "err", err)
			} else {
				id.cfg.Logger.Info("node certificates renewed")
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// ClientTLS returns the configuration for connections to API servers.
func (id *Identity) ClientTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		RootCAs:    id.pool,
		// Whichever server answers, by whatever address: this name is in the certificate of each.
		ServerName: certs.APIServerName,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if c := id.client.Load(); c != nil {
				return c, nil
			}
			return &tls.Certificate{}, nil
		},
	}
}

// ServingTLS returns the configuration of the agent's own API: only the API server's certificate is let in.
func (id *Identity) ServingTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ClientAuth: tls.RequireAndVerifyClientCert,
		ClientCAs:  id.pool,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return id.serving.Load(), nil
		},
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || s.PeerCertificates[0].Subject.CommonName != certs.AgentClientName {
				return errors.New("only the API server may use the agent's API")
			}
			return nil
		},
	}
}

// DialContext connects to the first API server that answers, whatever address it is asked for; the last good
// one is tried first.
func (id *Identity) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return id.dialer.DialContext(ctx, network, address)
}

func (id *Identity) load() error {
	client, err := loadPair(filepath.Join(id.cfg.Dir, clientFile))
	if err != nil {
		return err
	}
	serving, err := loadPair(filepath.Join(id.cfg.Dir, servingFile))
	if err != nil {
		return err
	}
	id.client.Store(client)
	id.serving.Store(serving)
	return nil
}

func loadPair(file string) (*tls.Certificate, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot load node certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil, fmt.Errorf("cannot load node certificate %s: %w", file, err)
	}
	if time.Now().After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("cannot use node certificate %s: it ended %s; join the node again", file, pair.Leaf.NotAfter.Format(time.RFC3339))
	}
	return &pair, nil
}

// refusedError is a server's answer that will not change by asking again.
type refusedError struct{ status, message string }

func (e *refusedError) Error() string { return e.status + ": " + e.message }

func (id *Identity) retry(ctx context.Context, path, token string) error {
	backoff := wait.Backoff{Duration: 250 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 1 << 30, Cap: 10 * time.Second}
	var last error
	err := wait.ExponentialBackoffWithContext(ctx, backoff, func(ctx context.Context) (bool, error) {
		err := id.exchange(ctx, path, token)
		if ctx.Err() != nil && last != nil {
			return false, ctx.Err() // what the attempt before it ended with says more
		}
		last = err
		var refused *refusedError
		if errors.As(last, &refused) {
			return false, last
		}
		if last != nil {
			id.cfg.Logger.Warn("cannot join yet; trying again", "err", last)
		}
		return last == nil, nil
	})
	if err != nil && last != nil {
		return fmt.Errorf("cannot join the cluster: %w", last)
	}
	return err
}

// exchange makes new keys and has them signed. Nothing on disk changes before all of it is there.
func (id *Identity) exchange(ctx context.Context, path, token string) error {
	clientKey, clientReq, err := newRequest(id.cfg.NodeName)
	if err != nil {
		return err
	}
	servingKey, servingReq, err := newRequest(id.cfg.NodeName)
	if err != nil {
		return err
	}
	resp, err := id.post(ctx, path, &joinapi.Request{Token: token, Node: id.cfg.NodeName, ClientRequest: clientReq, ServingRequest: servingReq})
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name      string
		cert, key []byte
	}{
		{servingFile, []byte(resp.ServingCertificate), servingKey},
		{clientFile, []byte(resp.ClientCertificate), clientKey},
	} {
		if err := atomicfile.Write(filepath.Join(id.cfg.Dir, f.name), slices.Concat(f.cert, f.key), 0o600); err != nil {
			return err
		}
	}
	return id.load()
}

func newRequest(node string) (keyPEM []byte, request string, err error) {
	var key *ecdsa.PrivateKey
	if key, err = certs.NewKey(); err != nil {
		return nil, "", err
	}
	if keyPEM, err = certs.EncodeKey(key); err != nil {
		return nil, "", err
	}
	req, err := certs.NewRequest(key, node)
	return keyPEM, string(req), err
}

func (id *Identity) post(ctx context.Context, path string, body *joinapi.Request) (*joinapi.Response, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, (&url.URL{Scheme: "https", Host: certs.APIServerName, Path: path}).String(), bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{TLSClientConfig: id.ClientTLS(), DialContext: id.DialContext, DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, joinapi.MaxBytes))
	if err != nil {
		return nil, err
	}
	switch {
	case resp.StatusCode == http.StatusOK:
	case resp.StatusCode >= 400 && resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests:
		return nil, &refusedError{resp.Status, strings.TrimSpace(string(answer))}
	default:
		return nil, fmt.Errorf("server answered %s: %s", resp.Status, strings.TrimSpace(string(answer)))
	}
	out := &joinapi.Response{}
	if err := json.Unmarshal(answer, out); err != nil {
		return nil, fmt.Errorf("cannot decode answer: %w", err)
	}
	return out, nil
}

// Exists says whether dir holds a node's certificates.
func Exists(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, clientFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
