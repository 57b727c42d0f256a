package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/utils/exec"
)

// echo answers as a pod that repeats what it is told.
type echo struct{}

func (echo) Exec(_ context.Context, ns, pod, container string, cmd []string, s Streams) (int, error) {
	if pod == "missing" {
		return 0, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, pod)
	}
	fmt.Fprintf(s.Stdout, "%s/%s/%s %v tty=%v\n", ns, pod, container, cmd, s.TTY)
	if s.Stdin != nil {
		_, _ = io.Copy(s.Stdout, s.Stdin)
	}
	if s.Stderr != nil {
		_, _ = io.WriteString(s.Stderr, "to stderr")
	}
	return 3, nil
}

func (echo) Attach(_ context.Context, _, _, _ string, s Streams) error {
	_, err := io.WriteString(s.Stdout, "attached")
	return err
}

func (echo) PortForward(_ context.Context, _, _ string, port uint16, rw io.ReadWriteCloser) error {
	fmt.Fprintf(rw, "port %d", port)
	return rw.Close()
}

func (echo) Logs(_ context.Context, ns, pod, _ string, o *corev1.PodLogOptions, w io.Writer) error {
	if pod == "missing" {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, pod)
	}
	_, err := fmt.Fprintf(w, "follow=%v tail=%d", o.Follow, *o.TailLines)
	return err
}

func (echo) Pods() []*corev1.Pod {
	return []*corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: "here"}}}
}

func serve(t *testing.T) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(NewServer(Config{Runtime: echo{}, Logger: slog.New(slog.DiscardHandler)}))
	t.Cleanup(srv.Close)
	return srv
}

func TestExecOverSPDY(t *testing.T) {
	srv := serve(t)
	u, err := url.Parse(srv.URL + "/exec/ns/web/c?command=echo&command=hi&input=1&output=1&error=1")
	if err != nil {
		t.Fatal(err)
	}
	exec, err := remotecommand.NewSPDYExecutor(&rest.Config{}, http.MethodPost, u)
	if err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	err = exec.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader("typed"), Stdout: &out, Stderr: &errOut})
	if code := utilexec.ExitError(nil); !errors.As(err, &code) || code.ExitStatus() != 3 {
		t.Errorf("exit: %v", err)
	}
	if out.String() != "ns/web/c [echo hi] tty=false\ntyped" || errOut.String() != "to stderr" {
		t.Errorf("stdout %q, stderr %q", out.String(), errOut.String())
	}
}

func TestAttachOverSPDY(t *testing.T) {
	srv := serve(t)
	u, err := url.Parse(srv.URL + "/attach/ns/web/c?output=1")
	if err != nil {
		t.Fatal(err)
	}
	exec, err := remotecommand.NewSPDYExecutor(&rest.Config{}, http.MethodPost, u)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := exec.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &out}); err != nil || out.String() != "attached" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestPortForward(t *testing.T) {
	srv := serve(t)
	transport, upgrader, err := spdy.RoundTripperFor(&rest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(srv.URL + "/portForward/ns/web")
	if err != nil {
		t.Fatal(err)
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	fw, err := portforward.New(spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, u), []string{"0:8080"}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
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
	<-done
}

func TestLogsAndErrors(t *testing.T) {
	srv := serve(t)
	for _, c := range []struct {
		path, want string
		code       int
	}{
		{"/containerLogs/ns/web/c?follow=true&tailLines=5", "follow=true tail=5", 200},
		{"/containerLogs/ns/missing/c", `"reason":"NotFound"`, 404},
		{"/containerLogs/ns/web/c?tailLines=-1", "tailLines", 400},
		{"/containerLogs/ns/web/c?sinceTime=yesterday", "RFC 3339", 400},
		{"/exec/ns/web/c?output=1", "specify a command", 400},
		{"/exec/ns/web/c?command=a", "at least 1 of stdin", 400},
		{"/pods", `"name":"here"`, 200},
		{"/healthz", "ok", 200},
		{"/elsewhere", "not found", 404},
	} {
		resp, err := http.Get(srv.URL + c.path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.code || !strings.Contains(string(body), c.want) {
			t.Errorf("%s: %d %s; want %d with %q", c.path, resp.StatusCode, body, c.code, c.want)
		}
	}
}
