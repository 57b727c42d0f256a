package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		kind             Kind
		success, failure int32
		attempts, news   string // + passes, - fails; news: the verdict where it changed, else .
	}{
		{Readiness, 1, 3, "+", "+"},
		{Readiness, 2, 3, "+-++", "...+"},
		{Readiness, 1, 3, "+--+---+", "+.....-+"},
		{Readiness, 1, 2, "--", ".-"},
		{Liveness, 1, 3, "+++--+---", "........-"},
		{Startup, 1, 3, "--+", "..+"},
		{Startup, 1, 3, "---", "..-"},
	} {
		j := newJudge(c.kind, &corev1.Probe{SuccessThreshold: c.success, FailureThreshold: c.failure})
		var news strings.Builder
		for _, a := range c.attempts {
			if j.count(a == '+') {
				news.WriteRune(a)
			} else {
				news.WriteByte('.')
			}
		}
		if news.String() != c.news {
			t.Errorf("%s %d/%d: %s gave %s, want %s", c.kind, c.success, c.failure, c.attempts, news.String(), c.news)
		}
	}
}

func TestHandlers(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			if r.Header.Get("X-Probe") != "yes" || r.Host != "web.example" {
				w.WriteHeader(http.StatusTeapot)
			}
		case "/away":
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		default:
			http.Error(w, "broken inside", http.StatusInternalServerError)
		}
	}))
	defer web.Close()
	webPort := intstr.FromInt(web.Listener.Addr().(*net.TCPAddr).Port)

	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	hs := health.NewServer()
	hs.SetServingStatus("down", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	grpc_health_v1.RegisterHealthServer(srv, hs)
	go func() { _ = srv.Serve(lis) }()
	defer srv.Stop()
	grpcPort := int32(lis.Addr().(*net.TCPAddr).Port)
	down := "down"

	w := New(Config{Executor: execFunc(func(_ context.Context, cmd []string) (int, []byte, error) {
		if cmd[0] == "absent" {
			return 0, nil, errors.New("no such file")
		}
		return len(cmd) - 1, []byte("said so\n"), nil
	})})
	defer w.Close()
	target := Target{Address: netip.MustParseAddr("127.0.0.1"), Container: corev1.Container{Name: "c", Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: webPort.IntVal}}}}
	headers := []corev1.HTTPHeader{{Name: "X-Probe", Value: "yes"}, {Name: "Host", Value: "web.example"}}
	for name, c := range map[string]struct {
		handler corev1.ProbeHandler
		outcome Outcome
		want    string // part of the message
	}{
		"http":         {corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ok", Port: intstr.FromString("web"), HTTPHeaders: headers}}, Passed, ""},
		"http 500":     {corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/x?y=1", Port: webPort}}, Failed, "statuscode: 500: broken inside"},
		"redirect":     {corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/away", Port: webPort}}, Passed, ""},
		"no such port": {corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromString("nope")}}, Unknown, "no port of that name"},
		"tcp":          {corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: webPort}}, Passed, ""},
		"tcp closed":   {corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(1)}}, Failed, "refused"},
		"grpc":         {corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: grpcPort}}, Passed, ""},
		"grpc down":    {corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: grpcPort, Service: &down}}, Failed, "NOT_SERVING"},
		"exec":         {corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}, Passed, ""},
		"exec fails":   {corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"a", "b"}}}, Failed, "exited with 1: said so"},
		"exec cannot":  {corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"absent"}}}, Unknown, "no such file"},
		"none":         {corev1.ProbeHandler{}, Unknown, "no handler"},
	} {
		t.Run(name, func(t *testing.T) {
			o, message := w.attempt(t.Context(), target, &corev1.Probe{ProbeHandler: c.handler, TimeoutSeconds: 5})
			if o != c.outcome || (o == Passed) != (message == "") || !strings.Contains(message, c.want) {
				t.Errorf("outcome %v, message %q; want %v, %q", o, message, c.outcome, c.want)
			}
		})
	}
}

func TestTimeoutIsAFailure(t *testing.T) {
	w := New(Config{Executor: execFunc(func(ctx context.Context, _ []string) (int, []byte, error) {
		<-ctx.Done()
		return 0, nil, ctx.Err()
	})})
	defer w.Close()
	o, message := w.attempt(t.Context(), Target{}, &corev1.Probe{TimeoutSeconds: 1, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"x"}}}})
	if o != Failed || !strings.Contains(message, "timed out after 1s") {
		t.Errorf("outcome %v, message %q", o, message)
	}
}

// What could not be tried is told and counts for nothing: a container must not be killed since containerd restarts.
func TestUnknownIsNoFailure(t *testing.T) {
	var attempts, unknown atomic.Int32
	w := New(Config{
		Executor: execFunc(func(context.Context, []string) (int, []byte, error) {
			if attempts.Add(1) < 3 {
				return 0, nil, errors.New("containerd is away")
			}
			return 1, nil, nil
		}),
		NotPassed: func(_ Target, _ Kind, o Outcome, _ string) {
			if o == Unknown {
				unknown.Add(1)
			}
		},
	})
	defer w.Close()
	p := &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"x"}}}}
	w.Start(Target{Pod: &corev1.Pod{}, ContainerID: "id", Container: corev1.Container{Name: "c", LivenessProbe: p}})
	select {
	case r := <-w.Results():
		if r.OK || attempts.Load() != 3 || unknown.Load() != 2 {
			t.Errorf("%+v after %d attempts, %d of them unknown", r, attempts.Load(), unknown.Load())
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("no verdict after %d attempts", attempts.Load())
	}
}

// The startup probe holds the others back; its success lets them begin; Stop ends them.
func TestStartupComesFirst(t *testing.T) {
	var started atomic.Bool
	w := New(Config{Executor: execFunc(func(_ context.Context, cmd []string) (int, []byte, error) {
		if cmd[0] == "startup" {
			started.Store(true)
			return 0, nil, nil
		}
		if !started.Load() {
			return 0, nil, fmt.Errorf("%s ran before startup", cmd[0])
		}
		if cmd[0] == "liveness" {
			return 1, nil, nil
		}
		return 0, nil, nil
	})})
	defer w.Close()
	p := func(name string) *corev1.Probe {
		return &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{name}}}}
	}
	target := Target{Pod: &corev1.Pod{}, ContainerID: "id", Container: corev1.Container{Name: "c", StartupProbe: p("startup"), LivenessProbe: p("liveness"), ReadinessProbe: p("readiness")}}
	w.Start(target)
	w.Start(target) // again: nothing
	got := map[Kind]bool{}
	for len(got) < 3 {
		select {
		case r := <-w.Results():
			if len(got) == 0 && r.Kind != Startup {
				t.Fatalf("first result %+v", r)
			}
			if _, twice := got[r.Kind]; twice {
				t.Fatalf("%s twice", r.Kind)
			}
			got[r.Kind] = r.OK
		case <-time.After(10 * time.Second):
			t.Fatalf("only %v", got)
		}
	}
	if !got[Startup] || got[Liveness] || !got[Readiness] {
		t.Errorf("verdicts %v", got)
	}
	w.Stop("id")
}

// A container that begins to answer soon after its start is ready soon, however long the period.
func TestReadySoonAfterStart(t *testing.T) {
	const period = 60
	var attempts atomic.Int32
	var events atomic.Int32
	w := New(Config{
		Executor: execFunc(func(context.Context, []string) (int, []byte, error) {
			if attempts.Add(1) < 4 {
				return 1, nil, nil
			}
			return 0, nil, nil
		}),
		NotPassed: func(Target, Kind, Outcome, string) { events.Add(1) },
	})
	defer w.Close()
	p := &corev1.Probe{PeriodSeconds: period, FailureThreshold: 1, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"x"}}}}
	w.Start(Target{Pod: &corev1.Pod{}, ContainerID: "id", Container: corev1.Container{Name: "c", ReadinessProbe: p}})
	for ready := false; !ready; {
		select {
		case r := <-w.Results():
			ready = r.OK
		case <-time.After(period / 2 * time.Second):
			t.Fatalf("not ready after %d attempts", attempts.Load())
		}
	}
	if n := events.Load(); n != 1 {
		t.Errorf("%d failures were told, want the one of the period", n)
	}
}

type execFunc func(ctx context.Context, cmd []string) (int, []byte, error)

func (f execFunc) ExecSync(ctx context.Context, _ string, cmd []string) (int, []byte, error) {
	return f(ctx, cmd)
}
