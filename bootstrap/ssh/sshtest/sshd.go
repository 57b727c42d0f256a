// Package sshtest runs a real sshd on loopback for tests. It needs root and /usr/sbin/sshd.
package sshtest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// Key is a key pair.
type Key struct {
	Signer     ssh.Signer
	Private    crypto.Signer
	PEM        []byte
	Authorized string // public part in authorized_keys form
}

// NewKey makes a key of type "ed25519" or "ecdsa", encrypted when passphrase is not empty.
func NewKey(t testing.TB, kind, passphrase string) *Key {
	t.Helper()
	var private crypto.Signer
	var err error
	switch kind {
	case "ecdsa":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	}
	must(t, err)
	block, err := ssh.MarshalPrivateKey(private, "test")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "test", []byte(passphrase))
	}
	must(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	must(t, err)
	return &Key{
		Signer: signer, Private: private, PEM: pem.EncodeToMemory(block),
		Authorized: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))),
	}
}

// Options of a server.
type Options struct {
	HostKeys []*Key // one of ed25519 when empty
	// HostCertificate is a certificate of the first host key, in authorized_keys form.
	HostCertificate string
	Authorized      []*Key   // users' keys, of any user
	Config          []string // further lines of sshd_config
	NoSFTP          bool
}

// Server is a running sshd.
type Server struct {
	Address  string // 127.0.0.1
	Port     int
	HostKeys []*Key

	cmd *exec.Cmd
	log *logBuffer
}

// Log is what sshd has printed.
func (s *Server) Log() string { return s.log.String() }

// PID is of the listening sshd.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Start runs an sshd until the test ends, and waits until it answers.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	if len(o.HostKeys) == 0 {
		o.HostKeys = []*Key{NewKey(t, "ed25519", "")}
	}
	must(t, os.MkdirAll("/run/sshd", 0o755))
	dir := t.TempDir()
	s := &Server{Address: "127.0.0.1", Port: freePort(t), HostKeys: o.HostKeys, log: &logBuffer{}}
	config := filepath.Join(dir, "sshd_config")
	must(t, os.WriteFile(config, []byte(strings.Join(configLines(t, dir, s.Port, o), "\n")+"\n"), 0o600))
	s.cmd = exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", config)
	s.cmd.Stderr = s.log
	must(t, s.cmd.Start())
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		if t.Failed() {
			t.Logf("sshd on port %d:\n%s", s.Port, s.Log())
		}
	})
	s.await(t)
	return s
}

func configLines(t testing.TB, dir string, port int, o Options) []string {
	t.Helper()
	var keys []string
	for _, k := range o.Authorized {
		keys = append(keys, k.Authorized)
	}
	// Users read it themselves, so it lies where everybody may look.
	public, err := os.MkdirTemp("", "fairlead-sshd-*")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(public) })
	must(t, os.Chmod(public, 0o755))
	authorized := filepath.Join(public, "authorized_keys")
	must(t, os.WriteFile(authorized, []byte(strings.Join(keys, "\n")+"\n"), 0o644))
	lines := append([]string{}, o.Config...)
	lines = append(lines,
		fmt.Sprintf("ListenAddress 127.0.0.1:%d", port), "PidFile none", "UsePAM no", "StrictModes no", "UseDNS no",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin prohibit-password",
		"AuthorizedKeysFile "+authorized, "LogLevel VERBOSE",
	)
	for i, k := range o.HostKeys {
		file := filepath.Join(dir, fmt.Sprintf("host_key_%d", i))
		must(t, os.WriteFile(file, k.PEM, 0o600))
		lines = append(lines, "HostKey "+file)
	}
	if o.HostCertificate != "" {
		file := filepath.Join(dir, "host_key_0-cert.pub")
		must(t, os.WriteFile(file, []byte(o.HostCertificate+"\n"), 0o644))
		lines = append(lines, "HostCertificate "+file)
	}
	if !o.NoSFTP {
		lines = append(lines, "Subsystem sftp internal-sftp")
	}
	// What root's shell does when it starts is no matter of the tests, and can take most of their time.
	return append(lines, "Match User root", "SetEnv HOME="+public)
}

// await returns when the server sends its greeting.
func (s *Server) await(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		if s.greets() {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Fatalf("sshd does not answer: %s", s.Log())
}

func (s *Server) greets() bool {
	conn, err := net.Dial("tcp", net.JoinHostPort(s.Address, fmt.Sprint(s.Port)))
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	greeting := make([]byte, 4)
	_, err = conn.Read(greeting)
	return err == nil && string(greeting) == "SSH-"
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
