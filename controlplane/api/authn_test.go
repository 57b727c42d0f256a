package api

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"testing"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
)

// TestCertificateUser reads users out of certificates, with the UID that their authority gave them.
func TestCertificateUser(t *testing.T) {
	key, err := certs.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	uid := func(value any) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: oidUserUID, Value: value}
	}
	for name, tc := range map[string]struct {
		cn    string
		extra []pkix.AttributeTypeAndValue
		uid   string
		ok    bool
	}{
		"plain":    {"jane", nil, "", true},
		"nameless": {"", nil, "", false},
		"uid":      {"jane", []pkix.AttributeTypeAndValue{uid("u-1")}, "u-1", true},
		"two uids": {"jane", []pkix.AttributeTypeAndValue{uid("u-1"), uid("u-2")}, "", false},
		"empty":    {"jane", []pkix.AttributeTypeAndValue{uid("")}, "", false},
	} {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: tc.cn, Organization: []string{"devs"}, ExtraNames: tc.extra}}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		u, err := certificateUser(c)
		if !tc.ok {
			if err == nil {
				t.Errorf("%s: is %+v", name, u)
			}
			continue
		}
		fingerprint := sha256.Sum256(der)
		if err != nil || u.Name != "jane" || u.UID != tc.uid || len(u.Groups) != 2 || u.Extra[extraCredential][0] != "X509SHA256="+hex.EncodeToString(fingerprint[:]) {
			t.Errorf("%s: %+v, %v", name, u, err)
		}
	}
}
