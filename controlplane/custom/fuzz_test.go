package custom

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// dialDefinition has a word of each sort that a definition may have.
const dialDefinition = `
metadata: {name: dials.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: dials, singular: dial, kind: Dial, listKind: DialList}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}}
    selectableFields: [{jsonPath: .spec.color}, {jsonPath: .spec.inner.b}]
    additionalPrinterColumns:
    - {name: Color, type: string, jsonPath: .spec.color}
    - {name: Part, type: string, jsonPath: '.spec.parts[?(@.name=="a")].size'}
    - {name: All, type: string, jsonPath: '.spec.parts[*].name'}
    - {name: Dotted, type: string, jsonPath: ".spec.inner['a.b']"}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Ratio, type: number, jsonPath: .spec.ratio}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema: {openAPIV3Schema: {type: object, properties: {
      spec: {type: object, required: [color], x-kubernetes-validations: [{rule: "self.replicas <= 10 || has(self.port)", message: few}], properties: {
        color: {type: string, maxLength: 9, default: red, x-kubernetes-validations: [{rule: self == oldSelf}]},
        replicas: {type: integer, default: 1, minimum: 0}, ratio: {type: number}, at: {type: string, format: date-time},
        port: {x-kubernetes-int-or-string: true}, none: {type: string, nullable: true},
        inner: {type: object, default: {a.b: x}, properties: {a.b: {type: string}, b: {type: boolean}}},
        free: {type: object, x-kubernetes-preserve-unknown-fields: true}, map: {type: object, additionalProperties: {type: integer}},
        object: {type: object, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true},
        set: {type: array, x-kubernetes-list-type: set, items: {type: string}},
        parts: {type: array, maxItems: 9, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [name], items: {type: object, required: [name], properties: {name: {type: string}, size: {type: integer, default: 2}}}}}},
      status: {type: object, properties: {replicas: {type: integer}, selector: {type: string}}}}}}
  - {name: v2, served: true, storage: false, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

// definedBy returns the kinds of a definition, or none when it would be refused.
func definedBy(t testing.TB, definition []byte) []*kind.Kind {
	t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if yaml.Unmarshal(definition, crd) != nil {
		return nil
	}
	k := kind.Of[*apiextensionsv1.CustomResourceDefinition]()
	k.Default(crd)
	k.PrepareCreate(crd)
	k.Warnings(crd, nil)
	if len(k.ValidateCreate(crd)) > 0 {
		return nil
	}
	crd.Status.AcceptedNames = crd.Spec.Names
	made, err := kinds(crd, func() *smdschema.Schema { return &smdschema.Schema{} }, renamed)
	if err != nil {
		t.Fatalf("a definition that is let in is not served: %v\n%s", err, definition)
	}
	return made
}

// FuzzDefinition takes objects through all that a definition says of them, whatever it says. None may panic; what was
// defaulted or pruned must be so for good, and what is let in must be let in again when nothing of it changes.
func FuzzDefinition(f *testing.F) {
	f.Add([]byte(dialDefinition), []byte(`{"spec":{"color":"red","odd":1,"port":"a","none":null,"free":{"x":[1.5]},"map":{"a":1},"set":["a","b"],"ratio":0.5,"at":"2026-01-01T00:00:00Z","object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","odd":1}},"parts":[{"name":"a"},{"name":"b","size":3}]},"status":{"replicas":1,"selector":"a=b"}}`),
		[]byte(`{"spec":{"color":"green","replicas":11,"parts":[]}}`))
	f.Add([]byte(dialDefinition), []byte(`{"spec":{"replicas":-1,"inner":{"a.b":7},"set":["a","a"],"parts":[{"name":"a"},{"name":"a"}]}}`), []byte(`{"spec":null}`))
	f.Add([]byte(gaugeDefinition), []byte(`{"spec":{"parts":[{"name":"a","odd":1}],"size":2}}`), []byte(`{}`))
	if len(definedBy(f, []byte(dialDefinition))) != 2 {
		f.Fatal("the definition of the seeds is refused")
	}
	f.Fuzz(func(t *testing.T, definition, object, before []byte) {
		var obj, old map[string]any
		if json.Unmarshal(object, &obj) != nil || json.Unmarshal(before, &old) != nil || obj == nil || old == nil {
			return
		}
		for _, k := range definedBy(t, definition) {
			k.Model(true)
			k.Model(false)
			a, b := admitted(t, k, obj), admitted(t, k, old)
			refused := len(k.ValidateCreate(a)) > 0
			k.ValidateUpdate(a, b)
			if same := k.ValidateUpdate(a, a.DeepCopyObject().(kind.Object)); !refused && len(same) > 0 {
				t.Errorf("what was let in is refused without a change: %v", same)
			}
			if k.Status != nil {
				status := a.DeepCopyObject().(*kind.Custom)
				k.Status.PrepareUpdate(status, b)
				k.Status.Validate(status, b)
			}
			if k.Scale != nil {
				k.Scale.Get(a)
				k.Scale.Set(b, 3)
			}
			if k.Fields != nil {
				k.Fields(a)
			}
			if row := k.Row(a, time.Unix(0, 0)); len(row) != len(k.Columns) {
				t.Errorf("a row of %d for %d columns", len(row), len(k.Columns))
			}
			if k.Merge != nil {
				if merge, err := k.Merge(); err == nil {
					_, _ = merge.FromUnstructured(a.Content)
				}
			}
			if _, err := k.FromStored(t.Context(), []kind.Object{a}); err != nil {
				t.Errorf("an object that was made can not be read: %v", err)
			}
		}
	})
}

// admitted returns an object as it is created: pruned and with its defaults.
func admitted(t *testing.T, k *kind.Kind, content map[string]any) *kind.Custom {
	t.Helper()
	content = numbers(runtime.DeepCopyJSON(content))
	c := &kind.Custom{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", Generation: 1}, Content: content}
	for _, name := range []string{"apiVersion", "kind", "metadata"} {
		delete(c.Content, name)
	}
	c.TypeMeta = metav1.TypeMeta{APIVersion: k.GroupVersion().String(), Kind: k.Kind}
	if _, err := k.Prune(c); err != nil {
		t.Fatal(err)
	}
	k.Default(c)
	once := c.DeepCopyObject()
	gone, err := k.Prune(c)
	if err != nil || len(gone) > 0 {
		t.Errorf("pruned twice: %v, %v", gone, err)
	}
	k.Default(c)
	if !reflect.DeepEqual(once, c) {
		t.Errorf("the second time %v comes of %v", c, once)
	}
	return c
}

// numbers makes whole numbers integers, as decoders of requests do.
func numbers(m map[string]any) map[string]any {
	var whole func(v any) any
	whole = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for name := range v {
				v[name] = whole(v[name])
			}
		case []any:
			for i := range v {
				v[i] = whole(v[i])
			}
		case float64:
			if n := int64(v); float64(n) == v {
				return n
			}
		}
		return v
	}
	return whole(m).(map[string]any)
}
