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

// model returns the schema of the version for OpenAPI documents. Version 2 has no word for much of it.
func (s *schemaOf) model(version3 bool) (string, *spec.Schema) {
	gvk := s.resource.gvk(s.spec.Name)
	structural, prefix := s.structural, "#/components/schemas/"
	if !version3 {
		structural, prefix = openapiv2.ToStructuralOpenAPIV2(structural), "#/definitions/"
	}
	out := structural.ToKubeOpenAPI()
	embed(out, structural, prefix)
	if len(out.Properties) > 0 || version3 && !structural.XPreserveUnknownFields {
		addTypeMeta(out, prefix)
	}
	out.AddExtension("x-kubernetes-group-version-kind", []any{map[string]any{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind}})
	return modelName(gvk), out
}

// addTypeMeta adds the fields that every object has.
func addTypeMeta(out *spec.Schema, prefix string) {
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
	properties["apiVersion"] = *spec.StringProperty().WithDescription(apiVersionText)
	properties["kind"] = *spec.StringProperty().WithDescription(kindText)
	properties["metadata"] = meta
	out.Properties = properties
}

// embed adds the fields of every object to embedded objects.
func embed(out *spec.Schema, s *structuralschema.Structural, prefix string) {
	for name, inner := range s.Properties {
		property := out.Properties[name]
		embed(&property, &inner, prefix)
		if inner.XEmbeddedResource && len(property.Properties) > 0 {
			addTypeMeta(&property, prefix)
		}
		out.Properties[name] = property
	}
	if s.Items != nil && out.Items != nil && out.Items.Schema != nil {
		embed(out.Items.Schema, s.Items, prefix)
		if s.Items.XEmbeddedResource && len(out.Items.Schema.Properties) > 0 {
			addTypeMeta(out.Items.Schema, prefix)
		}
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil && out.AdditionalProperties != nil && out.AdditionalProperties.Schema != nil {
		embed(out.AdditionalProperties.Schema, s.AdditionalProperties.Structural, prefix)
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
