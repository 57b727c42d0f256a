package api

import (
	"encoding/binary"
	"reflect"
	"slices"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// nested returns a definition in protobuf whose schema is of so many schemas, each the items of the one around it.
func nested(schemas int, tag func(field uint64) []byte) []byte {
	field := func(number uint64, content []byte) []byte {
		return slices.Concat(tag(number<<3|wireBytes), binary.AppendUvarint(nil, uint64(len(content))), content)
	}
	var schema []byte
	for range schemas {
		schema = field(24, field(1, schema)) // items of a schema, schema of items
	}
	version := field(4, field(1, schema)) // schema of a version, openAPIV3Schema of that
	return field(2, field(7, version))
}

// bodyOf is a request's body with a definition.
func bodyOf(t *testing.T, definition []byte) []byte {
	t.Helper()
	data, err := (&runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"}, Raw: definition}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return append(slices.Clone(protobufMagic), data...)
}

func plainTag(tag uint64) []byte { return binary.AppendUvarint(nil, tag) }

// looseTag ends in bits that the decoder loses.
func looseTag(tag uint64) []byte {
	out := make([]byte, 0, 10)
	for range 9 {
		out = append(out, byte(tag)|0x80)
		tag >>= 7
	}
	return append(out, 0x7e)
}

func TestProtobufDepth(t *testing.T) {
	for name, tag := range map[string]func(uint64) []byte{"plain": plainTag, "loose": looseTag} {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := decodeProtobuf(bodyOf(t, nested(400, tag)), crd); err != nil {
			t.Fatal(name, err)
		}
		depth := 0
		for s := crd.Spec.Versions[0].Schema.OpenAPIV3Schema; s.Items != nil; s = s.Items.Schema {
			depth++
		}
		if depth != 400 {
			t.Errorf("%s: %d schemas came through", name, depth)
		}
		if err := decodeProtobuf(bodyOf(t, nested(600, tag)), crd); !apierrors.IsBadRequest(err) || err.Error() != bodyTooDeep().Error() {
			t.Errorf("%s: 600 schemas in each other: %v", name, err)
		}
	}
}

// FuzzProtobufDepth decodes what is said not to be too deep, and finds no schemas deeper in each other than that.
func FuzzProtobufDepth(f *testing.F) {
	for _, schemas := range []int{1, 490, 510} {
		f.Add(nested(schemas, plainTag))
		f.Add(nested(schemas, looseTag))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if tooDeepProtobuf(data) || crd.Unmarshal(data) != nil {
			return
		}
		for i := range crd.Spec.Versions {
			if s := crd.Spec.Versions[i].Schema; s != nil && deepest(reflect.ValueOf(s.OpenAPIV3Schema)) > maxDepth {
				t.Error("schemas nest deeper than is allowed")
			}
		}
	})
}

// deepest counts how many schemas are in each other.
func deepest(v reflect.Value) int {
	most := 0
	each := func(v reflect.Value) { most = max(most, deepest(v)) }
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			each(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			each(v.Index(i))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			each(v.MapIndex(key))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			each(v.Field(i))
		}
		if v.Type() == reflect.TypeFor[apiextensionsv1.JSONSchemaProps]() {
			most++
		}
	}
	return most
}

// TestNestingTypes finds which kinds a protobuf body can nest in without a bound.
func TestNestingTypes(t *testing.T) {
	for _, k := range kind.Builtin().Served() {
		obj := k.New()
		if got := containsItself(reflect.TypeOf(obj), nil); got != nests(obj) {
			t.Errorf("%s nests: %v", k.GroupVersionKind, got)
		}
	}
	for _, obj := range []runtime.Object{&metav1.DeleteOptions{}, &metav1.Status{}} {
		if containsItself(reflect.TypeOf(obj), nil) {
			t.Errorf("%T nests", obj)
		}
	}
}

func containsItself(t reflect.Type, around []reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return containsItself(t.Elem(), around)
	case reflect.Struct:
		if slices.Contains(around, t) {
			return true
		}
		around = append(slices.Clone(around), t)
		for i := range t.NumField() {
			if containsItself(t.Field(i).Type, around) {
				return true
			}
		}
	}
	return false
}
