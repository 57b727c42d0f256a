package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/registry"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/store"
)

const widgetDefinition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}}
    selectableFields: [{jsonPath: .spec.color}]
    additionalPrinterColumns:
    - {name: Color, type: string, jsonPath: .spec.color}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        description: A widget turns.
        required: [spec]
        properties:
          spec:
            type: object
            required: [color]
            x-kubernetes-validations:
            - {rule: "self.replicas <= self.max", message: no more than max}
            properties:
              color: {type: string, enum: [red, green], description: The color that it has., x-kubernetes-validations: [{rule: "self == oldSelf", message: color stays}]}
              replicas: {type: integer, default: 1}
              max: {type: integer, default: 10}
              port: {x-kubernetes-int-or-string: true}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
              object: {type: object, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true}
              parts:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items: {type: object, required: [name], properties: {name: {type: string}, size: {type: integer}}}
          status:
            type: object
            properties: {replicas: {type: integer}, selector: {type: string}}
  - name: v1alpha1
    served: true
    storage: false
    deprecated: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {color: {type: string}, replicas: {type: integer}, max: {type: integer}}
`

var (
	crds    = apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")
	widgets = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}
)

func fromYAML(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

func widget(t testing.TB, name, spec string) *unstructured.Unstructured {
	t.Helper()
	return fromYAML(t, "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: "+name+"}\nspec: "+spec)
}

// define creates a definition and waits until it is established.
func define(t testing.TB, c dynamic.Interface, text string) {
	t.Helper()
	d := fromYAML(t, text)
	awaitDefinition(t, c, d.GetName(), func() error {
		_, err := c.Resource(crds).Create(t.Context(), d, metav1.CreateOptions{})
		return err
	}, func(crd *apiextensionsv1.CustomResourceDefinition) bool {
		return apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established)
	})
}

// awaitDefinition changes a definition and returns as soon as a watch shows it as it is to be.
func awaitDefinition(t testing.TB, c dynamic.Interface, name string, change func() error, ok func(*apiextensionsv1.CustomResourceDefinition) bool) {
	t.Helper()
	w, err := c.Resource(crds).Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if err := change(); err != nil {
		t.Fatal(err)
	}
	for e := range w.ResultChan() {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(e.Object.(*unstructured.Unstructured).Object, crd); err != nil {
			t.Fatal(err)
		}
		if ok(crd) {
			return
		}
	}
	t.Fatal("the watch ended")
}

func dynamicOf(t testing.TB, e *apitest.Env) dynamic.Interface {
	t.Helper()
	c, err := dynamic.NewForConfig(e.Admin())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCustomResources takes objects of a defined kind through everything that objects can do.
func TestCustomResources(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	c := dynamicOf(t, e)
	define(t, c, widgetDefinition)
	ns := c.Resource(widgets).Namespace("default")
	ctx := t.Context()

	w, err := ns.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	made, err := ns.Create(ctx, widget(t, "a", `{color: red, unknown: x, port: 80, free: {any: thing}, parts: [{name: one, size: 1}], object: {apiVersion: v1, kind: ConfigMap, metadata: {name: in, odd: 1}, data: {a: b}}}`), metav1.CreateOptions{FieldManager: "me"})
	if err != nil {
		t.Fatal(err)
	}
	data, _ := json.Marshal(made.Object["spec"])
	if got, want := string(data), `{"color":"red","free":{"any":"thing"},"max":10,"object":{"apiVersion":"v1","data":{"a":"b"},"kind":"ConfigMap","metadata":{"name":"in"}},"parts":[{"name":"one","size":1}],"port":80,"replicas":1}`; got != want {
		t.Errorf("created as %s, want %s", got, want)
	}
	if made.GetGeneration() != 1 || made.GetUID() == "" || len(made.GetManagedFields()) != 1 || made.GetManagedFields()[0].APIVersion != "example.com/v1" {
		t.Errorf("metadata is %v", made.Object["metadata"])
	}
	if ev := <-w.ResultChan(); ev.Type != watch.Added || ev.Object.(*unstructured.Unstructured).GetAPIVersion() != "example.com/v1" {
		t.Errorf("watch saw %v", ev)
	}

	for name, tc := range map[string]struct{ spec, reason, want string }{
		"a missing field": {`{replicas: 1}`, "Invalid", "spec.color: Required value"},
		"a wrong type":    {`{color: red, replicas: many}`, "Invalid", `spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"`},
		"an enumeration":  {`{color: blue}`, "Invalid", `spec.color: Unsupported value: "blue": supported values: "red", "green"`},
		"a rule":          {`{color: red, replicas: 11}`, "Invalid", "no more than max"},
		"a list's keys":   {`{color: red, parts: [{name: a}, {name: a}]}`, "Invalid", `spec.parts[1]: Duplicate value: {"name":"a"}`},
	} {
		_, err := ns.Create(ctx, widget(t, "bad", tc.spec), metav1.CreateOptions{})
		if string(apierrors.ReasonForError(err)) != tc.reason || !strings.Contains(fmt.Sprint(err), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ns.Create(ctx, widget(t, "strict", `{color: red, unknown: x}`), metav1.CreateOptions{FieldValidation: "Strict"}); !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), `unknown field "spec.unknown"`) {
		t.Errorf("strict create = %v", err)
	}
	if _, err := ns.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"color":"green"}}`), metav1.PatchOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "color stays") {
		t.Errorf("a change that a transition rule forbids = %v", err)
	}
	if _, err := ns.Patch(ctx, "a", types.StrategicMergePatchType, []byte(`{}`), metav1.PatchOptions{}); !apierrors.IsUnsupportedMediaType(err) {
		t.Errorf("strategic merge patch = %v", err)
	}
	patched, err := ns.Patch(ctx, "a", types.JSONPatchType, []byte(`[{"op":"replace","path":"/spec/replicas","value":2}]`), metav1.PatchOptions{})
	if err != nil || patched.GetGeneration() != 2 {
		t.Errorf("JSON patch = generation %d, %v", patched.GetGeneration(), err)
	}

	status := patched.DeepCopy()
	status.Object["status"] = map[string]any{"replicas": int64(2), "selector": "a=b"}
	status.Object["spec"].(map[string]any)["replicas"] = int64(7)
	status, err = ns.UpdateStatus(ctx, status, metav1.UpdateOptions{})
	if err != nil || status.GetGeneration() != 2 || fmt.Sprint(status.Object["status"]) != "map[replicas:2 selector:a=b]" || status.Object["spec"].(map[string]any)["replicas"] != int64(2) {
		t.Errorf("status update = %v, %v", status, err)
	}
	scale, err := ns.Get(ctx, "a", metav1.GetOptions{}, "scale")
	if err != nil || fmt.Sprint(scale.Object["spec"], scale.Object["status"]) != "map[replicas:2] map[replicas:2 selector:a=b]" {
		t.Errorf("scale = %v, %v", scale, err)
	}
	if _, err := ns.Patch(ctx, "a", types.StrategicMergePatchType, []byte(`{"spec":{"replicas":5}}`), metav1.PatchOptions{}, "scale"); !apierrors.IsUnsupportedMediaType(err) {
		t.Errorf("strategic merge patch of a custom resource's scale: %v", err)
	}
	if _, err := ns.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"replicas":-1}}`), metav1.PatchOptions{}, "scale"); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), ".spec.replicas: Invalid value") {
		t.Errorf("too few replicas of a custom resource: %v", err)
	}
	if _, err := ns.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"replicas":5}}`), metav1.PatchOptions{}, "scale"); err != nil {
		t.Error(err)
	}

	apply := fromYAML(t, "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: a}\nspec: {color: red, parts: [{name: two, size: 2}]}")
	applied, err := ns.Apply(ctx, "a", apply, metav1.ApplyOptions{FieldManager: "applier"})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(applied.Object["spec"].(map[string]any)["parts"]); got != "[map[name:one size:1] map[name:two size:2]]" {
		t.Errorf("apply merged the list to %s", got)
	}
	_, err = ns.Apply(ctx, "a", fromYAML(t, "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: a}\nspec: {replicas: 3}"), metav1.ApplyOptions{FieldManager: "other"})
	if !apierrors.IsConflict(err) {
		t.Errorf("apply of another's field = %v", err)
	}

	if list, err := ns.List(ctx, metav1.ListOptions{FieldSelector: "spec.color=red"}); err != nil || len(list.Items) != 1 || list.GetKind() != "WidgetList" {
		t.Errorf("list by a selectable field = %v, %v", list, err)
	}
	// The dynamic client would fill in what is missing.
	if _, _, data := do(t, e.HTTP(), "GET", e.Address+"/apis/example.com/v1/namespaces/default/widgets", jsonType, "", ""); !strings.Contains(string(data), `"items":[{"kind":"Widget","apiVersion":"example.com/v1",`) {
		t.Errorf("items of a list do not say what they are: %s", data)
	}
	if list, err := ns.List(ctx, metav1.ListOptions{FieldSelector: "spec.color=green"}); err != nil || len(list.Items) != 0 {
		t.Errorf("list by another value = %v, %v", list, err)
	}
	old, err := c.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1alpha1", Resource: "widgets"}).Namespace("default").Get(ctx, "a", metav1.GetOptions{})
	if err != nil || old.GetAPIVersion() != "example.com/v1alpha1" || fmt.Sprint(old.Object["spec"]) != "map[color:red max:10 replicas:5]" {
		t.Errorf("in the other version it is %v, %v", old, err)
	}
	if _, err := ns.Update(ctx, widget(t, "a", `{color: red}`), metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("update without a resourceVersion = %v", err)
	}
	servedAfterRestart(t, e)
}

// servedAfterRestart starts another server on the same etcd, and finds what was defined served when it is ready.
func servedAfterRestart(t *testing.T, e *apitest.Env) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	st := store.New(e.Member.Client, kind.Builtin().Kinds(), store.Options{})
	running.Go(func() { _ = st.Run(ctx) }) // ends with ctx
	reg := registry.New(registry.Config{Store: st, Kinds: kind.Builtin()})
	s, err := api.New(api.Config{Registry: reg, AllowAll: true})
	if err != nil {
		t.Fatal(err)
	}
	running.Go(func() { _ = s.Run(ctx) })
	if err := s.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	k := reg.Kinds().ByResource(widgets)
	if k == nil {
		t.Fatal("the definition is not served")
	}
	if item, err := reg.Get(ctx, k, "default", "a", ""); err != nil || item.Object.(*kind.Custom).Content["spec"] == nil {
		t.Errorf("the object is %v, %v", item, err)
	}
}

// TestDefinitionsComeAndGo follows a definition from its creation to its end.
func TestDefinitionsComeAndGo(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	c := dynamicOf(t, e)
	ctx := t.Context()
	define(t, c, widgetDefinition)
	ns := c.Resource(widgets).Namespace("default")
	held := widget(t, "held", `{color: red}`)
	held.SetFinalizers([]string{"example.com/hold"})
	if _, err := ns.Create(ctx, held, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	rival := strings.NewReplacer("widgets.example.com", "wheels.example.com", "plural: widgets", "plural: wheels", "kind: Widget", "kind: Wheel").Replace(widgetDefinition)
	if _, err := c.Resource(crds).Create(ctx, fromYAML(t, rival), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	conditionsOf := func(name string) string {
		u, err := c.Resource(crds).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return string(apierrors.ReasonForError(err))
		}
		var out []string
		list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
		for _, item := range list {
			m := item.(map[string]any)
			out = append(out, fmt.Sprint(m["type"], "=", m["status"], " ", m["reason"]))
		}
		return strings.Join(out, ", ")
	}
	e.Eventually("the rival's short name is refused", func() bool {
		return conditionsOf("wheels.example.com") == "NamesAccepted=False ShortNamesConflict, Established=False NotAccepted"
	})

	w, err := ns.Watch(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if err := c.Resource(crds).Delete(ctx, "widgets.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	e.Eventually("the definition waits for its objects", func() bool {
		return strings.Contains(conditionsOf("widgets.example.com"), "Terminating=True InstanceDeletionInProgress")
	})
	if _, err := ns.Create(ctx, widget(t, "late", `{color: red}`), metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("create while the definition goes = %v", err)
	}
	if _, err := ns.Patch(ctx, "held", types.JSONPatchType, []byte(`[{"op":"remove","path":"/metadata/finalizers"}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	e.Eventually("the definition is gone", func() bool { return conditionsOf("widgets.example.com") == "NotFound" })
	e.Eventually("the kind is not served", func() bool {
		_, err := ns.List(ctx, metav1.ListOptions{})
		return apierrors.IsNotFound(err)
	})
	for range w.ResultChan() { // ends with the kind
	}
	e.Eventually("the freed name goes to the rival", func() bool {
		return strings.Contains(conditionsOf("wheels.example.com"), "Established=True")
	})
}
