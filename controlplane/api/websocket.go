package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	"golang.org/x/net/websocket"
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

// The protocols of a WebSocket that carries one stream; none means binary messages.
const (
	binaryMessages = "binary.k8s.io"
	base64Messages = "base64.binary.k8s.io"
)

// pieceSize is how much of a stream a message carries at most.
const pieceSize = 2 << 10

// messages serves what is at a path of a node's agent as messages of a WebSocket, behind an empty one. What comes from the
// client means nothing; when it closes, so does the stream. wsstream.Reader sends the same, but waits for good when a client
// offers none of the protocols, and until the next line when one has gone.
func (s *Server) messages(w http.ResponseWriter, r *request, node, path string, query url.Values) error {
	t, to, err := s.agents.route(r.Context(), node, path, query)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return unreachable(to, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body) // the client may be gone
		return nil
	}
	websocket.Server{Handshake: chooseProtocol, Handler: func(ws *websocket.Conn) {
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			_, _ = io.Copy(io.Discard, ws)
			cancel()
		}()
		_ = sendAll(ws, resp.Body) // what fails ends the connection, and there is nobody to tell
		_ = ws.Close()
		<-closed
	}}.ServeHTTP(linger.Writer{ResponseWriter: w}, r.Request)
	return nil
}

// chooseProtocol takes the first protocol that the client offers and this server has.
func chooseProtocol(c *websocket.Config, _ *http.Request) error {
	if len(c.Protocol) == 0 {
		return nil
	}
	for _, p := range c.Protocol {
		if p == binaryMessages || p == base64Messages {
			c.Protocol = []string{p}
			return nil
		}
	}
	return fmt.Errorf("requested protocol(s) are not supported: %v; supports %v", c.Protocol, []string{binaryMessages, base64Messages})
}

// sendAll sends an empty message and then what there is to read, and says what ended that.
func sendAll(ws *websocket.Conn, from io.Reader) error {
	send := func(piece []byte) error { return websocket.Message.Send(ws, piece) }
	if slices.Contains(ws.Config().Protocol, base64Messages) {
		send = func(piece []byte) error { return websocket.Message.Send(ws, base64.StdEncoding.EncodeToString(piece)) }
	}
	if err := send([]byte{}); err != nil {
		return err
	}
	piece := make([]byte, pieceSize)
	for {
		n, err := from.Read(piece)
		if n > 0 {
			if err := send(piece[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}
