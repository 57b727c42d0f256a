package dns

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

const (
	// tryTimeout bounds one try of one server; forwardTimeout all tries of a query, below the 5 s after which
	// resolvers of pods ask again.
	tryTimeout     = 1500 * time.Millisecond
	forwardTimeout = 3*tryTimeout + 300*time.Millisecond
	// maxForwards bounds queries under way, so that dead upstream servers cost no more than this many sockets.
	maxForwards = 512
	// statEvery is how often the host's file is looked at, at most.
	statEvery = time.Second
	// failedFor is how long a server that did not answer is tried last.
	failedFor = 10 * time.Second
)

var errNoUpstream = errors.New("no upstream server")

// forwarder asks the host's servers. It is safe for concurrent use.
type forwarder struct {
	own    netip.Addr
	file   string
	fixed  []netip.AddrPort
	log    *slog.Logger
	cache  *cache
	flight singleflight.Group
	slots  chan struct{} // capacity maxForwards; never closed
	probe  string        // label that only this process knows

	mu      sync.Mutex
	checked time.Time
	stamp   fileStamp
	servers []netip.AddrPort
	failed  map[netip.AddrPort]time.Time
	loops   map[netip.AddrPort]bool
	changed chan struct{} // capacity 1: the servers are others now; never closed
}

type fileStamp struct {
	modified time.Time
	size     int64
}

func newForwarder(cfg Config) *forwarder {
	f := &forwarder{
		own: cfg.Address, file: cfg.HostFile, fixed: cfg.Upstreams, log: cfg.Logger, cache: newCache(),
		slots: make(chan struct{}, maxForwards), probe: strings.ToLower(rand.Text()),
		failed: map[netip.AddrPort]time.Time{}, loops: map[netip.AddrPort]bool{}, changed: make(chan struct{}, 1),
	}
	if f.file == "" {
		f.file = HostFile
	}
	return f
}

// exchange returns the answer to a query's question, from the cache or from upstream. The answer is the caller's.
func (f *forwarder) exchange(ctx context.Context, r *dns.Msg) (*dns.Msg, error) {
	key := keyOf(r)
	if m := f.cache.get(key); m != nil {
		return m, nil
	}
	// Clients that ask the same at once share one query. They share its context too: all have that of Run.
	shared, err, _ := f.flight.Do(key.String(), func() (any, error) {
		ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
		defer cancel()
		m, err := f.ask(ctx, r)
		if err == nil {
			f.cache.put(key, m)
		}
		return m, err
	})
	if err != nil {
		return nil, err
	}
	return shared.(*dns.Msg).Copy(), nil
}

// ask tries the servers in turn.
func (f *forwarder) ask(ctx context.Context, r *dns.Msg) (*dns.Msg, error) {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("cannot forward: too many queries are under way: %w", ctx.Err())
	}
	query := new(dns.Msg)
	query.SetQuestion(r.Question[0].Name, r.Question[0].Qtype)
	query.CheckingDisabled = r.CheckingDisabled
	opt := r.IsEdns0()
	query.SetEdns0(1232, opt != nil && opt.Do())
	err := errNoUpstream
	for _, server := range f.upstreams() {
		var m *dns.Msg
		if m, err = tryServer(ctx, query, server); err == nil {
			f.note(server, true)
			return m, nil
		}
		f.note(server, false)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("cannot forward query: %w", err)
}

// tryServer asks one server, and asks again by TCP what does not fit a datagram.
func tryServer(ctx context.Context, query *dns.Msg, server netip.AddrPort) (*dns.Msg, error) {
	for _, network := range []string{"udp", "tcp"} {
		m, err := roundTrip(ctx, query, network, server)
		if err != nil {
			return nil, fmt.Errorf("cannot ask %s by %s: %w", server, network, err)
		}
		if m.Rcode == dns.RcodeServerFailure || m.Rcode == dns.RcodeRefused {
			return nil, fmt.Errorf("cannot use answer of %s: %s", server, dns.RcodeToString[m.Rcode])
		}
		if !m.Truncated {
			return m, nil
		}
	}
	return nil, fmt.Errorf("cannot ask %s: its answer by TCP is truncated", server)
}

// roundTrip sends a query and waits for its answer; it ends with the context at once.
func roundTrip(ctx context.Context, query *dns.Msg, network string, server netip.AddrPort) (*dns.Msg, error) {
	client := dns.Client{Net: network, Timeout: tryTimeout, UDPSize: 1232}
	conn, err := client.DialContext(ctx, server.String())
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	query.Id = dns.Id()
	m, _, err := client.ExchangeWithConnContext(ctx, query, conn)
	return m, err
}

// note remembers whether a server answered.
func (f *forwarder) note(server netip.AddrPort, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ok {
		delete(f.failed, server)
	} else {
		f.failed[server] = time.Now()
	}
}

// upstreams returns the servers to ask, those that failed of late last.
func (f *forwarder) upstreams() []netip.AddrPort {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reload()
	out := slices.DeleteFunc(slices.Clone(f.servers), func(s netip.AddrPort) bool { return f.loops[s] })
	late := func(s netip.AddrPort) int {
		if time.Since(f.failed[s]) < failedFor {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(out, func(a, b netip.AddrPort) int { return late(a) - late(b) })
	return out
}

// reload reads the host's file when it changed. The caller holds the lock.
func (f *forwarder) reload() {
	if len(f.fixed) > 0 {
		if f.servers == nil {
			f.replace(f.fixed)
		}
		return
	}
	if time.Since(f.checked) < statEvery {
		return
	}
	f.checked = time.Now()
	info, err := os.Stat(f.file)
	if err != nil {
		return // keep what is known: the file may be in the course of replacement
	}
	stamp := fileStamp{info.ModTime(), info.Size()}
	if stamp == f.stamp {
		return
	}
	r, err := readResolver(f.file)
	if err != nil {
		f.log.Warn("keeping the former upstream servers", "error", err)
		return
	}
	f.stamp = stamp
	var servers []netip.AddrPort
	for _, text := range r.nameservers {
		if a, err := netip.ParseAddr(text); err == nil {
			servers = append(servers, netip.AddrPortFrom(a, 53))
		}
	}
	f.replace(servers)
}

// replace takes new servers, without this one. The caller holds the lock.
func (f *forwarder) replace(servers []netip.AddrPort) {
	f.servers = slices.DeleteFunc(slices.Clone(servers), func(s netip.AddrPort) bool { return s.Addr().Unmap() == f.own })
	clear(f.loops)
	clear(f.failed)
	if len(f.servers) == 0 {
		f.log.Warn("no upstream DNS server: only names of the cluster are answered", "file", f.file)
	}
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// A server that, by whatever way, forwards to this one would send a query round until all sockets are used. So each new
// server is asked once for a name that only this process knows: if that question arrives here, the server is left out.

const probeZone = ".loop.fairlead.invalid."

// probeLoops asks new servers until the context ends.
func (f *forwarder) probeLoops(ctx context.Context) {
	tick := time.NewTicker(statEvery)
	defer tick.Stop()
	for {
		f.upstreams() // reads the file
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			continue
		case <-f.changed:
		}
		f.mu.Lock()
		servers := slices.Clone(f.servers)
		f.mu.Unlock()
		for i, server := range servers {
			query := new(dns.Msg)
			query.SetQuestion(fmt.Sprintf("%d.%s%s", i, f.probe, probeZone), dns.TypeTXT)
			// The answer means nothing: what counts is whether the question comes back.
			_, _ = roundTrip(ctx, query, "udp", server)
		}
	}
}

// isProbe recognizes a question of probeLoops that came back, and leaves out the server that sent it round.
func (f *forwarder) isProbe(name string) bool {
	index, ok := strings.CutSuffix(dns.CanonicalName(name), "."+f.probe+probeZone)
	if !ok {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, server := range f.servers {
		if fmt.Sprint(i) == index && !f.loops[server] {
			f.loops[server] = true
			f.log.Error("an upstream DNS server asks this one: leaving it out", "server", server.String())
		}
	}
	return true
}
