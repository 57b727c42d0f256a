package dns

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/network/netlab"
)

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
