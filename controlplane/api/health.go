package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Check is one thing that /readyz looks at, and /livez too if Live is set. Its name is kube-apiserver's where that looks at the
// same. What Run returns is shown to anyone: it must name nothing of the cluster's.
type Check struct {
	Name string
	Live bool
	Run  func(context.Context) error
}

const (
	// readyEvery is between two looks at what readiness is made of, none of which has an event of its own.
	readyEvery = 5 * time.Millisecond
	// etcdTimeout is how long etcd may take to say its revision; kube-apiserver has the same.
	etcdTimeout = 2 * time.Second
)

// healthPaths are those that anyone may read, for whom a single check is below them for those who may read that.
var healthPaths = []string{"/healthz", "/livez", "/readyz"}

// checks are what a health path looks at, in the order in which they come to pass at a start.
func (s *Server) checks(path string) []Check {
	if path == "/readyz" {
		return s.ready
	}
	return slices.DeleteFunc(slices.Clone(s.ready), func(c Check) bool { return !c.Live })
}

// readiness is all that the server has to look at: requests would be served now, for the caches are filled, the authorizer's too,
// and whatever the configuration adds is content.
func (s *Server) readiness() []Check {
	own := []Check{
		{Name: "ping", Live: true, Run: func(context.Context) error { return nil }},
		{Name: "etcd", Live: true, Run: s.etcdAnswers},
		{Name: "informer-sync", Run: closed(s.registry.Store().Ready(), "the caches are being filled")},
		{Name: "poststarthook/crd-informer-synced", Run: closed(s.Defined(), "custom resource definitions are being read")},
		{Name: "poststarthook/rbac/bootstrap-roles", Run: func(context.Context) error {
			if !s.config.AllowAll && !s.authz.Ready() {
				return errors.New("the authorizer's caches are being filled")
			}
			return nil
		}},
	}
	return append(append(own, s.config.Checks...), Check{Name: "shutdown", Run: func(context.Context) error {
		if s.stopping.Err() != nil {
			return errors.New("the server is shutting down")
		}
		return nil
	}})
}

func closed(c <-chan struct{}, otherwise string) func(context.Context) error {
	return func(context.Context) error {
		select {
		case <-c:
			return nil
		default:
			return errors.New(otherwise)
		}
	}
}

func (s *Server) etcdAnswers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	if err := s.registry.Store().Ping(ctx); err != nil {
		s.log.Debug("etcd does not answer", "error", err)
		return errors.New("etcd does not answer")
	}
	return nil
}

// AwaitReady returns when /readyz says ok, or with ctx's error.
func (s *Server) AwaitReady(ctx context.Context) error {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for _, c := range s.ready {
		for c.Run(ctx) != nil {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
		}
	}
	return nil
}

// health answers a health path as kube-apiserver does: "ok", or with ?verbose each check; what ?exclude names is left out.
// A failure always shows each.
func (s *Server) health(w http.ResponseWriter, r *request, path string) {
	name := path[1:]
	query := r.URL.Query()
	unknown := slices.Clone(query["exclude"])
	var out bytes.Buffer
	failed := false
	for _, c := range s.checks(path) {
		if slices.Contains(query["exclude"], c.Name) {
			unknown = slices.DeleteFunc(unknown, func(n string) bool { return n == c.Name })
			fmt.Fprintf(&out, "[+]%s excluded: ok\n", c.Name)
			continue
		}
		if err := c.Run(r.Context()); err != nil {
			failed = true
			fmt.Fprintf(&out, "[-]%s failed: %v\n", c.Name, err)
			continue
		}
		fmt.Fprintf(&out, "[+]%s ok\n", c.Name)
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		fmt.Fprintf(&out, "warn: some health checks cannot be excluded: no matches for %q\n", slices.Compact(unknown))
	}
	switch {
	case failed:
		text(w, http.StatusInternalServerError, out.String()+name+" check failed\n")
	case query.Has("verbose"):
		text(w, http.StatusOK, out.String()+name+" check passed\n")
	default:
		text(w, http.StatusOK, "ok")
	}
}

// singleCheck answers the path of one check, and says whether there is one.
func (s *Server) singleCheck(w http.ResponseWriter, r *request) bool {
	for _, path := range healthPaths {
		name, below := strings.CutPrefix(r.URL.Path, path+"/")
		if !below {
			continue
		}
		for _, c := range s.checks(path) {
			if c.Name != name {
				continue
			}
			if err := c.Run(r.Context()); err != nil {
				text(w, http.StatusInternalServerError, fmt.Sprintf("internal server error: %v\n", err))
			} else {
				text(w, http.StatusOK, "ok")
			}
			return true
		}
	}
	return false
}

// checkPaths are the health paths and those of single checks.
func (s *Server) checkPaths() []string {
	paths := slices.Clone(healthPaths)
	for _, path := range healthPaths {
		for _, c := range s.checks(path) {
			paths = append(paths, path+"/"+c.Name)
		}
	}
	return paths
}
