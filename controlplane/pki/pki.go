// Package pki keeps a cluster's certificate authorities and what they sign: serving and client certificates,
// credentials for people and tools, and the join of nodes.
//
// A cluster has one authority for the API (clients, API servers, agents) and one for etcd's peers. Their keys
// are made on the first control-plane host and stay on control-plane hosts, in files of mode 0600.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/atomicfile"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	// backdate is how far before now a certificate begins, for hosts whose clocks run behind.
	backdate = 5 * time.Minute
)

// Authority signs certificates. It is immutable and safe for concurrent use.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// OpenAuthority reads the authority NAME.crt and NAME.key from dir, or makes both when neither is there. One
// without the other is an error: a new authority would lock out everything that the old one signed.
func OpenAuthority(dir, name, commonName string) (*Authority, error) {
	certFile, keyFile := filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	certPEM, certErr := os.ReadFile(certFile)
	keyPEM, keyErr := os.ReadFile(keyFile)
	switch {
	case certErr == nil && keyErr == nil:
		return parseAuthority(certPEM, keyPEM, certFile)
	case errors.Is(certErr, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist):
		return createAuthority(certFile, keyFile, commonName)
	case errors.Is(certErr, fs.ErrNotExist):
		return createCertificateFor(keyPEM, certFile, commonName)
	default:
		return nil, fmt.Errorf("cannot open authority %s: %w", certFile, errors.Join(certErr, keyErr))
	}
}

func parseAuthority(certPEM, keyPEM []byte, file string) (*Authority, error) {
	cert, err := certs.ParseCertificate(certPEM)
	if err != nil {
		return nil, fmt.Errorf("cannot parse authority %s: %w", file, err)
	}
	key, err := certs.ParseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("cannot parse key of authority %s: %w", file, err)
	}
	if pub, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || !pub.Equal(key.Public()) {
		return nil, fmt.Errorf("cannot use authority %s: its key does not belong to it", file)
	}
	return &Authority{cert: cert, key: key}, nil
}

// createAuthority writes the key first: a crash between the two files leaves a key without a certificate,
// which the next start completes.
func createAuthority(certFile, keyFile, commonName string) (*Authority, error) {
	key, err := certs.NewKey()
	if err != nil {
		return nil, err
	}
	keyPEM, err := certs.EncodeKey(key)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(keyFile), 0o700); err != nil {
		return nil, fmt.Errorf("cannot create directory of authority: %w", err)
	}
	if err := atomicfile.Write(keyFile, keyPEM, 0o600); err != nil {
		return nil, err
	}
	return createCertificateFor(keyPEM, certFile, commonName)
}

func createCertificateFor(keyPEM []byte, certFile, commonName string) (*Authority, error) {
	key, err := certs.ParseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("cannot parse key of authority %s: %w", certFile, err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: commonName},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("cannot create authority %s: %w", commonName, err)
	}
	certPEM := certs.EncodeCertificate(der)
	if err := atomicfile.Write(certFile, certPEM, 0o644); err != nil {
		return nil, err
	}
	return parseAuthority(certPEM, keyPEM, certFile)
}

// PEM returns the authority's certificate.
func (a *Authority) PEM() []byte { return certs.EncodeCertificate(a.cert.Raw) }

// Pool returns a pool that trusts this authority alone.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// Subject is what a certificate is to say.
type Subject struct {
	CommonName    string
	Organizations []string // groups, in a client certificate
	DNSNames      []string
	Addresses     []net.IP
	Client        bool // may be used as a client certificate
	Server        bool // may be used as a serving certificate
	Life          time.Duration
}

// Sign returns a PEM certificate of pub for s. It ends with the authority at the latest.
func (a *Authority) Sign(pub crypto.PublicKey, s Subject) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: s.CommonName, Organization: s.Organizations},
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(s.Life),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		DNSNames:     s.DNSNames,
		IPAddresses:  s.Addresses,
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	if s.Client {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	if s.Server {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, pub, a.key)
	if err != nil {
		return nil, fmt.Errorf("cannot sign certificate of %s: %w", s.CommonName, err)
	}
	return certs.EncodeCertificate(der), nil
}

// SignRequest signs the key of a PEM certificate request that proves possession of it. Nothing else of the
// request is taken over: s alone says what the certificate holds.
func (a *Authority) SignRequest(requestPEM []byte, s Subject) ([]byte, error) {
	block, _ := pem.Decode(requestPEM)
	if block == nil || block.Type != certs.PEMRequest {
		return nil, errors.New("cannot parse certificate request: not a PEM CERTIFICATE REQUEST")
	}
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("cannot parse certificate request: %w", err)
	}
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("cannot verify certificate request: %w", err)
	}
	if pub, ok := req.PublicKey.(*ecdsa.PublicKey); !ok || pub.Curve != elliptic.P256() {
		return nil, errors.New("cannot sign certificate request: the key must be ECDSA on P-256")
	}
	return a.Sign(req.PublicKey, s)
}

// Usage is what a certificate may be used for.
type Usage struct {
	Key      x509.KeyUsage
	Extended []x509.ExtKeyUsage
}

// Issue returns a PEM certificate with the subject and all names of a request. Who calls it has verified the
// request's signature, and decided that its subject may have what it says.
func (a *Authority) Issue(req *x509.CertificateRequest, usage Usage, life time.Duration) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: req.Subject,
		NotBefore: now.Add(-backdate), NotAfter: now.Add(life),
		KeyUsage: usage.Key, ExtKeyUsage: usage.Extended, BasicConstraintsValid: true,
		DNSNames: req.DNSNames, IPAddresses: req.IPAddresses, EmailAddresses: req.EmailAddresses, URIs: req.URIs,
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, req.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("cannot issue certificate of %s: %w", req.Subject.CommonName, err)
	}
	return certs.EncodeCertificate(der), nil
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("cannot make serial number: %w", err)
	}
	return serial, nil
}
