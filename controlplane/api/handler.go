package api

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/uuid"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// Handler returns the server's handler: every request's way through it is here, in order.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

func (s *Server) serve(w http.ResponseWriter, hr *http.Request) {
	if h := s.extra(hr.URL.Path); h != nil {
		defer patient(w, requestTimeout+s.patience)()
		h.ServeHTTP(w, hr)
		return
	}
	if hr.Method != http.MethodGet || !strings.Contains(hr.URL.RawQuery, "watch") { // watches stay, and there are many
		roomy()
	}
	start := time.Now()
	r := parseRequest(hr, s.kinds)
	rw := &recorder{ResponseWriter: w}
	if !r.long() {
		defer patient(w, r.deadline()+s.patience)()
	}
	defer s.finish(rw, r, start)
	if r.checkTimeout() == nil && s.public(rw, r) {
		return
	}
	if err := s.handle(rw, r); err != nil {
		s.writeError(rw, r, err)
	}
}

// stackRoom is about what the deepest part of a request takes of a stack. With what is there already the stack is then
// 16 KiB, the most that the runtime keeps ready.
const stackRoom = 10 << 10

// roomy grows the goroutine's stack, which is new with each request, in one step while there is next to nothing on
// it: growing by and by in the depth of a request copies more each time.
//
//go:noinline
func roomy() byte {
	var room [stackRoom]byte
	return room[len(os.Args)%stackRoom] // an index that the compiler does not know keeps the array
}

// extra returns the handler of a path that authenticates by itself.
func (s *Server) extra(path string) http.Handler {
	for prefix, h := range s.config.Extra {
		if path == prefix || strings.HasSuffix(prefix, "/") && strings.HasPrefix(path, prefix) {
			return h
		}
	}
	return nil
}

// handle authenticates, authorizes and dispatches one request.
func (s *Server) handle(w *recorder, r *request) error {
	if err := s.authenticate(r); err != nil {
		s.audit.begin(w, r)
		return err
	}
	s.audit.begin(w, r)
	if err := r.checkTimeout(); err != nil {
		return err
	}
	if err := s.impersonate(r); err != nil {
		return err
	}
	seat, err := s.limits.enter(r)
	if err != nil {
		return err
	}
	w.seat = seat
	defer seat.leave()
	if err := s.authorize(r); err != nil {
		return err
	}
	ctx := kind.WithUser(r.Context(), r.user)
	if r.audit != nil {
		ctx = kind.WithAnnotator(ctx, r.audit.annotate)
	}
	if !r.long() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.deadline())
		defer cancel()
		if r.Body != nil && r.Body != http.NoBody {
			// A body that trickles in must not hold a place for longer than that either. Only a network can set it.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(r.deadline()))
		}
	}
	r.Request = r.WithContext(ctx)
	if r.resource {
		return s.dispatch(w, r)
	}
	return s.path(w, r)
}

// finish recovers from a panic, and counts and audits what happened.
func (s *Server) finish(w *recorder, r *request, start time.Time) {
	if cause := recover(); cause != nil && cause != http.ErrAbortHandler {
		id := string(uuid.NewUUID())
		s.log.Error("handler panicked", "id", id, "method", r.Method, "path", r.URL.Path, "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
		s.metrics.panics.Inc()
		s.audit.stage(r, auditv1.StagePanic, http.StatusInternalServerError)
		if !w.wrote {
			s.writeError(w, r, apierrors.NewInternalError(fmt.Errorf("the server could not handle the request; its log has the cause under id %s", id)))
		}
	}
	s.audit.end(r, w.code)
	s.metrics.observe(r, w.code, time.Since(start))
}

// recorder remembers the answer's code, and tells the request's seat when the answer begins. It hides none of what the
// writer below can do; see Unwrap.
type recorder struct {
	http.ResponseWriter
	code  int
	wrote bool
	seat  *seat
}

func (w *recorder) WriteHeader(code int) {
	if !w.wrote && code >= http.StatusOK || code == http.StatusSwitchingProtocols {
		w.begin(code)
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *recorder) Write(b []byte) (int, error) {
	if !w.wrote {
		w.begin(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

func (w *recorder) begin(code int) {
	w.code, w.wrote = code, true
	w.seat.answer()
}

// Flush implements http.Flusher.
func (w *recorder) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
