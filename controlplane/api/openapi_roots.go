package api

import (
	"cmp"
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// root is a path that is of no kind.
type root struct {
	path, id, tag, text string
	out                 reflect.Type // nil: a text
	forms               []string
	answers             bool // does not say what it consumes
}

// roots are the paths that are of no group, by the names of their documents.
var roots = map[string]root{
	"api":     {path: "/api/", id: "getCoreAPIVersions", tag: "core", text: "get available API versions", out: reflect.TypeFor[metav1.APIVersions](), forms: forms},
	"apis":    {path: "/apis/", id: "getAPIVersions", tag: "apis", text: "get available API versions", out: reflect.TypeFor[metav1.APIGroupList](), forms: forms},
	"version": {path: "/version/", id: "getCodeVersion", tag: "version", text: "get the version information for this server", out: reflect.TypeFor[version.Info](), forms: forms[:1]},
	".well-known/openid-configuration": {path: "/.well-known/openid-configuration/", id: "getServiceAccountIssuerOpenIDConfiguration", tag: "WellKnown",
		text: "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'", forms: forms[:1], answers: true},
	"openid/v1/jwks": {path: "/openid/v1/jwks/", id: "getServiceAccountIssuerOpenIDKeyset", tag: "openid",
		text: "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)", forms: []string{"application/jwk-set+json"}, answers: true},
}

// groupRoot is the path that tells of a group.
func groupRoot(group string) root {
	id, tag := namesOf(schema.GroupVersion{Group: group})
	return root{path: "/apis/" + group + "/", id: "get" + id + "APIGroup", tag: tag, text: "get information of a group", out: reflect.TypeFor[metav1.APIGroup](), forms: forms}
}

// versionRoot is the path that tells of a group version.
func versionRoot(gv schema.GroupVersion) root {
	id, tag := namesOf(gv)
	return root{path: rootOf(gv) + "/", id: "get" + id + "APIResources", tag: tag, text: "get available resources", out: reflect.TypeFor[metav1.APIResourceList](), forms: forms}
}

func (d *document) rootRoute(r root) {
	out := route{method: "get", path: r.path, id: r.id, tag: r.tag, text: r.text, consumes: r.forms, produces: r.forms, out: node{"type": "string"}, codes: []int{200}}
	if r.out != nil {
		out.out = d.ref(r.out)
	}
	if r.answers {
		out.consumes = nil
	}
	d.routes = append(d.routes, out)
}

// part is what one document tells of.
type part struct {
	kinds    []*kind.Kind
	versions []schema.GroupVersion // that have virtual kinds, and paths of their own; of no version of custom resources alone
	roots    []root
	all      []*kind.Kind // that are served: objects hold such of other groups
}

// parts are what the documents of version 3 tell of, by their names.
func parts(table *kind.Table) map[string]*part {
	out := map[string]*part{}
	for name, r := range roots {
		out[name] = &part{roots: []root{r}}
	}
	of := func(gv schema.GroupVersion) *part {
		name := rootOf(gv)[1:]
		if out[name] == nil {
			out[name] = &part{}
		}
		return out[name]
	}
	own := func(gv schema.GroupVersion) {
		p := of(gv)
		if len(p.versions) > 0 {
			return
		}
		p.versions = []schema.GroupVersion{gv}
		if gv.Group != "" {
			out["apis/"+gv.Group] = &part{roots: []root{groupRoot(gv.Group)}}
		}
	}
	served := table.Served()
	for _, k := range served {
		p := of(k.GroupVersion())
		p.kinds = append(p.kinds, k)
		if !k.Custom {
			own(k.GroupVersion())
		}
	}
	for gvr := range virtuals {
		own(gvr.GroupVersion())
	}
	for _, p := range out {
		p.all = served
	}
	return out
}

// whole is what the document of version 2 tells of.
func whole(table *kind.Table) *part {
	all := &part{}
	of := parts(table)
	for _, name := range sorted(of) {
		all.versions = append(all.versions, of[name].versions...)
		all.roots = append(all.roots, of[name].roots...)
	}
	all.kinds = table.Served()
	all.all = all.kinds
	return all
}

// make returns the document of a part.
func (d *document) make(p *part) node {
	d.name(p)
	for _, r := range p.roots {
		d.rootRoute(r)
	}
	for _, gv := range p.versions {
		d.rootRoute(versionRoot(gv))
	}
	for _, k := range p.kinds {
		d.kindRoutes(k)
	}
	for gvr, v := range virtuals {
		if slices.Contains(p.versions, gvr.GroupVersion()) {
			d.virtualRoutes(gvr, v)
		}
	}
	info, builtIn := node{"title": "Kubernetes", "version": VersionMajor + "." + VersionMinor}, len(p.versions)+len(p.roots) > 0
	if !builtIn {
		info = node{"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}
	}
	paths := d.paths()
	bearer := node{"BearerToken": node{"description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header"}}
	if d.version3 {
		components := node{}
		if len(d.definitions) > 0 {
			components["schemas"] = d.definitions
		}
		if builtIn {
			components["securitySchemes"] = bearer
		}
		return node{"openapi": "3.0.0", "info": info, "paths": paths, "components": components}
	}
	return node{"swagger": "2.0", "info": info, "paths": paths, "definitions": d.definitions, "parameters": d.commonParams,
		"securityDefinitions": bearer, "security": []any{node{"BearerToken": []string{}}}}
}

// name tells which kinds types are of.
func (d *document) name(p *part) {
	is := func(t reflect.Type, gvks ...schema.GroupVersionKind) {
		d.gvks[modelName(t)] = append(d.gvks[modelName(t)], gvks...)
	}
	versions := map[schema.GroupVersion]bool{{Version: "v1"}: true}
	for _, gv := range p.versions {
		versions[gv] = true
	}
	for _, k := range p.kinds {
		versions[k.GroupVersion()] = true
	}
	for _, k := range p.all {
		if k.Model == nil {
			is(reflect.TypeOf(k.New()).Elem(), k.GroupVersionKind)
			is(reflect.TypeOf(k.NewList()).Elem(), k.GroupVersion().WithKind(k.Kind+"List"))
		}
	}
	for _, v := range virtuals {
		is(v.body, v.kind)
	}
	for _, e := range subresources {
		if e.body != nil && virtualOf(e.kind) == nil {
			is(e.body, e.kind)
		}
	}
	core := schema.GroupVersion{Version: "v1"}
	for kind, t := range map[string]reflect.Type{"Status": reflect.TypeFor[metav1.Status](), "APIVersions": reflect.TypeFor[metav1.APIVersions](), "APIGroup": reflect.TypeFor[metav1.APIGroup](),
		"APIGroupList": reflect.TypeFor[metav1.APIGroupList](), "APIResourceList": reflect.TypeFor[metav1.APIResourceList]()} {
		is(t, core.WithKind(kind))
	}
	// these two are of every version
	for kind, t := range map[string]reflect.Type{"DeleteOptions": reflect.TypeFor[metav1.DeleteOptions](), "WatchEvent": reflect.TypeFor[metav1.WatchEvent]()} {
		for gv := range versions {
			is(t, gv.WithKind(kind))
		}
		slices.SortFunc(d.gvks[modelName(t)], compareKinds)
	}
}

func compareKinds(a, b schema.GroupVersionKind) int {
	return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Version, b.Version))
}

// virtualRoutes adds the route of a kind that is asked and not stored.
func (d *document) virtualRoutes(gvr schema.GroupVersionResource, v *virtual) {
	p := place{d: d, gvk: v.kind, gv: gvr.GroupVersion(), kind: v.kind.Kind, namespaced: v.namespaced}
	path := rootOf(p.gv) + "/" + gvr.Resource
	if v.namespaced {
		path = rootOf(p.gv) + "/namespaces/{namespace}/" + gvr.Resource
	}
	p.create(path, d.ref(v.body))
}
