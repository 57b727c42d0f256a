package containertest

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Registry serves images on loopback. Its methods may be called at any time.
type Registry struct {
	Host string // with the port
	srv  *httptest.Server

	mu             sync.Mutex
	user, password string        // who may ask; everybody when there is no user
	hold           chan struct{} // layers are sent when it is closed; nil: at once
	manifests      int
	users          []string
}

// NewRegistry returns a registry that everybody may read from.
func NewRegistry() *Registry {
	r := &Registry{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	r.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !r.admit(req) {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, req)
	}))
	r.Host = strings.TrimPrefix(r.srv.URL, "http://")
	return r
}

// Close ends it.
func (r *Registry) Close() { r.srv.Close() }

// Push adds an image, REPOSITORY:TAG, and returns its whole name. The registry must not be locked.
func (r *Registry) Push(repository string, img v1.Image) (string, error) {
	ref, err := name.ParseReference(r.Host + "/" + repository)
	if err != nil {
		return "", fmt.Errorf("cannot name image: %w", err)
	}
	tr := http.DefaultTransport.(*http.Transport).Clone()
	defer tr.CloseIdleConnections()
	if err := remote.Write(ref, img, remote.WithTransport(tr), remote.WithAuth(authn.Anonymous)); err != nil {
		return "", fmt.Errorf("cannot push image %s: %w", ref, err)
	}
	return ref.Name(), nil
}

// Lock has it answer only who shows this name and password, by basic authentication.
func (r *Registry) Lock(user, password string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.user, r.password = user, password
}

// Hold has layers wait until the function that it returns is called.
func (r *Registry) Hold() (release func()) {
	hold := make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold = hold
	return func() { close(hold) }
}

// Manifests counts the manifests that were read.
func (r *Registry) Manifests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.manifests
}

// Users returns who asked since the last call, in the order in which they first did.
func (r *Registry) Users() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.users
	r.users = nil
	return out
}

func (r *Registry) admit(req *http.Request) bool {
	user, password, named := req.BasicAuth()
	r.mu.Lock()
	if n := len(r.users); named && (n == 0 || r.users[n-1] != user) {
		r.users = append(r.users, user)
	}
	if r.user != "" && (user != r.user || password != r.password) {
		r.mu.Unlock()
		return false
	}
	var hold chan struct{}
	if req.Method == http.MethodGet {
		if strings.Contains(req.URL.Path, "/manifests/") {
			r.manifests++
		}
		if strings.Contains(req.URL.Path, "/blobs/") {
			hold = r.hold
		}
	}
	r.mu.Unlock()
	if hold != nil {
		<-hold
	}
	return true
}
