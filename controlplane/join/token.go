// Package join lets nodes into a cluster: join tokens, which are good once and for minutes, and the exchange of
// a token, or of a node's certificate that is about to end, for fresh certificates.
package join

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
)

// SecretType is the type of the Secrets in kube-system that stand for join tokens. They hold a hash, not the token.
const SecretType corev1.SecretType = "fairlead.io/join-token"

// Keys of such a Secret's data.
const (
	keyHash    = "hash"    // hex SHA-256 of the token's second part
	keyNode    = "node"    // the only node name that the token is good for
	keyExpires = "expires" // RFC 3339
)

const secretPrefix = "join-token-"

// MaxTokenLife bounds a token's life.
const MaxTokenLife = 24 * time.Hour

// ErrToken is why a token was refused. It does not say which part was wrong, and does not cover an API that
// could not be asked: trying again with the same token never helps.
var ErrToken = errors.New("the join token is unknown, used, expired or for another node")

// NewToken makes a token for one node and the Secret that lets it be verified.
func NewToken(node string, life time.Duration, now time.Time) (token string, secret *corev1.Secret, err error) {
	if errs := validation.IsDNS1123Subdomain(node); len(errs) > 0 {
		return "", nil, fmt.Errorf("cannot make a join token for node %q: %s", node, strings.Join(errs, "; "))
	}
	if life <= 0 || life > MaxTokenLife {
		return "", nil, fmt.Errorf("cannot make a join token that lives %s: it must be more than 0 and at most %s", life, MaxTokenLife)
	}
	var raw [40]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", nil, fmt.Errorf("cannot make a join token: %w", err)
	}
	id, key := hex.EncodeToString(raw[:8]), hex.EncodeToString(raw[8:])
	return id + "." + key, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: secretPrefix + id, Namespace: metav1.NamespaceSystem},
		Type:       SecretType,
		Data: map[string][]byte{
			keyHash:    []byte(hash(key)),
			keyNode:    []byte(node),
			keyExpires: []byte(now.Add(life).UTC().Format(time.RFC3339)),
		},
	}, nil
}

// Create makes a token for one node and stores what verifies it.
func Create(ctx context.Context, c client.Client, node string, life time.Duration) (string, error) {
	token, secret, err := NewToken(node, life, time.Now())
	if err != nil {
		return "", err
	}
	if _, err := client.Create(ctx, c, secret); err != nil {
		return "", fmt.Errorf("cannot store join token: %w", err)
	}
	return token, nil
}

// consume verifies token for node and uses it up. Of several calls with one token one succeeds.
func consume(ctx context.Context, c client.Client, token, node string, now time.Time) error {
	id, key, ok := strings.Cut(token, ".")
	if !ok || len(validation.IsDNS1123Label(id)) > 0 {
		return ErrToken
	}
	secret, err := client.Get[*corev1.Secret](ctx, c, metav1.NamespaceSystem, secretPrefix+id)
	if apierrors.IsNotFound(err) {
		return ErrToken
	}
	if err != nil {
		return fmt.Errorf("cannot verify join token: %w", err)
	}
	expires, err := time.Parse(time.RFC3339, string(secret.Data[keyExpires]))
	good := err == nil && now.Before(expires) &&
		secret.Type == SecretType &&
		string(secret.Data[keyNode]) == node &&
		subtle.ConstantTimeCompare([]byte(hash(key)), secret.Data[keyHash]) == 1
	if !good {
		return ErrToken
	}
	uid := secret.UID
	err = client.Delete[*corev1.Secret](ctx, c, secret.Namespace, secret.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return ErrToken
	}
	if err != nil {
		return fmt.Errorf("cannot use up join token: %w", err)
	}
	return nil
}

func hash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}
