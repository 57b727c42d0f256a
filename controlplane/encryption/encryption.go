// Package encryption encrypts chosen resources at rest: AES-256-GCM with a random nonce for each value, bound to
// the value's key in etcd so that values can not be swapped.
//
// A stored value is "fl:aesgcm:v1:ID:" + nonce + sealed, where ID names a key of the key file. The first key of
// the file writes, all of them read; what was read with another than the first is stale, and is written anew by
// the next write of the object or by a Keeper.
package encryption

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/atomicfile"
)

const (
	prefix  = "fl:aesgcm:v1:"
	keySize = 32
)

type fileKey struct {
	ID  string `json:"id"`
	Key []byte `json:"key"`
	// Retired is when another key took its place in front.
	Retired time.Time `json:"retired,omitzero"`
}

// Keys encrypts and decrypts; it implements store.Transformer and is safe for concurrent use.
type Keys struct {
	path      string
	resources map[string]bool
	ring      atomic.Pointer[ring]
}

// ring is the keys of one state of the key file. It is immutable.
type ring struct {
	file  []fileKey
	first string
	aeads map[string]cipher.AEAD
}

// Open reads the key file, or makes one with one key (0600) when it is not there. resources are those to
// encrypt, as GROUP/PLURAL or PLURAL for the core group; others pass unchanged.
func Open(path string, resources ...string) (*Keys, error) {
	keys, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		keys, err = addKey(path, nil)
	}
	if err != nil {
		return nil, err
	}
	k := &Keys{path: path, resources: map[string]bool{}}
	for _, r := range resources {
		k.resources[r] = true
	}
	r, err := newRing(path, keys)
	if err != nil {
		return nil, err
	}
	k.ring.Store(r)
	return k, nil
}

func newRing(path string, keys []fileKey) (*ring, error) {
	r := &ring{file: keys, first: keys[0].ID, aeads: map[string]cipher.AEAD{}}
	for _, fk := range keys {
		block, err := aes.NewCipher(fk.Key)
		if err != nil || len(fk.Key) != keySize {
			return nil, fmt.Errorf("cannot use key %s of %s: it must have %d bytes", fk.ID, path, keySize)
		}
		if r.aeads[fk.ID], err = cipher.NewGCM(block); err != nil {
			return nil, fmt.Errorf("cannot use key %s of %s: %w", fk.ID, path, err)
		}
	}
	return r, nil
}

// rotate puts a new key in front, in the file before it is used: what is written under it can be read whatever
// happens.
func (k *Keys) rotate(now time.Time) error {
	keys := slices.Clone(k.ring.Load().file)
	keys[0].Retired = now.UTC().Truncate(time.Second)
	keys, err := addKey(k.path, keys)
	if err != nil {
		return err
	}
	r, err := newRing(k.path, keys)
	if err != nil {
		return err
	}
	k.ring.Store(r)
	return nil
}

// drop takes keys out of the file. This process goes on to read by them until it ends: a watch may still bring what
// was written before.
func (k *Keys) drop(ids map[string]bool) error {
	old := k.ring.Load()
	kept := slices.DeleteFunc(slices.Clone(old.file), func(fk fileKey) bool { return ids[fk.ID] })
	if err := writeFile(k.path, kept); err != nil {
		return err
	}
	k.ring.Store(&ring{file: kept, first: old.first, aeads: old.aeads})
	return nil
}

func readFile(path string) ([]fileKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read encryption keys: %w", err)
	}
	var keys []fileKey
	if err := json.Unmarshal(data, &keys); err != nil {
		return nil, fmt.Errorf("cannot parse encryption keys %s: %w", path, err)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("cannot use encryption keys %s: there is none", path)
	}
	return keys, nil
}

func addKey(path string, keys []fileKey) ([]fileKey, error) {
	var raw [4 + keySize]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return nil, fmt.Errorf("cannot make encryption key: %w", err)
	}
	keys = append([]fileKey{{ID: hex.EncodeToString(raw[:4]), Key: raw[4:]}}, keys...)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("cannot create key directory: %w", err)
	}
	return keys, writeFile(path, keys)
}

func writeFile(path string, keys []fileKey) error {
	data, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, data, 0o600)
}

// ToStorage encrypts plain when its resource is one of those to encrypt.
func (k *Keys) ToStorage(resource, key string, plain []byte) ([]byte, error) {
	if !k.resources[resource] {
		return plain, nil
	}
	r := k.ring.Load()
	aead := r.aeads[r.first]
	head := prefix + r.first + ":"
	out := make([]byte, len(head)+aead.NonceSize(), len(head)+aead.NonceSize()+len(plain)+aead.Overhead())
	copy(out, head)
	nonce := out[len(head):]
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("cannot encrypt %s: %w", key, err)
	}
	return aead.Seal(out, nonce, plain, []byte(key)), nil
}

// FromStorage decrypts. stale says that the value should be written again: it is in the clear or under an
// older key.
func (k *Keys) FromStorage(resource, key string, stored []byte) (plain []byte, stale bool, err error) {
	rest, encrypted := bytes.CutPrefix(stored, []byte(prefix))
	if !encrypted {
		return stored, k.resources[resource], nil
	}
	id, sealed, ok := bytes.Cut(rest, []byte(":"))
	r := k.ring.Load()
	aead := r.aeads[string(id)]
	if !ok || aead == nil {
		return nil, false, fmt.Errorf("cannot decrypt %s: no key %q in the key file", key, id)
	}
	if len(sealed) < aead.NonceSize() {
		return nil, false, fmt.Errorf("cannot decrypt %s: the value is cut off", key)
	}
	plain, err = aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], []byte(key))
	if err != nil {
		return nil, false, fmt.Errorf("cannot decrypt %s: %w", key, err)
	}
	return plain, string(id) != r.first || !k.resources[resource], nil
}
