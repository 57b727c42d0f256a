// Package oidc authenticates by the ID tokens of an OpenID Connect issuer (OpenID Connect Core 1.0), as
// kube-apiserver's flags --oidc-… do.
//
// It stands on the JWT library that service account tokens are made with, and a key cache of its own: what is left
// of OpenID Connect for a relying party that never starts a login is one document that names another with keys.
package oidc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

const (
	// fetchTimeout bounds one request to the issuer: a client waits for it.
	fetchTimeout = 10 * time.Second
	// clockLeeway is how far the issuer's clock may be off.
	clockLeeway = 10 * time.Second
	// reserved begins the names of users and groups that the cluster itself gives out.
	reserved = "system:"

	authenticated   = "system:authenticated"
	extraCredential = "authentication.kubernetes.io/credential-id"
)

// Authenticator is safe for concurrent use. It asks the issuer when it first needs a key, so an issuer that is
// down keeps out those who come with its tokens and nobody else.
type Authenticator struct {
	config config.OIDC
	parser *jwt.Parser
	keys   *keySet
}

// New checks the configuration and reads the CA file. It dials nobody. A nil log is slog.Default().
func New(c config.OIDC, log *slog.Logger) (*Authenticator, error) {
	c, err := c.Completed()
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.Default()
	}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if tlsConfig.RootCAs, err = authorities(c); err != nil {
		return nil, err
	}
	// no connection is kept: keys are fetched about once an hour
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: tlsConfig, DisableKeepAlives: true}
	return &Authenticator{
		config: c,
		parser: jwt.NewParser(jwt.WithValidMethods(c.SigningAlgs), jwt.WithIssuer(c.IssuerURL), jwt.WithExpirationRequired(), jwt.WithLeeway(clockLeeway), jwt.WithJSONNumber()),
		keys:   newKeySet(c.IssuerURL, &http.Client{Transport: transport, Timeout: fetchTimeout, CheckRedirect: onlyHTTPS}, log),
	}, nil
}

// authorities verify the issuer; nil means the host's.
func authorities(c config.OIDC) (*x509.CertPool, error) {
	pem := []byte(c.CA)
	if c.CAFile != "" {
		var err error
		if pem, err = os.ReadFile(c.CAFile); err != nil {
			return nil, fmt.Errorf("oidc.caFile: cannot read authorities: %w", err)
		}
	}
	if len(pem) == 0 && c.CAFile == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("oidc.caFile: %s has no PEM certificate", c.CAFile)
	}
	return pool, nil
}

func onlyHTTPS(r *http.Request, via []*http.Request) error {
	if r.URL.Scheme != "https" || len(via) >= 3 {
		return fmt.Errorf("redirect to %s is not followed", r.URL.Redacted())
	}
	return nil
}

// Issuer is what the iss of this issuer's tokens says.
func (a *Authenticator) Issuer() string { return a.config.IssuerURL }

// Authenticate returns who a token stands for.
func (a *Authenticator) Authenticate(ctx context.Context, token string) (*kind.User, error) {
	claims := jwt.MapClaims{}
	_, err := a.parser.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		id, _ := t.Header["kid"].(string)
		return a.keys.key(ctx, id, t.Method.Alg())
	})
	if err != nil {
		return nil, err
	}
	audiences, err := claims.GetAudience()
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(audiences, func(v string) bool { return slices.Contains(a.config.Audiences, v) }) {
		return nil, fmt.Errorf("token is for the audiences %q and not for %q", []string(audiences), a.config.Audiences)
	}
	for name, want := range a.config.RequiredClaims {
		if got, ok := claims[name].(string); !ok || got != want {
			return nil, fmt.Errorf("claim %s is not %q", name, want)
		}
	}
	return a.user(claims)
}

func (a *Authenticator) user(claims jwt.MapClaims) (*kind.User, error) {
	name, ok := claims[a.config.UsernameClaim].(string)
	if !ok || name == "" {
		return nil, fmt.Errorf("claim %s, the user's name, is missing or is no text", a.config.UsernameClaim)
	}
	if verified, there := claims["email_verified"]; a.config.UsernameClaim == "email" && there && verified != true {
		return nil, errors.New("the issuer has not verified the e-mail address")
	}
	u := &kind.User{Name: a.config.UsernamePrefix + name}
	groups, err := a.groups(claims)
	if err != nil {
		return nil, err
	}
	// an issuer outside can make nobody a node, a service account or an administrator of the cluster
	for _, name := range append([]string{u.Name}, groups...) {
		if strings.HasPrefix(name, reserved) {
			return nil, fmt.Errorf("%q is a name that only the cluster gives: set a prefix", name)
		}
	}
	u.Groups = append(groups, authenticated)
	if id, ok := claims["jti"].(string); ok && id != "" {
		u.Extra = map[string][]string{extraCredential: {"JTI=" + id}}
	}
	return u, nil
}

func (a *Authenticator) groups(claims jwt.MapClaims) ([]string, error) {
	value, ok := claims[a.config.GroupsClaim]
	if a.config.GroupsClaim == "" || !ok || value == nil {
		return nil, nil
	}
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	out := make([]string, len(list))
	for i, v := range list {
		name, ok := v.(string)
		if !ok {
			return nil, fmt.Errorf("claim %s, the user's groups, is neither text nor a list of it", a.config.GroupsClaim)
		}
		out[i] = a.config.GroupsPrefix + name
	}
	return out, nil
}
