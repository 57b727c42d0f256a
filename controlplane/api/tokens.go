package api

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// tokens issues and checks service account tokens: ECDSA-signed JWTs that are bound to an audience, a time, the
// service account and perhaps a pod, secret or node (KEP-1205). A token is void when what it is bound to is
// gone.
type tokens struct {
	client    client.Client
	issuer    string
	signer    crypto.Signer
	signerID  string
	keys      map[string]crypto.PublicKey // by key id
	parser    *jwt.Parser
	audiences []string // of the server itself
}

// claims are those of Kubernetes' tokens.
type claims struct {
	jwt.RegisteredClaims
	Kubernetes struct {
		Namespace      string     `json:"namespace"`
		Node           *reference `json:"node,omitempty"`
		Pod            *reference `json:"pod,omitempty"`
		Secret         *reference `json:"secret,omitempty"`
		ServiceAccount reference  `json:"serviceaccount"`
		WarnAfter      int64      `json:"warnafter,omitempty"`
	} `json:"kubernetes.io"`
}

type reference struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid"`
}

func newTokens(c client.Client, config Config) (*tokens, error) {
	t := &tokens{
		client: c, issuer: config.Issuer, signer: config.ServiceAccountKey, keys: map[string]crypto.PublicKey{},
		audiences: []string{config.Issuer},
		parser: jwt.NewParser(jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(config.Issuer), jwt.WithExpirationRequired(),
			jwt.WithIssuedAt(), jwt.WithLeeway(10*time.Second)),
	}
	public := slices.Clone(config.ServiceAccountPublicKeys)
	if t.signer != nil {
		if _, ok := t.signer.(*ecdsa.PrivateKey); !ok {
			return nil, fmt.Errorf("cannot sign service account tokens with a %T: an ECDSA key is needed", t.signer)
		}
		public = append(public, t.signer.Public())
	}
	for _, key := range public {
		id, err := keyID(key)
		if err != nil {
			return nil, err
		}
		t.keys[id] = key
		t.signerID = id // the signer's own is the last
	}
	return t, nil
}

// keyID names a key by what it is, so that every server names it alike.
func keyID(key crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("cannot name service account key: %w", err)
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// grant is what a token is issued for.
type grant struct {
	account   *corev1.ServiceAccount
	pod       *corev1.Pod
	secret    *corev1.Secret
	node      *reference
	audiences []string
	seconds   int64
}

// issue signs a token.
func (t *tokens) issue(g grant, now time.Time) (string, time.Time, error) {
	if t.signer == nil {
		return "", time.Time{}, errors.New("this server has no key for service account tokens")
	}
	expires := now.Add(time.Duration(g.seconds) * time.Second)
	c := claims{RegisteredClaims: jwt.RegisteredClaims{
		Issuer: t.issuer, Subject: serviceAccountPrefix + g.account.Namespace + ":" + g.account.Name, Audience: g.audiences,
		ExpiresAt: jwt.NewNumericDate(expires), IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ID: string(uuid.NewUUID()),
	}}
	c.Kubernetes.Namespace = g.account.Namespace
	c.Kubernetes.ServiceAccount = reference{g.account.Name, g.account.UID}
	if g.pod != nil {
		c.Kubernetes.Pod = &reference{g.pod.Name, g.pod.UID}
	}
	if g.secret != nil {
		c.Kubernetes.Secret = &reference{g.secret.Name, g.secret.UID}
	}
	c.Kubernetes.Node = g.node
	token := jwt.NewWithClaims(jwt.SigningMethodES256, c)
	token.Header["kid"] = t.signerID
	signed, err := token.SignedString(t.signer)
	return signed, expires, err
}

// identity is who a token stands for.
type identity struct {
	*kind.User
	audiences []string
}

// The extra fields of a token's user.
const (
	extraCredential = "authentication.kubernetes.io/credential-id"
	extraPodName    = "authentication.kubernetes.io/pod-name"
	extraPodUID     = "authentication.kubernetes.io/pod-uid"
	extraNodeName   = "authentication.kubernetes.io/node-name"
	extraNodeUID    = "authentication.kubernetes.io/node-uid"
)

// authenticate checks a token for one of these audiences; nil means the server's own.
func (t *tokens) authenticate(ctx context.Context, token string, audiences []string) (identity, error) {
	var c claims
	_, err := t.parser.ParseWithClaims(token, &c, func(tok *jwt.Token) (any, error) {
		id, _ := tok.Header["kid"].(string)
		if key, ok := t.keys[id]; ok {
			return key, nil
		}
		return nil, fmt.Errorf("no key has the id %q", id)
	})
	if err != nil {
		return identity{}, err
	}
	if audiences == nil {
		audiences = t.audiences
	}
	var matched []string
	for _, a := range c.Audience {
		if slices.Contains(audiences, a) {
			matched = append(matched, a)
		}
	}
	if len(matched) == 0 {
		return identity{}, fmt.Errorf("token is for the audiences %q and not for %q", c.Audience, audiences)
	}
	if err := t.alive(ctx, &c); err != nil {
		return identity{}, err
	}
	return identity{userOf(&c), matched}, nil
}

func userOf(c *claims) *kind.User {
	k := &c.Kubernetes
	u := &kind.User{
		Name: serviceAccountPrefix + k.Namespace + ":" + k.ServiceAccount.Name, UID: string(k.ServiceAccount.UID),
		Groups: append(serviceAccountGroups(k.Namespace), groupAuthenticated),
		Extra:  map[string][]string{extraCredential: {"JTI=" + c.ID}},
	}
	if k.Pod != nil {
		u.Extra[extraPodName] = []string{k.Pod.Name}
		u.Extra[extraPodUID] = []string{string(k.Pod.UID)}
	}
	if k.Node != nil {
		u.Extra[extraNodeName] = []string{k.Node.Name}
		u.Extra[extraNodeUID] = []string{string(k.Node.UID)}
	}
	return u
}

// alive checks that what the token is bound to exists and is the same. A pod that is being deleted keeps its
// token for its grace period.
func (t *tokens) alive(ctx context.Context, c *claims) error {
	k := &c.Kubernetes
	if err := bound[*corev1.ServiceAccount](ctx, t.client, k.Namespace, &k.ServiceAccount); err != nil {
		return err
	}
	if err := bound[*corev1.Pod](ctx, t.client, k.Namespace, k.Pod); err != nil {
		return err
	}
	if err := bound[*corev1.Secret](ctx, t.client, k.Namespace, k.Secret); err != nil {
		return err
	}
	if k.Pod == nil {
		return bound[*corev1.Node](ctx, t.client, "", k.Node)
	}
	return nil
}

// boundLeeway is how long after its end of grace an object still vouches for its tokens.
const boundLeeway = time.Minute

func bound[T kind.Object](ctx context.Context, c client.Client, namespace string, ref *reference) error {
	if ref == nil {
		return nil
	}
	obj, err := client.Get[T](ctx, c, namespace, ref.Name)
	if err != nil {
		return fmt.Errorf("cannot find what the token is bound to: %w", err)
	}
	if obj.GetUID() != ref.UID {
		return fmt.Errorf("token is bound to another %s/%s than the present one", namespace, ref.Name)
	}
	if at := obj.GetDeletionTimestamp(); at != nil && time.Since(at.Time) > boundLeeway {
		return fmt.Errorf("token is bound to %s/%s, which is being deleted", namespace, ref.Name)
	}
	return nil
}

// discovery serves the documents by which others check the tokens (OpenID Connect Discovery 1.0).
func (t *tokens) discovery(w http.ResponseWriter, path string) error {
	if path == "/openid/v1/jwks" {
		return t.jwks(w)
	}
	return writeDocument(w, typeJSON, map[string]any{
		"issuer": t.issuer, "jwks_uri": t.issuer + "/openid/v1/jwks", "response_types_supported": []string{"id_token"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"ES256"},
	})
}

func (t *tokens) jwks(w http.ResponseWriter) error {
	keys := []map[string]string{}
	for id, key := range t.keys {
		ec, ok := key.(*ecdsa.PublicKey)
		if !ok {
			continue
		}
		point, err := ec.Bytes() // 0x04, X, Y
		if err != nil {
			return apierrors.NewInternalError(err)
		}
		half := (len(point) - 1) / 2
		keys = append(keys, map[string]string{
			"use": "sig", "kty": "EC", "kid": id, "crv": ec.Params().Name, "alg": "ES256",
			"x": coordinate(point[1:1+half], half), "y": coordinate(point[1+half:], half),
		})
	}
	slices.SortFunc(keys, func(a, b map[string]string) int { return compare(a["kid"], b["kid"]) })
	return writeDocument(w, "application/jwk-set+json", map[string]any{"keys": keys})
}

func coordinate(b []byte, size int) string {
	return base64.RawURLEncoding.EncodeToString(new(big.Int).SetBytes(b).FillBytes(make([]byte, size)))
}

func writeDocument(w http.ResponseWriter, contentType string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "public, max-age=3600")
	_, _ = w.Write(data)
	return nil
}
