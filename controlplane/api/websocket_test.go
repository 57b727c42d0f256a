package api_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	agentforward "k8s.io/cri-streaming/pkg/streaming/portforward"
	agentcommand "k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// streams is what an agent makes of upgraded connections: exec repeats its input and ends with 3, port-forward
// says the port.
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

func (streams) ExecInContainer(_ context.Context, _, _, _ string, cmd []string, in io.Reader, out, _ io.WriteCloser, _ bool, _ <-chan agentcommand.TerminalSize, _ time.Duration) error {
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
		if code, ok := err.(utilexec.ExitError); !ok || code.ExitStatus() != 3 {
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
