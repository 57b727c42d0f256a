// Package ssh reaches a host: commands, files and connections over SSH with a verified host key, or the same
// on the local machine. Fake, beside it, passes the same suite.
package ssh

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
)

// Command is one command on a host, run by /bin/sh.
type Command struct {
	// Line is given to the shell as it is; quote arguments with Quote.
	Line  string
	Stdin io.Reader
	// Stdout, when set, gets output as it comes, and Result.Stdout stays empty.
	Stdout io.Writer
	// Sudo runs it as root; without effect for root.
	Sudo bool
	// Secret keeps Line out of logs and errors.
	Secret bool
}

// Result is what a command printed.
type Result struct{ Stdout, Stderr []byte }

// ExitError is a command that ran and failed. It does not cover a connection that broke: that is a
// *ConnError, and trying again may help.
type ExitError struct {
	Host, Line string
	Code       int
	Stderr     []byte // whole
}

func (e *ExitError) Error() string {
	msg := strings.TrimSpace(string(e.Stderr))
	if len(msg) > 500 {
		msg = "…" + msg[len(msg)-500:]
	}
	return fmt.Sprintf("cannot run %q on %s: exit status %d: %s", e.Line, e.Host, e.Code, msg)
}

// ConnError is a host that could not be reached or a connection that was lost. HostKeyError and AuthError are
// told apart from it by errors.As, since trying again does not help there.
type ConnError struct {
	Host string
	Err  error
}

func (e *ConnError) Error() string { return fmt.Sprintf("cannot reach %s: %v", e.Host, e.Err) }
func (e *ConnError) Unwrap() error { return e.Err }

// Conn is a connection to a host. All methods may run at once. Close ends what still runs.
type Conn interface {
	// Host names the host in messages: its address, or "local".
	Host() string
	// Run runs a command to its end; when ctx ends first the command is killed.
	Run(ctx context.Context, c Command) (Result, error)
	// Upload writes a file: temporary name beside it, 0600, checksum compared on the host, chmod and chown to
	// root, fsync, rename. Parent directories are made with 0755.
	Upload(ctx context.Context, r io.Reader, path string, mode fs.FileMode) error
	// ReadFile returns a whole (small) file; a missing one is fs.ErrNotExist.
	ReadFile(ctx context.Context, path string) ([]byte, error)
	// Dial opens a connection from the host, such as to its own API server on loopback.
	Dial(ctx context.Context, network, address string) (net.Conn, error)
	// HostKey is the key that the host proved, in authorized_keys form; "" for the local machine.
	HostKey() string
	Close() error
}

// Quote makes s one word for /bin/sh.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
