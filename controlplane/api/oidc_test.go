package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/oidc"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// TestOIDC starts a server whose issuer is down, and has a user come once it is there.
func TestOIDC(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	var up atomic.Bool
	var issuer *httptest.Server
	issuer = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !up.Load():
			http.Error(w, "down", http.StatusBadGateway)
		case strings.HasSuffix(r.URL.Path, "/openid-configuration"):
			_ = json.NewEncoder(w).Encode(map[string]string{"issuer": issuer.URL, "jwks_uri": issuer.URL + "/keys"})
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"keys": []map[string]string{{"kty": "EC", "crv": "P-256", "kid": "k", "x": enc(point[1:33]), "y": enc(point[33:])}}})
		}
	}))
	defer issuer.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuer.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	authenticator := func() *oidc.Authenticator {
		a, err := oidc.New(config.OIDC{IssuerURL: issuer.URL, ClientID: "fairlead", UsernamePrefix: "oidc:", GroupsClaim: "groups", GroupsPrefix: "oidc:", SigningAlgs: []string{"ES256"}, CAFile: ca}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	sign := func(audience string) string {
		tok := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": issuer.URL, "aud": audience, "sub": "jane", "groups": []string{"devs"}, "exp": time.Now().Add(time.Hour).Unix()})
		tok.Header["kid"] = "k"
		s, err := tok.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	e := apitest.Start(t, apitest.Options{Change: func(c *api.Config) { c.OIDC = authenticator() }})
	if _, err := whoami(t, e, sign("fairlead")); !apierrors.IsUnauthorized(err) {
		t.Fatalf("while the issuer is down: %v", err)
	}
	up.Store(true)
	e = apitest.Start(t, apitest.Options{Change: func(c *api.Config) { c.OIDC = authenticator() }}) // the first asks again in some seconds
	u, err := whoami(t, e, sign("fairlead"))
	if err != nil || u.Username != "oidc:jane" || !slices.Equal(u.Groups, []string{"oidc:devs", "system:authenticated"}) {
		t.Fatalf("user: %+v, %v", u, err)
	}
	if _, err := whoami(t, e, sign("another")); !apierrors.IsUnauthorized(err) {
		t.Errorf("token for another client: %v", err)
	}
	admin := e.Kube(e.Admin())
	bindRole(t, admin, "default", "view", "oidc:jane")
	jane := e.Kube(e.Token(sign("fairlead")))
	e.Eventually("jane may read", func() bool {
		_, err := jane.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
		return err == nil
	})
	for name, tc := range map[string]struct {
		audiences []string
		want      bool
	}{"for the server": {nil, true}, "for another": {[]string{"vault"}, false}} {
		review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: sign("fairlead"), Audiences: tc.audiences}}
		got, err := admin.AuthenticationV1().TokenReviews().Create(t.Context(), review, metav1.CreateOptions{})
		if err != nil || got.Status.Authenticated != tc.want {
			t.Errorf("review %s: %+v, %v", name, got, err)
		}
	}
	// the server's own tokens are as good as before
	own, err := admin.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if u, err := whoami(t, e, own.Status.Token); err != nil || u.Username != "system:serviceaccount:default:default" {
		t.Errorf("service account: %+v, %v", u, err)
	}
	verifyByDiscovery(t, e, own.Status.Token)
}

// verifyByDiscovery checks a token of the server as a relying party does: by the documents that it publishes.
func verifyByDiscovery(t *testing.T, e *apitest.Env, token string) {
	t.Helper()
	get := func(path string, into any) {
		t.Helper()
		data, err := e.Kube(e.Token(token)).RESTClient().Get().AbsPath(path).DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, into); err != nil {
			t.Fatal(err)
		}
	}
	var discovery struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	get("/.well-known/openid-configuration", &discovery)
	var set struct {
		Keys []struct{ Kid, X, Y string } `json:"keys"`
	}
	get(strings.TrimPrefix(discovery.Keys, discovery.Issuer), &set)
	parsed, err := jwt.Parse(token, func(tok *jwt.Token) (any, error) {
		for _, k := range set.Keys {
			if k.Kid == tok.Header["kid"] {
				x, _ := base64.RawURLEncoding.DecodeString(k.X)
				y, _ := base64.RawURLEncoding.DecodeString(k.Y)
				return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
			}
		}
		return nil, jwt.ErrTokenUnverifiable
	}, jwt.WithIssuer(discovery.Issuer), jwt.WithAudience(discovery.Issuer), jwt.WithValidMethods([]string{"ES256"}))
	if err != nil || !parsed.Valid {
		t.Errorf("token by discovery: %v", err)
	}
}
