// Package api is the HTTP server that speaks the Kubernetes API: discovery, verbs, watches, patches, tables,
// authentication, authorization and audit. Objects are read and written by package registry alone.
package api

import (
	"cmp"
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/utils/lru"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/authz"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/oidc"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/credential"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/custom"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/registry"
)

// The server's limits on connections. A client-go client multiplexes all its watches over one connection.
const (
	headerTimeout  = 30 * time.Second
	idleTimeout    = 3 * time.Minute
	maxHeaderBytes = 64 << 10
	maxStreams     = 1000
	maxFrame       = 64 << 10
	streamWindow   = 1 << 20
	connWindow     = 4 << 20
	// requestTimeout is how long a request other than a watch may take.
	requestTimeout = 60 * time.Second
	// shutdownTimeout is how long requests that are under way get when the server stops.
	shutdownTimeout = 10 * time.Second
)

// DefaultIssuer is the issuer of service account tokens when Config has none.
const DefaultIssuer = "https://kubernetes.default.svc.cluster.local"

// Config of a Server. Registry is required; without TLS the server speaks HTTP in the clear, which is for
// tests.
type Config struct {
	Registry *registry.Registry
	// TLS has the serving certificate and the client CAs; ClientAuth must be VerifyClientCertIfGiven.
	TLS *tls.Config
	// ServiceAccountKey signs service account tokens (ECDSA P-256); nil means that none are issued.
	// ServiceAccountPublicKeys are further keys whose tokens are still accepted.
	ServiceAccountKey        crypto.Signer
	ServiceAccountPublicKeys []crypto.PublicKey
	Issuer                   string
	// Credentials verifies the records of credentials; nil means that none are accepted.
	Credentials credential.Verifier
	// OIDC authenticates by the tokens of an OpenID Connect issuer; nil means that there is none.
	OIDC *oidc.Authenticator
	// AgentTLS is how nodes' agents are dialled: client certificate and the CA that signs theirs. ServerName is
	// set to the node's name for each connection.
	AgentTLS *tls.Config
	// Extra are handlers below their paths that authenticate by themselves.
	Extra map[string]http.Handler
	// Paths are handlers of exactly these paths, for whom roles let use them (nonResourceURLs).
	Paths map[string]http.Handler
	// Checks are more of what the server's health is made of.
	Checks []Check
	Audit  Audit
	// MaxReads and MaxWrites bound the requests under way at once; 0 means a default.
	MaxReads, MaxWrites int
	// Patience is how long a client may take nothing of what is written to it; 0 means a default.
	Patience time.Duration
	// AllowAll skips authorization; for tests and benchmarks of single parts.
	AllowAll bool
	Logger   *slog.Logger
}

// Server serves the API. Handler may be used at once; the authorizer's caches are kept while Run runs.
type Server struct {
	registry  *registry.Registry
	kinds     *kind.Table
	client    client.Client
	config    Config
	log       *slog.Logger
	now       func() time.Time
	envelopes map[*kind.Kind]*envelope
	authz     *authz.Authorizer
	tokens    *tokens
	metrics   *metrics
	limits    *limits
	// impersonators remembers by which mode users could last impersonate, by name.
	impersonators *lru.Cache
	patience      time.Duration
	audit         *auditLog
	custom        *custom.Definitions
	discovery     atomic.Pointer[discovery]
	openapi       *openAPI
	// virtualTypes are made when first something is asked.
	virtualTypes func() (managedfields.TypeConverter, error)
	agents       *agents
	frames       frameCache
	ready        []Check
	// stopping ends when Serve begins to stop: watches end with it.
	stopping context.Context
	drain    context.CancelFunc
}

// New returns a server. It starts nothing; see Run and Serve.
func New(c Config) (*Server, error) {
	if c.Registry == nil {
		return nil, errors.New("cannot make API server: no registry")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Issuer == "" {
		c.Issuer = DefaultIssuer
	}
	s := &Server{
		registry: c.Registry, kinds: c.Registry.Kinds(), client: registry.NewClient(c.Registry, "fairlead"),
		config: c, log: c.Logger, now: time.Now,
		envelopes: map[*kind.Kind]*envelope{},
	}
	s.stopping, s.drain = context.WithCancel(context.Background())
	for _, k := range s.kinds.Served() {
		s.envelopes[k] = newEnvelope(k)
	}
	var err error
	if s.tokens, err = newTokens(s.client, c); err != nil {
		return nil, err
	}
	if s.audit, err = newAuditLog(c.Audit, c.Logger); err != nil {
		return nil, err
	}
	s.custom = custom.New(c.Registry, c.Logger)
	s.authz = authz.New(s.client, s.kinds, c.Logger)
	s.impersonators = lru.New(rememberedImpersonators)
	s.limits = newLimits(c.MaxReads, c.MaxWrites)
	s.patience = cmp.Or(c.Patience, defaultPatience)
	s.metrics = newMetrics(s.limits)
	s.openapi = newOpenAPI(s.kinds, c.Registry.MergeSchema)
	s.virtualTypes = sync.OnceValues(func() (managedfields.TypeConverter, error) { return virtualTypes(s.openapi) })
	s.agents = newAgents(s.client, c.AgentTLS)
	s.ready = s.readiness()
	return s, nil
}

// envelope returns that of a kind; those of kinds that are defined at run time are not kept.
func (s *Server) envelope(k *kind.Kind) *envelope {
	if e := s.envelopes[k]; e != nil {
		return e
	}
	return newEnvelope(k)
}

// Run keeps what the server needs beside its requests until ctx ends: the authorizer's caches, the default roles,
// and what custom resource definitions define.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.custom.Run(ctx) })
	if !s.config.AllowAll {
		g.Go(func() error { return s.authz.Run(ctx) })
	}
	g.Go(func() error { <-ctx.Done(); return ctx.Err() })
	return g.Wait()
}

// Defined is closed when all kinds are served that were defined before the server started.
func (s *Server) Defined() <-chan struct{} { return s.custom.Synced() }

// Serve answers on l until ctx ends, then lets requests under way end. l is closed. It calls Run.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	runCtx, stopRun := context.WithCancel(ctx)
	defer stopRun()
	running := make(chan error, 1) // one result, read below
	go func() { running <- s.Run(runCtx) }()

	hs := &http.Server{
		Handler: s.Handler(), TLSConfig: s.config.TLS, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	if s.config.TLS != nil {
		hs.TLSConfig = s.config.TLS.Clone()
		err := http2.ConfigureServer(hs, &http2.Server{
			MaxConcurrentStreams: maxStreams, MaxReadFrameSize: maxFrame, IdleTimeout: idleTimeout,
			MaxUploadBufferPerStream: streamWindow, MaxUploadBufferPerConnection: connWindow,
			WriteByteTimeout: s.patience + requestTimeout, // of the connection as a whole
		})
		if err != nil {
			return fmt.Errorf("cannot configure HTTP/2: %w", err)
		}
		l = tls.NewListener(l, hs.TLSConfig)
	}
	served := make(chan error, 1) // one result, read below
	go func() { served <- hs.Serve(l) }()
	select {
	case err := <-served:
		stopRun()
		<-running
		return fmt.Errorf("cannot serve the API: %w", err)
	case err := <-running:
		if ctx.Err() == nil {
			s.stop(hs)
			<-served
			return fmt.Errorf("cannot keep the API server's caches: %w", err)
		}
		s.stop(hs)
		<-served
	case <-ctx.Done():
		s.stop(hs)
		<-served
		<-running
	}
	return s.audit.close()
}

// stop ends watches, waits for the other requests, and closes what is still open after shutdownTimeout.
func (s *Server) stop(hs *http.Server) {
	s.drain()
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := hs.Shutdown(ctx); err != nil {
		s.log.Warn("requests were cut off at shutdown", "error", err)
		_ = hs.Close()
	}
}
