package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
)

// SignMessage signs a message for a purpose. The purpose keeps a signature from being taken for one of something
// else: neither a certificate nor a message of another purpose begins as this does.
func (a *Authority) SignMessage(purpose string, message []byte) ([]byte, error) {
	sum := sha256.Sum256(purposed(purpose, message))
	sig, err := a.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("cannot sign %s: %w", purpose, err)
	}
	return sig, nil
}

// VerifyMessage checks what SignMessage signed.
func (a *Authority) VerifyMessage(purpose string, message, signature []byte) error {
	if err := a.cert.CheckSignature(x509.ECDSAWithSHA256, purposed(purpose, message), signature); err != nil {
		return fmt.Errorf("cannot verify %s: %w", purpose, err)
	}
	return nil
}

func purposed(purpose string, message []byte) []byte {
	return append([]byte(purpose+"\x00"), message...)
}
