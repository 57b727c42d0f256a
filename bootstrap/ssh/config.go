package ssh

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh/knownhosts"
)

// LocalAddress as Config.Address means this machine, without SSH.
const LocalAddress = "local"

// Policies for a host without a known key.
const (
	// HostKeyStrict refuses a host that neither HostKey nor known_hosts vouches for.
	HostKeyStrict = "strict"
	// HostKeyAcceptNew takes the key of a host that nothing is known about; Conn.HostKey returns it for the
	// caller to record and to give as HostKey from then on. A host with a known key must prove that one.
	HostKeyAcceptNew = "accept-new"
)

// DefaultPort is where sshd listens.
const DefaultPort = 22

// Timeouts. A dial covers name resolution, TCP, and, on an embedded board, some seconds of key exchange.
const (
	DefaultTimeout   = 30 * time.Second
	DefaultKeepAlive = 15 * time.Second
	// missedKeepAlives without an answer end the connection.
	missedKeepAlives = 3
)

// Config says how to reach a host. Its secrets never get into logs or errors.
type Config struct {
	User    string // empty: root
	Address string // name or address, or LocalAddress
	Port    int    // 0: DefaultPort

	PrivateKey     []byte // PEM
	Passphrase     []byte // of PrivateKey and PrivateKeyFile
	PrivateKeyFile string // ~/ is the home directory
	// UseAgent offers the keys of the agent at SSH_AUTH_SOCK. When nothing at all is said about keys, the agent
	// is used if there is one, and so are the key files that ssh(1) looks for.
	UseAgent bool
	// NoAgent does not ask the agent even then.
	NoAgent bool

	// HostKey is one key, or one a line, in authorized_keys form or as "TYPE SHA256:FINGERPRINT"; known_hosts is
	// not looked at then.
	HostKey string
	// KnownHostsFile is read instead of ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts; it must exist.
	KnownHostsFile string
	HostKeyPolicy  string // empty: HostKeyStrict

	// Bastion is a host to go through. What it leaves empty of User, keys, Passphrase and KnownHostsFile it takes from
	// here. Its host key must be given or known: there is no place to record it in.
	Bastion *Config

	// Sudo lets commands that need root use `sudo -n`; a root user needs none.
	Sudo bool

	Timeout   time.Duration // of dial and handshake, each hop; 0: DefaultTimeout
	KeepAlive time.Duration // between probes; 0: DefaultKeepAlive

	Logger *slog.Logger // nil: slog.Default()
}

// String names the host without any secret, so that a Config that is printed by accident tells nothing.
func (c Config) String() string { return c.User + "@" + c.endpoint() }

// GoString is String.
func (c Config) GoString() string { return c.String() }

// LogValue is String.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

func (c *Config) endpoint() string { return net.JoinHostPort(c.Address, strconv.Itoa(c.Port)) }

// Validate says what is wrong with the configuration without reading a file or dialling.
func (c *Config) Validate() error {
	switch c.HostKeyPolicy {
	case "", HostKeyStrict, HostKeyAcceptNew:
	default:
		return &ConfigError{"HostKeyPolicy", fmt.Errorf("%q is neither %q nor %q", c.HostKeyPolicy, HostKeyStrict, HostKeyAcceptNew)}
	}
	if c.Address == "" {
		return &ConfigError{"Address", errors.New("it is empty")}
	}
	if c.Port < 0 || c.Port > 65535 {
		return &ConfigError{"Port", fmt.Errorf("%d is not a port", c.Port)}
	}
	if c.HostKey != "" {
		if _, err := parseHostKeys(c.HostKey); err != nil {
			return &ConfigError{"HostKey", err}
		}
	}
	if c.Bastion == nil {
		return nil
	}
	if c.Bastion.Address == LocalAddress {
		return &ConfigError{"Bastion.Address", errors.New("this machine cannot be a bastion")}
	}
	if c.Bastion.HostKeyPolicy == HostKeyAcceptNew {
		return &ConfigError{"Bastion.HostKeyPolicy", errors.New("the key of a bastion cannot be recorded: give its host_key or use known_hosts")}
	}
	return inBastion(c.Bastion.Validate())
}

// Check says what is wrong with the configuration whatever host it is for, without dialling, of the bastion too. Files
// that are not there yet are no error: they are when they are needed still.
func (c *Config) Check() error {
	of := *c
	of.Address = "any"
	if err := of.Validate(); err != nil {
		return err
	}
	if err := c.checkFiles(); err != nil {
		return err
	}
	if c.Bastion == nil {
		return nil
	}
	b := *c.Bastion
	b.inherit(c)
	return inBastion(b.checkFiles())
}

func (c *Config) checkFiles() error {
	if len(c.PrivateKey) > 0 {
		if _, err := parseKey(c.PrivateKey, c.Passphrase); err != nil {
			return &ConfigError{"PrivateKey", err}
		}
	}
	if c.PrivateKeyFile != "" {
		if _, err := readKey(c.PrivateKeyFile, c.Passphrase); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &ConfigError{"PrivateKeyFile", err}
		}
	}
	if c.KnownHostsFile != "" {
		if _, err := knownhosts.New(expandHome(c.KnownHostsFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &ConfigError{"KnownHostsFile", err}
		}
	}
	return nil
}

// inBastion makes a setting of a bastion's configuration one of the configuration that has the bastion.
func inBastion(err error) error {
	var ce *ConfigError
	if errors.As(err, &ce) {
		return &ConfigError{"Bastion." + ce.Field, ce.Err}
	}
	return err
}

// withDefaults returns a copy that is complete, bastions included.
func (c Config) withDefaults() Config {
	if c.User == "" {
		c.User = "root"
	}
	if c.Port == 0 {
		c.Port = DefaultPort
	}
	if c.HostKeyPolicy == "" {
		c.HostKeyPolicy = HostKeyStrict
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.KeepAlive <= 0 {
		c.KeepAlive = DefaultKeepAlive
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Bastion != nil {
		b := *c.Bastion
		b.inherit(&c)
		b = b.withDefaults()
		c.Bastion = &b
	}
	return c
}

func (c *Config) inherit(from *Config) {
	if c.User == "" {
		c.User = from.User
	}
	if !c.namesKeys() {
		c.PrivateKey, c.PrivateKeyFile, c.UseAgent = from.PrivateKey, from.PrivateKeyFile, from.UseAgent && !c.NoAgent
		c.NoAgent = c.NoAgent || from.NoAgent
	}
	if len(c.Passphrase) == 0 {
		c.Passphrase = from.Passphrase
	}
	if c.KnownHostsFile == "" {
		c.KnownHostsFile = from.KnownHostsFile
	}
	if c.Timeout == 0 {
		c.Timeout = from.Timeout
	}
	if c.KeepAlive == 0 {
		c.KeepAlive = from.KeepAlive
	}
	if c.Logger == nil {
		c.Logger = from.Logger
	}
}

func (c *Config) namesKeys() bool {
	return len(c.PrivateKey) > 0 || c.PrivateKeyFile != "" || c.UseAgent
}
