package oidc

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// keysGood is how long fetched keys are used without asking again: so long does a key live on that the
	// issuer has withdrawn.
	keysGood = time.Hour
	// fetchPause is between two requests to the issuer, whatever clients send; oldPause is it while the keys that
	// are known would do, so that an issuer that hangs holds up one client now and then.
	fetchPause = 10 * time.Second
	oldPause   = time.Minute
	// maxDocument bounds what the issuer may answer, in bytes.
	maxDocument = 1 << 20
	// minRSABits is the smallest modulus of a key.
	minRSABits = 2048
)

// keySet has the issuer's keys as it last said. While the issuer is away, those that it said last are good.
type keySet struct {
	issuer string
	client *http.Client
	log    *slog.Logger
	now    func() time.Time
	// turn holds one token, for who asks the issuer.
	turn chan struct{}

	mu      sync.Mutex
	keys    map[string]publicKey
	fetched time.Time // when keys came
	asked   time.Time // when the issuer last answered, or did not
	failure error     // of the last time
}

// publicKey is for one algorithm, or for all of its type when alg is empty.
type publicKey struct {
	key crypto.PublicKey
	alg string
}

func newKeySet(issuer string, c *http.Client, log *slog.Logger) *keySet {
	s := &keySet{issuer: issuer, client: c, log: log, now: time.Now, turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return s
}

// key returns the key of that id, and asks the issuer when it is not known or what is known is old. A token
// without an id is good when there is one key.
func (s *keySet) key(ctx context.Context, id, alg string) (crypto.PublicKey, error) {
	found, ok, ask := s.find(id)
	switch {
	case ok && ask:
		select {
		case <-s.turn:
			s.refresh(ctx)
			s.turn <- struct{}{}
			found, ok, _ = s.find(id)
		default: // somebody asks already, and this key will do
		}
	case !ok && ask:
		select {
		case <-s.turn:
			if _, ok, ask := s.find(id); !ok && ask {
				s.refresh(ctx)
			}
			s.turn <- struct{}{}
			found, ok, _ = s.find(id)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	switch {
	case !ok:
		return nil, s.missing(id)
	case found.alg != "" && found.alg != alg:
		return nil, fmt.Errorf("key %q is for %s, and the token is signed by %s", id, found.alg, alg)
	}
	return found.key, nil
}

// find returns the key of an id, and whether it is time to ask the issuer for it.
func (s *keySet) find(id string) (key publicKey, ok, ask bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, ok = s.keys[id]
	if id == "" && len(s.keys) == 1 {
		for _, key = range s.keys {
			ok = true
		}
	}
	now := s.now()
	if ok {
		return key, ok, now.Sub(s.fetched) > keysGood && now.Sub(s.asked) > oldPause
	}
	return key, ok, now.Sub(s.asked) > fetchPause
}

func (s *keySet) missing(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return fmt.Errorf("cannot get the issuer's keys: %w", s.failure)
	}
	return fmt.Errorf("the issuer has no key with the id %q", id)
}

// refresh asks the issuer. A client that goes away meanwhile does not spoil it for the next: the request has its
// own bound. The caller has the turn.
func (s *keySet) refresh(ctx context.Context) {
	keys, err := s.fetch(context.WithoutCancel(ctx))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.failure = s.now(), err
	if err != nil {
		s.log.Warn("cannot get keys of OpenID Connect issuer", "issuer", s.issuer, "error", err)
		return
	}
	s.keys, s.fetched = keys, s.asked
}

func (s *keySet) fetch(ctx context.Context) (map[string]publicKey, error) {
	var discovery struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := s.get(ctx, strings.TrimSuffix(s.issuer, "/")+"/.well-known/openid-configuration", &discovery); err != nil {
		return nil, err
	}
	if discovery.Issuer != s.issuer {
		return nil, fmt.Errorf("the issuer calls itself %q and not %q", discovery.Issuer, s.issuer)
	}
	if !strings.HasPrefix(discovery.Keys, "https://") {
		return nil, fmt.Errorf("the issuer's keys are at %q, which is not https", discovery.Keys)
	}
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := s.get(ctx, discovery.Keys, &set); err != nil {
		return nil, err
	}
	keys := map[string]publicKey{}
	for _, k := range set.Keys {
		if k.Use != "" && k.Use != "sig" {
			continue
		}
		// an issuer may have keys of kinds that are not known here
		if key, err := k.public(); err == nil {
			keys[k.ID] = publicKey{key, k.Alg}
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the issuer has no key that can be used")
	}
	return keys, nil
}

func (s *keySet) get(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("cannot get %s: %s", url, resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument))
	if err != nil {
		return fmt.Errorf("cannot get %s: %w", url, err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("cannot parse %s: %w", url, err)
	}
	return nil
}

// jwk is a JSON Web Key (RFC 7517) of the types RSA and EC.
type jwk struct {
	Type  string `json:"kty"`
	ID    string `json:"kid"`
	Use   string `json:"use"`
	Alg   string `json:"alg"`
	N     string `json:"n"`
	E     string `json:"e"`
	Curve string `json:"crv"`
	X     string `json:"x"`
	Y     string `json:"y"`
}

func (k *jwk) public() (crypto.PublicKey, error) {
	switch k.Type {
	case "RSA":
		n, errN := bytesOf(k.N)
		e, errE := bytesOf(k.E)
		if err := errors.Join(errN, errE); err != nil {
			return nil, err
		}
		key := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
		if key.N.BitLen() < minRSABits || len(e) > 4 || key.E < 3 {
			return nil, errors.New("the RSA key is too weak")
		}
		return key, nil
	case "EC":
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[k.Curve]
		if curve == nil {
			return nil, fmt.Errorf("curve %q is not known", k.Curve)
		}
		x, errX := bytesOf(k.X)
		y, errY := bytesOf(k.Y)
		if err := errors.Join(errX, errY); err != nil {
			return nil, err
		}
		size := (curve.Params().BitSize + 7) / 8
		if len(x) > size || len(y) > size {
			return nil, errors.New("the point is too long for its curve")
		}
		point := make([]byte, 1+2*size)
		point[0] = 4 // uncompressed
		copy(point[1+size-len(x):], x)
		copy(point[1+2*size-len(y):], y)
		return ecdsa.ParseUncompressedPublicKey(curve, point)
	}
	return nil, fmt.Errorf("key type %q is not known", k.Type)
}

func bytesOf(s string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
}
