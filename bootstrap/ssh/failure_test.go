package ssh_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh/sshtest"
)

// gone waits until the process has ended.
func gone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return
		}
	}
	t.Errorf("process %d is still there", pid)
}

// TestEndKillsTheProcessGroup has a shell that ignores SIGTERM and a child of it.
func TestEndKillsTheProcessGroup(t *testing.T) {
	key := sshtest.NewKey(t, "ed25519", "")
	u := sshtest.NewUser(t, testUser)
	s := sshtest.Start(t, sshtest.Options{Authorized: []*sshtest.Key{key}, Config: []string{"SetEnv PATH=" + u.SudoDir(t) + ":/usr/bin:/bin"}})
	asUser := configFor(s, key)
	asUser.User, asUser.Sudo = u.Name, true
	for name, test := range map[string]struct {
		conn ssh.Conn
		sudo bool
	}{
		"root": {dial(t, configFor(s, key)), true}, "user": {dial(t, asUser), false}, "sudo": {dial(t, asUser), true},
		"local": {dial(t, ssh.Config{Address: ssh.LocalAddress}), false},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			r, w := io.Pipe()
			ended := make(chan error, 1)
			go func() {
				_, err := test.conn.Run(ctx, ssh.Command{Line: `trap '' TERM; sleep 300 & echo $$ $!; wait; sleep 300`, Stdout: w, Sudo: test.sudo})
				ended <- err
			}()
			buf := make([]byte, 64)
			n, err := r.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			for _, word := range strings.Fields(string(buf[:n])) {
				pid, err := strconv.Atoi(word)
				if err != nil {
					t.Fatal(err)
				}
				gone(t, pid)
			}
		})
	}
}

func TestDeadPeer(t *testing.T) {
	key := sshtest.NewKey(t, "ed25519", "")
	s := sshtest.Start(t, sshtest.Options{Authorized: []*sshtest.Key{key}})
	c := configFor(s, key)
	c.KeepAlive = 50 * time.Millisecond
	conn := dial(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	// The connection's own sshd is the parent of what it runs.
	out, err := conn.Run(ctx, ssh.Command{Line: "echo $PPID"})
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out.Stdout)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGKILL) }()
	var lost *ssh.ConnError
	if _, err := conn.Run(ctx, ssh.Command{Line: "true"}); !errors.As(err, &lost) || !strings.Contains(err.Error(), "no answer for 150ms") {
		t.Fatalf("got %v, want a ConnError about a peer that does not answer", err)
	}
}

func TestDialIsBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	silent := l.Addr().(*net.TCPAddr).Port
	defer l.Close()
	key := sshtest.NewKey(t, "ed25519", "")
	jump := sshtest.Start(t, sshtest.Options{Authorized: []*sshtest.Key{key}})
	base := ssh.Config{Address: "127.0.0.1", Port: silent, PrivateKey: key.PEM, HostKey: key.Authorized, Timeout: 300 * time.Millisecond}
	through := base
	through.Bastion = &ssh.Config{Address: jump.Address, Port: jump.Port, HostKey: jump.HostKeys[0].Authorized, Timeout: 10 * time.Second}
	refused := base
	refused.Port = 1
	wrongJump := through
	wrongJump.Bastion = &ssh.Config{Address: jump.Address, Port: jump.Port, HostKey: key.Authorized, Timeout: 10 * time.Second}
	var lost *ssh.ConnError
	var wrongKey *ssh.HostKeyError
	for name, test := range map[string]struct {
		config  ssh.Config
		as      any
		message string
	}{
		"silent":              {base, &lost, "no answer within 300ms"},
		"silent, via bastion": {through, &lost, "no answer within 300ms"},
		"refused":             {refused, &lost, "connection refused"},
		"bastion's wrong key": {wrongJump, &wrongKey, "cannot use bastion 127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ssh.Dial(t.Context(), test.config)
			if err == nil || !errors.As(err, test.as) || !strings.Contains(err.Error(), test.message) {
				t.Errorf("got %v, want a %T with %q", err, test.as, test.message)
			}
		})
	}
}

func TestSudoFailures(t *testing.T) {
	key := sshtest.NewKey(t, "ed25519", "")
	u := sshtest.NewUser(t, testUser)
	fake := func(text string) string {
		dir, err := os.MkdirTemp("", "fairlead-sudo-*")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "sudo"), []byte("#!/bin/sh\n"+text), 0o755)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	for name, test := range map[string]struct {
		path    string
		off     bool
		message string
	}{
		"password": {path: fake("echo 'sudo: a password is required' >&2; exit 1") + ":/usr/bin:/bin", message: "NOPASSWD"},
		"rule":     {path: fake("echo 'u is not in the sudoers file.' >&2; exit 1") + ":/usr/bin:/bin", message: "does not let the user"},
		"off":      {path: "/usr/bin:/bin", off: true, message: "sudo is off"},
	} {
		t.Run(name, func(t *testing.T) {
			s := sshtest.Start(t, sshtest.Options{Authorized: []*sshtest.Key{key}, Config: []string{"SetEnv PATH=" + test.path}})
			c := configFor(s, key)
			c.User, c.Sudo = u.Name, !test.off
			conn := dial(t, c)
			_, err := conn.Run(t.Context(), ssh.Command{Line: "true", Sudo: true})
			var failed *ssh.SudoError
			if !errors.As(err, &failed) || failed.User != u.Name || !strings.Contains(err.Error(), test.message) {
				t.Errorf("got %v, want a SudoError with %q", err, test.message)
			}
			if err := conn.Upload(t.Context(), strings.NewReader("x"), "/var/tmp/fairlead-never", 0o600); !errors.As(err, &failed) {
				t.Errorf("upload: got %v, want a SudoError", err)
			}
			if _, err := conn.Run(t.Context(), ssh.Command{Line: "true"}); err != nil {
				t.Errorf("without root: %v", err)
			}
		})
	}
}

func TestForwardingForbidden(t *testing.T) {
	key := sshtest.NewKey(t, "ed25519", "")
	s := sshtest.Start(t, sshtest.Options{Authorized: []*sshtest.Key{key}, Config: []string{"AllowTcpForwarding no"}})
	if _, err := dial(t, configFor(s, key)).Dial(t.Context(), "tcp", "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "AllowTcpForwarding") {
		t.Errorf("got %v, want the setting that forbids it", err)
	}
}

func TestUploadLeavesWhatIsThere(t *testing.T) {
	conn := dial(t, ssh.Config{Address: ssh.LocalAddress})
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	leftover := filepath.Join(dir, ".file.fairlead-abcdef")
	if err := os.WriteFile(leftover, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	upload := func(text string, mode fs.FileMode) fs.FileInfo {
		t.Helper()
		if err := conn.Upload(t.Context(), strings.NewReader(text), name, mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != mode {
			t.Fatalf("mode %v, %v", info.Mode(), err)
		}
		return info
	}
	first := upload("one", 0o644)
	if same := upload("one", 0o600); !os.SameFile(first, same) || !same.ModTime().Equal(first.ModTime()) {
		t.Error("the same content was written again")
	}
	if other := upload("two", 0o600); os.SameFile(first, other) {
		t.Error("the file was written in place")
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", name); err != nil {
		t.Fatal(err)
	}
	upload("three", 0o644)
	if info, err := os.Lstat(name); err != nil || !info.Mode().IsRegular() {
		t.Errorf("a symbolic link was followed: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left in the folder: %v, %v", entries, err)
	}
}

// TestUploadToAFullDisk wants the disk named, the file as it was, and nothing left beside it.
func TestUploadToAFullDisk(t *testing.T) {
	key := sshtest.NewKey(t, "ed25519", "")
	s := sshtest.Start(t, sshtest.Options{Authorized: []*sshtest.Key{key}})
	for name, c := range map[string]struct {
		conn ssh.Conn
		says string
	}{
		"local":  {dial(t, ssh.Config{Address: ssh.LocalAddress}), "No space left on device"},
		"remote": {dial(t, configFor(s, key)), "is the disk full?"}, // SFTP has one word for all failures
	} {
		t.Run(name, func(t *testing.T) {
			dir := hostDir(t)
			if err := syscall.Mount("none", dir, "tmpfs", 0, "size=1m"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
			file := filepath.Join(dir, "file")
			if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := c.conn.Upload(t.Context(), bytes.NewReader(make([]byte, 8<<20)), file, 0o600)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
			if data, err := os.ReadFile(file); err != nil || string(data) != "old" {
				t.Errorf("the file is %q, %v", data, err)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
				t.Errorf("left in the folder: %v, %v", entries, err)
			}
		})
	}
}

// TestUploadFailure has a reader that never ends: the temporary file goes with ctx.
func TestUploadFailure(t *testing.T) {
	key := sshtest.NewKey(t, "ed25519", "")
	s := sshtest.Start(t, sshtest.Options{Authorized: []*sshtest.Key{key}})
	dir := hostDir(t)
	for name, conn := range map[string]ssh.Conn{"local": dial(t, ssh.Config{Address: ssh.LocalAddress}), "remote": dial(t, configFor(s, key))} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			enough := errors.New("enough")
			err := conn.Upload(ctx, &endingReader{Reader: bytes.NewReader(make([]byte, 8<<20)), end: func() { cancel(enough) }}, filepath.Join(dir, "file"), 0o600)
			if !errors.Is(err, enough) {
				t.Errorf("got %v, want the cause of the end", err)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
				t.Errorf("left in the folder: %v, %v", entries, err)
			}
		})
	}
}

// endingReader calls end in the middle of its second reading, which is the transfer: the first one measures.
type endingReader struct {
	*bytes.Reader
	end  func()
	seen int
}

func (r *endingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if r.seen += n; r.seen > 12<<20 {
		r.end()
	}
	return n, err
}

// WriteTo hides that of bytes.Reader.
func (r *endingReader) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{r})
}
