package dns

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/network/netlab"
)

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
			return errors.Join(errors.New("link is left"), err)
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

// TestPortOfAnother starts the server while another program has the port on all addresses, and sees it serve when that
// is gone.
func TestPortOfAnother(t *testing.T) {
	for network, listen := range map[string]func() (io.Closer, error){
		"udp": func() (io.Closer, error) { return net.ListenPacket("udp4", "0.0.0.0:53") },
		"tcp": func() (io.Closer, error) { return net.Listen("tcp4", "0.0.0.0:53") },
	} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			host := netlab.Namespace(t)
			var other io.Closer
			host.Do(func() (err error) {
				other, err = listen()
				return err
			})
			l := startOn(t, host, func(*Config) {})
			l.fill()
			if err := l.server.Problem(); !errors.Is(err, syscall.EADDRINUSE) {
				t.Fatalf("the problem is %v, want a port that is taken", err)
			}
			if err := other.Close(); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(20 * time.Second); l.server.Problem() != nil; <-time.After(20 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal(l.server.Problem())
				}
			}
			if got := short(l.ask(network, "web.default.svc.cluster.local.", "A")); !strings.HasSuffix(got, "10.96.0.10") {
				t.Errorf("it answers %s", got)
			}
		})
	}
}
