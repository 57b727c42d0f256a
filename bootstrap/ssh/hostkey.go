package ssh

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// verifier checks a host's key and keeps the one that was proved.
type verifier struct {
	host string // for messages
	// algorithms that may be negotiated; nil for all. They are restricted to those that a key is known for, so
	// that a host with several keys proves one that can be compared.
	algorithms []string
	check      func(address string, remote net.Addr, key ssh.PublicKey) error

	mu     sync.Mutex
	proved ssh.PublicKey // under mu
	failed error         // under mu: what check said, which the handshake's error only quotes
}

// callback is the ssh.HostKeyCallback.
func (v *verifier) callback(address string, remote net.Addr, key ssh.PublicKey) error {
	err := v.check(address, remote, key)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.proved, v.failed = key, err
	return err
}

func (v *verifier) result() (ssh.PublicKey, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.proved, v.failed
}

// newVerifier reads what is known about the host of c, which is complete.
func newVerifier(c *Config) (*verifier, error) {
	if c.HostKey != "" {
		return pinnedVerifier(c)
	}
	files, err := knownHostsFiles(c)
	if err != nil {
		return nil, err
	}
	return knownHostsVerifier(c, files)
}

func pinnedVerifier(c *Config) (*verifier, error) {
	keys, err := parseHostKeys(c.HostKey)
	if err != nil {
		return nil, &ConfigError{"HostKey", err}
	}
	v := &verifier{host: c.Address}
	var want []string
	for _, k := range keys {
		v.algorithms = appendNew(v.algorithms, keyAlgorithms(k.typ)...)
		want = append(want, fmt.Sprintf("%s %s (host_key)", k.typ, k.fingerprint))
	}
	v.check = func(_ string, _ net.Addr, got ssh.PublicKey) error {
		if slices.Contains(keys, pinnedKey{got.Type(), ssh.FingerprintSHA256(got)}) {
			return nil
		}
		e := newHostKeyError(c.Address, got, "host_key")
		e.Want = want
		return e
	}
	return v, nil
}

// pinnedKey is a host key as it is compared: its type and the SHA-256 fingerprint of the whole of it.
type pinnedKey struct{ typ, fingerprint string }

// parseHostKeys takes keys one a line, in authorized_keys form or as TYPE SHA256:FINGERPRINT.
func parseHostKeys(s string) ([]pinnedKey, error) {
	var keys []pinnedKey
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if typ, fp, ok := strings.Cut(line, " SHA256:"); ok {
			sum, err := base64.RawStdEncoding.DecodeString(fp)
			if err != nil || len(sum) != sha256.Size || strings.Contains(typ, " ") {
				return nil, fmt.Errorf("%q is not TYPE SHA256:FINGERPRINT", line)
			}
			keys = append(keys, pinnedKey{typ, "SHA256:" + fp})
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return nil, fmt.Errorf("it is not a public key such as \"ssh-ed25519 AAAA…\": %w", err)
		}
		keys = append(keys, pinnedKey{key.Type(), ssh.FingerprintSHA256(key)})
	}
	if len(keys) == 0 {
		return nil, errors.New("it is empty")
	}
	return keys, nil
}

func knownHostsFiles(c *Config) ([]string, error) {
	if c.KnownHostsFile != "" {
		path := expandHome(c.KnownHostsFile)
		if _, err := os.Stat(path); err != nil {
			return nil, &ConfigError{"KnownHostsFile", err}
		}
		return []string{path}, nil
	}
	var files []string
	for _, path := range []string{expandHome("~/.ssh/known_hosts"), "/etc/ssh/ssh_known_hosts"} {
		if _, err := os.Stat(path); err == nil {
			files = append(files, path)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, &ConfigError{"KnownHostsFile", err}
		}
	}
	return files, nil
}

func knownHostsVerifier(c *Config, files []string) (*verifier, error) {
	check, err := knownhosts.New(files...)
	if err != nil {
		return nil, &ConfigError{"KnownHostsFile", err}
	}
	source := "known_hosts"
	if len(files) > 0 {
		source = strings.Join(files, " and ")
	}
	known, err := knownKeys(check, c.endpoint())
	if err != nil {
		return nil, &ConfigError{"KnownHostsFile", err}
	}
	v := &verifier{host: c.Address}
	for _, k := range known {
		ca, err := isAuthorityLine(k.Filename, k.Line)
		if err != nil {
			return nil, &ConfigError{"KnownHostsFile", err}
		}
		if ca {
			v.algorithms = appendNew(v.algorithms, certificateAlgorithms...)
		} else {
			v.algorithms = appendNew(v.algorithms, keyAlgorithms(k.Key.Type())...)
		}
	}
	v.check = func(_ string, remote net.Addr, got ssh.PublicKey) error {
		err := check(c.endpoint(), remote, got)
		if err == nil {
			return nil
		}
		e := newHostKeyError(c.Address, got, source)
		var revoked *knownhosts.RevokedError
		var mismatch *knownhosts.KeyError
		switch {
		case errors.As(err, &revoked):
			e.Revoked = true
			return e
		case errors.As(err, &mismatch):
		default: // a certificate that is expired, for other names, or of an unknown or revoked authority
			e.Err = err
			return e
		}
		if len(mismatch.Want) == 0 && c.HostKeyPolicy == HostKeyAcceptNew {
			return nil
		}
		for _, k := range mismatch.Want {
			e.Want = append(e.Want, describeKey(k.Key, fmt.Sprintf("%s:%d", k.Filename, k.Line)))
		}
		return e
	}
	return v, nil
}

// knownKeys asks the database what it has for the endpoint, by showing it a key that nobody can know.
func knownKeys(check ssh.HostKeyCallback, endpoint string) ([]knownhosts.KnownKey, error) {
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	stranger, err := ssh.NewPublicKey(pub)
	if err != nil {
		return nil, err
	}
	var known *knownhosts.KeyError
	if err := check(endpoint, &net.TCPAddr{IP: net.IPv4zero, Port: 22}, stranger); errors.As(err, &known) {
		return known.Want, nil
	} else if err != nil {
		return nil, err
	}
	return nil, nil
}

// isAuthorityLine says whether a line of known_hosts vouches for certificates instead of being a host's key.
func isAuthorityLine(path string, line int) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for n := 1; s.Scan(); n++ {
		if n == line {
			return strings.HasPrefix(strings.TrimSpace(s.Text()), "@cert-authority"), nil
		}
	}
	return false, s.Err()
}

var certificateAlgorithms = []string{
	ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
	ssh.CertAlgoRSASHA256v01, ssh.CertAlgoRSASHA512v01,
}

// keyAlgorithms are the signatures that a key of the type can make; SHA-1 is none of them.
func keyAlgorithms(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{keyType}
}

func appendNew(list []string, more ...string) []string {
	for _, m := range more {
		if !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	return list
}

func newHostKeyError(host string, got ssh.PublicKey, source string) *HostKeyError {
	return &HostKeyError{
		Host: host, Got: authorizedKey(got), GotType: got.Type(), GotFingerprint: ssh.FingerprintSHA256(got), Source: source,
	}
}

func describeKey(k ssh.PublicKey, source string) string {
	return fmt.Sprintf("%s %s (%s)", k.Type(), ssh.FingerprintSHA256(k), source)
}

func authorizedKey(k ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k)))
}

func expandHome(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return path
}
