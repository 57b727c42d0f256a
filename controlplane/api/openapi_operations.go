package api

import (
	"encoding/base64"
	"encoding/json"
	"hash/fnv"
	"reflect"
	"slices"
	"strings"
	"unicode"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// parameter is one of a path or query.
type parameter struct{ in, name, kind, text string }

// route is one verb of a path, as clients are told of it.
type route struct {
	method, path string
	id, tag      string
	text         string
	action       string // of Kubernetes; "" for what is about no kind
	gvk          schema.GroupVersionKind
	params       []parameter
	consumes     []string
	produces     []string
	body         node // reference to what is sent; nil for nothing
	optional     bool // the body may be left out
	out          node
	codes        []int
}

// paths returns the paths of all routes. What all routes of a path take is said of the path.
func (d *document) paths() node {
	byPath := map[string][]*route{}
	for i := range d.routes {
		byPath[d.routes[i].path] = append(byPath[d.routes[i].path], &d.routes[i])
	}
	paths := node{}
	for path, routes := range byPath {
		var common []parameter
		for _, p := range routes[0].params {
			if !slices.ContainsFunc(routes, func(r *route) bool { return !slices.Contains(r.params, p) }) {
				common = append(common, p)
			}
		}
		item := node{}
		if len(common) > 0 {
			item["parameters"] = d.parameters(common, nil)
		}
		for _, r := range routes {
			item[r.method] = d.operation(r, common)
		}
		paths[path] = item
	}
	return paths
}

// operation describes a route.
func (d *document) operation(r *route, common []parameter) node {
	op := node{"operationId": r.id, "tags": []string{r.tag}, "description": r.text, "responses": d.responses(r)}
	if r.action != "" {
		op["x-kubernetes-action"], op["x-kubernetes-group-version-kind"] = r.action, d.gvkNode(r.gvk)
	}
	own := slices.DeleteFunc(slices.Clone(r.params), func(p parameter) bool { return slices.Contains(common, p) })
	var body *node
	if d.version3 {
		if r.body != nil {
			content := node{"content": d.content(r.body, r.consumes)}
			if !r.optional {
				content["required"] = true
			}
			op["requestBody"] = content
		}
	} else {
		op["schemes"], op["produces"] = []string{"https"}, r.produces
		if r.consumes != nil {
			op["consumes"] = r.consumes
		}
		if r.body != nil {
			body = &node{"name": "body", "in": "body", "schema": r.body}
			if !r.optional {
				(*body)["required"] = true
			}
		}
	}
	if len(own) > 0 || body != nil {
		op["parameters"] = d.parameters(own, body)
	}
	return op
}

var statusText = map[int]string{200: "OK", 201: "Created", 202: "Accepted"}

var unauthorized = node{"description": "Unauthorized"}

// responses are those of a route; routes that answer alike share them.
func (d *document) responses(r *route) node {
	key := refOf(r.out) + "|" + strings.Join(r.produces, ",")
	for _, c := range r.codes {
		key += "|" + itoa(c)
	}
	if had := d.shared[key]; had != nil {
		return had
	}
	out := node{"401": unauthorized}
	for _, c := range r.codes {
		one := node{"description": statusText[c]}
		if d.version3 {
			one["content"] = d.content(r.out, r.produces)
		} else {
			one["schema"] = r.out
		}
		out[itoa(c)] = one
	}
	d.shared[key] = out
	return out
}

// content says in which forms something is sent.
func (d *document) content(schema node, types []string) node {
	key := refOf(schema) + "|" + strings.Join(types, ",")
	if had := d.shared[key]; had != nil {
		return had
	}
	out := node{}
	for _, name := range types {
		out[name] = node{"schema": schema}
	}
	d.shared[key] = out
	return out
}

// refOf names a schema that is a reference or a plain type.
func refOf(schema node) string {
	if ref, ok := schema["$ref"].(string); ok {
		return ref
	}
	kind, _ := schema["type"].(string)
	return kind
}

// gvkNode is what a route or type is of; routes of one kind share it.
func (d *document) gvkNode(gvk schema.GroupVersionKind) node {
	key := "gvk|" + gvk.String()
	if d.shared[key] == nil {
		d.shared[key] = gvkFields(gvk)
	}
	return d.shared[key]
}

// parameters are in the order of their names, the body among them.
func (d *document) parameters(list []parameter, body *node) []node {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b parameter) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.in, b.in)
	})
	out := make([]node, 0, len(list)+1)
	at := len(list)
	if body != nil {
		at = 0
		for at < len(list) && list[at].name < "body" {
			at++
		}
	}
	for i, p := range list {
		if i == at {
			out = append(out, d.bodyParameter(*body))
		}
		out = append(out, d.parameter(p))
	}
	if body != nil && at == len(list) {
		out = append(out, d.bodyParameter(*body))
	}
	return out
}

func (d *document) parameter(p parameter) node {
	if had := d.params[p]; had != nil {
		return had
	}
	n := node{"name": p.name, "in": p.in}
	if p.text != "" {
		n["description"] = p.text
	}
	if p.in == "path" {
		n["required"] = true
	}
	if d.version3 {
		n["schema"] = node{"type": p.kind, "uniqueItems": true}
	} else {
		n["type"], n["uniqueItems"] = p.kind, true
		// kubectl up to 1.27 looks for these two where they are used; a name differs from kind to kind
		if p.name != "fieldValidation" && p.name != "dryRun" && p.name != "name" {
			n = d.share(p.name, n)
		}
	}
	d.params[p] = n
	return n
}

func (d *document) bodyParameter(n node) node {
	if strings.HasPrefix(refOf(n["schema"].(node)), d.prefix+"io.k8s.apimachinery") {
		return d.share("body", n)
	}
	return n
}

// share puts a parameter among those of the document, under the name that kube-apiserver gives it, and returns a reference.
func (d *document) share(name string, n node) node {
	ordered := struct {
		UniqueItems any `json:"uniqueItems,omitempty"`
		Type        any `json:"type,omitempty"`
		Description any `json:"description,omitempty"`
		Name        any `json:"name,omitempty"`
		In          any `json:"in,omitempty"`
		Required    any `json:"required,omitempty"`
		Schema      any `json:"schema,omitempty"`
	}{n["uniqueItems"], n["type"], n["description"], n["name"], n["in"], n["required"], n["schema"]}
	data, err := json.Marshal(ordered)
	if err != nil {
		panic(err) // texts and references alone
	}
	hash := fnv.New64()
	_, _ = hash.Write(data)
	name += "-" + base64.URLEncoding.EncodeToString(hash.Sum(nil)[:6])
	d.commonParams[name] = n
	return node{"$ref": "#/parameters/" + name}
}

// documentedOptions are options that requests have as parameters.
type documentedOptions interface{ SwaggerDoc() map[string]string }

// optionParams are the parameters of a request that has these options.
func optionParams(options documentedOptions, without ...string) []parameter {
	docs, t := options.SwaggerDoc(), reflect.TypeOf(options)
	var out []parameter
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		typ := f.Type
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if name == "" || typ.Kind() == reflect.Struct || slices.Contains(without, name) {
			continue
		}
		out = append(out, parameter{"query", name, scalarKinds[typ.Kind()][0], docs[name]})
	}
	return out
}

// The parameters of requests.
var (
	pretty = parameter{"query", "pretty", "string", "If 'true', then the output is pretty printed. Defaults to 'false' unless " +
		"the user-agent indicates a browser or command-line HTTP tool (curl and wget)."}
	inNamespace = parameter{"path", "namespace", "string", "object name and auth scope, such as for teams and projects"}

	createParams     = append(optionParams(metav1.CreateOptions{}), pretty)
	updateParams     = append(optionParams(metav1.UpdateOptions{}), pretty)
	patchParams      = append(optionParams(metav1.PatchOptions{}), pretty)
	deleteParams     = append(optionParams(metav1.DeleteOptions{}), pretty)
	listParams       = append(optionParams(metav1.ListOptions{}), pretty)
	customGetParams  = append(optionParams(metav1.GetOptions{}), pretty)
	collectionParams = append(slices.Clone(deleteParams), optionParams(metav1.ListOptions{}, "watch", "allowWatchBookmarks")...)
)

// namesOf returns how a group and version are called within the names of operations, and in tags.
func namesOf(gv schema.GroupVersion) (id, tag string) {
	group := strings.TrimSuffix(gv.Group, ".k8s.io")
	if group == "" {
		group = "core"
	}
	tag = words(group)
	id = strings.ToUpper(tag[:1]) + tag[1:]
	if gv.Version == "" {
		return id, tag
	}
	return id + strings.ToUpper(gv.Version[:1]) + gv.Version[1:], tag + "_" + gv.Version
}

// words joins words as names in programs have them.
func words(s string) string {
	var b strings.Builder
	upper := false
	for i, r := range s {
		switch {
		case !unicode.IsLetter(r) && r != '_' && (i == 0 || !unicode.IsDigit(r)):
			upper = true
		case upper:
			b.WriteRune(unicode.ToUpper(r))
			upper = false
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
