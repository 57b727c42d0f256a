package custom

import (
	"encoding/json"
	"reflect"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const gaugeDefinition = `
metadata: {name: gauges.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: gauges, kind: Gauge}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {
      size: {type: integer, default: 1}, parts: {type: array, items: {type: object, properties: {name: {type: string}}}}}}}}}}
  - {name: v2, served: true, storage: false, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {
      size: {type: integer}}}}}}}
`

// TestStoredContentIsShared holds the cache, which keeps what is stored and what is shown of it, to one content where
// they are equal, and what is stored to its form where they are not.
func TestStoredContentIsShared(t *testing.T) {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict([]byte(gaugeDefinition), crd); err != nil {
		t.Fatal(err)
	}
	crd.Status.AcceptedNames = crd.Spec.Names
	made, err := kinds(crd, func() *smdschema.Schema { return nil }, renamed)
	if err != nil {
		t.Fatal(err)
	}
	v1, v2 := made[0], made[1]
	for name, tc := range map[string]struct {
		kind          *kind.Kind
		stored, shown string
	}{
		"unchanged":       {v1, `{"spec":{"parts":[{"name":"a"}],"size":2}}`, `{"spec":{"parts":[{"name":"a"}],"size":2}}`},
		"empty":           {v1, `{}`, `{}`},
		"defaulted":       {v1, `{"spec":{"parts":[]}}`, `{"spec":{"parts":[],"size":1}}`},
		"pruned":          {v1, `{"spec":{"parts":[{"name":"a","odd":1}],"size":2}}`, `{"spec":{"parts":[{"name":"a"}],"size":2}}`},
		"converted":       {v2, `{"spec":{"size":2}}`, `{"spec":{"size":2}}`},
		"converted, less": {v2, `{"spec":{"parts":[{"name":"a"}],"size":2}}`, `{"spec":{"size":2}}`},
	} {
		stored := &kind.Custom{}
		if err := json.Unmarshal([]byte(tc.stored), stored); err != nil {
			t.Fatal(name, err)
		}
		stored.TypeMeta.APIVersion, stored.TypeMeta.Kind = "example.com/v1", "Gauge"
		out, err := tc.kind.FromStored(t.Context(), []kind.Object{stored})
		if err != nil {
			t.Fatal(name, err)
		}
		shown := out[0].(*kind.Custom)
		if got := contentText(t, shown); got != tc.shown || contentText(t, stored) != tc.stored {
			t.Errorf("%s: shown %s, want %s; stored %s", name, got, tc.shown, contentText(t, stored))
		}
		if shared := reflect.ValueOf(shown.Content).Pointer() == reflect.ValueOf(stored.Content).Pointer(); shared != (tc.stored == tc.shown) {
			t.Errorf("%s: shared %v", name, shared)
		}
	}
}

func contentText(t *testing.T, c *kind.Custom) string {
	t.Helper()
	data, err := json.Marshal(c.Content)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
