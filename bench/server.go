package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const startTimeout = 30 * time.Second

// server is a server process of its own.
type server struct {
	dir        string
	port       int
	url        string
	cmd        *exec.Cmd
	readyAfter time.Duration
	*target
}

func startServer(ctx context.Context, o *options) (_ *server, err error) {
	dir, err := os.MkdirTemp("", "fairlead-bench-")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, port: port, url: fmt.Sprintf("https://127.0.0.1:%d", port)}
	if err := s.start(ctx, o); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	if s.target, err = connect(filepath.Join(s.dir, "server", "admin.kubeconfig"), []int{s.cmd.Process.Pid}); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// start runs the server on its directory and waits until it is ready.
func (s *server) start(ctx context.Context, o *options) error {
	log, err := os.OpenFile(filepath.Join(s.dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.CommandContext(ctx, o.binary, "server", "--data-dir", filepath.Join(s.dir, "server"), "--listen", fmt.Sprintf("0.0.0.0:%d", s.port))
	s.cmd.Stderr = log
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	begin := time.Now()
	if err := s.cmd.Start(); err != nil {
		return err
	}
	if err := s.awaitReady(ctx); err != nil {
		return err
	}
	s.readyAfter = time.Since(begin)
	return nil
}

// restart ends the server and starts it on what it has stored.
func (s *server) restart(ctx context.Context, o *options) error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("the server did not end well: %w", err)
	}
	if err := s.start(ctx, o); err != nil {
		return err
	}
	s.processes = []int{s.cmd.Process.Pid}
	return nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// awaitReady asks whether the server answers, which says nothing of who it is: the kubeconfig that it writes
// does.
func (s *server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // see above
	defer client.CloseIdleConnections()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("the server is not ready; see %s/server.log: %w", s.dir, err)
		}
	}
}

func (s *server) stop() error {
	if s.cmd.Process != nil {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		_ = s.cmd.Wait()
	}
	return os.RemoveAll(s.dir)
}
