package ssh

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// ErrClosed is the cause of a ConnError on a connection that was closed on this side.
var ErrClosed = errors.New("connection is closed")

// ConfigError is a configuration that cannot work whatever the host does. It does not cover files that a
// default names and that may be absent. Trying again does not help.
type ConfigError struct {
	Field string // as in Config, such as "PrivateKeyFile" or "Bastion.HostKey"
	Err   error
}

func (e *ConfigError) Error() string {
	return fmt.Sprintf("cannot use SSH setting %s: %v", e.Setting(), e.Err)
}

// Setting is the field as a person writes it: private_key_file, bastion.host_key.
func (e *ConfigError) Setting() string {
	var b strings.Builder
	for i, r := range e.Field {
		if unicode.IsUpper(r) && i > 0 && e.Field[i-1] != '.' {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func (e *ConfigError) Unwrap() error { return e.Err }

// HostKeyError is a host that proved another key than the one known for it, a revoked one, or one that nothing
// vouches for. Trying again does not help.
type HostKeyError struct {
	Host string
	// Got is the key that the host proved, in authorized_keys form, with its type and SHA256 fingerprint; empty
	// when it has no key of a type that one is known of.
	Got, GotType, GotFingerprint string
	// Want are "TYPE FINGERPRINT (SOURCE)" of the keys that would have been accepted; empty for an unknown host.
	Want []string
	// Revoked says that known_hosts marks the key as revoked.
	Revoked bool
	// Source says where keys were looked up: "host_key" or the known_hosts files.
	Source string
	// Bastion says that the host is the one to go through.
	Bastion bool
	// Err is what is wrong with a host certificate, or the failed negotiation of a key type.
	Err error
}

func (e *HostKeyError) Unwrap() error { return e.Err }

// Unknown says that nothing is known about the host, as opposed to something else than what it proved.
func (e *HostKeyError) Unknown() bool {
	return e.Got != "" && len(e.Want) == 0 && !e.Revoked && e.Err == nil
}

func (e *HostKeyError) Error() string {
	if e.Got == "" {
		return fmt.Sprintf("cannot verify the host key of %s: it has no key of the types that %s knows: %v", e.Host, e.Source, e.Err)
	}
	got := fmt.Sprintf("cannot verify the host key of %s: it offers %s %s", e.Host, e.GotType, e.GotFingerprint)
	switch {
	case e.Err != nil:
		return fmt.Sprintf("%s: %v", got, e.Err)
	case e.Revoked:
		return fmt.Sprintf("%s, which %s marks as revoked", got, e.Source)
	case e.Unknown() && e.Bastion:
		return fmt.Sprintf("%s, and %s has no key for this host: give the bastion's host_key, or add it to known_hosts", got, e.Source)
	case e.Unknown():
		return fmt.Sprintf("%s, and %s has no key for this host: give host_key, add the host to known_hosts, or set host_key_policy = \"accept-new\"", got, e.Source)
	}
	return fmt.Sprintf("%s, but the key known for it is %s: either the host was installed anew or somebody sits in between",
		got, strings.Join(e.Want, " or "))
}

// AuthError is a host whose key was verified and that refused the user. Trying again does not help.
type AuthError struct {
	Host, User string
	// Tried names what was offered: "private_key", key files, "agent key COMMENT"; never the keys themselves.
	Tried []string
	// Unusable says of each source that could not be offered why.
	Unusable []string
	Err      error
}

func (e *AuthError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cannot log in to %s as %s: ", e.Host, e.User)
	if len(e.Tried) == 0 {
		b.WriteString("there is no key to offer")
	} else {
		fmt.Fprintf(&b, "the host refused %s", strings.Join(e.Tried, ", "))
	}
	if len(e.Unusable) > 0 {
		fmt.Fprintf(&b, " (not usable: %s)", strings.Join(e.Unusable, "; "))
	}
	return b.String()
}

func (e *AuthError) Unwrap() error { return e.Err }

// SudoError is a command that needed root and did not start, because sudo is off, missing, or wants a
// password. Trying again does not help.
type SudoError struct {
	Host, User, Reason string
}

func (e *SudoError) Error() string {
	return fmt.Sprintf("cannot become root on %s as %s: %s", e.Host, e.User, e.Reason)
}

func sudoReason(stderr string) string {
	switch s := strings.TrimSpace(stderr); {
	case strings.Contains(s, "password is required"), strings.Contains(s, "a terminal is required"):
		return "sudo asks for a password: give the user a NOPASSWD rule, or log in as root"
	case strings.Contains(s, "not found"), strings.Contains(s, "No such file"):
		return "sudo is not installed: install it, or log in as root"
	case strings.Contains(s, "not in the sudoers"), strings.Contains(s, "not allowed"):
		return "sudoers does not let the user do so: " + s
	case s == "":
		return "sudo failed without a message"
	default:
		return "sudo failed: " + s
	}
}
