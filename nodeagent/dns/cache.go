package dns

import (
	"fmt"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	cacheSize = 4096
	// Answers are kept for as long as they say, but not longer than this: what changes outside shall show soon.
	maxPositive = 30 * time.Second
	maxNegative = 5 * time.Second
)

type cacheKey struct {
	name         string
	qtype        uint16
	dnssec, noCD bool
}

func (k cacheKey) String() string { return fmt.Sprint(k.name, " ", k.qtype, k.dnssec, k.noCD) }

func keyOf(r *dns.Msg) cacheKey {
	opt := r.IsEdns0()
	return cacheKey{dns.CanonicalName(r.Question[0].Name), r.Question[0].Qtype, opt != nil && opt.Do(), r.CheckingDisabled}
}

// cache keeps upstream answers. It is safe for concurrent use.
type cache struct {
	mu      sync.Mutex
	entries map[cacheKey]cached
}

type cached struct {
	msg            *dns.Msg // never changed
	stored, expire time.Time
}

func newCache() *cache { return &cache{entries: map[cacheKey]cached{}} }

// get returns a copy with the TTLs that are left, or nil.
func (c *cache) get(key cacheKey) *dns.Msg {
	now := time.Now()
	c.mu.Lock()
	e, ok := c.entries[key]
	if ok && !now.Before(e.expire) {
		delete(c.entries, key)
		ok = false
	}
	c.mu.Unlock()
	if !ok {
		return nil
	}
	m := e.msg.Copy()
	age := uint32(now.Sub(e.stored) / time.Second)
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT {
				h.Ttl -= min(age, h.Ttl)
			}
		}
	}
	return m
}

// put keeps an answer if it may be kept.
func (c *cache) put(key cacheKey, m *dns.Msg) {
	d := lifetime(m)
	if d <= 0 {
		return
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.entries) >= cacheSize {
		c.evict(now)
	}
	c.entries[key] = cached{m, now, now.Add(d)}
}

// evict makes room: what has expired goes, and if nothing has, some of the rest. The caller holds the lock.
func (c *cache) evict(now time.Time) {
	for k, e := range c.entries {
		if !now.Before(e.expire) {
			delete(c.entries, k)
		}
	}
	for k := range c.entries {
		if len(c.entries) < cacheSize*7/8 {
			return
		}
		delete(c.entries, k)
	}
}

// lifetime is how long an answer may be kept: the least TTL of a positive one, the SOA's of a negative one (RFC 2308).
func lifetime(m *dns.Msg) time.Duration {
	if m.Rcode == dns.RcodeSuccess && len(m.Answer) > 0 {
		d := maxPositive
		for _, rr := range m.Answer {
			d = min(d, time.Duration(rr.Header().Ttl)*time.Second)
		}
		return d
	}
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return 0
	}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(maxNegative, time.Duration(min(soa.Minttl, soa.Hdr.Ttl))*time.Second)
		}
	}
	return 0
}
