// Package controlplane is `fairlead server`: etcd, the API server, the scheduler and the controllers in one
// process. This file puts the parts together; each of them lives in its own package.
package controlplane

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/authz"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/oidc"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/encryption"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/etcd"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/join"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/pki"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/quota"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/registry"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/scheduler"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/store"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/atomicfile"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// Files below the data directory.
const (
	keyDir         = "pki"
	etcdDir        = "etcd"
	encryptionFile = "pki/encryption.json"
	identityFile   = "identity"
	lockFile       = "lock"
	// AdminKubeconfig is the administrator's way in.
	AdminKubeconfig = "admin.kubeconfig"
	auditFile       = "audit.log"
)

// encrypted are the resources whose values are encrypted at rest.
var encrypted = []string{"secrets"}

// Server is a control plane in this process.
type Server struct {
	cfg      config.Server
	log      *slog.Logger
	listener net.Listener
	keys     *pki.Cluster
	client   *registry.Client
	api      *api.Server // set before anything is served, as is keeper
	keeper   *encryption.Keeper
	kinds    *kind.Table
	ready    chan struct{}
	ledger   *quota.Ledger
	// etcdHealth is the embedded member's; nil with an external etcd.
	etcdHealth func() error
}

// New checks the configuration, opens the keys and the listening socket, and writes the administrator's
// kubeconfig. Run does the rest; a Server that is not run must be closed.
func New(cfg config.Server, log *slog.Logger) (_ *Server, err error) {
	if err := Complete(&cfg); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: log, ready: make(chan struct{}), ledger: quota.NewLedger()}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot create data directory: %w", err)
	}
	if s.keys, err = pki.OpenCluster(filepath.Join(cfg.DataDir, keyDir), cfg.ClusterName); err != nil {
		return nil, err
	}
	if s.listener, err = net.Listen("tcp", cfg.Listen); err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", cfg.Listen, err)
	}
	path := filepath.Join(cfg.DataDir, AdminKubeconfig)
	if err := s.keys.WriteAdminKubeconfig(path, cfg.ClusterName, s.URL()); err != nil {
		return nil, errors.Join(err, s.listener.Close())
	}
	return s, nil
}

// Close releases the socket of a Server that is not run.
func (s *Server) Close() error { return s.listener.Close() }

// URL is where the server is reached: the advertised address with the port that it listens on.
func (s *Server) URL() string {
	return "https://" + net.JoinHostPort(s.cfg.Advertise, strconv.Itoa(int(s.port())))
}

func (s *Server) port() uint16 { return uint16(s.listener.Addr().(*net.TCPAddr).Port) }

// CA is the PEM certificate that verifies the server.
func (s *Server) CA() []byte { return s.keys.Authority.PEM() }

// Config is the configuration with its defaults.
func (s *Server) Config() config.Server { return s.cfg }

// Ready is closed when the API answers.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// NewJoinToken makes a token for a node; the server must be ready.
func (s *Server) NewJoinToken(ctx context.Context, node string, life time.Duration) (string, error) {
	return join.Create(ctx, s.client, node, life)
}

// Run serves until ctx ends or a part fails.
func (s *Server) Run(ctx context.Context) (err error) {
	unlock, err := lock(filepath.Join(s.cfg.DataDir, lockFile))
	if err != nil {
		return errors.Join(err, s.Close())
	}
	defer unlock()
	etcdClient, closeEtcd, err := s.openEtcd(ctx)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	defer closeEtcd()
	transform, err := encryption.Open(filepath.Join(s.cfg.DataDir, encryptionFile), encrypted...)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	// The store outlives the API for a moment, so that requests under way end well.
	storeCtx, stopStore := context.WithCancel(context.WithoutCancel(ctx))
	st := store.New(etcdClient, kind.Builtin().Kinds(), store.Options{Transform: transform})
	storeDone := make(chan error, 1)
	go func() { storeDone <- st.Run(storeCtx) }()
	defer func() { stopStore(); err = errors.Join(err, <-storeDone) }()
	prefixes := map[string]string{}
	for _, resource := range encrypted {
		prefixes[resource] = st.KeysOf(schema.ParseGroupResource(resource))
	}
	s.keeper = encryption.NewKeeper(transform, etcdClient, prefixes, s.log)
	return s.serve(ctx, st, etcdClient)
}

func (s *Server) serve(ctx context.Context, st *store.Store, etcdClient *clientv3.Client) error {
	first, last, err := parsePorts(s.cfg.NodePorts)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	plugins, err := admission.Default(func() client.Client { return s.client }, admission.Options{
		ServiceCIDR: netip.MustParsePrefix(s.cfg.ServiceCIDR),
		NodePorts:   admission.PortRange{First: int32(first), Last: int32(last)},
		Kinds:       func() *kind.Table { return s.kinds },
		Ledger:      s.ledger,
		Authorizer:  s.allowed,
		Logger:      s.log,
	})
	if err != nil {
		return errors.Join(err, s.Close())
	}
	reg := registry.New(registry.Config{Store: st, Kinds: kind.Builtin(), Admission: plugins, Logger: s.log})
	s.client, s.kinds = registry.NewClient(reg, "fairlead"), reg.Kinds()
	handler, err := s.newAPI(reg, st)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	s.api = handler
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return handler.Serve(ctx, s.listener) })
	g.Go(func() error {
		if handler.AwaitReady(ctx) == nil {
			close(s.ready)
			s.log.Info("ready", "url", s.URL())
		}
		return nil
	})
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-handler.Defined():
		}
		id, err := identity(filepath.Join(s.cfg.DataDir, identityFile))
		if err != nil {
			return err
		}
		g.Go(func() error {
			if err := s.keeper.Run(ctx); ctx.Err() == nil {
				return err
			}
			return nil
		})
		e := &elector{client: etcdClient, identity: id, log: s.log}
		return e.run(ctx, s.lead)
	})
	return g.Wait()
}

// allowed asks the API server's authorizer. Admission is made before the API server, and asks after it.
func (s *Server) allowed(ctx context.Context, at authz.Attributes) bool {
	return s.api.Allowed(ctx, at)
}

// lead runs what runs on one server only.
func (s *Server) lead(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return controller.Run(ctx, controller.Config{
			Client:      s.client,
			Kinds:       s.kinds,
			Schemas:     s.api.Schema,
			ClusterCIDR: netip.MustParsePrefix(s.cfg.PodCIDR),
			ServiceCIDR: netip.MustParsePrefix(s.cfg.ServiceCIDR),
			APIServerAddresses: []netip.AddrPort{
				netip.AddrPortFrom(netip.MustParseAddr(s.cfg.Advertise), s.port()),
			},
			Ledger:     s.ledger,
			CA:         s.CA(),
			Signer:     s.keys.Authority,
			Authorizer: s.allowed,
			Logger:     s.log,
		})
	})
	g.Go(func() error { return scheduler.New(scheduler.Config{Client: s.client, Logger: s.log}).Run(ctx) })
	return g.Wait()
}

func (s *Server) newAPI(reg *registry.Registry, st *store.Store) (*api.Server, error) {
	names := append([]string{s.cfg.Advertise, serviceAddress(s.cfg.ServiceCIDR).String()}, s.cfg.CertificateNames...)
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	serving := s.keys.ServingKeyPair(s.cfg.Domain, names)
	agents := s.keys.AgentClientKeyPair()
	joins := &join.Handler{Client: s.client, Authority: s.keys.Authority, Logger: s.log}
	var issuer *oidc.Authenticator
	if o := s.cfg.OIDC; o != nil {
		var err error
		if issuer, err = oidc.New(*o, s.log); err != nil {
			return nil, err
		}
	}
	policy, err := s.cfg.Audit.ReadPolicy()
	if err != nil {
		return nil, err
	}
	return api.New(api.Config{
		Registry: reg,
		Checks:   s.checks(st),
		OIDC:     issuer,
		Paths:    s.keeper.Paths(),
		TLS: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: serving.GetCertificate,
			ClientAuth:     tls.VerifyClientCertIfGiven,
			ClientCAs:      s.keys.Authority.Pool(),
		},
		ServiceAccountKey: s.keys.ServiceAccountKey,
		Issuer:            "https://kubernetes.default.svc." + s.cfg.Domain,
		AgentTLS: &tls.Config{
			MinVersion:           tls.VersionTLS12,
			RootCAs:              s.keys.Authority.Pool(),
			GetClientCertificate: agents.GetClientCertificate,
		},
		Credentials: s.keys.Authority,
		Extra:       joins.Routes(),
		Audit: api.Audit{
			Path: s.cfg.Audit.Path, Level: api.AuditLevel(s.cfg.Audit.Level), Policy: policy, MaxMiB: s.cfg.Audit.MaxMiB, MaxKeep: s.cfg.Audit.MaxKeep,
		},
		Logger: s.log,
	})
}

// checks are what the server's health is made of beside what the API itself looks at.
func (s *Server) checks(st *store.Store) []api.Check {
	return []api.Check{
		{Name: "etcd-readiness", Run: func(context.Context) error {
			if s.etcdHealth != nil {
				return s.etcdHealth()
			}
			return nil
		}},
		{Name: "poststarthook/storage-readiness", Run: func(context.Context) error {
			if st.Health() != nil { // which is logged, and may name etcd's addresses
				return errors.New("the caches do not follow etcd")
			}
			return nil
		}},
		{Name: "poststarthook/start-system-namespaces-controller", Run: s.hasSystemNamespaces},
	}
}

// hasSystemNamespaces keeps a new cluster from being called ready before its first leader has made what clients
// and nodes count on.
func (s *Server) hasSystemNamespaces(ctx context.Context) error {
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, corev1.NamespaceNodeLease} {
		if _, err := client.Get[*corev1.Namespace](ctx, s.client, "", name); err != nil {
			return fmt.Errorf("namespace %s is not there yet", name)
		}
	}
	return nil
}

func (s *Server) openEtcd(ctx context.Context) (*clientv3.Client, func(), error) {
	e := s.cfg.Etcd
	if len(e.Endpoints) > 0 {
		return dialEtcd(e)
	}
	m, err := etcd.Start(ctx, etcd.Config{DataDir: filepath.Join(s.cfg.DataDir, etcdDir), Name: "fairlead", Quota: e.QuotaBytes, Log: s.log})
	if err != nil {
		return nil, nil, err
	}
	s.etcdHealth = m.Health
	return m.Client, func() {
		if err := m.Close(); err != nil {
			s.log.Error("cannot close etcd", "err", err)
		}
	}, nil
}

// lock keeps a second server off the data directory for as long as this process lives.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cannot lock %s: another server uses this data directory: %w", path, err)
	}
	return func() { _ = f.Close() }, nil
}

// identity reads this server's name in elections, or makes one.
func identity(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(data)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot read identity: %w", err)
	}
	var raw [16]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", fmt.Errorf("cannot make identity: %w", err)
	}
	id := hex.EncodeToString(raw[:])
	return id, atomicfile.Write(path, []byte(id+"\n"), 0o600)
}
