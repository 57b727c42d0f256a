package stream

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/linger"
)

const (
	// idleTimeout ends an exec, attach or port-forward through which nothing goes; a kubelet's default.
	idleTimeout = 4 * time.Hour
	// streamCreationTimeout is for the client to open all streams of a session.
	streamCreationTimeout = 30 * time.Second
	readHeaderTimeout     = 30 * time.Second
	// shutdownTimeout is what sessions get to end by themselves when the agent stops.
	shutdownTimeout = 2 * time.Second
)

// Config of a Server.
type Config struct {
	Runtime Runtime
	// TLS lets only the API server in; it is the only authentication there is.
	TLS *tls.Config
	// Metrics serves /metrics, Images /images.
	Metrics, Images http.Handler
	// Healthy says whether the agent works; nil is healthy.
	Healthy func(ctx context.Context) error
	Logger  *slog.Logger
}

// Server is the agent's own API.
type Server struct {
	cfg Config
	mux *http.ServeMux
}

// NewServer returns a server; Serve runs it.
func NewServer(cfg Config) *Server {
	s := &Server{cfg: cfg, mux: http.NewServeMux()}
	s.mux.HandleFunc("GET /healthz", s.healthz)
	s.mux.HandleFunc("GET /pods", s.pods)
	s.mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", s.logs)
	// SPDY upgrades come as POST, WebSocket ones as GET.
	s.mux.HandleFunc("/exec/{namespace}/{pod}/{container}", s.exec)
	s.mux.HandleFunc("/attach/{namespace}/{pod}/{container}", s.attach)
	s.mux.HandleFunc("/portForward/{namespace}/{pod}", s.portForward)
	if cfg.Metrics != nil {
		s.mux.Handle("GET /metrics", cfg.Metrics)
	}
	if cfg.Images != nil {
		s.mux.Handle("/images", cfg.Images)
	}
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Serve answers on l, which it closes, until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	base, cancel := context.WithCancel(context.Background())
	defer cancel()
	srv := &http.Server{
		Handler:           s,
		TLSConfig:         s.cfg.TLS,
		ReadHeaderTimeout: readHeaderTimeout,
		ErrorLog:          slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
		// Upgrades hijack the connection, which HTTP/2 has no way to.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		BaseContext:  func(net.Listener) context.Context { return base },
	}
	done := make(chan error, 1)
	go func() { done <- srv.ServeTLS(l, "", "") }()
	select {
	case err := <-done:
		return fmt.Errorf("cannot serve agent API: %w", err)
	case <-ctx.Done():
	}
	cancel()
	end, cancelEnd := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancelEnd()
	err := srv.Shutdown(end)
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.Close()
	}
	<-done
	return err
}

func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	if s.cfg.Healthy != nil {
		if err := s.cfg.Healthy(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	_, _ = io.WriteString(w, "ok")
}

func (s *Server) pods(w http.ResponseWriter, _ *http.Request) {
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}}
	for _, p := range s.cfg.Runtime.Pods() {
		list.Items = append(list.Items, *p)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(&list)
}

func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	opts, err := logOptions(r)
	if err != nil {
		writeError(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	out := &flushWriter{w: w, rc: http.NewResponseController(w), follow: opts.Follow}
	err = s.cfg.Runtime.Logs(r.Context(), r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"), opts, out)
	switch {
	case err == nil || r.Context().Err() != nil:
	case !out.wrote:
		writeError(w, err)
	default:
		// The status is on its way already; the log says it where the client is certain to see it.
		fmt.Fprintf(w, "\ncannot read further: %v\n", err)
	}
}

// logOptions reads the query as the API server passes PodLogOptions on.
func logOptions(r *http.Request) (*corev1.PodLogOptions, error) {
	q := r.URL.Query()
	o := &corev1.PodLogOptions{}
	for name, to := range map[string]*bool{"follow": &o.Follow, "previous": &o.Previous, "timestamps": &o.Timestamps} {
		v := q.Get(name)
		if v == "" {
			continue
		}
		b, err := strconv.ParseBool(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is not a boolean", name, v)
		}
		*to = b
	}
	for name, to := range map[string]**int64{"tailLines": &o.TailLines, "limitBytes": &o.LimitBytes, "sinceSeconds": &o.SinceSeconds} {
		v := q.Get(name)
		if v == "" {
			continue
		}
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%s: %q is not a number of 0 or more", name, v)
		}
		*to = &n
	}
	if v := q.Get("sinceTime"); v != "" {
		t, err := time.Parse(time.RFC3339, v)
		if err != nil {
			return nil, fmt.Errorf("sinceTime: %q is not an RFC 3339 time", v)
		}
		since := metav1.NewTime(t)
		o.SinceTime = &since
	}
	if v := q.Get("stream"); v != "" {
		o.Stream = &v
	}
	return o, nil
}

// flushWriter sends what is followed as it comes.
type flushWriter struct {
	w      io.Writer
	rc     *http.ResponseController
	follow bool
	wrote  bool
}

func (f *flushWriter) Write(p []byte) (int, error) {
	f.wrote = true
	n, err := f.w.Write(p)
	if err == nil && f.follow {
		err = f.rc.Flush()
	}
	return n, err
}

func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		writeError(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	command := r.URL.Query()["command"]
	if len(command) == 0 {
		writeError(w, apierrors.NewBadRequest("you must specify a command"))
		return
	}
	remotecommand.ServeExec(linger.Writer{ResponseWriter: w}, r, session{s, r}, r.PathValue("pod"), "", r.PathValue("container"), command, opts,
		idleTimeout, streamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		writeError(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	remotecommand.ServeAttach(linger.Writer{ResponseWriter: w}, r, session{s, r}, r.PathValue("pod"), "", r.PathValue("container"), opts,
		idleTimeout, streamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	opts, err := portforward.NewV4Options(r)
	if err != nil {
		writeError(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	portforward.ServePortForward(w, r, session{s, r}, r.PathValue("pod"), "", opts, idleTimeout, streamCreationTimeout, portforward.SupportedProtocols)
}

// session adapts Runtime to what the streaming library calls back.
type session struct {
	s *Server
	r *http.Request
}

// ExecInContainer implements remotecommand.Executor.
func (x session) ExecInContainer(ctx context.Context, pod, _, container string, cmd []string, in io.Reader, out, stderr io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	code, err := x.s.cfg.Runtime.Exec(ctx, x.r.PathValue("namespace"), pod, container, cmd, streams(ctx, in, out, stderr, tty, resize))
	if err != nil {
		return err
	}
	if code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("exit code %d", code), Code: code}
	}
	return nil
}

// AttachContainer implements remotecommand.Attacher.
func (x session) AttachContainer(ctx context.Context, pod, _, container string, in io.Reader, out, stderr io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return x.s.cfg.Runtime.Attach(ctx, x.r.PathValue("namespace"), pod, container, streams(ctx, in, out, stderr, tty, resize))
}

// PortForward implements portforward.PortForwarder.
func (x session) PortForward(ctx context.Context, pod, _ string, port int32, stream io.ReadWriteCloser) error {
	return x.s.cfg.Runtime.PortForward(ctx, x.r.PathValue("namespace"), pod, uint16(port), stream)
}

// streams leaves out what the client did not ask for: a nil stream in an interface is not nil.
func streams(ctx context.Context, in io.Reader, out, stderr io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) Streams {
	s := Streams{TTY: tty}
	if in != nil {
		s.Stdin = in
	}
	if out != nil {
		s.Stdout = out
	}
	if stderr != nil {
		s.Stderr = stderr
	}
	if resize != nil {
		sizes := make(chan Size)
		s.Resize = sizes
		go func() {
			defer close(sizes)
			for {
				select {
				case size, ok := <-resize:
					if !ok {
						return
					}
					select {
					case sizes <- Size{Width: size.Width, Height: size.Height}:
					case <-ctx.Done():
						return
					}
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	return s
}

// writeError answers with a Status, which the API server hands on to the client.
func writeError(w http.ResponseWriter, err error) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		status = apierrors.NewInternalError(err)
	}
	body := status.Status()
	body.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	code := int(body.Code)
	if code == 0 {
		code = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(&body)
}
