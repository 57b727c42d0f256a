package api

import (
	"net/http"
	"reflect"

	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// endpoint is a resource or subresource with its handler. Authorization has been done, by the verb and the
// resource of the path; a handler that needs more says so.
type endpoint struct {
	// of names the resources that have the subresource; nil asks when.
	of    []schema.GroupResource
	when  func(*kind.Kind) bool
	verbs []string
	// kind is what discovery says of it; empty means the resource's own kind.
	kind schema.GroupVersionKind
	// body is the type of that kind, when it is what is sent and answered; nil where it is the resource's or no object.
	body reflect.Type
	// proxies says that the kind is that of the resource's options for proxied requests.
	proxies bool
	handle  func(*Server, http.ResponseWriter, *request) error
}

func hasStatus(k *kind.Kind) bool   { return k.Status != nil }
func hasApproval(k *kind.Kind) bool { return k.Approval != nil }
func hasScale(k *kind.Kind) bool    { return k.Scale != nil }

var (
	pods            = []schema.GroupResource{{Resource: "pods"}}
	nodes           = []schema.GroupResource{{Resource: "nodes"}}
	services        = []schema.GroupResource{{Resource: "services"}}
	namespaces      = []schema.GroupResource{{Resource: "namespaces"}}
	serviceAccounts = []schema.GroupResource{{Resource: "serviceaccounts"}}
	getPatchUpdate  = []string{"get", "patch", "update"}
	connectVerbs    = []string{"create", "get"}
	proxyVerbs      = []string{"create", "delete", "get", "patch", "update"}
)

// subresources are what the API serves below objects. Filled by init, since handlers refer to it.
var subresources map[string]*endpoint

func init() {
	subresources = map[string]*endpoint{
		"status":   {when: hasStatus, verbs: getPatchUpdate, handle: (*Server).object},
		"approval": {when: hasApproval, verbs: getPatchUpdate, handle: (*Server).object},
		"scale":    {when: hasScale, verbs: getPatchUpdate, kind: schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"}, body: reflect.TypeFor[autoscalingv1.Scale](), handle: (*Server).scale},
		"finalize": {of: namespaces, verbs: []string{"update"}, handle: (*Server).object},
		"binding":  {of: pods, verbs: []string{"create"}, kind: schema.GroupVersionKind{Version: "v1", Kind: "Binding"}, body: reflect.TypeFor[corev1.Binding](), handle: (*Server).bind},
		"eviction": {of: pods, verbs: []string{"create"}, kind: schema.GroupVersionKind{Group: "policy", Version: "v1", Kind: "Eviction"}, body: reflect.TypeFor[policyv1.Eviction](), handle: (*Server).evict},

		"ephemeralcontainers": {of: pods, verbs: getPatchUpdate, handle: (*Server).object},
		"resize":              {of: pods, verbs: getPatchUpdate, handle: (*Server).object},

		"token": {of: serviceAccounts, verbs: []string{"create"}, kind: schema.GroupVersionKind{Group: "authentication.k8s.io", Version: "v1", Kind: "TokenRequest"}, body: reflect.TypeFor[authenticationv1.TokenRequest](), handle: (*Server).issueToken},

		"log":         {of: pods, verbs: []string{"get"}, handle: (*Server).podLog},
		"exec":        {of: pods, verbs: connectVerbs, kind: schema.GroupVersionKind{Version: "v1", Kind: "PodExecOptions"}, handle: (*Server).podStream},
		"attach":      {of: pods, verbs: connectVerbs, kind: schema.GroupVersionKind{Version: "v1", Kind: "PodAttachOptions"}, handle: (*Server).podStream},
		"portforward": {of: pods, verbs: connectVerbs, kind: schema.GroupVersionKind{Version: "v1", Kind: "PodPortForwardOptions"}, handle: (*Server).podStream},
		"proxy": {of: append(append(append([]schema.GroupResource{}, pods...), nodes...), services...), verbs: proxyVerbs,
			proxies: true, handle: (*Server).proxy},
	}
}

// kindOf is what discovery says of the subresource of a kind; empty means the kind itself.
func (e *endpoint) kindOf(k *kind.Kind) schema.GroupVersionKind {
	if e.proxies {
		return k.GroupVersion().WithKind(k.Kind + "ProxyOptions")
	}
	return e.kind
}

// serves says whether a kind has the subresource.
func (e *endpoint) serves(k *kind.Kind) bool {
	if e.when != nil {
		return e.when(k)
	}
	for _, gr := range e.of {
		if gr == k.GroupResource() {
			return true
		}
	}
	return false
}

// dispatch hands a resource request to its handler.
func (s *Server) dispatch(w http.ResponseWriter, r *request) error {
	if r.kind == nil {
		if v := virtuals[r.gvr()]; v != nil && r.name == "" && r.subresource == "" && v.namespaced == (r.namespace != "") {
			if r.verb != "create" {
				return errMethod(r)
			}
			return v.handle(s, w, r)
		}
		return r.nothing()
	}
	e := subresources[r.subresource]
	if r.subresource != "" && (e == nil || !e.serves(r.kind) || r.name == "" || r.rest != "" && r.subresource != "proxy") {
		return r.nothing()
	}
	if r.Method == http.MethodHead && r.subresource != "proxy" && !r.kind.Custom {
		return errMethod(r) // kube-apiserver answers it for custom resources alone
	}
	if r.kind.Deprecation != "" {
		r.warn(r.kind.Deprecation)
	}
	if r.subresource == "" {
		return s.object(w, r)
	}
	for _, v := range e.verbs {
		if v == r.verb || e.proxies && r.Method == http.MethodOptions {
			return e.handle(s, w, r)
		}
	}
	return errMethod(r)
}
