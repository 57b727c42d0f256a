package dns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

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
	l := &lab{t: t, host: netlab.Namespace(t)}
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

func TestClusterNames(t *testing.T) {
	up := newUpstream(t, func(q dns.Question) []string { return []string{q.Name + " 60 IN A 192.0.2.80"} })
	l := start(t, up.addr)
	l.fill()
	const zone = "cluster.local."
	for _, c := range []struct{ name, qtype, want string }{
		{"dns-version." + zone, "TXT", `NOERROR dns-version.cluster.local. TXT "1.1.0"`},
		{zone, "NS", "NOERROR cluster.local. NS ns.dns.cluster.local."},
		{"ns.dns." + zone, "A", "NOERROR ns.dns.cluster.local. A 169.254.20.10"},
		// With a cluster address (2.3).
		{"web.default.svc." + zone, "A", "NOERROR web.default.svc.cluster.local. A 10.96.0.10"},
		{"WEB.Default.svc." + zone, "A", "NOERROR web.default.svc.cluster.local. A 10.96.0.10"},
		{"web.default.svc." + zone, "AAAA", "NOERROR"},
		{"_http._tcp.web.default.svc." + zone, "SRV", "NOERROR _http._tcp.web.default.svc.cluster.local. SRV 0 100 80 web.default.svc.cluster.local."},
		{"_tcp.web.default.svc." + zone, "SRV", "NOERROR"},
		{"_none._tcp.web.default.svc." + zone, "SRV", "NXDOMAIN"},
		{"10.0.96.10.in-addr.arpa.", "PTR", "NOERROR 10.0.96.10.in-addr.arpa. PTR web.default.svc.cluster.local."},
		// Headless (2.4).
		{"db.default.svc." + zone, "A", "NOERROR db.default.svc.cluster.local. A 10.244.1.2, db.default.svc.cluster.local. A 10.244.2.2, db.default.svc.cluster.local. A 10.244.2.4"},
		{"db-1.db.default.svc." + zone, "A", "NOERROR db-1.db.default.svc.cluster.local. A 10.244.2.2"},
		{"db-2.db.default.svc." + zone, "A", "NXDOMAIN"},
		{"_peer._tcp.db.default.svc." + zone, "SRV", "NOERROR _peer._tcp.db.default.svc.cluster.local. SRV 0 100 7000 10-244-2-4.db.default.svc.cluster.local., " +
			"_peer._tcp.db.default.svc.cluster.local. SRV 0 100 7000 db-0.db.default.svc.cluster.local., _peer._tcp.db.default.svc.cluster.local. SRV 0 100 7000 db-1.db.default.svc.cluster.local."},
		{"2.1.244.10.in-addr.arpa.", "PTR", "NOERROR 2.1.244.10.in-addr.arpa. PTR db-0.db.default.svc.cluster.local."},
		{"e-0.early.default.svc." + zone, "A", "NOERROR e-0.early.default.svc.cluster.local. A 10.244.1.7"},
		{"empty.default.svc." + zone, "A", "NXDOMAIN"},
		// ExternalName (2.5).
		{"alias.default.svc." + zone, "CNAME", "NOERROR alias.default.svc.cluster.local. CNAME www.example.com."},
		{"alias.default.svc." + zone, "A", "NOERROR alias.default.svc.cluster.local. CNAME www.example.com., www.example.com. A 192.0.2.80"},
		{"inner.default.svc." + zone, "A", "NOERROR inner.default.svc.cluster.local. CNAME web.default.svc.cluster.local., web.default.svc.cluster.local. A 10.96.0.10"},
		{"ring.default.svc." + zone, "A", "SERVFAIL"},
		// Pods (2.6).
		{"10-244-1-2.default.pod." + zone, "A", "NOERROR 10-244-1-2.default.pod.cluster.local. A 10.244.1.2"},
		{"10-244-1.default.pod." + zone, "A", "NXDOMAIN"},
		{"default.pod." + zone, "A", "NOERROR"},
		// What exists without records, and what does not.
		{zone, "A", "NOERROR"}, {"svc." + zone, "A", "NOERROR"}, {"default.svc." + zone, "A", "NOERROR"},
		{"none.svc." + zone, "A", "NXDOMAIN"}, {"none.default.svc." + zone, "A", "NXDOMAIN"}, {"www.example.com." + zone, "A", "NXDOMAIN"},
		{"99.1.244.10.in-addr.arpa.", "PTR", "NXDOMAIN"},
		{"web.default.svc." + zone, "ANY", `NOERROR web.default.svc.cluster.local. HINFO "RFC8482" ""`},
		// The rest is asked elsewhere.
		{"www.example.com.", "A", "NOERROR www.example.com. A 192.0.2.80"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			m := l.ask(network, c.name, c.qtype)
			if got := short(m); got != c.want {
				t.Errorf("%s %s by %s:\n got %s\nwant %s", c.name, c.qtype, network, got, c.want)
			}
			if m.Authoritative && len(m.Answer) == 0 && m.Rcode != dns.RcodeServerFailure {
				if soa, ok := m.Ns[0].(*dns.SOA); !ok || soa.Minttl != 5 || soa.Hdr.Ttl != 5 {
					t.Errorf("%s %s: negative answer with %v, want an SOA record of 5 s", c.name, c.qtype, m.Ns)
				}
			}
		}
	}
}

func TestChangesShowAtOnce(t *testing.T) {
	l := start(t)
	l.fill()
	name := types.NamespacedName{Namespace: "default", Name: "db"}
	l.server.SetEndpointSlice(slice("db", "10.244.3.3 db-0"))
	if got := short(l.ask("udp", "db-0.db.default.svc.cluster.local.", "A")); !strings.HasSuffix(got, "10.244.3.3") {
		t.Errorf("a moved endpoint: %s", got)
	}
	l.server.DeleteEndpointSlice(types.NamespacedName{Namespace: "default", Name: "db-1"})
	if got := short(l.ask("udp", "db.default.svc.cluster.local.", "A")); got != "NXDOMAIN" {
		t.Errorf("without endpoints: %s", got)
	}
	for _, s := range []string{"web", "db", "early", "empty", "alias", "inner", "ring"} {
		name.Name = s
		l.server.DeleteService(name)
	}
	z := l.server.zone
	if got := short(l.ask("udp", "default.svc.cluster.local.", "A")); got != "NXDOMAIN" || len(z.names)+len(z.inner)+len(z.reverse)+len(z.built) != 0 {
		t.Errorf("after the last service: %s, %d names, %v, %v", got, len(z.names), z.inner, z.reverse)
	}
}

func TestNoAnswerBeforeSynced(t *testing.T) {
	up := newUpstream(t, func(q dns.Question) []string { return []string{q.Name + " 60 IN A 192.0.2.80"} })
	l := start(t, up.addr)
	for name, want := range map[string]string{
		"web.default.svc.cluster.local.": "SERVFAIL", "10.0.96.10.in-addr.arpa.": "SERVFAIL",
		"example.com.": "NOERROR example.com. A 192.0.2.80",
	} {
		if got := short(l.ask("udp", name, "A")); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// upstream is a DNS server on loopback that answers with records in zone file format; no records: no such name.
type upstream struct {
	addr    netip.AddrPort
	queries atomic.Int32
}

func newUpstream(t testing.TB, answer func(dns.Question) []string) *upstream {
	t.Helper()
	p, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{addr: p.LocalAddr().(*net.UDPAddr).AddrPort()}
	tcp, err := net.Listen("tcp4", u.addr.String())
	if err != nil {
		t.Fatal(err)
	}
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

func TestForwardFailsOverAndCaches(t *testing.T) {
	dead, err := net.ListenPacket("udp4", "127.0.0.1:0") // takes queries and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dead.Close() }()
	up := newUpstream(t, func(q dns.Question) []string {
		switch q.Name {
		case "none.example.":
			return nil
		case "short.example.":
			return []string{q.Name + " 0 IN A 192.0.2.1"}
		}
		return []string{q.Name + " 60 IN A 192.0.2.1"}
	})
	l := start(t, dead.LocalAddr().(*net.UDPAddr).AddrPort(), up.addr)
	count := func(name string) int32 {
		t.Helper()
		before := up.queries.Load()
		for range 3 {
			l.ask("udp", name, "A")
		}
		return up.queries.Load() - before
	}
	if n := count("a.example."); n != 1 {
		t.Errorf("an answer of 60 s is asked for %d times", n)
	}
	if n := count("none.example."); n != 1 {
		t.Errorf("a name that does not exist is asked for %d times", n)
	}
	begin := time.Now()
	if n := count("short.example."); n != 3 {
		t.Errorf("an answer of 0 s is asked for %d times", n)
	}
	if d := time.Since(begin); d > tryTimeout {
		t.Errorf("a dead server is waited for again and again: %s", d)
	}
}

func TestForwardLargeAnswers(t *testing.T) {
	up := newUpstream(t, func(q dns.Question) (out []string) {
		for i := range 200 {
			out = append(out, fmt.Sprintf("%s 60 IN A 192.0.2.%d", q.Name, i))
		}
		return out
	})
	l := start(t, up.addr)
	if m := l.ask("tcp", "big.example.", "A"); len(m.Answer) != 200 || m.Truncated {
		t.Errorf("by TCP: %d records, truncated %t", len(m.Answer), m.Truncated)
	}
	m := l.ask("udp", "big.example.", "A")
	m.Compress = true // Len is of what was sent
	if !m.Truncated || m.Len() > dns.MinMsgSize {
		t.Errorf("by UDP: %d bytes, truncated %t", m.Len(), m.Truncated)
	}
}

// Upstream servers come from the host's file; this server itself in it is left out, and a change is followed.
func TestHostFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("nameserver 169.254.20.10\nnameserver 192.0.2.1\n")
	f := newForwarder(Config{Address: netip.MustParseAddr("169.254.20.10"), HostFile: file, Logger: slog.New(slog.DiscardHandler)})
	if got := fmt.Sprint(f.upstreams()); got != "[192.0.2.1:53]" {
		t.Errorf("upstream servers %s", got)
	}
	write("nameserver 192.0.2.2\nnameserver 192.0.2.33\n")
	netlab.Eventually(t, func() error {
		if got := fmt.Sprint(f.upstreams()); got != "[192.0.2.2:53 192.0.2.33:53]" {
			return fmt.Errorf("after a change upstream servers are %s", got)
		}
		return nil
	})
}

// An upstream server that asks this one is found out and left out.
func TestLoopIsCut(t *testing.T) {
	var l atomic.Pointer[lab]
	ready := make(chan struct{})
	up := newUpstream(t, func(q dns.Question) []string {
		<-ready
		m := new(dns.Msg)
		m.SetQuestion(q.Name, q.Qtype)
		_, _ = l.Load().exchange("udp", m)
		return nil
	})
	l.Store(start(t, up.addr))
	close(ready)
	netlab.Eventually(t, func() error {
		if got := l.Load().server.forward.upstreams(); len(got) != 0 {
			return fmt.Errorf("still asked: %v", got)
		}
		return nil
	})
	if got := short(l.Load().ask("udp", "example.com.", "A")); got != "SERVFAIL" {
		t.Errorf("without upstream: %s", got)
	}
}

func TestBadQueries(t *testing.T) {
	l := start(t)
	l.fill()
	for want, change := range map[string]func(*dns.Msg){
		"NOTIMP":  func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify },
		"REFUSED": func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS },
		"BADVERS": func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) },
	} {
		m := new(dns.Msg)
		m.SetQuestion("web.default.svc.cluster.local.", dns.TypeA)
		change(m)
		r := l.server.answer(t.Context(), m)
		if got := dns.RcodeToString[r.Rcode]; got != want && !(want == "BADVERS" && r.Rcode == dns.RcodeBadVers) {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestCleanup(t *testing.T) {
	l := start(t)
	l.host.Do(func() error {
		for range 2 {
			if err := Cleanup(); err != nil {
				return err
			}
		}
		if _, err := netlink.LinkByName(LinkName); !isMissing(err) {
			return fmt.Errorf("link is left: %v", err)
		}
		return nil
	})
}

// FuzzAnswer: whatever arrives, there is an answer that can be sent.
func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"web.default.svc.cluster.local.", "10.0.96.10.in-addr.arpa.", "1-2-3-4.a.pod.cluster.local.", "."} {
		m := new(dns.Msg)
		m.SetQuestion(name, dns.TypeA)
		m.SetEdns0(1232, true)
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	cfg := Config{Address: netip.MustParseAddr("169.254.20.10"), Domain: "cluster.local", HostFile: "/nonexistent", Logger: slog.New(slog.DiscardHandler),
		PodCIDR: netip.MustParsePrefix("10.244.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16")}
	l := &lab{t: f, server: &Server{cfg: cfg, log: cfg.Logger, zone: newZone(cfg.Domain), forward: newForwarder(cfg)}}
	l.fill()
	f.Fuzz(func(t *testing.T, packet []byte) {
		m := new(dns.Msg)
		if m.Unpack(packet) != nil {
			return
		}
		r := l.server.answer(context.Background(), m)
		r.Truncate(dns.MinMsgSize)
		if _, err := r.Pack(); err != nil && len(m.Question) == 1 {
			t.Errorf("answer to %v can not be sent: %v", m, err)
		}
	})
}

func TestResolvConf(t *testing.T) {
	host := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(host, []byte("# host\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch example.com. corp.example\noptions timeout:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := ResolvConfig{Address: netip.MustParseAddr("169.254.20.10"), Domain: "cluster.local", HostFile: host}
	own := &corev1.PodDNSConfig{
		Nameservers: []string{"192.0.2.9"}, Searches: []string{"own.example"},
		Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: new("2")}, {Name: "edns0"}},
	}
	const cluster = "search ns.svc.cluster.local svc.cluster.local cluster.local example.com corp.example"
	for name, c := range map[string]struct {
		spec corev1.PodSpec
		want string
	}{
		"cluster first":                  {corev1.PodSpec{}, "nameserver 169.254.20.10\n" + cluster + "\noptions ndots:5\n"},
		"cluster first on host network":  {corev1.PodSpec{HostNetwork: true}, "nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch example.com corp.example\noptions timeout:1\n"},
		"cluster first with host net":    {corev1.PodSpec{HostNetwork: true, DNSPolicy: corev1.DNSClusterFirstWithHostNet}, "nameserver 169.254.20.10\n" + cluster + "\noptions ndots:5\n"},
		"default":                        {corev1.PodSpec{DNSPolicy: corev1.DNSDefault}, "nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch example.com corp.example\noptions timeout:1\n"},
		"none":                           {corev1.PodSpec{DNSPolicy: corev1.DNSNone, DNSConfig: own}, "nameserver 192.0.2.9\nsearch own.example\noptions ndots:2 edns0\n"},
		"none without servers":           {corev1.PodSpec{DNSPolicy: corev1.DNSNone}, ""},
		"unknown":                        {corev1.PodSpec{DNSPolicy: "Other"}, ""},
		"cluster first with own options": {corev1.PodSpec{DNSConfig: own}, "nameserver 169.254.20.10\nnameserver 192.0.2.9\n" + cluster + " own.example\noptions ndots:2 edns0\n"},
	} {
		got, err := ResolvConf(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}, Spec: c.spec}, cfg)
		if string(got) != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s:\n got %q, %v\nwant %q", name, got, err, c.want)
		}
	}
	cfg.HostFile = filepath.Join(t.TempDir(), "none")
	if _, err := os.Stat(cfg.HostFile); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if got, err := ResolvConf(&corev1.Pod{Spec: corev1.PodSpec{DNSPolicy: corev1.DNSDefault}}, cfg); err != nil || len(got) != 0 {
		t.Errorf("without the host's file: %q, %v", got, err)
	}
}

func FuzzParseResolver(f *testing.F) {
	f.Add([]byte("nameserver 192.0.2.1\nsearch a b\noptions ndots:5 edns0\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := parseResolver(data)
		again := parseResolver(r.encode())
		if string(again.encode()) != string(r.encode()) {
			t.Errorf("%q is read as %q, then as %q", data, r.encode(), again.encode())
		}
	})
}
