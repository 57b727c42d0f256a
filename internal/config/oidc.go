package config

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// OIDC names an OpenID Connect issuer whose ID tokens let users in. The fields are those of kube-apiserver's flags
// --oidc-…; IssuerURL and one of ClientID and Audiences are required.
type OIDC struct {
	// IssuerURL is https, and what the tokens' iss says to the letter.
	IssuerURL string `json:"issuerURL"`
	// ClientID and Audiences are whom tokens are for; a token needs one of them.
	ClientID  string   `json:"clientID,omitempty"`
	Audiences []string `json:"audiences,omitempty"`
	// UsernameClaim is "sub" when empty. UsernamePrefix is the issuer and "#" when empty, for all claims but
	// email; "-" means none.
	UsernameClaim  string `json:"usernameClaim,omitempty"`
	UsernamePrefix string `json:"usernamePrefix,omitempty"`
	// GroupsClaim holds a string or a list of them; empty means that tokens bring no groups. GroupsPrefix "-" means
	// none, as an empty one does.
	GroupsClaim  string `json:"groupsClaim,omitempty"`
	GroupsPrefix string `json:"groupsPrefix,omitempty"`
	// RequiredClaims are claims that a token must have with this value.
	RequiredClaims map[string]string `json:"requiredClaims,omitempty"`
	// SigningAlgs is RS256 when empty.
	SigningAlgs []string `json:"signingAlgs,omitempty"`
	// CA has the PEM certificates that verify the issuer, CAFile names a file with them; with neither, the host's
	// authorities do.
	CA     string `json:"ca,omitempty"`
	CAFile string `json:"caFile,omitempty"`
}

// noPrefix is the prefix that means none.
const noPrefix = "-"

// SigningAlgs are what ID tokens may be signed with.
var SigningAlgs = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"}

// FieldError is what is wrong with one field of a configuration file; Field is its name there.
type FieldError struct {
	Field string
	Why   string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Why }

// Completed returns o with its defaults, and an empty prefix for none. The error is a *FieldError. No file is read.
func (o OIDC) Completed() (OIDC, error) {
	if err := o.check(); err != nil {
		return o, err
	}
	if o.ClientID != "" {
		o.Audiences = append(slices.Clone(o.Audiences), o.ClientID)
	}
	if o.UsernameClaim == "" {
		o.UsernameClaim = "sub"
	}
	switch {
	case o.UsernamePrefix == noPrefix:
		o.UsernamePrefix = ""
	case o.UsernamePrefix == "" && o.UsernameClaim != "email":
		o.UsernamePrefix = o.IssuerURL + "#"
	}
	if o.GroupsPrefix == noPrefix {
		o.GroupsPrefix = ""
	}
	if len(o.SigningAlgs) == 0 {
		o.SigningAlgs = []string{"RS256"}
	}
	return o, nil
}

func (o *OIDC) check() error {
	bad := func(field, format string, args ...any) error {
		return &FieldError{Field: "oidc." + field, Why: fmt.Sprintf(format, args...)}
	}
	u, err := url.Parse(o.IssuerURL)
	switch {
	case err != nil:
		return bad("issuerURL", "%v", err)
	case u.Scheme != "https" || u.Host == "":
		return bad("issuerURL", "%q must be an https URL", o.IssuerURL)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return bad("issuerURL", "must have no user name, query or fragment")
	case o.ClientID == "" && len(o.Audiences) == 0:
		return bad("clientID", "one of it and audiences is required: without, tokens for other services would be good here")
	case slices.Contains(o.Audiences, ""):
		return bad("audiences", "an audience is empty")
	case o.CA != "" && o.CAFile != "":
		return bad("ca", "only one of it and caFile may be set")
	case o.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(o.CA)):
		return bad("ca", "has no PEM certificate")
	}
	for _, a := range o.SigningAlgs {
		if !slices.Contains(SigningAlgs, a) {
			return bad("signingAlgs", "%q is none of %s", a, strings.Join(SigningAlgs, ", "))
		}
	}
	return nil
}
