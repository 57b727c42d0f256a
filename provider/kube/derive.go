package kube

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
)

// converter knows how server-side apply merges each type. Parsing its schema takes tens of
// milliseconds, so it is done when the first resource needs it and not when the program starts.
var converter = sync.OnceValue(func() managedfields.TypeConverter {
	return applyconfigurations.NewTypeConverter(scheme.Scheme)
})

// scalars are the types that are one value although Go sees a struct or a slice.
var scalars = map[reflect.Type]kind{
	reflect.TypeFor[resource.Quantity]():    kindQuantity,
	reflect.TypeFor[intstr.IntOrString]():   kindIntOrString,
	reflect.TypeFor[metav1.Duration]():      kindDuration,
	reflect.TypeFor[metav1.Time]():          kindTime,
	reflect.TypeFor[metav1.MicroTime]():     kindTime,
	reflect.TypeFor[runtime.RawExtension](): kindJSON,
	reflect.TypeFor[[]byte]():               kindBytes,
}

// metadata lists the members of ObjectMeta that a configuration can hold: those of an object, and those of a
// template inside one. The others belong to the server.
var (
	objectMetadata   = []string{"name", "namespace", "labels", "annotations", "finalizers", "uid"}
	templateMetadata = []string{"name", "labels", "annotations", "finalizers"}
)

// orderedLists are the lists with keys whose order a container runtime or the reader of $(VAR) sees.
var orderedLists = []string{"env", "containers", "init_containers"}

// derivation is one walk over a type.
type derivation struct {
	desc    *Descriptor
	schema  *schema.Schema
	inside  []reflect.Type // the types that the walk is in, to notice recursion
	matched map[string]bool
}

// derive returns the tree of the descriptor's type. It fails on a descriptor that names a path that is not there.
// Typed is the descriptor's object with its kind set.
func derive(desc *Descriptor, typed runtime.Object) (*node, error) {
	d := &derivation{desc: desc, matched: map[string]bool{}}
	merged, err := converter().ObjectToTyped(typed)
	if err != nil {
		return nil, fmt.Errorf("cannot find the merge schema of %T: %w", desc.Object, err)
	}
	d.schema = merged.Schema()
	atom, _ := d.schema.Resolve(merged.TypeRef())

	n := d.value(reflect.TypeOf(desc.Object).Elem(), "", atom)
	n.seal()
	for _, path := range desc.paths() {
		if !d.matched[path] {
			return nil, fmt.Errorf("cannot describe %T: there is no attribute %s", desc.Object, path)
		}
	}
	return n, nil
}

// paths lists the paths that the descriptor names.
func (desc *Descriptor) paths() []string {
	paths := slices.Concat(desc.Required, desc.Optional, desc.Omit, desc.Immutable, desc.Sensitive)
	for _, f := range desc.Filled {
		paths = append(paths, f.Path)
	}
	for _, f := range desc.Defaults {
		paths = append(paths, f.Path)
	}
	return paths
}

// value derives the node of a type that merges as atom.
func (d *derivation) value(t reflect.Type, path string, atom schema.Atom) *node {
	n := &node{typ: t}
	if t.Kind() == reflect.Pointer {
		n = d.value(t.Elem(), path, atom)
		n.keepsZero = true
		return n
	}
	if k, ok := scalars[t]; ok {
		n.kind = k
		n.keepsZero = k == kindQuantity || k == kindIntOrString
		return n
	}
	switch t.Kind() {
	case reflect.String:
		n.kind = kindString
	case reflect.Bool:
		n.kind = kindBool
	case reflect.Int, reflect.Int64:
		n.kind, n.bits = kindInt, 64
	case reflect.Int32:
		n.kind, n.bits = kindInt, 32
	case reflect.Float32, reflect.Float64:
		n.kind = kindFloat
	case reflect.Slice:
		d.list(n, t, path, atom)
	case reflect.Map:
		n.kind = kindMap
		n.atomic = atom.Map != nil && atom.Map.ElementRelationship == schema.Atomic
		n.elem = d.value(t.Elem(), path+"[*]", d.elementOfMap(atom))
	case reflect.Struct:
		if slices.Contains(d.inside, t) {
			n.kind = kindJSON
			return n
		}
		d.inside = append(d.inside, t)
		n.kind = kindObject
		n.atomic = atom.Map != nil && atom.Map.ElementRelationship == schema.Atomic
		d.members(n, t, path, atom)
		d.inside = d.inside[:len(d.inside)-1]
	default: // an interface, as in a free-form document
		n.kind = kindJSON
	}
	return n
}

func (d *derivation) elementOfMap(atom schema.Atom) schema.Atom {
	if atom.Map == nil {
		return schema.Atom{}
	}
	element, _ := d.schema.Resolve(atom.Map.ElementType)
	return element
}

func (d *derivation) list(n *node, t reflect.Type, path string, atom schema.Atom) {
	n.kind = kindList
	var element schema.Atom
	if atom.List != nil {
		element, _ = d.schema.Resolve(atom.List.ElementType)
	}
	n.elem = d.value(t.Elem(), path+"[*]", element)
	n.ordered = slices.Contains(orderedLists, path[strings.LastIndexByte(path, '.')+1:])
	if atom.List == nil || atom.List.ElementRelationship != schema.Associative {
		n.atomic = true
		return
	}
	if len(atom.List.Keys) == 0 {
		n.kind = kindSet
	}
	for _, name := range atom.List.Keys {
		k := key{json: name, attr: snake(name)}
		if element.Map != nil {
			if f, ok := element.Map.FindField(name); ok {
				k.value = f.Default
			}
		}
		n.keys = append(n.keys, k)
	}
}

// members adds the fields of struct t, those of embedded structs included.
func (d *derivation) members(n *node, t reflect.Type, path string, atom schema.Atom) {
	docs := documentation(t)
	for i := range t.NumField() {
		sf := t.Field(i)
		name, options, _ := strings.Cut(sf.Tag.Get("json"), ",")
		if sf.Type == reflect.TypeFor[metav1.TypeMeta]() || name == "-" {
			continue
		}
		if name == "" {
			if sf.Anonymous {
				embedded := sf.Type
				if embedded.Kind() == reflect.Pointer {
					embedded = embedded.Elem()
				}
				d.members(n, embedded, path, atom)
			}
			continue
		}
		if !d.wanted(t, name, path) {
			continue
		}
		f := &field{json: name, attr: snake(name), doc: docs[name], required: isRequired(t, sf, name, options)}
		f.path = strings.TrimPrefix(path+"."+f.attr, ".")
		if slices.Contains(d.desc.Omit, f.path) {
			d.matched[f.path] = true
			continue
		}
		var fieldAtom schema.Atom
		if atom.Map != nil {
			if sf, ok := atom.Map.FindField(name); ok {
				fieldAtom, _ = d.schema.Resolve(sf.Type)
			}
		}
		f.node = d.value(sf.Type, f.path, fieldAtom)
		f.node.keepsZero = f.node.keepsZero || f.required
		d.flags(f)
		n.fields = append(n.fields, f)
	}
}

// isRequired reports whether the API refuses an object without the member: it is always written and can not be null.
func isRequired(t reflect.Type, sf reflect.StructField, name, options string) bool {
	return !strings.Contains(options, "omit") && sf.Type.Kind() != reflect.Pointer || requiredFields[ruleKey{t, name}]
}

// wanted reports whether a member can be configured at all.
func (d *derivation) wanted(t reflect.Type, name, path string) bool {
	top := len(d.inside) == 1
	switch {
	case top && name == "status":
		return false
	case top && slices.ContainsFunc(d.desc.WriteOnly, func(w WriteOnly) bool { return w.Field == name }):
		return false
	case t == reflect.TypeFor[corev1.PodSpec]() && name == "ephemeralContainers":
		return false // they are added to running pods, by a subresource
	case t != reflect.TypeFor[metav1.ObjectMeta]():
		return true
	case path != "metadata":
		return slices.Contains(templateMetadata, name)
	case name == "namespace":
		return d.desc.Namespaced
	default:
		return slices.Contains(objectMetadata, name)
	}
}

// flags sets what the descriptor, and the conventions of metadata, say about a field.
func (d *derivation) flags(f *field) {
	switch f.path {
	case "metadata":
		f.required = true
	case "metadata.name":
		f.required, f.immutable = true, true
	case "metadata.namespace":
		f.immutable = true
		f.def = &Default{Path: f.path, Value: defaultNamespace}
	case "metadata.uid":
		f.readOnly = true
	}
	listed := func(paths []string) bool {
		if !slices.Contains(paths, f.path) {
			return false
		}
		d.matched[f.path] = true
		return true
	}
	f.required = (f.required || listed(d.desc.Required)) && !listed(d.desc.Optional)
	f.immutable = listed(d.desc.Immutable) || f.immutable
	f.sensitive = listed(d.desc.Sensitive)
	for i := range d.desc.Filled {
		if d.desc.Filled[i].Path == f.path {
			f.filled, d.matched[f.path] = &d.desc.Filled[i], true
		}
	}
	for i := range d.desc.Defaults {
		if d.desc.Defaults[i].Path == f.path {
			f.def, d.matched[f.path] = &d.desc.Defaults[i], true
		}
	}
	if f.computed() {
		f.required = false
	}
}

// documentation returns what the API types say of a struct's members, by JSON name.
func documentation(t reflect.Type) map[string]string {
	documented, ok := reflect.New(t).Interface().(interface{ SwaggerDoc() map[string]string })
	if !ok {
		return nil
	}
	docs := map[string]string{}
	for name, text := range documented.SwaggerDoc() {
		docs[name] = firstSentence(text)
	}
	return docs
}

// firstSentence shortens the documentation of the API to what fits a list of attributes.
func firstSentence(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	for i := 0; i+2 < len(text); i++ {
		ends := text[i] == '.' && text[i+1] == ' ' && text[i+2] >= 'A' && text[i+2] <= 'Z'
		if ends && !strings.HasSuffix(text[:i], "e.g") && !strings.HasSuffix(text[:i], "i.e") {
			return text[:i+1]
		}
	}
	return text
}
