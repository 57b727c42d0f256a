package cli_test

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-io/terraform-provider-fairlead/cli"
)

// asFairlead makes this test binary the `fairlead` command, so that tests run it as a process without a build of
// their own, and with the race detector when they have it.
const asFairlead = "FAIRLEAD_TEST_COMMAND"

// startup bounds how long a process may take to get ready.
const startup = time.Minute

func TestMain(m *testing.M) {
	if os.Getenv(asFairlead) != "" {
		os.Exit(cli.Main(os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// process is a `fairlead server` that can be killed and started again on its data and its address.
type process struct {
	t       *testing.T
	dir     string
	address string
	log     *os.File
	cmd     *exec.Cmd // nil while it does not run
}

func newProcess(t *testing.T) *process {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, dir: filepath.Join(t.TempDir(), "server"), address: l.Addr().String()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if p.log, err = os.Create(filepath.Join(t.TempDir(), "server.log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	return p
}

// start starts the server and returns once it is ready.
func (p *process) start() {
	p.t.Helper()
	p.cmd = exec.Command(os.Args[0], "server", "--data-dir", p.dir, "--listen", p.address)
	p.cmd.Env = append(os.Environ(), asFairlead+"=1")
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.eventually("the server is ready", func() bool {
		c, err := p.config()
		if errors.Is(err, fs.ErrNotExist) {
			return false
		}
		if err != nil {
			p.t.Fatal(err)
		}
		hc, err := rest.HTTPClientFor(c)
		if err != nil {
			p.t.Fatal(err)
		}
		defer hc.CloseIdleConnections()
		resp, err := hc.Get(c.Host + "/readyz")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
}

// config is the administrator's. Each call has connections of its own.
func (p *process) config() (*rest.Config, error) {
	c, err := clientcmd.BuildConfigFromFlags("", filepath.Join(p.dir, "admin.kubeconfig"))
	if err != nil {
		return nil, err
	}
	c.QPS, c.DisableCompression = -1, true
	c.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	return c, nil
}

// kill ends the server as a loss of power of its process does.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Errorf("cannot kill the server: %v", err)
	}
	_ = p.cmd.Wait() // its status is that it was killed
	p.cmd = nil
}

// end kills the server and shows its log when the test failed, or when it has what no log may have.
func (p *process) end() {
	p.kill()
	if err := p.log.Close(); err != nil {
		p.t.Error(err)
	}
	log, err := os.ReadFile(p.log.Name())
	if err != nil {
		p.t.Error(err)
	}
	for _, bad := range []string{"DATA RACE", "panic"} {
		if bytes.Contains(log, []byte(bad)) {
			p.t.Errorf("the server's log has %q", bad)
		}
	}
	if p.t.Failed() {
		p.t.Logf("the server's log ends:\n%s", log[max(0, len(log)-10_000):])
	}
}

// eventually waits for a condition by polling it.
func (p *process) eventually(what string, ok func() bool) {
	p.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(startup)
	defer end.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end.C:
			p.t.Fatalf("not within %v: %s", startup, what)
		}
	}
}
