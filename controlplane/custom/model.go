package custom

import (
	"maps"
	"slices"
	"strings"
	"sync"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	openapiv2 "k8s.io/apiextensions-apiserver/pkg/controller/openapi/v2"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/schemaconv"
	"k8s.io/kube-openapi/pkg/validation/spec"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// mergeBase returns the merge schema of the built-in kinds, which has that of metadata.
type mergeBase func() *smdschema.Schema

const metaModel = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

// What Kubernetes says of the fields that every object has.
const (
	apiVersionText = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"
	kindText       = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
	metadataText   = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)

// modelName is how OpenAPI names a kind: the group's labels reversed, the version and the kind.
func modelName(gvk schema.GroupVersionKind) string {
	labels := strings.Split(gvk.Group, ".")
	slices.Reverse(labels)
	return strings.Join(append(labels, gvk.Version, gvk.Kind), ".")
}

// What Kubernetes says of the fields of an object within another.
const (
	embeddedVersionText = "apiVersion defines the versioned schema of this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"
	embeddedKindText    = "kind is a string value representing the type of this object. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
)

// model returns the schema of the version for OpenAPI documents. Version 2 has no word for much of it.
func (s *schemaOf) model(version3 bool) (string, *spec.Schema) {
	gvk := s.resource.gvk(s.spec.Name)
	structural, prefix := s.structural.Unfold(), "#/components/schemas/"
	if !version3 {
		structural, prefix = openapiv2.ToStructuralOpenAPIV2(structural), "#/definitions/"
	}
	out := &spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}}}
	// who validates by version 2 takes what it does not name for forbidden, so that a schema which knows unknown fields names none
	if version3 || !s.structural.XPreserveUnknownFields {
		out = structural.ToKubeOpenAPI()
		if version3 {
			embed(out, structural, prefix)
		} else {
			embedKnown(out, structural, prefix)
		}
		addTypeMeta(out, prefix)
	}
	out.AddExtension("x-kubernetes-group-version-kind", []any{map[string]any{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind}})
	if len(s.spec.SelectableFields) > 0 {
		var selectable []any
		for _, f := range s.spec.SelectableFields {
			selectable = append(selectable, map[string]any{"fieldPath": strings.TrimPrefix(f.JSONPath, ".")})
		}
		out.AddExtension("x-kubernetes-selectable-fields", selectable)
	}
	return modelName(gvk), out
}

// addTypeMeta adds the fields that every object has.
func addTypeMeta(out *spec.Schema, prefix string) {
	addFields(out, prefix, apiVersionText, kindText)
}

func addFields(out *spec.Schema, prefix, apiVersion, kind string) {
	meta := *spec.RefSchema(prefix + metaModel)
	meta.Description = metadataText
	if strings.HasPrefix(prefix, "#/components") {
		// a reference can not have anything beside it in version 3
		meta = spec.Schema{SchemaProps: spec.SchemaProps{AllOf: []spec.Schema{*spec.RefSchema(prefix + metaModel)}, Description: metadataText}}
	}
	properties := maps.Clone(out.Properties)
	if properties == nil {
		properties = map[string]spec.Schema{}
	}
	properties["apiVersion"] = *spec.StringProperty().WithDescription(apiVersion)
	properties["kind"] = *spec.StringProperty().WithDescription(kind)
	properties["metadata"] = meta
	out.Properties = properties
}

// embed adds the fields of every object to embedded objects.
func embed(out *spec.Schema, s *structuralschema.Structural, prefix string) {
	within(out, s, func(out *spec.Schema, s *structuralschema.Structural) { addEmbedded(out, prefix) })
}

// embedKnown adds them to those alone that name all their fields, and takes defaults away: version 2 knows no other way.
func embedKnown(out *spec.Schema, s *structuralschema.Structural, prefix string) {
	within(out, s, func(out *spec.Schema, s *structuralschema.Structural) {
		if !s.XPreserveUnknownFields {
			addEmbedded(out, prefix)
		}
	})
	withoutDefaults(out)
}

func withoutDefaults(out *spec.Schema) {
	out.Default = nil
	for name, inner := range out.Properties {
		withoutDefaults(&inner)
		out.Properties[name] = inner
	}
	if out.Items != nil && out.Items.Schema != nil {
		withoutDefaults(out.Items.Schema)
	}
	if out.AdditionalProperties != nil && out.AdditionalProperties.Schema != nil {
		withoutDefaults(out.AdditionalProperties.Schema)
	}
}

func addEmbedded(out *spec.Schema, prefix string) {
	addFields(out, prefix, embeddedVersionText, embeddedKindText)
	for _, name := range []string{"kind", "apiVersion"} {
		if !slices.Contains(out.Required, name) {
			out.Required = append(slices.Clone(out.Required), name)
		}
	}
}

// within calls f for the embedded objects of a schema, the innermost first.
func within(out *spec.Schema, s *structuralschema.Structural, f func(*spec.Schema, *structuralschema.Structural)) {
	one := func(out *spec.Schema, s *structuralschema.Structural) {
		within(out, s, f)
		if s.XEmbeddedResource {
			f(out, s)
		}
	}
	for name, inner := range s.Properties {
		property, ok := out.Properties[name]
		if !ok {
			continue
		}
		one(&property, &inner)
		out.Properties[name] = property
	}
	if s.Items != nil && out.Items != nil && out.Items.Schema != nil {
		one(out.Items.Schema, s.Items)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil && out.AdditionalProperties != nil && out.AdditionalProperties.Schema != nil {
		one(out.AdditionalProperties.Schema, s.AdditionalProperties.Structural)
	}
}

// merge returns what makes the version's merge type, once, when it is first needed.
func (s *schemaOf) merge() func() (typed.ParseableType, error) {
	return sync.OnceValues(func() (typed.ParseableType, error) {
		gvk := s.resource.gvk(s.spec.Name)
		out := s.structural.ToKubeOpenAPI()
		embed(out, s.structural, "#/definitions/")
		addTypeMeta(out, "#/definitions/")
		name := modelName(gvk)
		own, err := schemaconv.ToSchemaFromOpenAPI(map[string]*spec.Schema{name: out}, s.resource.crd.Spec.PreserveUnknownFields)
		if err != nil {
			return typed.ParseableType{}, err
		}
		whole := &smdschema.Schema{Types: append(slices.Clone(own.Types), s.resource.base().Types...)}
		return typed.ParseableType{Schema: whole, TypeRef: smdschema.TypeRef{NamedType: &name}}, nil
	})
}
