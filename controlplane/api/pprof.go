package api

import (
	"net/http"
	"net/http/pprof"
	"strings"
)

// pprofPrefix is where kube-apiserver serves profiles too. They take the verb get on the path, so only who may
// read every path gets at them: cluster-admin by default.
const pprofPrefix = "/debug/pprof"

// profile serves the runtime's profiles of this process, as `go tool pprof` reads them.
func profile(w http.ResponseWriter, r *request, path string) error {
	name := strings.Trim(strings.TrimPrefix(path, pprofPrefix), "/")
	switch name {
	case "":
		pprof.Index(w, r.Request)
	case "cmdline": // the command line is nobody's business but the host's
		return errPathNotFound
	case "profile":
		pprof.Profile(w, r.Request)
	case "symbol":
		pprof.Symbol(w, r.Request)
	case "trace":
		pprof.Trace(w, r.Request)
	default:
		pprof.Handler(name).ServeHTTP(w, r.Request)
	}
	return nil
}
