// Package certs has what both ends of a cluster's TLS share: keys, certificate requests, PEM, and the names in
// certificates that parts know each other by.
package certs

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
	"time"
)

// Names in certificates.
const (
	// APIServerName is in every API server's serving certificate, so that an agent verifies whichever server it
	// reaches, by address, under one name.
	APIServerName = "kubernetes.default.svc"
	// AgentClientName is the common name that an agent's own API accepts: the API server's.
	AgentClientName = "fairlead-apiserver"
	// AdminGroup may do everything (Kubernetes' system:masters).
	AdminGroup = "system:masters"
	// NodesGroup and NodeUserPrefix make a node's identity.
	NodesGroup     = "system:nodes"
	NodeUserPrefix = "system:node:"
)

// Types of PEM blocks.
const (
	PEMCertificate = "CERTIFICATE"
	PEMPrivateKey  = "PRIVATE KEY"
	PEMRequest     = "CERTIFICATE REQUEST"
)

// NewKey makes an ECDSA key on P-256.
func NewKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot generate key: %w", err)
	}
	return key, nil
}

// NewRequest returns a PEM certificate request for key.
func NewRequest(key crypto.Signer, commonName string) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: commonName}}, key)
	if err != nil {
		return nil, fmt.Errorf("cannot create certificate request of %s: %w", commonName, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: PEMRequest, Bytes: der}), nil
}

// EncodeKey returns key as PEM (PKCS #8).
func EncodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("cannot encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: PEMPrivateKey, Bytes: der}), nil
}

// ParseKey reads a PEM PKCS #8 key.
func ParseKey(keyPEM []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(keyPEM)
	if block == nil || block.Type != PEMPrivateKey {
		return nil, errors.New("cannot parse key: not a PEM PRIVATE KEY")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("cannot parse key: %w", err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("cannot use key: it is a %T, not ECDSA", key)
	}
	return ec, nil
}

// ParseCertificate reads the first PEM certificate.
func ParseCertificate(certPEM []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(certPEM)
	if block == nil || block.Type != PEMCertificate {
		return nil, errors.New("cannot parse certificate: not a PEM CERTIFICATE")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("cannot parse certificate: %w", err)
	}
	return cert, nil
}

// EncodeCertificate returns a DER certificate as PEM.
func EncodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: PEMCertificate, Bytes: der})
}

// RenewAt is when a certificate of this life is to be renewed: when a third of it is left.
func RenewAt(notBefore, notAfter time.Time) time.Time {
	return notBefore.Add(notAfter.Sub(notBefore) * 2 / 3)
}
