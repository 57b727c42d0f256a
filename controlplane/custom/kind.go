package custom

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metatable "k8s.io/apimachinery/pkg/api/meta/table"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/jsonpath"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// kind returns one version as a kind; stored is nil for the stored one.
func (s *schemaOf) kind(stored *kind.Kind) *kind.Kind {
	names := s.resource.crd.Status.AcceptedNames
	k := &kind.Kind{
		GroupVersionKind: s.resource.gvk(s.spec.Name),
		Stored:           stored,
		Unserved:         !s.spec.Served,
		Place:            slices.IndexFunc(s.resource.crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == s.spec.Name }),
		FromStored:       s.fromStored,
		ToStored:         s.toStored,
		FromVersion:      s.fromVersion,
		Plural:           names.Plural,
		Singular:         names.Singular,
		ShortNames:       names.ShortNames,
		Categories:       names.Categories,
		Namespaced:       s.resource.crd.Spec.Scope == apiextensionsv1.NamespaceScoped,
		New:              func() kind.Object { return &kind.Custom{Content: map[string]any{}} },
		NewList:          func() runtime.Object { return &kind.CustomList{} },
		ListKind:         names.ListKind,
		Custom:           true,
		Generation:       true,
		Terminating:      s.resource.crd.DeletionTimestamp != nil,
		Prune: func(obj kind.Object) ([]string, error) {
			return s.prune(obj.(*kind.Custom).Content, false)
		},
		Default:        func(obj kind.Object) { s.setDefaults(obj.(*kind.Custom)) },
		PrepareCreate:  s.prepareCreate,
		PrepareUpdate:  s.prepareUpdate,
		ValidateCreate: s.validateCreate,
		ValidateUpdate: s.validateUpdate,
		Deprecation:    s.deprecation(),
		Warnings:       finalizerWarnings,
		Fields:         s.fields(),
		Indexes:        map[string]func(kind.Object) []string{kind.OwnerIndex: kind.OwnerUIDs},
		Merge:          s.merge(),
		Model:          s.model,
	}
	if isByWebhook(s.resource.crd) {
		k.Asks = s.isConverted
	}
	k.Columns, k.Row = s.columns()
	if s.hasStatus() {
		k.Status = &kind.Status{PrepareUpdate: prepareStatus, Validate: s.validateStatus, Unowned: kind.Paths("metadata", "spec")}
	}
	if s.hasScale() {
		k.Scale = s.scale()
	}
	return k
}

// isConverted says whether an object is stored in another version than this one.
func (s *schemaOf) isConverted(stored kind.Object) bool {
	version := cmp.Or(stored.(*kind.Custom).APIVersion, s.resource.typeMeta(s.resource.storage).APIVersion)
	return version != s.resource.typeMeta(s.spec.Name).APIVersion
}

func (s *schemaOf) prepareCreate(obj kind.Object) {
	if s.hasStatus() {
		delete(obj.(*kind.Custom).Content, "status")
	}
}

func (s *schemaOf) prepareUpdate(obj, old kind.Object) {
	if s.hasStatus() {
		setOrDelete(obj.(*kind.Custom).Content, old.(*kind.Custom).Content)
	}
}

// setOrDelete makes the status in one object's content that of another's.
func setOrDelete(content, from map[string]any) {
	if status, ok := from["status"]; ok {
		content["status"] = runtime.DeepCopyJSONValue(status)
	} else {
		delete(content, "status")
	}
}

// prepareStatus lets only the status through.
func prepareStatus(obj, old kind.Object) {
	now := obj.(*kind.Custom)
	next := copyOf(old)
	setOrDelete(next.Content, now.Content)
	next.ManagedFields, next.ResourceVersion = now.ManagedFields, now.ResourceVersion
	next.TypeMeta = metav1.TypeMeta{}
	*now = *next
}

// fromStored returns objects in this version. What was written is first made good by the schema of the version that
// it was written in, since that says what its fields were and which defaults it has got since. Objects share their
// metadata with what is stored, and their content when nothing of it had to change, as is the rule: the store keeps
// both.
func (s *schemaOf) fromStored(ctx context.Context, objs []kind.Object) ([]kind.Object, error) {
	r := s.resource
	out := make([]*kind.Custom, len(objs))
	for i, obj := range objs {
		c := shallow(obj)
		c.Content = contentOf(obj)
		if c.APIVersion == "" {
			c.TypeMeta = r.typeMeta(r.storage)
		}
		_, version, _ := strings.Cut(c.APIVersion, "/")
		from := r.versions[version]
		if from == nil {
			return nil, fmt.Errorf("request to convert CR from an invalid group/version: %s", c.APIVersion)
		}
		if _, err := from.prune(c.Content, true); err != nil {
			return nil, err
		}
		from.setDefaults(c)
		c.Generation = max(c.Generation, 1)
		out[i] = c
	}
	if err := r.toVersion(ctx, out, s); err != nil {
		return nil, err
	}
	result := make([]kind.Object, len(out))
	for i, c := range out {
		c.TypeMeta = metav1.TypeMeta{}
		if stored := objs[i].(*kind.Custom).Content; stored != nil && sameJSON(c.Content, stored) {
			c.Content = stored
		}
		result[i] = c
	}
	return result, nil
}

// sameJSON says whether two decoded values are equal.
func sameJSON(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) || (a == nil) != (b == nil) {
			return false
		}
		for name, v := range a {
			if other, ok := b[name]; !ok || !sameJSON(v, other) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		return ok && (a == nil) == (b == nil) && slices.EqualFunc(a, b, sameJSON)
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}

// toStored returns an object in the version that is stored, with its type.
func (s *schemaOf) toStored(ctx context.Context, obj kind.Object) (kind.Object, error) {
	c := shallow(obj)
	c.TypeMeta = s.resource.typeMeta(s.spec.Name)
	if s.spec.Name == s.resource.storage {
		return c, nil
	}
	c = copyOf(c)
	objs := []*kind.Custom{c}
	err := s.resource.toVersion(ctx, objs, s.resource.versions[s.resource.storage])
	return objs[0], err
}

// fromVersion returns an object of any version in this one.
func (s *schemaOf) fromVersion(ctx context.Context, obj kind.Object) (kind.Object, error) {
	out, err := s.resource.convert(ctx, []*kind.Custom{copyOf(obj)}, s.resource.typeMeta(s.spec.Name))
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// toVersion converts objects, which are the caller's and have their types, in their places.
func (r *resource) toVersion(ctx context.Context, objs []*kind.Custom, to *schemaOf) error {
	want := r.typeMeta(to.spec.Name)
	var others []int
	var convert []*kind.Custom
	for i, c := range objs {
		if c.APIVersion != want.APIVersion {
			others, convert = append(others, i), append(convert, c)
		}
	}
	if len(others) == 0 {
		return nil
	}
	converted, err := r.convert(ctx, convert, want)
	if err != nil {
		return err
	}
	for n, i := range others {
		if _, err := to.prune(converted[n].Content, true); err != nil {
			return err
		}
		objs[i] = converted[n]
	}
	return nil
}

func (s *schemaOf) scale() *kind.Scale {
	spec := s.spec.Subresources.Scale
	return &kind.Scale{
		Path: pathOf(spec.SpecReplicasPath),
		Get: func(obj kind.Object) (specReplicas, statusReplicas int32, selector string) {
			content := obj.(*kind.Custom).Content
			want, _, _ := unstructured.NestedInt64(content, pathOf(spec.SpecReplicasPath)...)
			have, _, _ := unstructured.NestedInt64(content, pathOf(spec.StatusReplicasPath)...)
			if spec.LabelSelectorPath != nil {
				selector, _, _ = unstructured.NestedString(content, pathOf(*spec.LabelSelectorPath)...)
			}
			return int32(want), int32(have), selector
		},
		Set: func(obj kind.Object, replicas int32) {
			// a parent that is no object is refused by the validation that follows
			_ = unstructured.SetNestedField(obj.(*kind.Custom).Content, int64(replicas), pathOf(spec.SpecReplicasPath)...)
		},
	}
}

// fieldTimeout bounds a conversion that a field selector needs.
const fieldTimeout = 10 * time.Second

// fields returns what reads the selectable fields of a stored object.
func (s *schemaOf) fields() func(kind.Object) fields.Set {
	if len(s.spec.SelectableFields) == 0 {
		return nil
	}
	paths := map[string]*jsonpath.JSONPath{}
	for _, f := range s.spec.SelectableFields {
		p := jsonpath.New("selectableField").AllowMissingKeys(true)
		if p.Parse("{"+f.JSONPath+"}") == nil {
			paths[strings.TrimPrefix(f.JSONPath, ".")] = p
		}
	}
	return func(obj kind.Object) fields.Set {
		ctx, cancel := context.WithTimeout(context.Background(), fieldTimeout)
		defer cancel()
		shown, err := s.fromStored(ctx, []kind.Object{obj})
		set := fields.Set{}
		for name, p := range paths {
			set[name] = ""
			if err != nil {
				continue
			}
			if v := find(p, s.whole(shown[0])); v != nil {
				set[name] = fmt.Sprint(v)
			}
		}
		return set
	}
}

// find returns the one result of a path, or nil.
func find(p *jsonpath.JSONPath, m map[string]any) any {
	results, err := p.FindResults(m)
	if err != nil || len(results) == 0 || len(results[0]) == 0 {
		return nil
	}
	return results[0][0].Interface()
}

var metaDocs = metav1.ObjectMeta{}.SwaggerDoc()

// columns returns the printed columns: those that the version names, else the age.
func (s *schemaOf) columns() ([]metav1.TableColumnDefinition, func(kind.Object, time.Time) []any) {
	extra := s.spec.AdditionalPrinterColumns
	if len(extra) == 0 {
		extra = []apiextensionsv1.CustomResourceColumnDefinition{{Name: "Age", Type: "date", Description: metaDocs["creationTimestamp"], JSONPath: ".metadata.creationTimestamp"}}
	}
	columns := []metav1.TableColumnDefinition{{Name: "Name", Type: "string", Format: "name", Description: metaDocs["name"]}}
	var paths []*jsonpath.JSONPath
	for _, c := range extra {
		p := jsonpath.New(c.Name).AllowMissingKeys(true)
		if p.Parse("{"+c.JSONPath+"}") != nil {
			continue // as in Kubernetes, a path that can not be read is not printed
		}
		description := c.Description
		if description == "" {
			description = "Custom resource definition column (in JSONPath format): " + c.JSONPath
		}
		columns = append(columns, metav1.TableColumnDefinition{Name: c.Name, Type: c.Type, Format: c.Format, Description: description, Priority: c.Priority})
		paths = append(paths, p)
	}
	return columns, func(obj kind.Object, _ time.Time) []any {
		m := s.whole(obj)
		cells := []any{obj.GetName()}
		for i, p := range paths {
			cells = append(cells, cell(p, m, columns[i+1].Type))
		}
		return cells
	}
}

// cell prints what a path finds as a column's type has it.
func cell(p *jsonpath.JSONPath, m map[string]any, columnType string) any {
	v := find(p, m)
	if columnType == "string" {
		results, err := p.FindResults(m)
		if err != nil || len(results) == 0 || len(results[0]) == 0 {
			return nil
		}
		var b bytes.Buffer
		if p.PrintResults(&b, []reflect.Value{reflect.ValueOf(v)}) != nil {
			return nil
		}
		return b.String()
	}
	switch n := v.(type) {
	case int64:
		switch columnType {
		case "integer":
			return n
		case "number":
			return float64(n)
		}
	case float64:
		switch columnType {
		case "integer":
			return int64(n)
		case "number":
			return n
		}
	case bool:
		if columnType == "boolean" {
			return n
		}
	case string:
		if columnType == "date" {
			var at metav1.Time
			if at.UnmarshalQueryParameter(n) != nil {
				return "<invalid>"
			}
			return metatable.ConvertToHumanReadableDateType(at)
		}
	}
	return nil
}
