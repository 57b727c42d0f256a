package api

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/asn1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// Groups and users that Kubernetes knows by name.
const (
	groupMasters         = "system:masters"
	groupNodes           = "system:nodes"
	groupServiceAccounts = "system:serviceaccounts"
	groupAuthenticated   = "system:authenticated"
	groupUnauthenticated = "system:unauthenticated"
	userAnonymous        = "system:anonymous"
)

func isAdmin(u *kind.User) bool { return u != nil && slices.Contains(u.Groups, groupMasters) }

// authenticate finds out who sends the request: by client certificate, or by bearer token where there is none. There is no
// anonymous user beyond the public paths.
func (s *Server) authenticate(r *request) error {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		user, err := certificateUser(r.TLS.VerifiedChains[0][0])
		if err == nil {
			r.user = user
			r.Header.Del("Authorization") // it goes into no log and to no node
			return nil
		}
	}
	if token, ok := bearer(r.Request); ok {
		user, err := s.bearerIdentity(r.Context(), token, nil)
		if err != nil {
			s.log.Debug("token refused", "remote", r.RemoteAddr, "cause", err)
			return apierrors.NewUnauthorized("Unauthorized")
		}
		r.user = user.User
		r.Header.Del("Authorization")
		return nil
	}
	if s.config.TLS == nil && s.config.AllowAll {
		r.user = &kind.User{Name: "test", Groups: []string{groupMasters, groupAuthenticated}}
		return nil
	}
	return apierrors.NewUnauthorized("Unauthorized")
}

// oidUserUID is the part of a certificate's subject that is the user's UID.
var oidUserUID = asn1.X509UID()

func certificateUser(c *x509.Certificate) (*kind.User, error) {
	if c.Subject.CommonName == "" {
		return nil, errors.New("certificate has no common name")
	}
	uid := ""
	for _, part := range c.Subject.Names {
		if !part.Type.Equal(oidUserUID) {
			continue
		}
		text, ok := part.Value.(string)
		if !ok || text == "" || uid != "" {
			return nil, errors.New("certificate has not one user UID that is a text")
		}
		uid = text
	}
	fingerprint := sha256.Sum256(c.Raw)
	return &kind.User{
		Name: c.Subject.CommonName, UID: uid, Groups: append(slices.Clone(c.Subject.Organization), groupAuthenticated),
		Extra: map[string][]string{extraCredential: {"X509SHA256=" + hex.EncodeToString(fingerprint[:])}},
	}, nil
}

// bearerProtocol begins a WebSocket subprotocol that carries a token, for clients that can not set headers.
const bearerProtocol = "base64url.bearer.authorization.k8s.io."

func bearer(r *http.Request) (string, bool) {
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, token, _ := strings.Cut(h, " ")
		if strings.EqualFold(scheme, "Bearer") {
			return strings.TrimSpace(token), true
		}
	}
	if h := r.Header.Get("Sec-Websocket-Protocol"); strings.Contains(h, bearerProtocol) {
		return websocketBearer(r, h)
	}
	return "", false
}

// websocketBearer takes the token out of the offered subprotocols, so that it is not passed on.
func websocketBearer(r *http.Request, header string) (string, bool) {
	token := ""
	kept := slices.DeleteFunc(strings.Split(header, ","), func(p string) bool {
		encoded, ok := strings.CutPrefix(strings.TrimSpace(p), bearerProtocol)
		if !ok {
			return false
		}
		if data, err := base64URL(encoded); err == nil {
			token = string(data)
		}
		return true
	})
	r.Header.Set("Sec-Websocket-Protocol", strings.TrimSpace(strings.Join(kept, ",")))
	return token, token != ""
}

const serviceAccountPrefix = "system:serviceaccount:"

// serviceAccountName splits the user name of a service account.
func serviceAccountName(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, serviceAccountPrefix)
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	return namespace, name, ok && namespace != "" && name != "" && !strings.Contains(name, ":")
}

// serviceAccountGroups are those that follow from a service account's namespace.
func serviceAccountGroups(namespace string) []string {
	return []string{groupServiceAccounts, groupServiceAccounts + ":" + namespace}
}
