package image

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
)

// login is a name and password for the registries that its pattern matches.
type login struct {
	pattern            string // HOST[:PORT][/PATH], host parts may be *
	username, password string
}

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
	candidates := append(matching(logins, name), login{}) // at last without a name
	var firstErr error
	for _, l := range candidates {
		img, err := m.fetchAs(ctx, name, l)
		if err == nil {
			return img, nil
		}
		if firstErr == nil {
			firstErr = err
		}
		if !isDenied(err) {
			break
		}
	}
	return nil, fmt.Errorf("failed to pull and unpack image %q: %w", name, firstErr)
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

func isDenied(err error) bool {
	s := err.Error()
	for _, sign := range []string{"401", "403", "insufficient_scope", "authorization failed", "no basic auth"} {
		if strings.Contains(s, sign) {
			return true
		}
	}
	return false
}

// pullKey joins pulls only of those who show the same credentials: an image must not be had by waiting beside one who
// may have it.
func pullKey(name string, logins []login) string {
	h := sha256.New()
	for _, l := range logins {
		fmt.Fprintf(h, "%q %q %q\n", l.pattern, l.username, l.password)
	}
	return name + " " + hex.EncodeToString(h.Sum(nil))
}

// credentials reads the logins of pull secrets. What can not be read is passed over, as the pull then fails with the
// registry's own words.
func credentials(secrets []corev1.Secret) []login {
	var out []login
	for _, s := range secrets {
		var entries map[string]authEntry
		switch s.Type {
		case corev1.SecretTypeDockerConfigJson:
			var file struct {
				Auths map[string]authEntry `json:"auths"`
			}
			if json.Unmarshal(s.Data[corev1.DockerConfigJsonKey], &file) != nil {
				continue
			}
			entries = file.Auths
		case corev1.SecretTypeDockercfg:
			if json.Unmarshal(s.Data[corev1.DockerConfigKey], &entries) != nil {
				continue
			}
		}
		for pattern, e := range entries {
			if l, ok := e.login(pattern); ok {
				out = append(out, l)
			}
		}
	}
	// The longest pattern is the most particular one.
	slices.SortFunc(out, func(a, b login) int {
		if d := len(b.pattern) - len(a.pattern); d != 0 {
			return d
		}
		return strings.Compare(a.pattern+a.username, b.pattern+b.username)
	})
	return out
}

type authEntry struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
}

func (e authEntry) login(pattern string) (login, bool) {
	l := login{pattern: cleanPattern(pattern), username: e.Username, password: e.Password}
	if e.Auth != "" {
		raw, err := base64.StdEncoding.DecodeString(e.Auth)
		if err != nil {
			return l, false
		}
		user, pass, ok := strings.Cut(string(raw), ":")
		if !ok {
			return l, false
		}
		l.username, l.password = user, strings.TrimRight(pass, "\x00")
	}
	if e.IdentityToken != "" { // sent as a refresh token, which has no name
		l.username, l.password = "", e.IdentityToken
	}
	return l, l.username != "" || l.password != ""
}

func cleanPattern(p string) string {
	p = strings.TrimPrefix(strings.TrimPrefix(p, "https://"), "http://")
	p = strings.TrimSuffix(p, "/")
	for _, version := range []string{"/v1", "/v2"} {
		p = strings.TrimSuffix(p, version)
	}
	if p == "index.docker.io" {
		p = "docker.io"
	}
	return p
}

// matching returns the logins for an image, the most particular first.
func matching(logins []login, name string) []login {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil
	}
	host, repo := reference.Domain(named), reference.Path(named)
	var out []login
	for _, l := range logins {
		h, p, _ := strings.Cut(l.pattern, "/")
		if hostMatches(h, host) && (p == "" || repo == p || strings.HasPrefix(repo, p+"/")) {
			out = append(out, l)
		}
	}
	return out
}

// hostMatches compares host names part by part; a part of the pattern may be a glob, which stands for one part.
func hostMatches(pattern, host string) bool {
	pp, hp := strings.Split(pattern, "."), strings.Split(host, ".")
	if len(pp) != len(hp) {
		return false
	}
	for i := range pp {
		if pp[i] == "*" {
			continue
		}
		before, after, glob := strings.Cut(pp[i], "*")
		if glob {
			if len(hp[i]) < len(before)+len(after) || !strings.HasPrefix(hp[i], before) || !strings.HasSuffix(hp[i], after) {
				return false
			}
		} else if pp[i] != hp[i] {
			return false
		}
	}
	return true
}
