package custom

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// resource is what a definition defines, as far as it does not differ from version to version.
type resource struct {
	crd      *apiextensionsv1.CustomResourceDefinition
	versions map[string]*schemaOf
	storage  string
	convert  converter
	base     mergeBase
}

// schemaOf is one version of a resource.
type schemaOf struct {
	resource   *resource
	spec       *apiextensionsv1.CustomResourceDefinitionVersion
	structural *structuralschema.Structural
	validator  validation.SchemaValidator
	status     validation.SchemaValidator // nil without a status subresource
	rules      *cel.Validator             // nil when the schema has none
	defaults   bool
}

// kinds returns the kinds of a definition: the stored one first.
func kinds(crd *apiextensionsv1.CustomResourceDefinition, base mergeBase, convert converter) ([]*kind.Kind, error) {
	r := &resource{crd: crd, versions: map[string]*schemaOf{}, base: base, convert: convert}
	for i := range crd.Spec.Versions {
		v := &crd.Spec.Versions[i]
		s, err := r.schemaOf(v)
		if err != nil {
			return nil, fmt.Errorf("cannot serve version %s of %s: %w", v.Name, crd.Name, err)
		}
		r.versions[v.Name] = s
		if v.Storage {
			r.storage = v.Name
		}
	}
	if r.storage == "" {
		return nil, fmt.Errorf("cannot serve %s: no version is stored", crd.Name)
	}
	stored := r.versions[r.storage].kind(nil)
	out := []*kind.Kind{stored}
	for _, v := range append(r.served(), r.unserved()...) {
		if v != r.storage {
			out = append(out, r.versions[v].kind(stored))
		}
	}
	return out, nil
}

// unserved returns the names of the versions that are only converted to.
func (r *resource) unserved() []string {
	var out []string
	for _, v := range r.crd.Spec.Versions {
		if !v.Served {
			out = append(out, v.Name)
		}
	}
	return out
}

// served returns the names of the versions that are served, in the order of preference.
func (r *resource) served() []string {
	var out []string
	for _, v := range r.crd.Spec.Versions {
		if v.Served {
			out = append(out, v.Name)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return version.CompareKubeAwareVersionStrings(b, a) })
	return out
}

func (r *resource) gvk(version string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: r.crd.Spec.Group, Version: version, Kind: r.crd.Status.AcceptedNames.Kind}
}

func (r *resource) typeMeta(version string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: r.crd.Spec.Group + "/" + version, Kind: r.crd.Status.AcceptedNames.Kind}
}

func (r *resource) schemaOf(v *apiextensionsv1.CustomResourceDefinitionVersion) (*schemaOf, error) {
	s := &schemaOf{resource: r, spec: v}
	in, err := apihelpers.GetSchemaForVersion(r.crd, v.Name)
	if err != nil {
		return nil, err
	}
	internal := &apiextensions.CustomResourceValidation{OpenAPIV3Schema: &apiextensions.JSONSchemaProps{Type: "object"}}
	if in != nil && in.OpenAPIV3Schema != nil {
		if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(in.DeepCopy(), internal, nil); err != nil {
			return nil, err
		}
	}
	if s.structural, err = structuralschema.NewStructural(internal.OpenAPIV3Schema); err != nil {
		return nil, err
	}
	s.structural = s.structural.DeepCopy() // defaults are shared otherwise, and are pruned next
	if err := defaulting.PruneDefaults(s.structural); err != nil {
		return nil, err
	}
	s.defaults = hasDefaults(s.structural)
	if s.validator, _, err = validation.NewSchemaValidator(internal.OpenAPIV3Schema); err != nil {
		return nil, err
	}
	if s.hasStatus() {
		if part, ok := internal.OpenAPIV3Schema.Properties["status"]; ok {
			if s.status, _, err = validation.NewSchemaValidator(&part); err != nil {
				return nil, err
			}
		}
	}
	s.rules = cel.NewValidator(s.structural, true, celconfig.PerCallLimit)
	return s, nil
}

func hasDefaults(s *structuralschema.Structural) bool {
	found := false
	v := structuralschema.Visitor{Structural: func(s *structuralschema.Structural) bool {
		found = found || s.Default.Object != nil
		return false
	}}
	v.Visit(s.DeepCopy())
	return found
}

func (s *schemaOf) hasStatus() bool {
	return s.spec.Subresources != nil && s.spec.Subresources.Status != nil
}

func (s *schemaOf) hasScale() bool {
	return s.spec.Subresources != nil && s.spec.Subresources.Scale != nil
}

// prune drops what the schema does not know, and nulls that mean that a field is not there, and brings embedded
// objects' metadata into form; with lenient, what is wrong in that is dropped too.
func (s *schemaOf) prune(content map[string]any, lenient bool) ([]string, error) {
	var unknown []string
	if !s.resource.crd.Spec.PreserveUnknownFields {
		unknown = pruning.PruneWithOptions(content, s.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: !lenient})
		defaulting.PruneNonNullableNullsWithoutDefaults(content, s.structural)
	}
	err, paths := objectmeta.CoerceWithOptions(nil, content, s.structural, false, objectmeta.CoerceOptions{DropInvalidFields: lenient, ReturnUnknownFieldPaths: !lenient})
	if err != nil {
		return nil, err
	}
	return append(unknown, paths...), nil
}

func (s *schemaOf) setDefaults(obj *kind.Custom) {
	if s.defaults {
		defaulting.Default(obj.Content, s.structural)
	}
}

// deprecation is the warning of a deprecated version, in the words of Kubernetes.
func (s *schemaOf) deprecation() string {
	switch {
	case !s.spec.Deprecated:
		return ""
	case s.spec.DeprecationWarning != nil:
		return *s.spec.DeprecationWarning
	}
	r := s.resource
	text := fmt.Sprintf("%s/%s %s is deprecated", r.crd.Spec.Group, s.spec.Name, r.crd.Spec.Names.Kind)
	for _, v := range r.served() {
		if !r.versions[v].spec.Deprecated && version.CompareKubeAwareVersionStrings(s.spec.Name, v) < 0 {
			return text + fmt.Sprintf("; use %s/%s %s", r.crd.Spec.Group, v, r.crd.Spec.Names.Kind)
		}
	}
	return text
}

// pathOf reads a simple path such as ".spec.replicas".
func pathOf(path string) []string { return strings.Split(strings.TrimPrefix(path, "."), ".") }

// copyOf returns an object that may be changed.
func copyOf(obj kind.Object) *kind.Custom {
	c := obj.DeepCopyObject().(*kind.Custom)
	if c.Content == nil {
		c.Content = map[string]any{}
	}
	return c
}

// contentOf returns a copy of an object's content.
func contentOf(obj kind.Object) map[string]any {
	if content := obj.(*kind.Custom).Content; content != nil {
		return runtime.DeepCopyJSON(content)
	}
	return map[string]any{}
}

// shallow returns an object whose own fields may be set; what they point to is shared.
func shallow(obj kind.Object) *kind.Custom {
	c := *obj.(*kind.Custom)
	return &c
}

// whole returns an object as a map with its type, as schemas and rules see it.
func (s *schemaOf) whole(obj kind.Object) map[string]any {
	c := shallow(obj)
	c.TypeMeta = s.resource.typeMeta(s.spec.Name)
	m, err := c.Map()
	if err != nil {
		// metadata is of Kubernetes' own type, which converts
		panic(err)
	}
	return m
}
