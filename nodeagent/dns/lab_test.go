package dns

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/network/netlab"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is a host with the server on it. Upstream servers listen on loopback outside the lab, where the server's own queries
// leave from: sockets belong to the namespace of the thread that opens them.
type lab struct {
	t      testing.TB
	host   *netlab.NS
	server *Server
}

func start(t testing.TB, upstreams ...netip.AddrPort) *lab {
	t.Helper()
	return startConfig(t, func(c *Config) { c.Upstreams = upstreams })
}

func startConfig(t testing.TB, change func(*Config)) *lab {
	t.Helper()
	return startOn(t, netlab.Namespace(t), change)
}

func startOn(t testing.TB, host *netlab.NS, change func(*Config)) *lab {
	t.Helper()
	l := &lab{t: t, host: host}
	cfg := Config{
		Address: netip.MustParseAddr("169.254.20.10"), Domain: "cluster.local",
		PodCIDR: netip.MustParsePrefix("10.244.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"),
		HostFile: filepath.Join(t.TempDir(), "none"), Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	change(&cfg)
	l.host.Do(func() (err error) {
		l.server, err = New(cfg)
		return err
	})
	l.server.listen = func() error { return host.Try(l.server.openSockets) }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l
}

// ask sends a query from the host.
func (l *lab) ask(network, name, qtype string) *dns.Msg {
	l.t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, dns.StringToType[qtype])
	r, err := l.exchange(network, m)
	if err != nil {
		l.t.Fatalf("%s %s by %s: %v", name, qtype, network, err)
	}
	return r
}

func (l *lab) exchange(network string, m *dns.Msg) (r *dns.Msg, err error) {
	client := dns.Client{Net: network, Timeout: netlab.Timeout, UDPSize: 4096}
	err = l.host.Try(func() error {
		r, _, err = client.Exchange(m, "169.254.20.10:53")
		return err
	})
	return r, err
}

// short writes an answer as "RCODE name TYPE data, …", its records sorted.
func short(m *dns.Msg) string {
	var rrs []string
	for _, rr := range m.Answer {
		f := strings.Fields(rr.String())
		rrs = append(rrs, strings.Join(append(f[:1], f[3:]...), " "))
	}
	slices.Sort(rrs)
	return strings.TrimSpace(dns.RcodeToString[m.Rcode] + " " + strings.Join(rrs, ", "))
}

func svc(name, ip string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: ports}}
}

func external(name, target string) *corev1.Service {
	s := svc(name, "")
	s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, target
	return s
}

// slice makes a slice of endpoints, each written as "ADDRESS[ HOSTNAME][ unready]".
func slice(service string, eps ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("peer"), Port: new(int32(7000)), Protocol: new(corev1.ProtocolTCP)}},
	}
	for _, text := range eps {
		f := strings.Fields(text)
		e := discoveryv1.Endpoint{Addresses: f[:1]}
		for _, word := range f[1:] {
			if word == "unready" {
				e.Conditions.Ready = new(false)
			} else {
				e.Hostname = new(word)
			}
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

func (l *lab) fill() {
	web := svc("web", "10.96.0.10", corev1.ServicePort{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}, corev1.ServicePort{Port: 81})
	db := svc("db", corev1.ClusterIPNone)
	early := svc("early", corev1.ClusterIPNone)
	early.Spec.PublishNotReadyAddresses = true
	for _, s := range []*corev1.Service{
		web, db, early, svc("empty", corev1.ClusterIPNone),
		external("alias", "www.example.com"), external("inner", "web.default.svc.cluster.local"),
		external("ring", "ring.default.svc.cluster.local"),
	} {
		l.server.SetService(s)
	}
	l.server.SetEndpointSlice(slice("web", "10.244.1.9"))
	l.server.SetEndpointSlice(slice("db", "10.244.1.2 db-0", "10.244.2.2 db-1", "10.244.2.3 db-2 unready", "10.244.2.4"))
	l.server.SetEndpointSlice(slice("early", "10.244.1.7 e-0 unready"))
	l.server.SetEndpointSlice(slice("empty", "10.244.1.8 unready"))
	l.server.SetSynced()
}

// upstream is a DNS server on loopback that answers with records in zone file format; no records: no such name.
type upstream struct {
	addr    netip.AddrPort
	queries atomic.Int32
}

// listenBoth listens at a port of the kernel's choice that is free for both protocols.
func listenBoth(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for {
		p, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := net.Listen("tcp4", p.LocalAddr().String())
		if err == nil {
			return p, tcp
		}
		_ = p.Close()
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
}

func newUpstream(t testing.TB, answer func(dns.Question) []string) *upstream {
	t.Helper()
	p, tcp := listenBoth(t)
	u := &upstream{addr: p.LocalAddr().(*net.UDPAddr).AddrPort()}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		if !strings.HasSuffix(r.Question[0].Name, probeZone) {
			u.queries.Add(1)
		}
		m := new(dns.Msg)
		m.SetReply(r)
		records := answer(r.Question[0])
		if len(records) == 0 {
			m.Rcode = dns.RcodeNameError
			records = []string{". 60 IN SOA a. b. 1 2 3 4 60"}
		}
		for _, text := range records {
			rr, err := dns.NewRR(text)
			if err != nil {
				t.Error(err)
				return
			}
			if rr.Header().Rrtype == dns.TypeSOA {
				m.Ns = append(m.Ns, rr)
			} else {
				m.Answer = append(m.Answer, rr)
			}
		}
		if w.RemoteAddr().Network() == "udp" {
			m.Truncate(1232)
		}
		_ = w.WriteMsg(m)
	})
	for _, s := range []*dns.Server{{PacketConn: p, Handler: handler}, {Listener: tcp, Handler: handler}} {
		started, done := make(chan struct{}), make(chan error, 1)
		s.NotifyStartedFunc = func() { close(started) }
		go func() { done <- s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			_ = s.Shutdown()
			<-done
		})
	}
	return u
}
