package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"sync"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
)

// pull is one in progress. It ends when nobody waits for it any more.
type pull struct {
	waiters int
	cancel  context.CancelFunc
	done    chan struct{} // closed when img and err are set
	img     *Image
	err     error
}

// pull gets an image, or joins somebody who is getting it.
func (m *Manager) pull(ctx context.Context, name string, logins []login) (*Image, error) {
	key := pullKey(name, logins)
	m.mu.Lock()
	p := m.pulls[key]
	if p == nil {
		pctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		p = &pull{cancel: cancel, done: make(chan struct{})}
		m.pulls[key] = p
		go m.runPull(pctx, key, name, logins, p)
	}
	p.waiters++
	m.mu.Unlock()
	select {
	case <-p.done:
		return p.img, p.err
	case <-ctx.Done():
		m.mu.Lock()
		p.waiters--
		last := p.waiters == 0
		if last && m.pulls[key] == p {
			delete(m.pulls, key) // whoever comes now starts afresh
		}
		m.mu.Unlock()
		if last {
			p.cancel()
			<-p.done
		}
		return nil, ctx.Err()
	}
}

func (m *Manager) runPull(ctx context.Context, key, name string, logins []login, p *pull) {
	defer p.cancel()
	p.img, p.err = m.fetch(ctx, name, logins)
	m.mu.Lock()
	if m.pulls[key] == p {
		delete(m.pulls, key)
	}
	m.mu.Unlock()
	close(p.done)
}

func (m *Manager) fetch(ctx context.Context, name string, logins []login) (*Image, error) {
	if err := m.slots.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer m.slots.Release(1)
	m.opt.Logger.Debug("pulling image", "image", name)
	candidates := matching(logins, name)
	if len(candidates) == 0 {
		candidates = []login{{}}
	}
	// Each is tried, whatever the registry said before: some say of what is not allowed that it is not there.
	var errs []error
	for _, l := range candidates {
		img, err := m.fetchAs(ctx, name, l)
		if err == nil {
			return img, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("failed to pull and unpack image %q: %w", name, utilerrors.NewAggregate(errs))
}

func (m *Manager) fetchAs(ctx context.Context, name string, l login) (*Image, error) {
	var mu sync.Mutex
	var clients []*http.Client
	defer func() {
		for _, c := range clients {
			c.CloseIdleConnections()
		}
	}()
	resolver := docker.NewResolver(docker.ResolverOptions{Hosts: config.ConfigureHosts(ctx, config.HostOptions{
		HostDir:     config.HostDirFromRoot(m.opt.RegistryDir),
		Credentials: func(string) (string, string, error) { return l.username, l.password, nil },
		UpdateClient: func(c *http.Client) error {
			mu.Lock()
			defer mu.Unlock()
			clients = append(clients, c)
			return nil
		},
	})})
	img, err := m.opt.Client.Pull(ctx, name, containerd.WithResolver(resolver),
		containerd.WithPullUnpack, containerd.WithPullSnapshotter(m.opt.Snapshotter))
	if err != nil {
		return nil, err
	}
	d, err := m.details(ctx, img.Metadata())
	if err != nil {
		return nil, err
	}
	return m.finish(img.Metadata(), d)
}

// pullKey joins pulls only of those who show the same credentials: an image must not be had by waiting beside one who
// may have it.
func pullKey(name string, logins []login) string {
	h := sha256.New()
	for _, l := range logins {
		fmt.Fprintf(h, "%q %q %q\n", l.key(), l.username, l.password)
	}
	return name + " " + hex.EncodeToString(h.Sum(nil))
}
