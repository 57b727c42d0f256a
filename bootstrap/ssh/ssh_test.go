package ssh_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh/conntest"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh/sshtest"
)

const testUser = "fairlead-sshtest"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hostDir is a folder that a user other than root cannot write.
func hostDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fairlead-host-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// configFor reaches s as root with key.
func configFor(s *sshtest.Server, key *sshtest.Key) ssh.Config {
	return ssh.Config{
		User: "root", Address: s.Address, Port: s.Port, PrivateKey: key.PEM, HostKey: s.HostKeys[0].Authorized,
		Timeout: 10 * time.Second, Logger: slog.New(slog.DiscardHandler),
	}
}

func dial(t *testing.T, c ssh.Config) ssh.Conn {
	t.Helper()
	conn, err := ssh.Dial(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestConn(t *testing.T) {
	key := sshtest.NewKey(t, "ed25519", "")
	authorized := []*sshtest.Key{key}
	t.Run("root", func(t *testing.T) {
		s := sshtest.Start(t, sshtest.Options{Authorized: authorized})
		conntest.Run(t, hostDir(t), func(t *testing.T) ssh.Conn { return dial(t, configFor(s, key)) })
	})
	t.Run("without sftp", func(t *testing.T) {
		s := sshtest.Start(t, sshtest.Options{Authorized: authorized, NoSFTP: true})
		conntest.Run(t, hostDir(t), func(t *testing.T) ssh.Conn { return dial(t, configFor(s, key)) })
	})
	t.Run("bastion", func(t *testing.T) {
		s := sshtest.Start(t, sshtest.Options{Authorized: authorized})
		jump := sshtest.Start(t, sshtest.Options{Authorized: authorized})
		conntest.Run(t, hostDir(t), func(t *testing.T) ssh.Conn {
			c := configFor(s, key)
			c.Bastion = &ssh.Config{Address: jump.Address, Port: jump.Port, HostKey: jump.HostKeys[0].Authorized}
			return dial(t, c)
		})
	})
	t.Run("sudo", func(t *testing.T) {
		u := sshtest.NewUser(t, testUser)
		s := sshtest.Start(t, sshtest.Options{Authorized: authorized, Config: []string{"SetEnv PATH=" + u.SudoDir(t) + ":/usr/bin:/bin"}})
		conntest.Run(t, hostDir(t), func(t *testing.T) ssh.Conn {
			c := configFor(s, key)
			c.User, c.Sudo = u.Name, true
			return dial(t, c)
		})
	})
	t.Run("local", func(t *testing.T) {
		conntest.Run(t, hostDir(t), func(t *testing.T) ssh.Conn {
			return dial(t, ssh.Config{Address: ssh.LocalAddress, Logger: slog.New(slog.DiscardHandler)})
		})
	})
	t.Run("fake", func(t *testing.T) {
		conntest.Run(t, "/dir", func(*testing.T) ssh.Conn { return scriptedFake() })
	})
}

// scriptedFake answers the suite's commands as a shell would.
func scriptedFake() *ssh.Fake {
	f := ssh.NewFake("fake")
	f.On(conntest.LineBoth, func(context.Context, ssh.Command) (string, string, int, error) {
		return "out\n", "err\n", 0, nil
	})
	f.Fail(conntest.LineFail, 7, "why\n")
	f.Reply(conntest.LineRoot, "0\n")
	f.On(conntest.LineCat, func(_ context.Context, c ssh.Command) (string, string, int, error) {
		data, err := io.ReadAll(c.Stdin)
		return string(data), "", 0, err
	})
	f.On(conntest.LineSleep, func(ctx context.Context, c ssh.Command) (string, string, int, error) {
		if _, err := io.WriteString(c.Stdout, "started\n"); err != nil {
			return "", "", 0, err
		}
		<-ctx.Done()
		return "", "", 0, context.Cause(ctx)
	})
	return f
}
