package api

import (
	"net/http"
	"runtime"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/version"
)

// Version of Kubernetes that the API is that of: the pinned API libraries'.
const (
	VersionMajor = "1"
	VersionMinor = "37"
	GitVersion   = "v1.37.2+fairlead"
	// MinCompatibilityMinor is of the oldest version that kube-apiserver of this one can go back to.
	MinCompatibilityMinor = "36"
)

// public serves what needs no authentication, and says whether it did.
func (s *Server) public(w http.ResponseWriter, r *request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	switch path := r.URL.Path; {
	case r.Method == http.MethodGet && (path == "/version" || path == "/version/"):
		s.version(w, r)
	case slices.Contains(healthPaths, path):
		s.health(w, r, path)
	default:
		return false
	}
	return true
}

func text(w http.ResponseWriter, code int, body string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache, private")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(body))
}

func (s *Server) version(w http.ResponseWriter, r *request) {
	s.json(w, r, &version.Info{
		Major: VersionMajor, Minor: VersionMinor, GitVersion: GitVersion, GitTreeState: "clean",
		EmulationMajor: VersionMajor, EmulationMinor: VersionMinor, MinCompatibilityMajor: VersionMajor, MinCompatibilityMinor: MinCompatibilityMinor,
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	})
}

// path serves what is no resource and needs authentication.
func (s *Server) path(w http.ResponseWriter, r *request) error {
	if h := s.config.Paths[r.URL.Path]; h != nil {
		h.ServeHTTP(w, r.Request)
		return nil
	}
	if s.singleCheck(w, r) {
		return nil
	}
	path := strings.TrimSuffix(r.URL.Path, "/")
	if r.Method != http.MethodGet && slices.Contains(getOnly, path) {
		return errMethod(r)
	}
	switch {
	case slices.Contains(healthPaths, r.URL.Path):
		s.health(w, r, path)
		return nil
	case path == "/metrics":
		s.metrics.handler().ServeHTTP(w, r.Request)
		return nil
	case path == "/.well-known/openid-configuration" || path == "/openid/v1/jwks":
		return s.tokens.discovery(w, path)
	case path == "/openapi/v2" || path == "/openapi/v3" || strings.HasPrefix(path, "/openapi/v3/"):
		return s.openapi.serve(s, w, r, path)
	case path == pprofPrefix || strings.HasPrefix(path, pprofPrefix+"/"):
		return profile(w, r, path)
	case path == "" || path == "/index.html":
		s.json(w, r, map[string][]string{"paths": s.paths()})
		return nil
	case path == "/api" || strings.HasPrefix(path, "/api/") || path == "/apis" || strings.HasPrefix(path, "/apis/"):
		return s.discover().serve(s, w, r, path)
	}
	return errPathNotFound
}

// getOnly are paths that answer to no other method; kube-apiserver looks at it for these and for the resources of a group's version
// alone.
var getOnly = []string{"/version", "/api", "/.well-known/openid-configuration", "/openid/v1/jwks"}

// paths lists what the root path shows.
func (s *Server) paths() []string {
	paths := append(s.checkPaths(), "/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/apis/", pprofPrefix, "/metrics",
		"/openapi/v2", "/openapi/v3", "/openapi/v3/", "/openid/v1/jwks", "/version")
	for _, g := range s.discover().groups {
		if g.Name == "" {
			continue
		}
		paths = append(paths, "/apis/"+g.Name)
		for _, v := range g.Versions {
			paths = append(paths, "/apis/"+v.GroupVersion)
		}
	}
	slices.Sort(paths)
	return paths
}

// json answers with what is no API object, indented, since it is people who read it.
func (s *Server) json(w http.ResponseWriter, r *request, v any) {
	data, err := jsonOf(v)
	if err != nil {
		s.writeError(w, r, apierrors.NewInternalError(err))
		return
	}
	s.writeParts(w, r, http.StatusOK, media{pretty: true}, [][]byte{data})
}
