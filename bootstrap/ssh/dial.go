package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Dial connects, verifies the host's key, and logs in; through the bastion when there is one. An Address of
// LocalAddress is this machine. ctx and Config.Timeout bound the dial, not the connection. Errors are
// *ConfigError, *HostKeyError, *AuthError, and *ConnError for what may heal.
func Dial(ctx context.Context, c Config) (Conn, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	if c.Address == LocalAddress {
		return Local(c.Sudo, c.Logger), nil
	}
	return dialRemote(ctx, c)
}

func dialRemote(ctx context.Context, c Config) (_ *remote, err error) {
	var bastion *remote
	if c.Bastion != nil {
		if bastion, err = dialRemote(ctx, *c.Bastion); err != nil {
			var key *HostKeyError
			if errors.As(err, &key) {
				key.Bastion = true
			}
			return nil, fmt.Errorf("cannot use bastion %s: %w", c.Bastion.Address, inBastion(err))
		}
		defer func() {
			if err != nil {
				_ = bastion.Close()
			}
		}()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("no answer within %v", c.Timeout))
	defer cancel()
	client, key, err := handshake(ctx, &c, bastion)
	if err != nil {
		return nil, err
	}
	r := newRemote(c, client, key, bastion)
	if c.User != "root" {
		if err := r.detectRoot(ctx); err != nil {
			_ = r.closeOwn()
			return nil, err
		}
	}
	return r, nil
}

// handshake returns a client that is logged in, and the host's key.
func handshake(ctx context.Context, c *Config, bastion *remote) (*ssh.Client, ssh.PublicKey, error) {
	v, err := newVerifier(c)
	if err != nil {
		return nil, nil, err
	}
	id, err := loadIdentities(c)
	if err != nil {
		return nil, nil, err
	}
	defer id.close()
	conn, err := dialTCP(ctx, c, bastion)
	if err != nil {
		return nil, nil, err
	}
	// Neither a channel through a bastion nor the agent knows deadlines, so the end of ctx closes them.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close(); id.close() })
	sc, chans, reqs, err := ssh.NewClientConn(conn, c.endpoint(), &ssh.ClientConfig{
		User:              c.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(id.signers...)},
		HostKeyCallback:   v.callback,
		HostKeyAlgorithms: v.algorithms,
		ClientVersion:     "SSH-2.0-fairlead",
	})
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	key, keyErr := v.result()
	if err != nil {
		_ = conn.Close()
		return nil, nil, explainHandshake(ctx, c, id, key, keyErr, err)
	}
	return ssh.NewClient(sc, chans, reqs), key, nil
}

func dialTCP(ctx context.Context, c *Config, bastion *remote) (net.Conn, error) {
	var conn net.Conn
	var err error
	if bastion != nil {
		conn, err = bastion.client.DialContext(ctx, "tcp", c.endpoint())
	} else {
		d := net.Dialer{KeepAlive: 15 * time.Second}
		conn, err = d.DialContext(ctx, "tcp", c.endpoint())
	}
	if err == nil {
		return conn, nil
	}
	if errors.Is(err, context.DeadlineExceeded) {
		<-ctx.Done() // the dialer's deadline is that of ctx, and may come a moment before it
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return nil, &ConnError{c.Address, fmt.Errorf("cannot connect to port %d: %w", c.Port, err)}
}

// explainHandshake turns the one error of a handshake into the typed one that tells what it was about.
func explainHandshake(ctx context.Context, c *Config, id *identities, key ssh.PublicKey, keyErr, err error) error {
	var negotiation *ssh.AlgorithmNegotiationError
	switch {
	case keyErr != nil:
		return keyErr
	case ctx.Err() != nil:
		return &ConnError{c.Address, fmt.Errorf("cannot finish the SSH handshake: %w", context.Cause(ctx))}
	case errors.As(err, &negotiation) && strings.Contains(err.Error(), "host key"):
		source := "known_hosts"
		if c.HostKey != "" {
			source = "host_key"
		}
		return &HostKeyError{Host: c.Address, Source: source, Err: err}
	case key != nil && isAuthFailure(err):
		return &AuthError{Host: c.Address, User: c.User, Tried: id.names, Unusable: id.unusable, Err: err}
	default:
		return &ConnError{c.Address, fmt.Errorf("cannot finish the SSH handshake: %w", err)}
	}
}

// isAuthFailure looks at texts, since the library has no types for these: its own, and the one by which
// OpenSSH ends a client that offered too many keys.
func isAuthFailure(err error) bool {
	s := err.Error()
	return strings.Contains(s, "unable to authenticate") || strings.Contains(s, "Too many authentication failures")
}
