package api

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apitypes "k8s.io/apimachinery/pkg/types"

	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// make returns the whole document of these kinds.
func (d *document) make(kinds []*kind.Kind) node {
	for _, k := range kinds {
		if k.Model != nil {
			continue
		}
		t := reflect.TypeOf(k.New()).Elem()
		d.gvks[modelName(t)] = append(d.gvks[modelName(t)], k.GroupVersionKind)
		l := reflect.TypeOf(k.NewList()).Elem()
		d.gvks[modelName(l)] = append(d.gvks[modelName(l)], k.GroupVersion().WithKind(k.Kind+"List"))
	}
	d.gvks[modelName(reflect.TypeFor[autoscalingv1.Scale]())] = append(d.gvks[modelName(reflect.TypeFor[autoscalingv1.Scale]())], autoscalingv1.SchemeGroupVersion.WithKind("Scale"))
	paths := node{}
	for _, k := range kinds {
		d.kindPaths(k, paths)
	}
	info := node{"title": "Kubernetes", "version": GitVersion}
	if d.version3 {
		return node{"openapi": "3.0.0", "info": info, "paths": paths, "components": node{"schemas": d.definitions}}
	}
	return node{"swagger": "2.0", "info": info, "paths": paths, "definitions": d.definitions}
}

// kindRefs returns references to a kind's schema and to that of its lists.
func (d *document) kindRefs(k *kind.Kind) (obj, list node) {
	if k.Model == nil {
		return d.ref(reflect.TypeOf(k.New()).Elem()), d.ref(reflect.TypeOf(k.NewList()).Elem())
	}
	name, schema := k.Model(d.version3)
	d.definitions[name] = d.modelNode(schema)
	d.ref(reflect.TypeFor[metav1.ObjectMeta]())
	listName := name[:len(name)-len(k.Kind)] + k.ListKind
	meta := d.describe(d.ref(reflect.TypeFor[metav1.ListMeta]()), listDocs["metadata"])
	d.definitions[listName] = node{
		"description": k.ListKind + " is a list of " + k.Kind, "type": "object", "required": []string{"items"},
		"properties": node{
			"apiVersion": node{"type": "string", "description": typeDocs["apiVersion"]},
			"kind":       node{"type": "string", "description": typeDocs["kind"]},
			"metadata":   meta,
			"items":      node{"type": "array", "items": node{"$ref": d.prefix + name}, "description": "List of " + k.Plural + ". More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"},
		},
		"x-kubernetes-group-version-kind": []any{gvkFields(k.GroupVersion().WithKind(k.ListKind))},
	}
	return node{"$ref": d.prefix + name}, node{"$ref": d.prefix + listName}
}

var (
	listDocs = metav1.PartialObjectMetadataList{}.SwaggerDoc()
	typeDocs = metav1.TypeMeta{}.SwaggerDoc()
)

// modelNode returns a schema as it is written in a document.
func (d *document) modelNode(schema *spec.Schema) node {
	data, err := json.Marshal(schema)
	if err == nil {
		out := node{}
		if err = json.Unmarshal(data, &out); err == nil {
			return out
		}
	}
	return node{"type": "object", "description": "the schema can not be shown: " + err.Error()}
}

// kindPaths adds the paths of a kind and its subresources.
func (d *document) kindPaths(k *kind.Kind, paths node) {
	obj, list := d.kindRefs(k)
	deleteOptions, status, patch := d.ref(reflect.TypeFor[metav1.DeleteOptions]()), d.ref(reflect.TypeFor[metav1.Status]()), d.ref(reflect.TypeFor[metav1.Patch]())
	root := rootOf(k.GroupVersion())
	base := root + "/" + k.Plural
	if k.Namespaced {
		paths[base] = node{"get": d.operation(k, "list", "listAll", nil, list)}
		base = root + "/namespaces/{namespace}/" + k.Plural
	}
	params := d.pathParams(k, false)
	paths[base] = node{
		"parameters": params,
		"get":        d.operation(k, "list", "list", nil, list),
		"post":       d.operation(k, "post", "create", obj, obj),
		"delete":     d.operation(k, "deletecollection", "deleteCollection", deleteOptions, status),
	}
	item := base + "/{name}"
	itemParams := d.pathParams(k, true)
	paths[item] = node{
		"parameters": itemParams,
		"get":        d.operation(k, "get", "read", nil, obj),
		"put":        d.operation(k, "put", "replace", obj, obj),
		"patch":      d.operation(k, "patch", "patch", patch, obj),
		"delete":     d.operation(k, "delete", "delete", deleteOptions, status),
	}
	for _, name := range sorted(subresources) {
		e := subresources[name]
		if !e.serves(k) || !slices.Equal(e.verbs, getPatchUpdate) {
			continue
		}
		t := obj
		if name == "scale" {
			t = d.ref(reflect.TypeFor[autoscalingv1.Scale]())
		}
		title := strings.ToUpper(name[:1]) + name[1:]
		paths[item+"/"+name] = node{
			"parameters": itemParams,
			"get":        d.operation(k, "get", "read"+title, nil, t),
			"put":        d.operation(k, "put", "replace"+title, t, t),
			"patch":      d.operation(k, "patch", "patch"+title, patch, t),
		}
	}
}

func (d *document) param(in, name, kind, text string, required bool) node {
	p := node{"name": name, "in": in, "description": text}
	if required {
		p["required"] = true
	}
	if d.version3 {
		p["schema"] = node{"type": kind, "uniqueItems": true}
	} else {
		p["type"], p["uniqueItems"] = kind, true
	}
	return p
}

func (d *document) pathParams(k *kind.Kind, item bool) []any {
	out := []any{}
	if item {
		out = append(out, d.param("path", "name", "string", "name of the "+k.Kind, true))
	}
	if k.Namespaced {
		out = append(out, d.param("path", "namespace", "string", "object name and auth scope, such as for teams and projects", true))
	}
	return append(out, d.param("query", "pretty", "string", "If 'true', then the output is pretty printed.", false))
}

// queryParams are what an action takes beside the path: {name, type, documentation}.
var queryParams = map[string][][3]string{
	"get": nil,
	"list": {
		{"allowWatchBookmarks", "boolean", "requests watch events with type BOOKMARK"},
		{"continue", "string", "the token of the next page of a list"},
		{"fieldSelector", "string", "restricts the list by fields"},
		{"labelSelector", "string", "restricts the list by labels"},
		{"limit", "integer", "the most objects that one page has"},
		{"resourceVersion", "string", "the version that the list is not older than, or exactly"},
		{"resourceVersionMatch", "string", "how resourceVersion is applied: Exact or NotOlderThan"},
		{"sendInitialEvents", "boolean", "begins a watch with the objects that exist"},
		{"timeoutSeconds", "integer", "how long the list or watch lasts at most"},
		{"watch", "boolean", "streams changes instead of listing"},
	},
	"write": {
		{"dryRun", "string", "All: nothing is stored"},
		{"fieldManager", "string", "who owns the changed fields"},
		{"fieldValidation", "string", "Ignore, Warn or Strict: how unknown and duplicate fields are treated"},
	},
	"delete": {
		{"dryRun", "string", "All: nothing is deleted"},
		{"gracePeriodSeconds", "integer", "how long the object has to end"},
		{"orphanDependents", "boolean", "whether dependents stay; propagationPolicy replaces it"},
		{"propagationPolicy", "string", "Orphan, Background or Foreground"},
	},
}

var statusText = map[int]string{200: "OK", 201: "Created", 202: "Accepted", 401: "Unauthorized"}

// operation describes one verb of a path.
func (d *document) operation(k *kind.Kind, action, id string, in, out node) node {
	op := node{
		"operationId":                     id + k.Group + k.Version + k.Kind,
		"tags":                            []string{strings.ReplaceAll(k.Group, ".", "_") + "_" + k.Version},
		"description":                     id + " " + k.Kind,
		"x-kubernetes-action":             action,
		"x-kubernetes-group-version-kind": gvkFields(k.GroupVersionKind),
	}
	params := d.actionParams(action)
	forms := []string{typeJSON, typeYAML, typeProtobuf}
	if k.Custom {
		forms = forms[:2]
	}
	codes := []int{200}
	switch action {
	case "post":
		codes = []int{200, 201, 202}
	case "put", "patch":
		codes = []int{200, 201}
	case "delete":
		codes = []int{200, 202}
	}
	responses := node{"401": node{"description": statusText[http.StatusUnauthorized]}}
	for _, c := range codes {
		responses[itoa(c)] = d.body(statusText[c], out, forms...)
	}
	op["responses"] = responses
	types := forms
	if action == "patch" {
		types = sorted(patchTypes)
		if k.Custom {
			types = slices.DeleteFunc(types, func(t string) bool { return patchTypes[t] == apitypes.StrategicMergePatchType })
		}
	}
	if in != nil {
		if d.version3 {
			op["requestBody"] = d.body("", in, types...)
		} else {
			params = append(params, node{"name": "body", "in": "body", "required": !strings.HasPrefix(action, "delete"), "schema": in})
		}
	}
	if !d.version3 {
		op["consumes"], op["produces"], op["schemes"] = []string{"*/*"}, forms, []string{"https"}
		if action == "patch" {
			op["consumes"] = types
		}
	}
	op["parameters"] = params
	return op
}

func (d *document) actionParams(action string) []any {
	var named [][3]string
	switch action {
	case "list", "get":
		named = queryParams[action]
	case "post", "put":
		named = queryParams["write"]
	case "patch":
		named = append(slices.Clone(queryParams["write"]), [3]string{"force", "boolean", "lets an apply take fields from other managers"})
	case "delete":
		named = queryParams["delete"]
	case "deletecollection":
		named = append(slices.Clone(queryParams["delete"]), queryParams["list"][1:7]...)
	}
	params := []any{}
	for _, p := range named {
		params = append(params, d.param("query", p[0], p[1], p[2], false))
	}
	return params
}

// body is a request's or response's.
func (d *document) body(text string, ref node, types ...string) node {
	out := node{}
	if text != "" {
		out["description"] = text
	}
	if !d.version3 {
		out["schema"] = ref
		return out
	}
	content := node{}
	for _, name := range types {
		content[name] = node{"schema": ref}
	}
	out["content"] = content
	return out
}
