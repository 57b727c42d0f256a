package ssh

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	// maxSessions at once on one connection: sshd's MaxSessions is 10, some of which may still be ending, and one
	// more is needed to kill a command.
	maxSessions = 6
	// sessionPatience is for sshd to notice the end of sessions when it says that there are too many.
	sessionPatience, sessionPause = 5 * time.Second, 50 * time.Millisecond
	// killTimeout covers the script's two seconds of grace, a session, and a round trip on a bad line.
	killTimeout = 2*time.Second + 5*time.Second
)

// remote is a Conn over SSH.
type remote struct {
	cfg     Config
	client  *ssh.Client
	bastion *remote // closed with this one; nil without
	hostKey string
	marker  string // that a command's stderr begins with, before its process id
	isRoot  bool
	log     *slog.Logger

	sessions chan struct{} // counts sessions; capacity maxSessions
	closing  chan struct{} // closed by Close
	once     sync.Once
	wg       sync.WaitGroup // goroutines of the connection

	mu  sync.Mutex
	why error // under mu: why the connection ended, when this side knows
}

func newRemote(c Config, client *ssh.Client, key ssh.PublicKey, bastion *remote) *remote {
	var nonce [8]byte
	_, _ = rand.Read(nonce[:]) // never fails
	r := &remote{
		cfg: c, client: client, bastion: bastion, hostKey: authorizedKey(key),
		marker: "fairlead-pid-" + hex.EncodeToString(nonce[:]) + " ",
		isRoot: c.User == "root", log: c.Logger.With("host", c.Address),
		sessions: make(chan struct{}, maxSessions), closing: make(chan struct{}),
	}
	r.wg.Go(r.keepAlive)
	return r
}

func (r *remote) Host() string    { return r.cfg.Address }
func (r *remote) HostKey() string { return r.hostKey }

// Close ends all that runs over the connection, and the bastion's with it.
func (r *remote) Close() error {
	err := r.closeOwn()
	if r.bastion != nil {
		_ = r.bastion.Close()
	}
	return err
}

func (r *remote) closeOwn() error {
	err := r.end(ErrClosed)
	r.wg.Wait()
	return err
}

// end closes the client once and notes why.
func (r *remote) end(why error) (err error) {
	r.once.Do(func() {
		r.mu.Lock()
		r.why = why
		r.mu.Unlock()
		close(r.closing)
		err = r.client.Close()
	})
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
		return nil // the host was first
	}
	return err
}

func (r *remote) connError(err error) *ConnError {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.why != nil {
		err = r.why
	}
	return &ConnError{r.cfg.Address, err}
}

// keepAlive ends a connection whose peer no longer answers, so that nothing waits for it for ever.
func (r *remote) keepAlive() {
	tick := time.NewTicker(r.cfg.KeepAlive)
	defer tick.Stop()
	for {
		select {
		case <-r.closing:
			return
		case <-tick.C:
		}
		answered := make(chan error, 1) // one answer, which nobody may wait for any more
		r.wg.Go(func() {
			_, _, err := r.client.SendRequest("keepalive@openssh.com", true, nil)
			answered <- err
		})
		patience := time.NewTimer(missedKeepAlives * r.cfg.KeepAlive)
		select {
		case <-r.closing:
		case err := <-answered:
			if err != nil {
				_ = r.end(fmt.Errorf("connection was lost: %w", err))
			}
		case <-patience.C:
			_ = r.end(fmt.Errorf("connection was lost: no answer for %v", missedKeepAlives*r.cfg.KeepAlive))
		}
		patience.Stop()
	}
}

// detectRoot asks who the user is: one with id 0 needs no sudo, whatever its name.
func (r *remote) detectRoot(ctx context.Context) error {
	out, err := r.Run(ctx, Command{Line: "id -u"})
	if err != nil {
		return err
	}
	r.isRoot = strings.TrimSpace(string(out.Stdout)) == "0"
	return nil
}

// session opens a session; done gives its place back.
func (r *remote) session(ctx context.Context) (s *ssh.Session, done func(), err error) {
	if !r.begin() {
		return nil, nil, r.connError(ErrClosed)
	}
	select {
	case r.sessions <- struct{}{}:
	case <-r.closing:
		err = r.connError(ErrClosed)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		r.wg.Done()
		return nil, nil, err
	}
	s, err = r.openSession(ctx)
	if err != nil {
		<-r.sessions
		r.wg.Done()
		return nil, nil, err
	}
	return s, func() { _ = s.Close(); <-r.sessions; r.wg.Done() }, nil
}

// begin counts a session as a goroutine of the connection, unless the connection has ended: goroutines are
// started by what is counted only, so that none starts after Close has waited for them.
func (r *remote) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.why != nil {
		return false
	}
	r.wg.Add(1)
	return true
}

// openSession does not count. A session that opens after ctx ended is closed again.
func (r *remote) openSession(ctx context.Context) (*ssh.Session, error) {
	type opened struct {
		s   *ssh.Session
		err error
	}
	ch := make(chan opened)
	r.wg.Go(func() {
		s, err := r.newSession(ctx)
		select {
		case ch <- opened{s, err}:
		case <-ctx.Done():
			if err == nil {
				_ = s.Close()
			}
		}
	})
	select {
	case o := <-ch:
		if o.err != nil {
			return nil, r.connError(fmt.Errorf("cannot open a session: %w", o.err))
		}
		return o.s, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// newSession tries again, for a while, when sshd has no place for another session: it gives places back a little
// after their sessions have ended.
func (r *remote) newSession(ctx context.Context) (*ssh.Session, error) {
	for begin := time.Now(); ; {
		s, err := r.client.NewSession()
		var full *ssh.OpenChannelError
		if err == nil || !errors.As(err, &full) || time.Since(begin) > sessionPatience {
			return s, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(sessionPause):
		}
	}
}

func (r *remote) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := r.client.DialContext(ctx, network, address)
	var refused *ssh.OpenChannelError
	switch {
	case err == nil:
		return conn, nil
	case errors.As(err, &refused) && refused.Reason == ssh.Prohibited:
		return nil, fmt.Errorf("cannot connect from %s to %s: sshd does not allow it, set AllowTcpForwarding to \"local\" or \"yes\" in sshd_config: %w", r.Host(), address, err)
	case errors.As(err, &refused), ctx.Err() != nil:
		return nil, fmt.Errorf("cannot connect from %s to %s: %w", r.Host(), address, err)
	default:
		return nil, r.connError(fmt.Errorf("cannot connect to %s from it: %w", address, err))
	}
}

func (r *remote) ReadFile(ctx context.Context, path string) ([]byte, error) {
	return readFile(ctx, r, path)
}

func (r *remote) Upload(ctx context.Context, rd io.Reader, path string, mode fs.FileMode) error {
	return upload(ctx, r, r.put, rd, path, mode)
}
