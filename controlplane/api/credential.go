package api

import (
	"context"
	"errors"
	"slices"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/credential"
)

// bearerIdentity finds out who a bearer token stands for, for one of these audiences; nil means the server's own. A
// credential of package credential is for this server alone.
func (s *Server) bearerIdentity(ctx context.Context, token string, audiences []string) (identity, error) {
	if !credential.Is(token) {
		return s.tokens.authenticate(ctx, token, audiences)
	}
	if s.config.Credentials == nil {
		return identity{}, errors.New("this server takes no credentials")
	}
	matched := s.tokens.audiences
	if audiences != nil {
		matched = slices.DeleteFunc(slices.Clone(audiences), func(a string) bool { return !slices.Contains(s.tokens.audiences, a) })
	}
	if len(matched) == 0 {
		return identity{}, errors.New("a credential is for no other audience than this server")
	}
	user, err := credential.Authenticate(ctx, s.client, s.config.Credentials, token, s.now())
	if err != nil {
		return identity{}, err
	}
	user.Groups = append(slices.Clone(user.Groups), groupAuthenticated)
	return identity{user, matched}, nil
}
