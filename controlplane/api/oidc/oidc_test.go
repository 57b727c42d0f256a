package oidc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// issuer is an OpenID Connect issuer over HTTPS.
type issuer struct {
	*httptest.Server
	mu    sync.Mutex
	keys  []map[string]string
	asked int
	down  bool
}

func startIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{}
	i.Server = httptest.NewTLSServer(http.HandlerFunc(i.serve))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.down:
		http.Error(w, "down", http.StatusServiceUnavailable)
	case r.URL.Path == "/.well-known/openid-configuration":
		i.asked++
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/keys"})
	default:
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": i.keys})
	}
}

// set changes what the issuer says.
func (i *issuer) set(down bool, keys ...map[string]string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down, i.keys = down, keys
}

func (i *issuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked
}

func (i *issuer) caFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func encode(n *big.Int, size int) string {
	return base64.RawURLEncoding.EncodeToString(n.FillBytes(make([]byte, size)))
}

func ecKey(t *testing.T, id string) (*ecdsa.PrivateKey, map[string]string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := k.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	return k, map[string]string{"kty": "EC", "kid": id, "crv": "P-256", "use": "sig", "alg": "ES256", "x": enc(point[1:33]), "y": enc(point[33:])}
}

func rsaKey(t *testing.T, id string) (*rsa.PrivateKey, map[string]string) {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k, map[string]string{"kty": "RSA", "kid": id, "n": encode(k.N, 256), "e": encode(big.NewInt(int64(k.E)), 3)}
}

func sign(t *testing.T, method jwt.SigningMethod, id string, key any, claims jwt.MapClaims) string {
	t.Helper()
	tok := jwt.NewWithClaims(method, claims)
	tok.Header["kid"] = id
	s, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (i *issuer) claims(change jwt.MapClaims) jwt.MapClaims {
	c := jwt.MapClaims{"iss": i.URL, "aud": "fairlead", "sub": "17", "email": "jane@example.com", "email_verified": true,
		"groups": []string{"devs"}, "hd": "example.com", "jti": "j1", "exp": time.Now().Add(time.Hour).Unix()}
	for k, v := range change {
		if v == nil {
			delete(c, k)
			continue
		}
		c[k] = v
	}
	return c
}

func TestTokensOfAnIssuer(t *testing.T) {
	i := startIssuer(t)
	ec, ecJWK := ecKey(t, "one")
	rs, rsJWK := rsaKey(t, "two")
	other, _ := ecKey(t, "one")
	i.set(false, ecJWK, rsJWK, map[string]string{"kty": "OKP", "kid": "three"})
	a, err := New(config.OIDC{IssuerURL: i.URL, ClientID: "fairlead", UsernameClaim: "email", GroupsClaim: "groups", GroupsPrefix: "oidc:",
		RequiredClaims: map[string]string{"hd": "example.com"}, SigningAlgs: []string{"RS256", "ES256"}, CAFile: i.caFile(t)}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"ec":         sign(t, jwt.SigningMethodES256, "one", ec, i.claims(nil)),
		"rsa":        sign(t, jwt.SigningMethodRS256, "two", rs, i.claims(nil)),
		"audiences":  sign(t, jwt.SigningMethodES256, "one", ec, i.claims(jwt.MapClaims{"aud": []string{"x", "fairlead"}})),
		"one group":  sign(t, jwt.SigningMethodES256, "one", ec, i.claims(jwt.MapClaims{"groups": "devs"})),
		"unverified": sign(t, jwt.SigningMethodES256, "one", ec, i.claims(jwt.MapClaims{"email_verified": nil})),
	} {
		u, err := a.Authenticate(t.Context(), token)
		if err != nil || u.Name != "jane@example.com" || !slices.Equal(u.Groups, []string{"oidc:devs", "system:authenticated"}) || u.Extra[extraCredential][0] != "JTI=j1" {
			t.Errorf("%s: %+v, %v", name, u, err)
		}
	}
	for name, tc := range map[string]struct{ token, want string }{
		"expired":          {sign(t, jwt.SigningMethodES256, "one", ec, i.claims(jwt.MapClaims{"exp": time.Now().Add(-time.Minute).Unix()})), "expired"},
		"without end":      {sign(t, jwt.SigningMethodES256, "one", ec, i.claims(jwt.MapClaims{"exp": nil})), "exp"},
		"not yet":          {sign(t, jwt.SigningMethodES256, "one", ec, i.claims(jwt.MapClaims{"nbf": time.Now().Add(time.Hour).Unix()})), "not valid yet"},
		"audience":         {sign(t, jwt.SigningMethodES256, "one", ec, i.claims(jwt.MapClaims{"aud": "x"})), "audiences"},
		"issuer":           {sign(t, jwt.SigningMethodES256, "one", ec, i.claims(jwt.MapClaims{"iss": "https://x.example"})), "issuer"},
		"signature":        {sign(t, jwt.SigningMethodES256, "one", other, i.claims(nil)), "signature"},
		"algorithm":        {sign(t, jwt.SigningMethodHS256, "one", []byte("x"), i.claims(nil)), "signing method"},
		"none":             {sign(t, jwt.SigningMethodNone, "one", jwt.UnsafeAllowNoneSignatureType, i.claims(nil)), "signing method"},
		"key":              {sign(t, jwt.SigningMethodES256, "nine", ec, i.claims(nil)), "no key"},
		"required claim":   {sign(t, jwt.SigningMethodES256, "one", ec, i.claims(jwt.MapClaims{"hd": "x"})), "claim hd"},
		"no name":          {sign(t, jwt.SigningMethodES256, "one", ec, i.claims(jwt.MapClaims{"email": nil})), "claim email"},
		"not verified":     {sign(t, jwt.SigningMethodES256, "one", ec, i.claims(jwt.MapClaims{"email_verified": false})), "verified"},
		"groups":           {sign(t, jwt.SigningMethodES256, "one", ec, i.claims(jwt.MapClaims{"groups": []int{1}})), "claim groups"},
		"the cluster's":    {sign(t, jwt.SigningMethodES256, "one", ec, i.claims(jwt.MapClaims{"email": "system:admin"})), "only the cluster"},
		"nonsense":         {"a.b.c", ""},
		"key of another's": {sign(t, jwt.SigningMethodRS256, "one", rs, i.claims(nil)), "is for ES256"},
	} {
		if u, err := a.Authenticate(t.Context(), tc.token); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %+v, %v", name, u, err)
		}
	}
}

// TestKeysRotate has an issuer that is down at first, changes its key, and goes away again.
func TestKeysRotate(t *testing.T) {
	i := startIssuer(t)
	first, firstJWK := ecKey(t, "first")
	second, secondJWK := ecKey(t, "second")
	i.set(true)
	a, err := New(config.OIDC{IssuerURL: i.URL, Audiences: []string{"fairlead"}, SigningAlgs: []string{"ES256"}, CAFile: i.caFile(t)}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	a.keys.now = func() time.Time { return now }
	good := func(what string, key *ecdsa.PrivateKey, id string, want bool) {
		t.Helper()
		u, err := a.Authenticate(t.Context(), sign(t, jwt.SigningMethodES256, id, key, i.claims(nil)))
		if (err == nil) != want {
			t.Fatalf("%s: %v", what, err)
		}
		if err == nil && u.Name != i.URL+"#17" {
			t.Errorf("%s: user %s", what, u.Name)
		}
	}
	good("issuer is down", first, "first", false)
	i.set(false, firstJWK)
	good("asked too soon", first, "first", false)
	now = now.Add(2 * fetchPause)
	good("issuer is back", first, "first", true)
	i.set(false, secondJWK)
	now = now.Add(2 * fetchPause)
	good("old key before it is missed", first, "first", true)
	good("new key", second, "second", true)
	good("old key that was withdrawn", first, "first", false)
	i.set(true)
	now = now.Add(2 * keysGood)
	good("issuer is away", second, "second", true)
	asked := i.count()
	for range 100 {
		good("unknown key", first, "other", false)
	}
	if more := i.count() - asked; more > 1 {
		t.Errorf("the issuer was asked %d times for unknown keys", more)
	}
}

func TestAuthoritiesMustBeThere(t *testing.T) {
	if _, err := New(config.OIDC{IssuerURL: "https://a.example", ClientID: "c", CAFile: "/nonexistent"}, nil); err == nil || !strings.Contains(err.Error(), "oidc.caFile") {
		t.Errorf("got %v", err)
	}
}
