package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/credential"
)

// issuerOf reads, without believing it, who a JWT says that it is of.
func issuerOf(token string) string {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, ok := strings.Cut(rest, ".")
	if !ok {
		return ""
	}
	data, err := base64URL(payload)
	if err != nil {
		return ""
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(data, &claims) != nil {
		return ""
	}
	return claims.Issuer
}

// bearerIdentity finds out who a bearer token stands for, for one of these audiences; nil means the server's own. A
// credential of package credential and a token of the OpenID Connect issuer are for this server alone.
func (s *Server) bearerIdentity(ctx context.Context, token string, audiences []string) (identity, error) {
	lent, foreign := credential.Is(token), s.config.OIDC != nil && issuerOf(token) == s.config.OIDC.Issuer()
	if !lent && !foreign {
		return s.tokens.authenticate(ctx, token, audiences)
	}
	matched := s.tokens.audiences
	if audiences != nil {
		matched = slices.DeleteFunc(slices.Clone(audiences), func(a string) bool { return !slices.Contains(s.tokens.audiences, a) })
	}
	if len(matched) == 0 {
		return identity{}, fmt.Errorf("the token is for no other audience than this server, not for %q", audiences)
	}
	if foreign {
		user, err := s.config.OIDC.Authenticate(ctx, token)
		return identity{user, matched}, err
	}
	if s.config.Credentials == nil {
		return identity{}, errors.New("this server takes no credentials")
	}
	user, err := credential.Authenticate(ctx, s.client, s.config.Credentials, token, s.now())
	if err != nil {
		return identity{}, err
	}
	user.Groups = append(slices.Clone(user.Groups), groupAuthenticated)
	return identity{user, matched}, nil
}
