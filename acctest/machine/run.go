package machine

import (
	"context"
	"fmt"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
)

// Run runs a shell command as root over SSH and returns what it printed on both streams.
func (m *Machine) Run(ctx context.Context, line string) (string, error) {
	return m.run(ctx, "root", line)
}

func (m *Machine) run(ctx context.Context, user, line string) (string, error) {
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(m.HostKey))
	if err != nil {
		return "", err
	}
	addr := net.JoinHostPort(m.Address.String(), "22")
	raw, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", fmt.Errorf("cannot reach machine %s: %w", m.Name, err)
	}
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	conn, chans, reqs, err := ssh.NewClientConn(raw, addr, &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(m.signer)}, HostKeyCallback: ssh.FixedHostKey(hostKey),
	})
	if err != nil {
		return "", fmt.Errorf("cannot log in to machine %s: %w", m.Name, err)
	}
	client := ssh.NewClient(conn, chans, reqs)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return "", fmt.Errorf("cannot open session on machine %s: %w", m.Name, err)
	}
	defer session.Close()
	out, err := session.CombinedOutput(line)
	if err != nil {
		return string(out), fmt.Errorf("cannot run %q on machine %s: %w: %s", line, m.Name, err, tail(out))
	}
	return string(out), nil
}

// await tries ok, a command over SSH, until it returns nil.
func (m *Machine) await(ctx context.Context, ok func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, m.slow)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		// A connection to a machine that goes away is never answered.
		once, cancel := context.WithTimeout(ctx, m.slow/5)
		last := ok(once)
		cancel()
		if last == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-m.exited:
			return fmt.Errorf("cannot boot machine %s: it ended; its console: %s", m.Name, m.console())
		case <-ctx.Done():
			return fmt.Errorf("cannot reach machine %s: %w; its console: %s", m.Name, last, m.console())
		}
	}
}
