// Package etcd runs the etcd member that is embedded in the server process.
//
// The member has its own directory, syncs every write to disk before it answers, and is reached by an
// in-process client: no socket is open unless the configuration names one. The package also looks after the
// member: see maintain.go.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
)

const (
	// DefaultQuota is the size in bytes at which the database refuses to grow.
	DefaultQuota = 8 << 30
	// MaxRequest is the largest write in bytes. It is above the API's own limit of 3 MiB a request body, since
	// a transaction carries an object, its claims and the encryption's overhead.
	MaxRequest = 4 << 20
	// maxTxnOps bounds the operations of one transaction: an object and its claims.
	maxTxnOps = 1024

	// snapshotEvery and catchUp bound the raft entries that stay in memory, values included.
	snapshotEvery = 5_000
	catchUp       = 1_000
	// walFiles is how many segments of 64 MB of the log are kept. A start reads all of them, those that it needs and those that
	// it does not; the ones it needs are never dropped.
	walFiles = 2
)

// Config says how a member runs. Only DataDir is required.
type Config struct {
	DataDir string
	// Name of the member, unique among its peers; "default" when empty. It must not change between starts.
	Name string
	// ListenClient are URLs on which other processes reach the member, such as "unix:///run/fairlead/etcd.sock"
	// or "https://192.0.2.1:2379". None by default: Member.Client needs no socket.
	ListenClient []string
	ClientTLS    *TLS
	// PeerURL is where other members reach this one. Empty means that no peer port is opened and the member is
	// alone. Its timing is then tight, because an election has no one to wait for.
	PeerURL string
	PeerTLS *TLS
	// Quota in bytes; 0 means DefaultQuota.
	Quota int64
	// Maintenance is how often the member is looked after; 0 means a default of ten minutes.
	Maintenance time.Duration
	Log         *slog.Logger // nil: slog.Default
}

// TLS names PEM files of a certificate authority and of a certificate that it signed. Clients and peers without
// a certificate of that authority are refused.
type TLS struct {
	CAFile, CertFile, KeyFile string
}

func (t *TLS) info() transport.TLSInfo {
	if t == nil {
		return transport.TLSInfo{}
	}
	return transport.TLSInfo{TrustedCAFile: t.CAFile, CertFile: t.CertFile, KeyFile: t.KeyFile, ClientCertAuth: true}
}

// Member is a running member. Its methods may be called at once.
type Member struct {
	// Client reaches the member without a network in between. It is closed by Close.
	Client *clientv3.Client

	etcd     *embed.Etcd
	log      *slog.Logger
	database string // path of the file
	quota    int64
	every    time.Duration

	stop  context.CancelFunc
	tasks sync.WaitGroup
	once  sync.Once
}

// Start opens the data directory, makes it when it is missing, and returns once the member accepts writes. The
// context bounds the start only.
func Start(ctx context.Context, cfg Config) (_ *Member, err error) {
	log := cfg.Log
	if log == nil {
		log = slog.Default()
	}
	ec, err := embedConfig(cfg, log)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot create etcd directory: %w", err)
	}
	// The kernel shows mapped files by their real path.
	dir, err := filepath.EvalSymlinks(cfg.DataDir)
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot find etcd directory: %w", err)
	}
	e, err := embed.StartEtcd(ec)
	if err != nil {
		return nil, fmt.Errorf("cannot start etcd in %s: %w", cfg.DataDir, err)
	}
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	select {
	case <-e.Server.ReadyNotify():
	case <-e.Server.StopNotify():
		return nil, fmt.Errorf("cannot start etcd in %s: it stopped before it was ready", cfg.DataDir)
	case err := <-e.Err():
		return nil, fmt.Errorf("cannot start etcd in %s: %w", cfg.DataDir, err)
	case <-ctx.Done():
		return nil, fmt.Errorf("cannot start etcd in %s: %w", cfg.DataDir, context.Cause(ctx))
	}
	m := &Member{
		Client:   v3client.New(e.Server),
		etcd:     e,
		log:      log,
		database: filepath.Join(dir, "member", "snap", "db"),
		quota:    ec.QuotaBackendBytes,
		every:    cfg.Maintenance,
	}
	if m.every == 0 {
		m.every = maintainEvery
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.stop = stop
	m.tasks.Go(func() { m.maintain(run) })
	return m, nil
}

// embedConfig translates cfg. What it sets beyond that keeps memory and the start short: no gateway, no tracing,
// few raft entries in memory, a freelist by map.
func embedConfig(cfg Config, log *slog.Logger) (*embed.Config, error) {
	if cfg.DataDir == "" {
		return nil, errors.New("cannot start etcd: no data directory given")
	}
	ec := embed.NewConfig()
	ec.Dir = cfg.DataDir
	if cfg.Name != "" {
		ec.Name = cfg.Name
	}
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(newCore(log)))
	ec.LogLevel = "warn"
	ec.QuotaBackendBytes = cfg.Quota
	if ec.QuotaBackendBytes == 0 {
		ec.QuotaBackendBytes = DefaultQuota
	}
	ec.MaxRequestBytes = MaxRequest
	ec.MaxTxnOps = maxTxnOps
	ec.SnapshotCount = snapshotEvery
	ec.SnapshotCatchUpEntries = catchUp
	ec.MaxWalFiles = walFiles
	ec.BackendFreelistType = "map"
	ec.EnableGRPCGateway = false
	ec.ClientTLSInfo, ec.PeerTLSInfo = cfg.ClientTLS.info(), cfg.PeerTLS.info()

	var err error
	if ec.ListenClientUrls, err = parseURLs(cfg.ListenClient); err != nil {
		return nil, fmt.Errorf("cannot read the client addresses of etcd: %w", err)
	}
	if len(ec.ListenClientUrls) > 0 {
		ec.AdvertiseClientUrls = ec.ListenClientUrls
	}
	if cfg.PeerURL == "" {
		// The advertised peer address stays embed's default; nothing listens there and nobody is told to dial it.
		ec.ListenPeerUrls = nil
		ec.TickMs, ec.ElectionMs = 20, 100
	} else {
		if ec.ListenPeerUrls, err = parseURLs([]string{cfg.PeerURL}); err != nil {
			return nil, fmt.Errorf("cannot read the peer address of etcd: %w", err)
		}
		ec.AdvertisePeerUrls = ec.ListenPeerUrls
	}
	ec.InitialCluster = ec.InitialClusterFromName(ec.Name)
	return ec, nil
}

func parseURLs(in []string) ([]url.URL, error) {
	var out []url.URL
	for _, s := range in {
		u, err := url.Parse(s)
		if err != nil {
			return nil, fmt.Errorf("cannot parse %q: %w", s, err)
		}
		out = append(out, *u)
	}
	return out, nil
}

// Done is closed when the member has stopped, by Close or by a failure that it can not go on from.
func (m *Member) Done() <-chan struct{} { return m.etcd.Server.StopNotify() }

// Close stops the member and waits until its files are closed. Writes under way fail. It may be called again.
func (m *Member) Close() error {
	var err error
	m.once.Do(func() {
		m.stop()
		m.tasks.Wait()
		if cerr := m.Client.Close(); cerr != nil && !errors.Is(cerr, context.Canceled) {
			err = fmt.Errorf("cannot close the client of etcd: %w", cerr)
		}
		m.etcd.Close()
	})
	return err
}
