package api

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// request is what one HTTP request asks for, read from its method and path.
type request struct {
	*http.Request
	query url.Values

	// resource is set when the path names one; the fields below are empty otherwise.
	resource    bool
	verb        string // of a resource: get, list, watch, create, update, patch, delete, deletecollection, "" for other methods; else the method in small letters
	group       string
	version     string
	plural      string
	subresource string
	namespace   string
	name        string
	watching    bool                    // the path says so, in the old form
	rest        string                  // what follows the subresource, for proxies; begins with "/" or is empty
	kind        *kind.Kind              // nil when the table has none of that name
	wants       schema.GroupVersionKind // what the body is read as, once it is

	user *kind.User
	// actor is who really sent the request when user is impersonated.
	actor *kind.User
	// constraint is the verb of constrained impersonation that let the actor do so; empty for the plain right.
	constraint string
	// warnings are sent as headers with the answer.
	warnings []string
	audit    *auditEvent
}

// gvr returns the resource that the path names.
func (r *request) gvr() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: r.group, Version: r.version, Resource: r.plural}
}

func (r *request) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: r.group, Resource: r.plural}
}

// truth is how Kubernetes reads a boolean parameter: present means yes unless it says no.
func truth(values url.Values, name string) bool {
	v, ok := values[name]
	return ok && len(v) > 0 && v[0] != "0" && !strings.EqualFold(v[0], "false")
}

// parseRequest reads method and path. It never fails: a path that names nothing is not a resource request.
//
//	/api/v1/[namespaces/NS/]RESOURCE[/NAME[/SUBRESOURCE[/REST]]]
//	/apis/GROUP/VERSION/[namespaces/NS/]RESOURCE[/NAME[/SUBRESOURCE[/REST]]]
func parseRequest(hr *http.Request, kinds *kind.Table) *request {
	r := &request{Request: hr, verb: strings.ToLower(hr.Method)}
	if hr.URL.RawQuery != "" {
		r.query = hr.URL.Query()
	}
	parts, ok := r.groupVersion(hr.URL.Path)
	if !ok || len(parts) == 0 || parts[0] == "" {
		return r
	}
	if parts[0] == "watch" && len(parts) > 1 { // the old form of ?watch=1
		parts = parts[1:]
		if r.query == nil {
			r.query = url.Values{}
		}
		r.query.Set("watch", "1")
		r.watching = true
	}
	r.resource = true
	r.place(parts)
	if r.plural == "" { // empty segments name nothing
		return &request{Request: hr, query: r.query, verb: strings.ToLower(hr.Method)}
	}
	r.kind = kinds.ByResource(r.gvr())
	r.setVerb()
	return r
}

// groupVersion takes the API's prefix off the path.
func (r *request) groupVersion(path string) ([]string, bool) {
	switch {
	case strings.HasPrefix(path, "/api/"):
		version, rest, _ := strings.Cut(path[len("/api/"):], "/")
		r.version = version
		return split(rest), true
	case strings.HasPrefix(path, "/apis/"):
		group, rest, _ := strings.Cut(path[len("/apis/"):], "/")
		version, rest, _ := strings.Cut(rest, "/")
		r.group, r.version = group, version
		return split(rest), true
	}
	return nil, false
}

func split(path string) []string {
	path = strings.TrimSuffix(path, "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

// place reads what follows the version. A namespace's own subresources look like its resources; they are told
// apart by name.
func (r *request) place(parts []string) {
	if parts[0] == "namespaces" && len(parts) > 1 {
		r.namespace = parts[1]
		if len(parts) > 2 && !(r.group == "" && (parts[2] == "status" || parts[2] == "finalize") && len(parts) == 3) {
			parts = parts[2:]
		} else {
			r.plural, r.name = "namespaces", parts[1]
			if len(parts) > 2 {
				r.subresource = parts[2]
			}
			return
		}
	}
	r.plural = parts[0]
	if len(parts) > 1 {
		r.name = parts[1]
	}
	if len(parts) > 2 {
		r.subresource = parts[2]
	}
	if len(parts) > 3 {
		r.rest = "/" + strings.Join(parts[3:], "/")
		if strings.HasSuffix(r.URL.Path, "/") {
			r.rest += "/"
		}
	}
}

func (r *request) setVerb() {
	switch r.Method {
	case http.MethodPost:
		r.verb = "create"
	case http.MethodPut:
		r.verb = "update"
	case http.MethodPatch:
		r.verb = "patch"
	case http.MethodDelete:
		r.verb = "delete"
		if r.name == "" {
			r.verb = "deletecollection"
		}
	case http.MethodGet, http.MethodHead:
		r.verb = "get"
		switch {
		case r.subresource == "" && (r.watching || r.name == "" && truth(r.query, "watch")):
			r.verb = "watch"
		case r.name == "":
			r.verb = "list"
		}
	default:
		r.verb = ""
	}
}

// deadline is how long the request may take: what its timeout parameter says, requestTimeout at most.
func (r *request) deadline() time.Duration {
	if text := r.query.Get("timeout"); text != "" {
		if d, err := time.ParseDuration(text); err == nil && d > 0 {
			return min(d, requestTimeout)
		}
	}
	return requestTimeout
}

// checkTimeout refuses a timeout that is none. How long is long by its nature is no matter of it.
func (r *request) checkTimeout() error {
	text := r.query.Get("timeout")
	if text == "" || r.long() {
		return nil
	}
	if _, err := time.ParseDuration(text); err != nil {
		return apierrors.NewBadRequest("invalid timeout specified in the request URL - " + err.Error())
	}
	return nil
}

// long says whether the request stays open for long by its nature, so that no limit on time or number holds.
func (r *request) long() bool {
	if !r.resource {
		return false
	}
	switch r.subresource {
	case "log", "exec", "attach", "portforward", "proxy": // a log may be long, and be read as slowly as a person does
		return true
	}
	return r.verb == "watch"
}

func itoa(n int) string { return strconv.Itoa(n) }
