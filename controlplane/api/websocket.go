package api

import (
	"net/http"
	"net/url"

	"k8s.io/apimachinery/pkg/util/proxy"
	streamproxy "k8s.io/apiserver/pkg/util/proxy"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/linger"
)

// translate serves an exec or attach over WebSocket with the protocol v5.channel.k8s.io, of which agents know
// nothing: to them it is SPDY (KEP-4006).
func (s *Server) translate(w http.ResponseWriter, r *request, node, path string, query url.Values) error {
	t, to, err := s.agents.route(r.Context(), node, path, query)
	if err != nil {
		return err
	}
	wants := func(name string) bool { return query.Get(name) != "" }
	opts := streamproxy.Options{Stdin: wants("input"), Stdout: wants("output"), Stderr: wants("error"), Tty: wants("tty")}
	streamproxy.NewStreamTranslatorHandler(to, t, 0, opts).ServeHTTP(linger.Writer{ResponseWriter: w}, r.Request)
	return nil
}

// tunnel serves a port-forward whose SPDY streams come through a WebSocket (KEP-4006).
func (s *Server) tunnel(w http.ResponseWriter, r *request, node, path string, query url.Values) error {
	t, to, err := s.agents.route(r.Context(), node, path, query)
	if err != nil {
		return err
	}
	spdy := proxy.NewUpgradeAwareHandler(to, t, false, true, &proxyErrors{s, r})
	req := r.Request.Clone(r.Context())
	// Who the user is was decided here; the agent knows the API server alone.
	req.Header.Del("Authorization")
	req.Header.Del("Cookie")
	streamproxy.NewTunnelingHandler(spdy).ServeHTTP(linger.Writer{ResponseWriter: w}, req)
	return nil
}

// proxyErrors answers what goes wrong before a connection is upgraded.
type proxyErrors struct {
	s *Server
	r *request
}

// Error implements proxy.ErrorResponder.
func (e *proxyErrors) Error(w http.ResponseWriter, _ *http.Request, err error) {
	e.s.writeError(w, e.r, err)
}
