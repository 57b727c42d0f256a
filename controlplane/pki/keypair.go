package pki

import (
	"crypto/tls"
	"fmt"
	"sync"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
)

// KeyPair is a certificate that this process signs for itself and renews when a third of its life is left, at
// the handshake that notices: no timer, no file and no restart. It is safe for concurrent use.
type KeyPair struct {
	authority *Authority
	subject   Subject

	mu      sync.Mutex
	current *tls.Certificate
	renewAt time.Time
}

// NewKeyPair returns a key pair of authority; the first certificate is signed when it is first asked for.
func NewKeyPair(authority *Authority, subject Subject) *KeyPair {
	return &KeyPair{authority: authority, subject: subject}
}

// Certificate returns the current certificate.
func (k *KeyPair) Certificate() (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current != nil && time.Now().Before(k.renewAt) {
		return k.current, nil
	}
	key, err := certs.NewKey()
	if err != nil {
		return nil, err
	}
	certPEM, err := k.authority.Sign(key.Public(), k.subject)
	if err != nil {
		return nil, err
	}
	leaf, err := certs.ParseCertificate(certPEM)
	if err != nil {
		return nil, fmt.Errorf("cannot use own certificate: %w", err)
	}
	k.current = &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	k.renewAt = certs.RenewAt(leaf.NotBefore, leaf.NotAfter)
	return k.current, nil
}

// GetCertificate serves tls.Config.GetCertificate.
func (k *KeyPair) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return k.Certificate()
}

// GetClientCertificate serves tls.Config.GetClientCertificate.
func (k *KeyPair) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return k.Certificate()
}
