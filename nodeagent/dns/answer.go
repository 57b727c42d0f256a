package dns

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

const (
	// ttl of all records and, by the SOA record, of negative answers, in seconds.
	ttl = 5
	// schemaVersion is that of the specification which zone.go implements.
	schemaVersion = "1.1.0"
	// maxAliases bounds a chain of ExternalName services that point to each other.
	maxAliases = 8
)

// answerZone answers a question within the cluster's domain.
func (s *Server) answerZone(ctx context.Context, m *dns.Msg, q dns.Question) {
	m.Authoritative = true
	name := dns.CanonicalName(q.Name)
	for range maxAliases {
		n, exists := s.lookup(name)
		if n.cname == "" {
			s.addRecords(m, name, q.Qtype, n)
			if len(m.Answer) == 0 {
				s.negative(m, exists)
			}
			return
		}
		m.Answer = append(m.Answer, &dns.CNAME{Hdr: header(name, dns.TypeCNAME), Target: n.cname})
		if q.Qtype == dns.TypeCNAME {
			return
		}
		if !dns.IsSubDomain(s.zone.domain, n.cname) {
			s.followOutside(ctx, m, n.cname, q.Qtype)
			return
		}
		name = n.cname
	}
	m.Answer, m.Rcode = nil, dns.RcodeServerFailure
}

// lookup finds a name, also those that no service makes.
func (s *Server) lookup(name string) (node, bool) {
	switch rest := strings.TrimSuffix(name, s.zone.domain); rest {
	case "", "svc.", "pod.", "dns.", "dns-version.":
		return node{}, true
	case "ns.dns.":
		return node{a: []netip.Addr{s.cfg.Address}}, true
	default:
		if pod, ok := strings.CutSuffix(rest, ".pod."); ok {
			return podName(pod)
		}
	}
	return s.zone.find(name)
}

// podName reads "10-0-0-1.NAMESPACE" (section 2.6); the namespace alone is an empty name.
func podName(name string) (node, bool) {
	dashed, namespace, ok := strings.Cut(name, ".")
	if !ok {
		return node{}, true
	}
	addr, err := netip.ParseAddr(strings.ReplaceAll(dashed, "-", "."))
	if err != nil || strings.Contains(namespace, ".") {
		return node{}, false
	}
	return node{a: []netip.Addr{addr}}, true
}

// addRecords adds what a name has of the wanted type.
func (s *Server) addRecords(m *dns.Msg, name string, qtype uint16, n node) {
	switch qtype {
	case dns.TypeA:
		m.Answer = append(m.Answer, shuffled(addressRecords(name, n.a))...)
	case dns.TypeSRV:
		for _, t := range n.srv {
			m.Answer = append(m.Answer, &dns.SRV{Hdr: header(name, dns.TypeSRV), Priority: 0, Weight: 100, Port: t.port, Target: t.host})
			host, _ := s.zone.find(t.host)
			for _, rr := range addressRecords(t.host, host.a) {
				if !slices.ContainsFunc(m.Extra, func(have dns.RR) bool { return dns.IsDuplicate(have, rr) }) {
					m.Extra = append(m.Extra, rr)
				}
			}
		}
	case dns.TypeTXT:
		if name == "dns-version."+s.zone.domain {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: header(name, dns.TypeTXT), Txt: []string{schemaVersion}})
		}
	case dns.TypeSOA:
		if name == s.zone.domain {
			m.Answer = append(m.Answer, s.soa())
		}
	case dns.TypeNS:
		if name == s.zone.domain {
			m.Answer = append(m.Answer, &dns.NS{Hdr: header(name, dns.TypeNS), Ns: "ns.dns." + s.zone.domain})
			m.Extra = append(m.Extra, addressRecords("ns.dns."+s.zone.domain, []netip.Addr{s.cfg.Address})...)
		}
	case dns.TypeANY: // RFC 8482
		m.Answer = append(m.Answer, &dns.HINFO{Hdr: header(name, dns.TypeHINFO), Cpu: "RFC8482"})
	}
}

// followOutside completes an alias to a name outside the cluster; without an upstream's answer the alias stands alone.
func (s *Server) followOutside(ctx context.Context, m *dns.Msg, name string, qtype uint16) {
	question := new(dns.Msg)
	question.SetQuestion(name, qtype)
	answer, err := s.forward.exchange(ctx, question)
	if err != nil {
		s.log.Debug("cannot follow an alias", "name", name, "error", err)
		return
	}
	m.Answer = append(m.Answer, answer.Answer...)
}

// answerReverse answers for an address of the cluster; ok is false when the address is none of the cluster's.
func (s *Server) answerReverse(m *dns.Msg, q dns.Question) (ok bool) {
	addr, isAddr := reverseAddr(q.Name)
	if !isAddr {
		return false
	}
	names := s.zone.findReverse(addr)
	if len(names) == 0 && !s.inCluster(addr) {
		return false
	}
	m.Authoritative = true
	if q.Qtype == dns.TypePTR {
		for _, name := range names {
			m.Answer = append(m.Answer, &dns.PTR{Hdr: header(dns.CanonicalName(q.Name), dns.TypePTR), Ptr: name})
		}
	}
	if len(m.Answer) == 0 {
		s.negative(m, len(names) > 0)
	}
	return true
}

func (s *Server) inCluster(addr netip.Addr) bool {
	return slices.ContainsFunc([]netip.Prefix{s.cfg.PodCIDR, s.cfg.ServiceCIDR}, func(p netip.Prefix) bool {
		return p.IsValid() && p.Contains(addr)
	})
}

// reverseAddr reads "4.3.2.1.in-addr.arpa.".
func reverseAddr(name string) (netip.Addr, bool) {
	labels, ok := strings.CutSuffix(dns.CanonicalName(name), ".in-addr.arpa.")
	if !ok {
		return netip.Addr{}, false
	}
	parts := strings.Split(labels, ".")
	slices.Reverse(parts)
	addr, err := netip.ParseAddr(strings.Join(parts, "."))
	return addr, err == nil && addr.Is4()
}

// negative makes an answer that says that the name, or its type, does not exist (RFC 2308).
func (s *Server) negative(m *dns.Msg, exists bool) {
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
	m.Ns = []dns.RR{s.soa()}
}

func (s *Server) soa() dns.RR {
	return &dns.SOA{
		Hdr: header(s.zone.domain, dns.TypeSOA), Ns: "ns.dns." + s.zone.domain, Mbox: "hostmaster." + s.zone.domain,
		Serial: s.serial, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: ttl,
	}
}

func addressRecords(name string, addrs []netip.Addr) []dns.RR {
	out := make([]dns.RR, 0, len(addrs))
	for _, a := range addrs {
		out = append(out, &dns.A{Hdr: header(name, dns.TypeA), A: a.AsSlice()})
	}
	return out
}

// shuffled spreads clients that take the first address.
func shuffled(rrs []dns.RR) []dns.RR {
	rand.Shuffle(len(rrs), func(i, j int) { rrs[i], rrs[j] = rrs[j], rrs[i] })
	return rrs
}

func header(name string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}
