// Package dns answers DNS queries of a node's pods: names of services and pods by the Kubernetes specification 1.1.0 from
// the agent's watch, everything else from the host's own servers.
//
// The server has a link-local address on a link of its own, the same on each node, so that a query never leaves
// the node and needs no translation.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// LinkName is the link that carries the server's address: a bridge without ports, which does what a dummy link would on
// kernels that have none, and pods need bridges anyway.
const LinkName = "fairlead-dns"

// Config configures New.
type Config struct {
	Address netip.Addr // where to answer, port 53
	Domain  string     // of the cluster, "cluster.local"
	// PodCIDR and ServiceCIDR: reverse queries for them are never forwarded.
	PodCIDR, ServiceCIDR netip.Prefix
	// HostFile names the upstream servers; empty: /etc/resolv.conf. It is read again when it changes.
	HostFile string
	// Upstreams, when not empty, takes the place of HostFile.
	Upstreams []netip.AddrPort
	Logger    *slog.Logger
}

// Server is the DNS server of a node. Set and Delete may be called from any goroutine, before and during Run. Objects
// given to it must not be changed afterwards.
type Server struct {
	cfg     Config
	log     *slog.Logger
	zone    *zone
	forward *forwarder
	serial  uint32 // of the SOA record: nobody transfers the zone, so one number per process is enough
	udp     net.PacketConn
	tcp     net.Listener
	listen  func() error // opens the two; a test has it done in a namespace of its own

	mu      sync.Mutex
	problem error // under mu: why nothing is served yet

	ctx context.Context // of Run; queries under way end with it. Set before the first query is read.
}

// The port may be another program's for a while, such as a resolver that listens on all addresses: then it is tried again
// after retryFirst, and after twice as long each time, up to retryLast.
const retryFirst, retryLast = time.Second, 30 * time.Second

// New makes the link and opens the sockets in the network namespace of the calling thread. Queries wait in the sockets
// until Run. A port that is taken is no error: Run waits for it, and Problem says so.
func New(cfg Config) (_ *Server, err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if !cfg.Address.Is4() {
		return nil, fmt.Errorf("cannot serve DNS on address %q: want IPv4", cfg.Address)
	}
	if _, ok := dns.IsDomainName(cfg.Domain); !ok || cfg.Domain == "" {
		return nil, fmt.Errorf("cannot serve DNS for domain %q: it is no domain name", cfg.Domain)
	}
	if err := ensureLink(cfg.Address); err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, log: cfg.Logger, zone: newZone(cfg.Domain), serial: uint32(time.Now().Unix()),
		forward: newForwarder(cfg),
	}
	s.listen = s.openSockets
	if err := s.tryListen(); err != nil && !errors.Is(err, unix.EADDRINUSE) {
		return nil, err
	}
	return s, nil
}

func (s *Server) openSockets() (err error) {
	address := netip.AddrPortFrom(s.cfg.Address, 53).String()
	lc := net.ListenConfig{}
	udp, err := lc.ListenPacket(context.Background(), "udp4", address)
	if err != nil {
		return fmt.Errorf("cannot serve DNS: %w", err)
	}
	tcp, err := lc.Listen(context.Background(), "tcp4", address)
	if err != nil {
		return errors.Join(fmt.Errorf("cannot serve DNS: %w", err), udp.Close())
	}
	s.udp, s.tcp = udp, tcp
	return nil
}

// tryListen opens the sockets, and keeps what is in the way for Problem.
func (s *Server) tryListen() error {
	err := s.listen()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problem = err
	return err
}

// Problem is why nothing is served: the port is taken. It is nil when all is well.
func (s *Server) Problem() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problem
}

// awaitPort returns when the sockets are open, or the context has ended.
func (s *Server) awaitPort(ctx context.Context) {
	for pause := retryFirst; s.Problem() != nil; pause = min(2*pause, retryLast) {
		s.log.Warn("cannot serve DNS yet; trying again", "in", pause, "err", s.Problem())
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if s.tryListen() == nil {
			s.log.Info("serving DNS", "address", s.cfg.Address)
		}
	}
}

// SetService adds a service or replaces it.
func (s *Server) SetService(svc *corev1.Service) {
	s.zone.setService(types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}, svc)
}

// DeleteService removes a service.
func (s *Server) DeleteService(name types.NamespacedName) { s.zone.setService(name, nil) }

// SetEndpointSlice adds an endpoint slice or replaces it.
func (s *Server) SetEndpointSlice(slice *discoveryv1.EndpointSlice) {
	s.zone.setSlice(types.NamespacedName{Namespace: slice.Namespace, Name: slice.Name}, slice)
}

// DeleteEndpointSlice removes an endpoint slice.
func (s *Server) DeleteEndpointSlice(name types.NamespacedName) { s.zone.setSlice(name, nil) }

// SetSynced says that everything that exists has been given. Before, every question about the cluster is answered with
// SERVFAIL, which a resolver tries again, and never with "no such name", which an application believes. Names outside
// the cluster are answered from the start.
func (s *Server) SetSynced() { s.zone.setSynced() }

// Run waits for the port where it is taken, answers until the context ends, and closes the sockets. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	if s.awaitPort(ctx); s.Problem() != nil {
		return nil // ctx has ended
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.ctx = ctx
	servers := []*dns.Server{
		{PacketConn: s.udp, Handler: s, UDPSize: 4096},
		{Listener: s.tcp, Handler: s, MaxTCPQueries: -1},
	}
	var wg sync.WaitGroup
	errs := make([]error, len(servers))
	for i, server := range servers {
		started, ended := make(chan struct{}), make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		wg.Go(func() {
			defer cancel()
			defer close(ended)
			errs[i] = server.ActivateAndServe()
		})
		select {
		case <-started: // Shutdown knows only servers that have started
		case <-ended:
		}
	}
	wg.Go(func() { s.forward.probeLoops(ctx) })
	<-ctx.Done()
	for _, server := range servers {
		_ = server.Shutdown() // fails only for a server that has ended by itself, whose error is in errs
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot serve DNS: %w", err)
	}
	return nil
}

// ServeDNS implements dns.Handler.
func (s *Server) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	m := s.answer(s.ctx, r)
	m.Compress = true
	m.Truncate(replySize(w, r))
	if err := w.WriteMsg(m); err != nil {
		s.log.Debug("cannot send DNS answer", "client", w.RemoteAddr().String(), "error", err)
	}
}

// replySize is what the client can take.
func replySize(w dns.ResponseWriter, r *dns.Msg) int {
	if _, ok := w.RemoteAddr().(*net.TCPAddr); ok {
		return dns.MaxMsgSize
	}
	if opt := r.IsEdns0(); opt != nil {
		return min(max(int(opt.UDPSize()), dns.MinMsgSize), 1232) // fits any path without fragments
	}
	return dns.MinMsgSize
}

// answer answers any query; it never returns nil.
func (s *Server) answer(ctx context.Context, r *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(r)
	m.RecursionAvailable = true
	if opt := r.IsEdns0(); opt != nil {
		m.SetEdns0(4096, opt.Do())
		if opt.Version() != 0 {
			m.Rcode = dns.RcodeBadVers
			return m
		}
	}
	switch {
	case r.Opcode != dns.OpcodeQuery:
		m.Rcode = dns.RcodeNotImplemented
		return m
	case len(r.Question) != 1:
		m.Rcode = dns.RcodeFormatError
		return m
	case r.Question[0].Qclass != dns.ClassINET:
		m.Rcode = dns.RcodeRefused
		return m
	}
	q := r.Question[0]
	inZone := dns.IsSubDomain(s.zone.domain, dns.CanonicalName(q.Name))
	reverse, isReverse := reverseAddr(q.Name)
	switch {
	case s.forward.isProbe(q.Name):
		m.Rcode = dns.RcodeServerFailure
	case (inZone || isReverse && s.inCluster(reverse)) && !s.zone.isSynced():
		m.Rcode = dns.RcodeServerFailure
	case inZone:
		s.answerZone(ctx, m, q)
	case isReverse && s.answerReverse(m, q):
	default:
		s.relay(ctx, m, r)
	}
	return m
}

// relay answers from upstream.
func (s *Server) relay(ctx context.Context, m, r *dns.Msg) {
	answer, err := s.forward.exchange(ctx, r)
	if err != nil {
		s.log.Debug("cannot forward DNS query", "name", r.Question[0].Name, "error", err)
		m.Rcode = dns.RcodeServerFailure
		return
	}
	opt := m.IsEdns0()
	id, question := m.Id, m.Question
	answer.CopyTo(m)
	m.Id, m.Question, m.Response = id, question, true // the question as asked: clients may compare its case
	extra := m.Extra[:0]
	for _, rr := range m.Extra {
		if rr.Header().Rrtype != dns.TypeOPT { // ours speaks for this hop
			extra = append(extra, rr)
		}
	}
	m.Extra = extra
	if opt != nil {
		m.Extra = append(m.Extra, opt)
	}
}

// ensureLink makes the link with the one address.
func ensureLink(address netip.Addr) error {
	link, err := netlink.LinkByName(LinkName)
	if isMissing(err) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = LinkName
		if err = netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err == nil {
			link, err = netlink.LinkByName(LinkName)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot make link %s: %w", LinkName, err)
	}
	// Of link scope, so that the kernel never takes it as source of anything else.
	want := &netlink.Addr{IPNet: &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(32, 32)}, Scope: unix.RT_SCOPE_LINK}
	if err := netlink.AddrAdd(link, want); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("cannot add address %s to link %s: %w", address, LinkName, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("cannot bring link %s up: %w", LinkName, err)
	}
	return nil
}

func isMissing(err error) bool {
	var missing netlink.LinkNotFoundError
	return errors.As(err, &missing)
}

// Cleanup removes the link. It needs no Server and can be repeated.
func Cleanup() error {
	link, err := netlink.LinkByName(LinkName)
	if isMissing(err) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("cannot remove link %s: %w", LinkName, err)
	}
	return nil
}
