package ssh

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// defaultKeyFiles is what ssh(1) looks for.
var defaultKeyFiles = []string{"~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"}

// identities are the keys that may be offered, named for messages.
type identities struct {
	signers  []ssh.Signer
	names    []string
	unusable []string
	agent    net.Conn // that agent keys sign through; nil when none is used
}

func (id *identities) add(name string, s ...ssh.Signer) {
	for _, signer := range s {
		id.signers = append(id.signers, signer)
		id.names = append(id.names, name)
	}
}

func (id *identities) close() {
	if id.agent != nil {
		_ = id.agent.Close()
	}
}

// loadIdentities reads the keys of c, which is complete; the caller closes them after the handshake. What the
// configuration names must be usable; what is only a default need not be.
func loadIdentities(c *Config) (_ *identities, err error) {
	id := &identities{}
	defer func() {
		if err != nil {
			id.close()
		}
	}()
	if len(c.PrivateKey) > 0 {
		s, err := parseKey(c.PrivateKey, c.Passphrase)
		if err != nil {
			return nil, &ConfigError{"PrivateKey", err}
		}
		id.add("private_key", s)
	}
	if c.PrivateKeyFile != "" {
		s, err := readKey(c.PrivateKeyFile, c.Passphrase)
		if err != nil {
			return nil, &ConfigError{"PrivateKeyFile", err}
		}
		id.add(c.PrivateKeyFile, s)
	}
	named := c.namesKeys()
	if c.UseAgent || !named && !c.NoAgent {
		if err := id.addAgent(); err != nil {
			if c.UseAgent {
				return nil, &ConfigError{"UseAgent", err}
			}
			id.unusable = append(id.unusable, "agent: "+err.Error())
		}
	}
	if !named {
		id.addDefaults(c.Passphrase)
	}
	return id, nil
}

func (id *identities) addDefaults(passphrase []byte) {
	for _, path := range defaultKeyFiles {
		s, err := readKey(path, passphrase)
		switch {
		case err == nil:
			id.add(path, s)
		case !errors.Is(err, fs.ErrNotExist):
			id.unusable = append(id.unusable, err.Error())
		}
	}
}

func (id *identities) addAgent() error {
	socket := os.Getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return errors.New("SSH_AUTH_SOCK is not set")
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return fmt.Errorf("cannot reach the agent: %w", err)
	}
	id.agent = conn
	client := agent.NewClient(conn)
	keys, err := client.List()
	if err != nil {
		return fmt.Errorf("cannot list the agent's keys: %w", err)
	}
	signers, err := client.Signers()
	if err != nil {
		return fmt.Errorf("cannot list the agent's keys: %w", err)
	}
	comments := map[string]string{}
	for _, k := range keys {
		comments[string(k.Blob)] = k.Comment
	}
	for _, s := range signers {
		id.add(fmt.Sprintf("agent key %q", comments[string(s.PublicKey().Marshal())]), s)
	}
	if len(signers) == 0 {
		return errors.New("the agent holds no keys")
	}
	return nil
}

func readKey(path string, passphrase []byte) (ssh.Signer, error) {
	pem, err := os.ReadFile(expandHome(path))
	if err != nil {
		return nil, fmt.Errorf("cannot read key: %w", err)
	}
	s, err := parseKey(pem, passphrase)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Clean(path), err)
	}
	return s, nil
}

// parseKey takes a passphrase also for a key that has none. Its errors quote nothing of the key.
func parseKey(pem, passphrase []byte) (ssh.Signer, error) {
	s, err := ssh.ParsePrivateKey(pem)
	var missing *ssh.PassphraseMissingError
	if !errors.As(err, &missing) {
		if err != nil {
			return nil, errors.New("it is not a private key in PEM or OpenSSH form")
		}
		return s, nil
	}
	if len(passphrase) == 0 {
		return nil, errors.New("the key is encrypted and no passphrase is given: give it, or add the key to an agent")
	}
	if s, err = ssh.ParsePrivateKeyWithPassphrase(pem, passphrase); err != nil {
		return nil, errors.New("cannot decrypt the key: the passphrase is wrong, or the format is not supported")
	}
	return s, nil
}
