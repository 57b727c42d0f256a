// Package proxy makes services reachable: it turns services and endpoint slices into one private nftables table.
// README.md draws a packet's way through it.
package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// checkEvery is how often Run looks whether somebody else removed the table ("nft flush ruleset" does).
	checkEvery = 10 * time.Second
	// A failed commit is tried again after retryFirst, then twice as late each time up to retryLast.
	retryFirst = 100 * time.Millisecond
	retryLast  = 10 * time.Second
)

// Config configures New.
type Config struct {
	// NodeName decides which endpoints are local.
	NodeName string
	// NodeAddrs are the addresses that answer node ports: by default a node's InternalIP. Loopback is not served.
	NodeAddrs []netip.Addr
	// PodCIDR is the range of the cluster's pods, ServiceCIDR that of its services: what goes there and is no
	// service is refused. NodePodCIDR is the range of this node's pods, whose address is never masqueraded;
	// invalid where a node has no pods.
	PodCIDR, ServiceCIDR, NodePodCIDR netip.Prefix
	// CheckEvery overrides how often the table is looked after; 0 means every 10 seconds.
	CheckEvery time.Duration
	Logger     *slog.Logger
}

// Proxy keeps the kernel's rules equal to what it was told of services and endpoint slices. Set, Delete and SetSynced
// may be called from any goroutine, before and during Run; they never wait for the kernel. Objects given to it must not
// be changed afterwards.
type Proxy struct {
	cfg    Config
	kernel *kernel
	log    *slog.Logger
	health *healthServer
	tracks *connections
	owed   udpState // what tracks has to hear after the next commit; Run's alone

	wake   chan struct{} // capacity 1: a wake-up that is pending already covers the next; never closed
	synced chan struct{} // closed by Run after the first commit

	mu    sync.Mutex
	ready bool // all inputs are complete
	state *state
}

// New opens the kernel interface in the network namespace of the calling thread and stays with it. It changes nothing;
// rules of a former process go on working until Run has taken them over.
func New(cfg Config) (*Proxy, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.CheckEvery == 0 {
		cfg.CheckEvery = checkEvery
	}
	for _, p := range []netip.Prefix{cfg.PodCIDR, cfg.ServiceCIDR, cfg.NodePodCIDR} {
		if p.IsValid() && !p.Addr().Is4() {
			return nil, fmt.Errorf("cannot proxy range %s: want IPv4", p)
		}
	}
	k, err := openKernel(newLayout(cfg))
	if err != nil {
		return nil, err
	}
	tracks, err := openConnections(cfg.Logger)
	if err != nil {
		k.close()
		return nil, err
	}
	return &Proxy{
		cfg: cfg, kernel: k, log: cfg.Logger, health: newHealthServer(cfg.Logger), tracks: tracks,
		wake: make(chan struct{}, 1), synced: make(chan struct{}),
		state: newState(topology{nodeName: cfg.NodeName, nodeAddrs: cfg.NodeAddrs}),
	}, nil
}

// SetService adds a service or replaces it.
func (p *Proxy) SetService(svc *corev1.Service) {
	p.update(func(s *state) { s.setService(types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}, svc) })
}

// DeleteService removes a service.
func (p *Proxy) DeleteService(name types.NamespacedName) {
	p.update(func(s *state) { s.setService(name, nil) })
}

// SetEndpointSlice adds an endpoint slice or replaces it.
func (p *Proxy) SetEndpointSlice(slice *discoveryv1.EndpointSlice) {
	p.update(func(s *state) { s.setSlice(types.NamespacedName{Namespace: slice.Namespace, Name: slice.Name}, slice) })
}

// DeleteEndpointSlice removes an endpoint slice.
func (p *Proxy) DeleteEndpointSlice(name types.NamespacedName) {
	p.update(func(s *state) { s.setSlice(name, nil) })
}

// SetNodeAddrs replaces the addresses that answer node ports.
func (p *Proxy) SetNodeAddrs(addrs []netip.Addr) { p.update(func(s *state) { s.setNodeAddrs(addrs) }) }

// SetSynced says that everything that exists has been given. Nothing is written before: a table of half the services
// would refuse connections to the other half.
func (p *Proxy) SetSynced() {
	p.mu.Lock()
	p.ready = true
	p.mu.Unlock()
	p.signal()
}

// Synced is closed when the kernel has the rules for everything that was given before SetSynced.
func (p *Proxy) Synced() <-chan struct{} { return p.synced }

func (p *Proxy) update(f func(*state)) {
	p.mu.Lock()
	f(p.state)
	p.mu.Unlock()
	p.signal()
}

func (p *Proxy) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run writes until the context ends. A change is committed at once; what arrives during a commit goes into the next one.
// The rules stay when Run returns: Cleanup removes them. Run may be called once, in the network namespace that New ran in.
func (p *Proxy) Run(ctx context.Context) error {
	defer p.kernel.close()
	var background sync.WaitGroup
	defer background.Wait()
	defer p.health.close()
	background.Go(func() { p.tracks.run(ctx) })

	check := time.NewTicker(p.cfg.CheckEvery)
	defer check.Stop()
	retry := time.NewTimer(0)
	retry.Stop()
	trusted, delay, first := false, retryFirst, true
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		case <-retry.C:
		case <-check.C:
			if ok, err := p.kernel.present(); err != nil || !ok {
				p.log.Warn("rules of services are gone from the kernel, writing them again", "error", err)
				trusted = false
			}
		}
		if !p.isReady() {
			continue
		}
		err := p.sync(&trusted)
		if err != nil {
			p.log.Error("cannot write rules of services", "error", err, "retry", delay)
			retry.Reset(delay)
			delay = min(2*delay, retryLast)
			continue
		}
		delay = retryFirst
		retry.Stop()
		if first {
			first = false
			close(p.synced)
		}
	}
}

func (p *Proxy) isReady() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ready
}

// sync brings the kernel up to date. Only with trusted unset, at the start and after an error, does it read the kernel.
func (p *Proxy) sync(trusted *bool) error {
	p.mu.Lock()
	update := p.state.refresh()
	p.mu.Unlock()

	// From here on only this goroutine uses what it touches.
	p.owed = p.owed.then(update.udp)
	ledger := p.state.ledger
	for f, c := range update.frontends {
		ledger.set(f, c)
	}
	if !*trusted {
		if err := p.takeOver(ledger); err != nil {
			return err
		}
		*trusted = true
	} else if c := ledger.pending(); !c.empty() {
		if err := p.kernel.commit(c); err != nil {
			*trusted = false
			return err
		}
		ledger.committed(c)
	}
	p.tracks.update(p.owed)
	p.owed = udpState{}
	return p.health.set(update.health)
}

// takeOver makes the kernel's state ours, whoever left it: element by element where the layout is ours, so that
// connections, affinities and unchanged services are not touched; in one transaction where it is not.
func (p *Proxy) takeOver(ledger *ledger) error {
	ok, err := p.kernel.present()
	if err != nil {
		return err
	}
	if !ok {
		return p.replaceAll(ledger)
	}
	have, pickers, err := p.kernel.read()
	if err != nil {
		return err
	}
	ledger.observed(have, pickers)
	whole := ledger.pending()
	for _, c := range whole.chunks(chunkElements) {
		if c.empty() {
			continue
		}
		if err := p.kernel.commit(c); err != nil {
			p.log.Warn("rules of services do not take changes, writing them anew", "error", err)
			return p.replaceAll(ledger)
		}
	}
	ledger.committed(whole)
	return nil
}

// replaceAll writes the whole table in one transaction.
func (p *Proxy) replaceAll(ledger *ledger) error {
	ledger.observed(map[elementKey]string{}, map[picker]bool{})
	c := ledger.pending()
	if err := p.kernel.replace(c); err != nil {
		return err
	}
	ledger.committed(c)
	return nil
}
