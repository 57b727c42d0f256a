package api

import (
	"fmt"
	"maps"
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"
)

// node is a JSON object of an OpenAPI document.
type node = map[string]any

// document makes one OpenAPI document from Go types. The documentation is the types' own (SwaggerDoc), the
// list types those of the merge schema, the patch strategies those of the struct tags.
type document struct {
	merge       *smdschema.Schema
	prefix      string // of references
	version3    bool
	definitions map[string]any
	gvks        map[string][]schema.GroupVersionKind

	routes       []route
	shared       map[string]node // what many routes say
	params       map[parameter]node
	commonParams node // of version 2, by name
}

func newDocument(merge *smdschema.Schema, prefix string, version3 bool) *document {
	return &document{merge: merge, prefix: prefix, version3: version3, definitions: map[string]any{}, gvks: map[string][]schema.GroupVersionKind{},
		shared: map[string]node{}, params: map[parameter]node{}, commonParams: node{}}
}

// named is a type that knows its name in OpenAPI.
type named interface{ OpenAPIModelName() string }

// scalar is a type that is encoded as a JSON scalar of its own.
type scalar interface {
	OpenAPISchemaType() []string
	OpenAPISchemaFormat() string
}

// documented is a type with generated documentation: of itself under "", of fields under their JSON names.
type documented interface{ SwaggerDoc() map[string]string }

func modelName(t reflect.Type) string {
	if n, ok := reflect.New(t).Elem().Interface().(named); ok {
		return n.OpenAPIModelName()
	}
	path := strings.Split(t.PkgPath(), "/")
	if len(path) > 0 {
		host := strings.Split(path[0], ".")
		for i, j := 0, len(host)-1; i < j; i, j = i+1, j-1 {
			host[i], host[j] = host[j], host[i]
		}
		path[0] = strings.Join(host, ".")
	}
	return strings.Join(path, ".") + "." + t.Name()
}

func docsOf(t reflect.Type) map[string]string {
	source := sourceDocs[t.PkgPath()+"."+t.Name()]
	if d, ok := reflect.New(t).Elem().Interface().(documented); ok {
		docs := maps.Clone(d.SwaggerDoc())
		maps.Copy(docs, source)
		return docs
	}
	return source
}

// ref returns a reference to a type's definition, which it adds when it is new.
func (d *document) ref(t reflect.Type) node {
	name := modelName(t)
	if _, ok := d.definitions[name]; !ok {
		d.definitions[name] = node{} // ends recursion
		d.definitions[name] = d.define(t, name)
	}
	return node{"$ref": d.prefix + name}
}

// define returns the schema of a named type.
func (d *document) define(t reflect.Type, name string) node {
	out := node{}
	if text := docsOf(t)[""]; text != "" {
		out["description"] = text
	}
	if d.special(t, out) {
		return out
	}
	out["type"] = "object"
	properties := node{}
	var required []string
	d.properties(t, name, properties, &required)
	if len(properties) > 0 {
		out["properties"] = properties
	}
	if len(required) > 0 {
		out["required"] = required
	}
	if gvks := d.gvks[name]; len(gvks) > 0 {
		var list []any
		for _, g := range gvks {
			list = append(list, gvkFields(g))
		}
		out["x-kubernetes-group-version-kind"] = list
	}
	if atom, ok := d.merge.FindNamedType(name); ok && atom.Map != nil {
		if atom.Map.ElementRelationship == smdschema.Atomic {
			out["x-kubernetes-map-type"] = "atomic"
		}
		if len(atom.Map.Unions) > 0 {
			out["x-kubernetes-unions"] = unionsOf(atom.Map.Unions)
		}
	}
	return out
}

// unionsOf says of which fields only one is set.
func unionsOf(unions []smdschema.Union) []node {
	var out []node
	for _, u := range unions {
		fields := node{}
		for _, f := range u.Fields {
			fields[f.FieldName] = f.DiscriminatorValue
		}
		one := node{"fields-to-discriminateBy": fields}
		if u.Discriminator != nil {
			one["discriminator"] = *u.Discriminator
		}
		out = append(out, one)
	}
	return out
}

func gvkFields(g schema.GroupVersionKind) node {
	return node{"group": g.Group, "version": g.Version, "kind": g.Kind}
}

// special describes types whose JSON is not their node, and says whether t is one.
func (d *document) special(t reflect.Type, out node) bool {
	v := reflect.New(t).Interface()
	if s, ok := v.(scalar); ok {
		if o, ok := v.(interface{ OpenAPIV3OneOfTypes() []string }); ok && d.version3 {
			var one []any
			for _, name := range o.OpenAPIV3OneOfTypes() {
				one = append(one, node{"type": name})
			}
			out["oneOf"] = one
		} else if types := s.OpenAPISchemaType(); len(types) > 0 { // none: any JSON, as in schemas of definitions
			out["type"] = types[0]
		}
		if f := s.OpenAPISchemaFormat(); f != "" {
			out["format"] = f
		}
		return true
	}
	switch v.(type) {
	case *runtime.RawExtension, *metav1.FieldsV1:
		out["type"] = "object"
		return true
	}
	return false
}

// properties adds the fields of a struct, those of inlined structs among them.
func (d *document) properties(t reflect.Type, name string, out node, required *[]string) {
	docs := docsOf(t)
	for i := range t.NumField() {
		f := t.Field(i)
		tag, ok := f.Tag.Lookup("json")
		if !ok || tag == "-" || !f.IsExported() {
			continue
		}
		parts := strings.Split(tag, ",")
		if parts[0] == "" {
			inline := f.Type
			if inline.Kind() == reflect.Pointer {
				inline = inline.Elem()
			}
			if inline.Kind() == reflect.Struct {
				d.properties(inline, name, out, required)
			}
			continue
		}
		p := d.schemaOf(f.Type)
		if text := docs[parts[0]] + enumText(f.Type); text != "" {
			p = d.describe(p, text)
		}
		if s := f.Tag.Get("patchStrategy"); s != "" {
			p["x-kubernetes-patch-strategy"] = s
		}
		if k := f.Tag.Get("patchMergeKey"); k != "" {
			p["x-kubernetes-patch-merge-key"] = k
		}
		source := t.PkgPath() + "." + t.Name() + "." + parts[0]
		p = d.mergeMarks(name, parts[0], source, p)
		if d.version3 {
			p = d.withDefault(p, name, source, parts, f.Type)
		}
		out[parts[0]] = p
		must := !strings.Contains(tag, ",omitempty") && !strings.Contains(tag, ",omitzero")
		if marked, ok := requiredMarks[t.PkgPath()+"."+t.Name()+"."+parts[0]]; ok {
			must = marked
		}
		if must {
			*required = append(*required, parts[0])
		}
	}
}

// describe adds a description; a reference can not have one beside it in version 3.
func (d *document) describe(p node, text string) node {
	if ref, ok := p["$ref"]; ok && d.version3 {
		return node{"allOf": []any{node{"$ref": ref}}, "description": text}
	}
	p["description"] = text
	return p
}

// mergeMarks adds x-kubernetes-list-type and its kin from the merge schema, or from the source of what that has not.
func (d *document) mergeMarks(name, property, source string, p node) node {
	f := d.mergeField(name, property)
	if f == nil {
		maps.Copy(p, sourceMarks[source])
		return p
	}
	if l := f.Type.Inlined.List; l != nil {
		switch {
		case l.ElementRelationship == smdschema.Atomic:
			p["x-kubernetes-list-type"] = "atomic"
		case len(l.Keys) > 0:
			p["x-kubernetes-list-type"] = "map"
			p["x-kubernetes-list-map-keys"] = l.Keys
		default:
			p["x-kubernetes-list-type"] = "set"
		}
	}
	relation := f.Type.ElementRelationship
	if m := f.Type.Inlined.Map; m != nil {
		relation = &m.ElementRelationship
	}
	if relation != nil && *relation == smdschema.Atomic {
		p["x-kubernetes-map-type"] = "atomic"
	}
	if relation != nil && *relation == smdschema.Separable {
		p = d.wrap(p)
		p["x-kubernetes-map-type"] = "granular"
	}
	return p
}

func (d *document) mergeField(name, property string) *smdschema.StructField {
	def, ok := d.merge.FindNamedType(name)
	if !ok || def.Map == nil {
		return nil
	}
	for i := range def.Map.Fields {
		if def.Map.Fields[i].Name == property {
			return &def.Map.Fields[i]
		}
	}
	return nil
}

// wrap makes room for what stands beside a reference, which version 3 does not allow.
func (d *document) wrap(p node) node {
	if ref, ok := p["$ref"]; ok && d.version3 {
		return node{"allOf": []any{node{"$ref": ref}}}
	}
	return p
}

// withDefault adds what a field is when nobody says it: the default that is declared, or that of Go for what is always encoded.
func (d *document) withDefault(p node, name, source string, tag []string, t reflect.Type) node {
	value := sourceDefaults[source]
	if f := d.mergeField(name, tag[0]); f != nil && f.Default != nil {
		value = f.Default
		if _, ok := value.(map[any]any); ok {
			value = node{} // there are no others
		}
	} else if value == nil {
		value = d.zeroOf(t, strings.HasPrefix(strings.Join(tag[1:], ","), "omit"))
	}
	if value == nil {
		return p
	}
	p = d.wrap(p)
	p["default"] = value
	return p
}

// zeroOf is what Kubernetes' generators take for the default of a type; nil for none.
func (d *document) zeroOf(t reflect.Type, omitted bool) any {
	switch t.Kind() {
	case reflect.Struct:
		if !d.special(t, node{}) {
			return node{}
		}
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		if !omitted {
			return reflect.Zero(t).Interface()
		}
	}
	return nil
}

var scalarKinds = map[reflect.Kind][2]string{
	reflect.String: {"string", ""}, reflect.Bool: {"boolean", ""},
	reflect.Int32: {"integer", "int32"}, reflect.Int64: {"integer", "int64"}, reflect.Int: {"integer", "int32"},
	reflect.Uint8: {"integer", "byte"}, reflect.Uint32: {"integer", "int64"}, reflect.Uint16: {"integer", "int32"},
	reflect.Int16: {"integer", "int32"}, reflect.Uint64: {"integer", "int64"},
	reflect.Float64: {"number", "double"}, reflect.Float32: {"number", "float"},
}

// schemaOf returns the schema of any type where it is used.
func (d *document) schemaOf(t reflect.Type) node {
	switch t.Kind() {
	case reflect.Pointer:
		return d.schemaOf(t.Elem())
	case reflect.Struct:
		return d.ref(t)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return node{"type": "string", "format": "byte"}
		}
		return node{"type": "array", "items": d.element(t.Elem())}
	case reflect.Map:
		return node{"type": "object", "additionalProperties": d.element(t.Elem())}
	case reflect.Interface:
		return node{"type": "object"}
	}
	s := scalarKinds[t.Kind()]
	out := node{"type": s[0]}
	if s[1] != "" {
		out["format"] = s[1]
	}
	if values := enumOf(t); values != nil {
		names := make([]string, len(values))
		for i, v := range values {
			names[i] = v[0]
		}
		out["enum"] = names
	}
	return out
}

// enumOf returns the values of an enumerated type, nil of another.
func enumOf(t reflect.Type) [][2]string {
	if t.Kind() != reflect.String || t.PkgPath() == "" {
		return nil
	}
	return enums[t.PkgPath()+"."+t.Name()]
}

// enumText says in a field's documentation which values it may have.
func enumText(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	values := enumOf(t)
	if values == nil {
		return ""
	}
	lines := make([]string, len(values))
	for i, v := range values {
		lines[i] = strings.TrimSuffix(fmt.Sprintf(" - `%q` %s", v[0], v[1]), " ")
	}
	return "\n\nPossible enum values:\n" + strings.Join(lines, "\n")
}

// element is the schema of a list's or map's element; version 3 wraps references, so that a default may stand
// beside them.
func (d *document) element(t reflect.Type) node {
	return d.schemaOf(t)
}
