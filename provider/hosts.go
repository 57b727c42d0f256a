package provider

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/provider/kube"
)

// hostRef says which host a resource means; what it leaves empty comes from the provider block.
type hostRef struct {
	Address string
	Port    int
	HostKey string
}

// canonical makes a key and its fingerprint the same reference, so that a host has one connection.
func (r hostRef) canonical() hostRef {
	if fp := fingerprint(r.HostKey); fp != "" && !strings.Contains(strings.TrimSpace(r.HostKey), "\n") {
		r.HostKey = fp
	}
	return r
}

// hosts keeps one connection for each host for as long as the provider runs. It is safe for concurrent use.
type hosts struct {
	// base is the provider block's SSH configuration. With an unknown value in it, unknown names the attribute
	// and nothing can be dialled.
	base    ssh.Config
	unknown string
	log     *slog.Logger
	dial    func(context.Context, ssh.Config) (ssh.Conn, error)

	mu    sync.Mutex
	conns map[hostRef]*hostConn
}

type hostConn struct {
	mu   sync.Mutex // held while dialling, so that one host is dialled once
	conn ssh.Conn
}

func newHosts(base ssh.Config, unknown string) *hosts {
	return &hosts{base: base, unknown: unknown, conns: map[hostRef]*hostConn{}, log: slog.New(slog.DiscardHandler), dial: ssh.Dial}
}

var errUnknownSSH = fmt.Errorf("%w; it can not come from something that this apply makes through the host itself", kube.ErrNotKnownYet)

func (h *hosts) config(ref hostRef) (ssh.Config, error) {
	if h.unknown != "" && ref.Address != localAddress {
		return ssh.Config{}, &ssh.ConfigError{Field: h.unknown, Err: errUnknownSSH}
	}
	c := h.base
	c.Address = ref.Address
	if ref.Port != 0 {
		c.Port = ref.Port
	}
	if ref.HostKey != "" {
		c.HostKey = ref.HostKey
	}
	c.Logger = h.log
	return c, c.Validate()
}

// get returns a connection to the host, dialling when there is none. It belongs to hosts.
func (h *hosts) get(ctx context.Context, ref hostRef) (ssh.Conn, error) {
	ref = ref.canonical()
	c, err := h.config(ref)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	hc := h.conns[ref]
	if hc == nil {
		hc = &hostConn{}
		h.conns[ref] = hc
	}
	h.mu.Unlock()
	hc.mu.Lock()
	defer hc.mu.Unlock()
	if hc.conn != nil {
		return hc.conn, nil
	}
	conn, err := h.dial(ctx, c)
	if err != nil {
		return nil, err
	}
	hc.conn = conn
	return conn, nil
}

// drop closes a connection that broke, so that the next get dials anew. Another that took its place stays.
func (h *hosts) drop(ref hostRef, broken ssh.Conn) {
	ref = ref.canonical()
	h.mu.Lock()
	hc := h.conns[ref]
	h.mu.Unlock()
	if hc == nil {
		return
	}
	hc.mu.Lock()
	defer hc.mu.Unlock()
	if hc.conn == broken {
		hc.conn = nil
		_ = broken.Close()
	}
}
