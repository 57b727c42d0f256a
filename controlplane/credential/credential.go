// Package credential is bearer tokens for tools that work on a cluster for a while, such as Terraform's
// fairlead_kubeconfig: opened by an administrator on a control-plane host, good for minutes, renewed while they are
// in use, and revoked when they are not.
//
//	open ──▶ good ──renew──▶ good ──▶ expired (the cleaner removes the record)
//	           │                └──▶ ended: no renewal goes beyond what was fixed at the opening
//	           └──revoke──▶ gone
//
// The token is random. What is known of it is a Secret in kube-system that holds a hash of it, and whom it stands
// for. The cluster's authority has signed that part, so that who may write Secrets can not make themselves somebody
// else; the expiry is not signed, and moves within the end that is.
package credential

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// SecretType is the type of the records.
const SecretType corev1.SecretType = "fairlead.io/credential"

// Keys of a record's data.
const (
	keyClaims    = "claims"    // JSON of claims
	keySignature = "signature" // of the claims, by the cluster's authority
	keyExpires   = "expires"   // RFC 3339; the cleaner reads it
)

// MaxLife bounds a credential's life, however often it is renewed.
const MaxLife = 24 * time.Hour

const (
	tokenPrefix  = "fairlead-credential."
	secretPrefix = "credential-"
	purpose      = "fairlead credential"
	// extraID tells a credential's requests apart in audit logs.
	extraID = "authentication.kubernetes.io/credential-id"
)

// ErrRefused is why a token or its renewal was refused: trying again with the same token never helps. It does not
// cover an API that could not be asked.
var ErrRefused = errors.New("the credential is unknown, revoked or expired")

// Signer and Verifier are the cluster's authority.
type (
	Signer interface {
		SignMessage(purpose string, message []byte) ([]byte, error)
	}
	Verifier interface {
		VerifyMessage(purpose string, message, signature []byte) error
	}
)

// claims is what a credential says for as long as it is there.
type claims struct {
	ID     string    `json:"id"`
	Hash   string    `json:"hash"` // hex SHA-256 of the token's secret part
	User   string    `json:"user"`
	Groups []string  `json:"groups,omitempty"`
	Ends   time.Time `json:"ends"`
}

// SecretName is the name of the record of the credential with this id.
func SecretName(id string) string { return secretPrefix + id }

// New makes a credential for user with groups that expires after life unless it is renewed, and ends after most
// for good. It returns its id, the token, and the record that is to be stored.
func New(s Signer, user string, groups []string, life, most time.Duration, now time.Time) (id, token string, record *corev1.Secret, err error) {
	switch {
	case user == "":
		return "", "", nil, errors.New("cannot make a credential: the user has no name")
	case slices.Contains(groups, ""):
		return "", "", nil, errors.New("cannot make a credential: a group has no name")
	case most <= 0 || most > MaxLife:
		return "", "", nil, fmt.Errorf("cannot make a credential that ends after %s: it must be more than 0 and at most %s", most, MaxLife)
	case life <= 0 || life > most:
		return "", "", nil, fmt.Errorf("cannot make a credential that expires after %s: it must be more than 0 and at most %s", life, most)
	}
	var raw [40]byte
	_, _ = rand.Read(raw[:]) // never fails
	id, key := hex.EncodeToString(raw[:8]), hex.EncodeToString(raw[8:])
	said, err := json.Marshal(claims{ID: id, Hash: hash(key), User: user, Groups: groups, Ends: now.Add(most).UTC().Truncate(time.Second)})
	if err != nil {
		return "", "", nil, fmt.Errorf("cannot make a credential: %w", err)
	}
	signature, err := s.SignMessage(purpose, said)
	if err != nil {
		return "", "", nil, err
	}
	record = &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: SecretName(id), Namespace: metav1.NamespaceSystem},
		Type:       SecretType,
		Data:       map[string][]byte{keyClaims: said, keySignature: signature, keyExpires: timestamp(now.Add(life))},
	}
	return id, tokenPrefix + id + "." + key, record, nil
}

// Extend makes a record expire after life from now, or when the credential ends if that is before, and returns when
// that is. One that has expired stays so: ErrRefused.
func Extend(record *corev1.Secret, life time.Duration, now time.Time) (time.Time, error) {
	c, expires, err := read(record)
	if err != nil || !now.Before(expires) || !now.Before(c.Ends) {
		return time.Time{}, ErrRefused
	}
	to := now.Add(life)
	if to.After(c.Ends) {
		to = c.Ends
	}
	record.Data[keyExpires] = timestamp(to)
	return Expires(record), nil
}

// Expires is when a record expires; zero when it does not say.
func Expires(record *corev1.Secret) time.Time {
	at, _ := time.Parse(time.RFC3339, string(record.Data[keyExpires]))
	return at
}

// Is says whether a bearer token is one of this package's.
func Is(token string) bool { return strings.HasPrefix(token, tokenPrefix) }

// Authenticate returns the user that the token stands for, or ErrRefused.
func Authenticate(ctx context.Context, c client.Client, v Verifier, token string, now time.Time) (*kind.User, error) {
	id, key, ok := strings.Cut(strings.TrimPrefix(token, tokenPrefix), ".")
	if !ok || !Is(token) || len(validation.IsDNS1123Label(id)) > 0 {
		return nil, ErrRefused
	}
	record, err := client.Get[*corev1.Secret](ctx, c, metav1.NamespaceSystem, SecretName(id))
	if apierrors.IsNotFound(err) {
		return nil, ErrRefused
	}
	if err != nil {
		return nil, fmt.Errorf("cannot verify credential: %w", err)
	}
	said, expires, err := read(record)
	good := err == nil && said.ID == id && now.Before(expires) && now.Before(said.Ends) &&
		subtle.ConstantTimeCompare([]byte(hash(key)), []byte(said.Hash)) == 1 &&
		v.VerifyMessage(purpose, record.Data[keyClaims], record.Data[keySignature]) == nil
	if !good {
		return nil, ErrRefused
	}
	return &kind.User{Name: said.User, Groups: said.Groups, Extra: map[string][]string{extraID: {"FAIRLEAD=" + id}}}, nil
}

func read(record *corev1.Secret) (c claims, expires time.Time, err error) {
	if record.Type != SecretType {
		return c, expires, ErrRefused
	}
	if err = json.Unmarshal(record.Data[keyClaims], &c); err == nil {
		expires, err = time.Parse(time.RFC3339, string(record.Data[keyExpires]))
	}
	return c, expires, err
}

func timestamp(t time.Time) []byte { return []byte(t.UTC().Format(time.RFC3339)) }

func hash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}
