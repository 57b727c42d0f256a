package api

import (
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apitypes "k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// place is where the routes of a resource or subresource are.
type place struct {
	d          *document
	gvk        schema.GroupVersionKind // of what is sent and answered
	gv         schema.GroupVersion     // of the path
	kind       string                  // of the resource
	sub        string
	namespaced bool
	custom     bool
	everywhere bool // in all namespaces at once
	base       string
}

// The forms of objects and of their patches, in Kubernetes' order.
var (
	forms       = []string{typeJSON, typeYAML, typeProtobuf}
	streamForms = append(slices.Clone(forms), typeJSON+";stream=watch", typeProtobuf+";stream=watch")
	customForms = forms[:2]
	anyForm     = []string{"*/*"}
	patchForms  = []string{string(apitypes.JSONPatchType), string(apitypes.MergePatchType), string(apitypes.StrategicMergePatchType), string(apitypes.ApplyYAMLPatchType)}
	customPatch = []string{string(apitypes.JSONPatchType), string(apitypes.MergePatchType), string(apitypes.ApplyYAMLPatchType)}
)

func (d *document) placeOf(k *kind.Kind) place {
	p := place{d: d, gvk: k.GroupVersionKind, gv: k.GroupVersion(), kind: k.Kind, namespaced: k.Namespaced, custom: k.Custom}
	p.base = rootOf(p.gv) + "/" + k.Plural
	if k.Namespaced {
		p.base = rootOf(p.gv) + "/namespaces/{namespace}/" + k.Plural
	}
	return p
}

// of is the place of a subresource that is asked with this kind.
func (p place) of(sub string, gvk schema.GroupVersionKind) place {
	p.sub = sub
	if !p.custom { // what is said of custom resources is of them alone
		p.gvk = gvk
	}
	return p
}

// add adds a route. Its id begins with the verb; path is below the resource.
func (p place) add(r route, verb, prefix, suffix string) {
	id, tag := namesOf(p.gv)
	scope := ""
	if p.namespaced && !p.everywhere {
		scope = "Namespaced"
	}
	title := ""
	if p.sub != "" {
		title = strings.ToUpper(p.sub[:1]) + p.sub[1:]
	}
	r.id, r.tag = verb+id+prefix+scope+p.kind+title+suffix, tag
	if p.everywhere {
		r.id += "ForAllNamespaces"
	}
	r.gvk = p.gvk
	if strings.Contains(r.path, "{name}") {
		r.params = append(slices.Clone(r.params), parameter{"path", "name", "string", "name of the " + p.gvk.Kind})
	}
	if strings.Contains(r.path, "{namespace}") {
		r.params = append(slices.Clone(r.params), inNamespace)
	}
	if p.custom {
		if r.consumes == nil {
			r.consumes = customForms
		}
		r.produces = customForms
	}
	if r.consumes == nil {
		r.consumes = anyForm
	}
	if r.produces == nil {
		r.produces = forms
	}
	p.d.routes = append(p.d.routes, r)
}

// below names a subresource in a text.
func (p place) below(text string) string {
	if p.sub == "" {
		return ""
	}
	return p.sub + text
}

// kindRoutes adds the routes of a kind and its subresources.
func (d *document) kindRoutes(k *kind.Kind) {
	obj, list := d.kindRefs(k)
	p := d.placeOf(k)
	if k.Namespaced {
		all := p
		all.everywhere, all.base = true, rootOf(p.gv)+"/"+k.Plural
		all.list(list)
		all.watch(all.base, "List", watchList)
	}
	p.list(list)
	p.watch(p.base, "List", watchList)
	p.create(p.base, obj)
	if slices.Contains(verbsOf(k), "deletecollection") {
		p.deleteAll()
	}
	item := p.base + "/{name}"
	p.get(item, obj)
	p.update(item, obj)
	p.patch(item, obj)
	deleted := d.ref(reflect.TypeFor[metav1.Status]())
	if returnsDeleted[k.GroupResource()] {
		deleted = obj
	}
	p.delete(item, deleted)
	p.watch(item, "", watchOne)
	d.subresourceRoutes(k, p, obj)
}

func (p place) list(list node) {
	r := route{method: "get", path: p.base, action: "list", text: "list or watch objects of kind " + p.kind, params: listParams, produces: streamForms, out: list, codes: []int{200}}
	if p.custom {
		r.text = "list objects of kind " + p.kind
	}
	p.add(r, "list", "", "")
}

// What is said of the old way to watch.
const (
	watchOne  = "watch changes to an object of kind %. deprecated: use the 'watch' parameter with a list operation instead, filtered to a single item with the 'fieldSelector' parameter."
	watchList = "watch individual changes to a list of %. deprecated: use the 'watch' parameter with a list operation instead."
)

func (p place) watch(path, suffix, text string) {
	if p.custom {
		return
	}
	root := rootOf(p.gv)
	action := "watch"
	if suffix != "" {
		action = "watchlist"
	}
	p.add(route{method: "get", path: root + "/watch" + strings.TrimPrefix(path, root), action: action, text: strings.ReplaceAll(text, "%", p.kind), params: listParams,
		produces: streamForms, out: p.d.ref(reflect.TypeFor[metav1.WatchEvent]()), codes: []int{200}}, "watch", "", suffix)
}

func (p place) create(path string, obj node) {
	text := "create" + article(p.kind)
	if p.sub != "" {
		text = "create " + p.sub + " of" + article(p.kind)
	}
	p.add(route{method: "post", path: path, action: "post", text: text, params: createParams, body: obj, out: obj, codes: []int{200, 201, 202}}, "create", "", "")
}

func (p place) deleteAll() {
	r := route{method: "delete", path: p.base, action: "deletecollection", text: "delete collection of " + p.kind, params: collectionParams,
		body: p.d.ref(reflect.TypeFor[metav1.DeleteOptions]()), optional: true, out: p.d.ref(reflect.TypeFor[metav1.Status]()), codes: []int{200}}
	if p.custom {
		r.params, r.body = listParams, nil
	}
	p.add(r, "delete", "Collection", "")
}

func (p place) get(path string, obj node) {
	r := route{method: "get", path: path, action: "get", text: "read " + p.below(" of ") + "the specified " + p.kind, params: []parameter{pretty}, out: obj, codes: []int{200}}
	if p.custom {
		r.params = customGetParams
	}
	p.add(r, "read", "", "")
}

func (p place) update(path string, obj node) {
	p.add(route{method: "put", path: path, action: "put", text: "replace " + p.below(" of ") + "the specified " + p.kind, params: updateParams, body: obj, out: obj, codes: []int{200, 201}}, "replace", "", "")
}

func (p place) patch(path string, obj node) {
	r := route{method: "patch", path: path, action: "patch", text: "partially update " + p.below(" of ") + "the specified " + p.kind, params: patchParams,
		consumes: patchForms, body: p.d.ref(reflect.TypeFor[metav1.Patch]()), out: obj, codes: []int{200, 201}}
	if p.custom {
		r.consumes, r.codes = customPatch, []int{200}
	}
	p.add(r, "patch", "", "")
}

func (p place) delete(path string, deleted node) {
	p.add(route{method: "delete", path: path, action: "delete", text: "delete" + article(p.kind), params: deleteParams,
		body: p.d.ref(reflect.TypeFor[metav1.DeleteOptions]()), optional: true, out: deleted, codes: []int{200, 202}}, "delete", "", "")
}

// article puts the right one before a kind.
func article(kind string) string {
	switch {
	case strings.HasSuffix(kind, "s") && !strings.HasSuffix(kind, "ss"):
		return " " + kind
	case strings.ContainsRune("aeiou", rune(strings.ToLower(kind)[0])):
		return " an " + kind
	}
	return " a " + kind
}

// connection is a subresource that a request is handed on to.
type connection struct {
	options documentedOptions
	methods []string
	path    bool // what follows the subresource is handed on too
}

var (
	streamMethods = []string{"get", "post"}
	proxyMethods  = []string{"get", "head", "post", "put", "patch", "delete", "options"}
)

// connections are by the kind of their options.
var connections = map[string]connection{
	"PodExecOptions":        {corev1.PodExecOptions{}, streamMethods, false},
	"PodAttachOptions":      {corev1.PodAttachOptions{}, streamMethods, false},
	"PodPortForwardOptions": {corev1.PodPortForwardOptions{}, streamMethods, false},
	"PodProxyOptions":       {corev1.PodProxyOptions{}, proxyMethods, true},
	"ServiceProxyOptions":   {corev1.ServiceProxyOptions{}, proxyMethods, true},
	"NodeProxyOptions":      {corev1.NodeProxyOptions{}, proxyMethods, true},
}

// subresourceRoutes adds the routes of what a kind has below its objects.
func (d *document) subresourceRoutes(k *kind.Kind, parent place, obj node) {
	for _, name := range sorted(subresources) {
		e := subresources[name]
		if !e.serves(k) {
			continue
		}
		gvk, ref := k.GroupVersionKind, obj
		if e.body != nil {
			gvk, ref = e.kind, d.ref(e.body)
		} else if c := e.kindOf(k); c.Kind != "" {
			gvk = c
		}
		p := parent.of(name, gvk)
		path := p.base + "/{name}/" + name
		if c, ok := connections[gvk.Kind]; ok {
			p.connect(path, c)
			continue
		}
		for _, verb := range e.verbs {
			switch {
			case name == "log":
				p.add(route{method: "get", path: path, action: "get", text: "read log of the specified " + p.kind, params: append(optionParams(corev1.PodLogOptions{}), pretty),
					produces: append([]string{"text/plain"}, forms...), out: node{"type": "string"}, codes: []int{200}}, "read", "", "")
			case verb == "get":
				p.get(path, ref)
			case verb == "update":
				p.update(path, ref)
			case verb == "patch":
				p.patch(path, ref)
			case verb == "create":
				p.create(path, ref)
			}
		}
	}
}

func (p place) connect(path string, c connection) {
	params := optionParams(c.options)
	for _, method := range c.methods {
		upper := strings.ToUpper(method)
		r := route{method: method, path: path, action: "connect", text: "connect " + upper + " requests to " + p.sub + " of " + p.kind, params: params,
			consumes: anyForm, produces: anyForm, out: node{"type": "string"}, codes: []int{200}}
		p.add(r, "connect", upper[:1]+method[1:], "")
		if c.path {
			r.path += "/{path}"
			r.params = append(slices.Clone(params), parameter{"path", "path", "string", "path to the resource"})
			p.add(r, "connect", upper[:1]+method[1:], "WithPath")
		}
	}
}
