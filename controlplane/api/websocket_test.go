package api_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	agentforward "k8s.io/cri-streaming/pkg/streaming/portforward"
	agentcommand "k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// streams is what an agent makes of upgraded connections: exec repeats its input and ends with 3, or, of the command
// hasty, ends at once whatever its input is; port-forward says the port.
type streams struct{}

func (streams) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const idle, creation = time.Minute, 10 * time.Second
	if strings.HasPrefix(r.URL.Path, "/portForward/") {
		agentforward.ServePortForward(w, r, streams{}, "p", "", &agentforward.V4Options{}, idle, creation, agentforward.SupportedProtocols)
		return
	}
	opts, err := agentcommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	agentcommand.ServeExec(w, r, streams{}, "p", "", "c", r.URL.Query()["command"], opts, idle, creation, agentcommand.SupportedStreamingProtocols)
}

func (streams) ExecInContainer(_ context.Context, _, _, _ string, cmd []string, in io.Reader, out, errOut io.WriteCloser, _ bool, _ <-chan agentcommand.TerminalSize, _ time.Duration) error {
	if cmd[0] == "hasty" {
		_, err := io.WriteString(out, strings.Repeat("out\n", hastyLines))
		_, errErr := io.WriteString(errOut, "err\n")
		return errors.Join(err, errErr)
	}
	fmt.Fprintf(out, "%v ", cmd)
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return utilexec.CodeExitError{Err: fmt.Errorf("exit code 3"), Code: 3}
}

func (streams) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	fmt.Fprintf(stream, "port %d", port)
	return stream.Close()
}

// hastyLines is how often the command hasty prints a line: more than fits into one piece.
const hastyLines = 10000

// TestExecOutputIsComplete has commands end at once over and over, while their input is still being sent: all that they
// print arrives all the same.
func TestExecOutputIsComplete(t *testing.T) {
	const times, together = 50, 4
	e := startWithAgent(t, "n1", streams{})
	address := e.Address + "/api/v1/namespaces/default/pods/p/exec?container=c&command=hasty&stdin=true&stdout=true&stderr=true"
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Repeat("out\n", hastyLines)
	for protocol, executor := range map[string]func() (remotecommand.Executor, error){
		"SPDY": func() (remotecommand.Executor, error) {
			return remotecommand.NewSPDYExecutor(e.Admin(), http.MethodPost, u)
		},
		"WebSocket": func() (remotecommand.Executor, error) {
			return remotecommand.NewWebSocketExecutor(e.Admin(), http.MethodGet, address)
		},
	} {
		t.Run(protocol, func(t *testing.T) {
			var g errgroup.Group
			g.SetLimit(together)
			for range times {
				g.Go(func() error {
					exec, err := executor()
					if err != nil {
						return err
					}
					var out, errOut bytes.Buffer
					err = exec.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: endless{}, Stdout: &out, Stderr: &errOut})
					if err != nil || out.String() != want || errOut.String() != "err\n" {
						return errors.Join(fmt.Errorf("%d bytes of %d, then %q", out.Len(), len(want), errOut.String()), err)
					}
					return nil
				})
			}
			if err := g.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// endless is input that nobody reads to its end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return min(len(p), 1024), nil }

// TestWebSockets are the protocols that kubectl and client-go try first.
func TestWebSockets(t *testing.T) {
	e := startWithAgent(t, "n1", streams{})
	pod := e.Address + "/api/v1/namespaces/default/pods/p/"

	t.Run("exec", func(t *testing.T) {
		exec, err := remotecommand.NewWebSocketExecutor(e.Admin(), http.MethodGet, pod+"exec?container=c&command=cat&command=-&stdin=true&stdout=true")
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err = exec.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader("typed"), Stdout: &out})
		if code := utilexec.ExitError(nil); !errors.As(err, &code) || code.ExitStatus() != 3 {
			t.Errorf("exit: %v", err)
		}
		if out.String() != "[cat -] typed" {
			t.Errorf("output %q", out.String())
		}
	})

	t.Run("portforward", func(t *testing.T) {
		u, err := url.Parse(pod + "portforward")
		if err != nil {
			t.Fatal(err)
		}
		dialer, err := portforward.NewSPDYOverWebsocketDialer(u, e.Admin())
		if err != nil {
			t.Fatal(err)
		}
		stop, ready, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		fw, err := portforward.New(dialer, []string{"0:8080"}, stop, ready, io.Discard, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		go func() { done <- fw.ForwardPorts() }()
		select {
		case <-ready:
		case err := <-done:
			t.Fatal(err)
		}
		ports, err := fw.GetPorts()
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0].Local))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(conn)
		conn.Close()
		if string(got) != "port 8080" {
			t.Errorf("%q, %v", got, err)
		}
		close(stop)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestLogsByWebSocket(t *testing.T) {
	e := startWithNode(t, "n1")
	config, err := rest.TLSConfigFor(e.Admin())
	if err != nil {
		t.Fatal(err)
	}
	path := strings.Replace(e.Address, "https:", "wss:", 1) + "/api/v1/namespaces/default/pods/p/log?tailLines=5&container="
	const want = "/containerLogs/default/p/d?tailLines=5"
	for _, tc := range []struct {
		container string
		protocols []string
		want      string // "" when it is refused
	}{
		{"d", nil, want},
		{"d", []string{"other", "binary.k8s.io"}, want},
		{"d", []string{"base64.binary.k8s.io"}, base64.StdEncoding.EncodeToString([]byte(want))},
		{"d", []string{"other"}, ""},
		{"another", nil, ""},
	} {
		c, err := websocket.NewConfig(path+tc.container, "https://example.com")
		if err != nil {
			t.Fatal(err)
		}
		c.TlsConfig, c.Protocol = config, tc.protocols
		ws, err := websocket.DialConfig(c)
		if err != nil {
			if tc.want != "" {
				t.Errorf("%q: %v", tc.protocols, err)
			}
			continue
		}
		var first string
		if err := websocket.Message.Receive(ws, &first); err != nil || first != "" {
			t.Errorf("%q: the first message is %q, %v", tc.protocols, first, err)
		}
		got, err := io.ReadAll(ws)
		if err != nil || string(got) != tc.want || tc.want == "" {
			t.Errorf("%s %q: %q, %v", tc.container, tc.protocols, got, err)
		}
		_ = ws.Close()
	}
}
