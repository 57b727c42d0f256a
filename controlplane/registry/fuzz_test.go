package registry

import (
	"bytes"
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// FuzzPatch holds every patch to an object or an error, and to leaving the object that it is for as it was.
func FuzzPatch(f *testing.F) {
	f.Add(uint8(0), []byte(`[{"op":"replace","path":"/metadata/name","value":{"a":[1]}}]`))
	f.Add(uint8(1), []byte(`{"metadata":{"labels":null},"spec":{"containers":[{"name":"d"}]}}`))
	f.Add(uint8(2), []byte(`{"spec":{"containers":[{"$patch":"delete","name":"c"}],"$setElementOrder/containers":[{"name":"c"}]}}`))
	f.Add(uint8(3), []byte("apiVersion: v1\nkind: Pod\nspec: {containers: [{name: c, image: x}]}\n"))
	f.Add(uint8(3), []byte("apiVersion: v1\nkind: Pod\nspec: {containers: [{name: c, resources: {limits: {cpu: none}}}]}\n"))
	k := kind.Of[*corev1.Pod]()
	managers := newFieldManagers(kind.Builtin())
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		cur := &corev1.Pod{TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p", UID: "u", ResourceVersion: "1"},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
		before := cur.DeepCopy()
		switch types := []types.PatchType{types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType}; {
		case int(which%4) < len(types):
			if obj, err := patchObject(types[which%4], data, cur, func() runtime.Object { return k.New() }, Write{Strict: Warn}); err == nil {
				_ = samePatched(k, cur, obj.(kind.Object))
			}
		default:
			if patch, err := decodeApplied(k, "n", "p", data, Write{Strict: Strict}); err == nil {
				_, _ = managers.apply(k, cur, patch, "", "fuzz", true)
			}
		}
		if !equalObjects(cur, before) {
			t.Fatalf("the patch %q changed the object that it was applied to", data)
		}
	})
}

// FuzzManagedFields gives an object entries of who manages its fields that no server wrote: neither an update nor an apply may
// panic, and each leaves entries that can be read.
func FuzzManagedFields(f *testing.F) {
	f.Add("Apply", "v1", "", `{"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{}}}}}}`)
	f.Add("Update", "v1", "status", `{"f:status":{"f:conditions":{"i:0":{},"i:-1":{},"v:\"x\"":{},"v:1.5":{},"v:{\"a\":[null]}":{}}}}`)
	f.Add("Update", "v7", "", `{"f:metadata":{"f:finalizers":{"v:\"a\"":{}}},"f:":{},"k:{}":{}}`)
	k := kind.Of[*corev1.Pod]()
	managers := newFieldManagers(kind.Builtin())
	f.Fuzz(func(t *testing.T, operation, version, subresource, fields string) {
		old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p", UID: "u", ResourceVersion: "1"},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
		obj := old.DeepCopy()
		obj.Labels = map[string]string{"a": "b"}
		foreign := []metav1.ManagedFieldsEntry{{Manager: "other", Operation: metav1.ManagedFieldsOperationType(operation), APIVersion: version, Subresource: subresource,
			FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)}}
		obj.ManagedFields = foreign
		if err := managers.update(k, obj, old, "", "fuzz"); err != nil {
			t.Errorf("update: %v", err)
		}
		readable(t, obj)
		if json.Valid([]byte(fields)) {
			obj.ManagedFields = foreign // as if they were stored so, which what is no JSON can not be
		}
		patch := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"namespace": "n", "name": "p"},
			"spec": map[string]any{"containers": []any{map[string]any{"name": "c", "image": "other"}}}}}
		if applied, err := managers.apply(k, obj, patch, "", "fuzz", true); err == nil && applied != nil {
			readable(t, applied)
		}
	})
}

// readable fails the test when the object's entries do not name fields.
func readable(t *testing.T, obj kind.Object) {
	t.Helper()
	for _, e := range obj.GetManagedFields() {
		raw := e.FieldsV1.GetRawBytes()
		if err := fieldpath.NewSet().FromJSON(bytes.NewReader(raw)); err != nil || !json.Valid(raw) {
			t.Errorf("%s has %q: %v", e.Manager, raw, err)
		}
	}
}

// FuzzSelection holds every selector that parses to an answer, and what it selects to the labels that it asks for.
func FuzzSelection(f *testing.F) {
	f.Add("a in (b,c),!d", "spec.nodeName=x,metadata.name!=y")
	f.Fuzz(func(t *testing.T, labelText, fieldText string) {
		ls, err := labels.Parse(labelText)
		if err != nil {
			return
		}
		fs, err := fields.ParseSelector(fieldText)
		if err != nil {
			return
		}
		exact := exactLabels(ls)
		for _, set := range []labels.Set{{}, {"a": "b"}, {"a": ""}, {"a": "b", "c": "d", "e": ""}, exact} {
			if ls.Matches(set) && !labels.SelectorFromSet(exact).Matches(set) {
				t.Errorf("%q selects %v without %v", labelText, set, exact)
			}
		}
		for _, k := range kind.Builtin().Kinds() {
			if s, err := selectionOf(k, ListQuery{Labels: ls, Fields: fs}); err == nil && s.match != nil {
				s.match(k.New())
			}
		}
	})
}
