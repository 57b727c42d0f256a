package identity

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync/atomic"
	"time"
)

// dialTimeout is for one server; with several a dead one must not hold up the rest for long.
const dialTimeout = 5 * time.Second

// dialer connects to one of several servers, the last good one first.
type dialer struct {
	addresses []string // HOST:PORT
	good      atomic.Int32
}

func newDialer(servers []string) (*dialer, error) {
	if len(servers) == 0 {
		return nil, errors.New("cannot reach the cluster: no server is configured")
	}
	d := &dialer{}
	for _, s := range servers {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "https" || u.Port() == "" {
			return nil, fmt.Errorf("cannot use server %q: it must be https://ADDRESS:PORT", s)
		}
		d.addresses = append(d.addresses, u.Host)
	}
	return d, nil
}

func (d *dialer) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	var errs []error
	first := int(d.good.Load())
	for i := range d.addresses {
		n := (first + i) % len(d.addresses)
		conn, err := (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext(ctx, "tcp", d.addresses[n])
		if err == nil {
			d.good.Store(int32(n))
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
