package api_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
)

// TestAutoscalerInTwoVersions writes one object in both of its versions.
func TestAutoscalerInTwoVersions(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	kube, ctx := e.Kube(e.Admin()), t.Context()
	v1, v2 := kube.AutoscalingV1().HorizontalPodAutoscalers("default"), kube.AutoscalingV2().HorizontalPodAutoscalers("default")
	half := int32(50)
	made, err := v1.Create(ctx, &autoscalingv1.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "a"},
		Spec: autoscalingv1.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv1.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "a"}, MaxReplicas: 3, TargetCPUUtilizationPercentage: &half,
		},
	}, metav1.CreateOptions{FieldManager: "one"})
	if err != nil || *made.Spec.MinReplicas != 1 || *made.Spec.TargetCPUUtilizationPercentage != 50 {
		t.Fatalf("created %+v, %v", made, err)
	}
	got, err := v2.Get(ctx, "a", metav1.GetOptions{})
	if err != nil || len(got.Spec.Metrics) != 1 || *got.Spec.Metrics[0].Resource.Target.AverageUtilization != 50 {
		t.Fatalf("in v2 it is %+v, %v", got, err)
	}
	got.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: new(int32)}}
	got.Spec.Metrics = append(got.Spec.Metrics, autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name: corev1.ResourceMemory, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &half},
	}})
	if _, err := v2.Update(ctx, got, metav1.UpdateOptions{FieldManager: "two"}); err != nil {
		t.Fatal(err)
	}
	back, err := v1.Get(ctx, "a", metav1.GetOptions{})
	if err != nil || !strings.Contains(back.Annotations["autoscaling.alpha.kubernetes.io/behavior"], "StabilizationWindowSeconds") ||
		back.Annotations["autoscaling.alpha.kubernetes.io/metrics"] != `[{"type":"Resource","resource":{"name":"memory","targetAverageUtilization":50}}]` {
		t.Fatalf("in v1 it is %+v, %v", back.Annotations, err)
	}
	back.Spec.MaxReplicas = 9
	if _, err := v1.Update(ctx, back, metav1.UpdateOptions{FieldManager: "one"}); err != nil {
		t.Fatal(err)
	}
	patch := `{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler","metadata":{"name":"a"},"spec":{"minReplicas":2}}`
	if _, err := v1.Patch(ctx, "a", types.ApplyPatchType, []byte(patch), metav1.PatchOptions{FieldManager: "three", Force: new(bool)}); err == nil {
		t.Error("an apply of another's field was no conflict")
	}
	got, err = v2.Get(ctx, "a", metav1.GetOptions{})
	if err != nil || got.Spec.MaxReplicas != 9 || got.Spec.Behavior == nil || len(got.Spec.Metrics) != 2 || len(got.Annotations) != 0 {
		t.Errorf("after the update in v1 it is %+v %v, %v", got.Spec, got.Annotations, err)
	}
	managers := map[string]string{}
	for _, m := range got.ManagedFields {
		managers[m.Manager] = m.APIVersion
	}
	if managers["one"] != "autoscaling/v1" || managers["two"] != "autoscaling/v2" {
		t.Errorf("managers are %v", managers)
	}
	bad := back.DeepCopy()
	bad.Name, bad.ResourceVersion, bad.UID, bad.Spec.MaxReplicas = "bad", "", "", 0
	if _, err := v1.Create(ctx, bad, metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), "spec.maxReplicas") {
		t.Errorf("an invalid one = %v", err)
	}
	groups, err := kube.Discovery().ServerGroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups.Groups {
		if g.Name == "autoscaling" && (g.PreferredVersion.Version != "v2" || len(g.Versions) != 2) {
			t.Errorf("discovery has %+v", g)
		}
	}
}

func TestEventInTwoGroups(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	kube, ctx := e.Kube(e.Admin()), t.Context()
	w, err := kube.EventsV1().Events("default").Watch(ctx, metav1.ListOptions{FieldSelector: "regarding.name=web"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	_, err = kube.EventsV1().Events("default").Create(ctx, &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "new"}, EventTime: metav1.NowMicro(), ReportingController: "example.com/c", ReportingInstance: "c-1",
		Action: "Testing", Reason: "Tested", Type: "Normal", Note: "it works", Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "web"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if ev, ok := (<-w.ResultChan()).Object.(*eventsv1.Event); !ok || ev.Note != "it works" {
		t.Errorf("the watch saw %v", ev)
	}
	core, err := kube.CoreV1().Events("default").Get(ctx, "new", metav1.GetOptions{})
	if err != nil || core.Message != "it works" || core.InvolvedObject.Name != "web" {
		t.Errorf("in the core group it is %+v, %v", core, err)
	}
	_, err = kube.CoreV1().Events("default").Create(ctx, &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "old"}, Message: "hello",
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "db"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	list, err := kube.EventsV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "regarding.name=db"})
	if err != nil || len(list.Items) != 1 || list.Items[0].Note != "hello" {
		t.Errorf("list = %+v, %v", list, err)
	}
	if err := kube.EventsV1().Events("default").Delete(ctx, "old", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

// converterOfPaints is a webhook that renames a field of the spec between the versions of paints.
type converterOfPaints struct {
	*httptest.Server
	calls atomic.Int32
	// spoil, when set, changes an answer before it is sent.
	spoil atomic.Pointer[func(*apiextensionsv1.ConversionReview)]
}

func newConverterOfPaints(t *testing.T) *converterOfPaints {
	t.Helper()
	h := &converterOfPaints{}
	h.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.calls.Add(1)
		review := &apiextensionsv1.ConversionReview{}
		if err := json.NewDecoder(r.Body).Decode(review); err != nil {
			t.Error(err)
		}
		review.Response = &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
		for _, raw := range review.Request.Objects {
			u := &unstructured.Unstructured{}
			if err := u.UnmarshalJSON(raw.Raw); err != nil {
				t.Error(err)
			}
			from, to := "color", "colour"
			if strings.HasSuffix(review.Request.DesiredAPIVersion, "/v1") {
				from, to = to, from
			}
			if spec, ok := u.Object["spec"].(map[string]any); ok {
				if v, ok := spec[from]; ok {
					delete(spec, from)
					spec[to] = v
				}
			}
			u.SetAPIVersion(review.Request.DesiredAPIVersion)
			review.Response.ConvertedObjects = append(review.Response.ConvertedObjects, runtime.RawExtension{Object: u})
		}
		if f := h.spoil.Load(); f != nil {
			(*f)(review)
		}
		review.Request = nil
		if err := json.NewEncoder(w).Encode(review); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

// spoiled has f change the webhook's answers while do runs.
func (h *converterOfPaints) spoiled(f func(*apiextensionsv1.ConversionReview), do func()) {
	h.spoil.Store(&f)
	defer h.spoil.Store(nil)
	do()
}

// eachPaint has f change every object that the webhook converted.
func eachPaint(f func(*unstructured.Unstructured)) func(*apiextensionsv1.ConversionReview) {
	return func(r *apiextensionsv1.ConversionReview) {
		for _, raw := range r.Response.ConvertedObjects {
			f(raw.Object.(*unstructured.Unstructured))
		}
	}
}

func notToday(r *apiextensionsv1.ConversionReview) {
	r.Response.Result = metav1.Status{Status: metav1.StatusFailure, Message: "not today"}
}

// TestConversionWebhook reads and writes objects of a definition whose versions differ in a field's name, in all the ways
// that there are, in the version that is not stored.
func TestConversionWebhook(t *testing.T) {
	hook := newConverterOfPaints(t)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw})
	e := apitest.Start(t, apitest.Options{})
	c, ctx := dynamicOf(t, e), t.Context()
	version := func(name, field string, storage bool) string {
		return fmt.Sprintf(`  - name: %[1]s
    served: true
    storage: %[3]v
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {%[2]s: {type: string}, replicas: {type: integer}}}, status: {type: object, properties: {replicas: {type: integer}}}}}}
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
    additionalPrinterColumns: [{name: Paint, type: string, jsonPath: .spec.%[2]s}]
`, name, field, storage)
	}
	define(t, c, `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: paints.example.com}
spec:
  group: example.com
  scope: Cluster
  names: {plural: paints, kind: Paint}
  conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {url: "`+hook.URL+`/convert", caBundle: `+base64.StdEncoding.EncodeToString(ca)+`}}}
  versions:
`+version("v1", "color", true)+version("v1beta1", "colour", false))
	of := func(version string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Group: "example.com", Version: version, Resource: "paints"}
	}
	stored, other := c.Resource(of("v1")), c.Resource(of("v1beta1"))
	paint := func(name, spec string) *unstructured.Unstructured {
		return fromYAML(t, "apiVersion: example.com/v1beta1\nkind: Paint\nmetadata: {name: "+name+"}\nspec: "+spec)
	}
	// is fails unless an answer has this spec
	is := func(what string, u *unstructured.Unstructured, err error, want string) {
		t.Helper()
		if err != nil || fmt.Sprint(u.Object["spec"]) != want {
			t.Errorf("%s: %v, %v; want %s", what, u, err, want)
		}
	}
	soon := int64(30) // a watch that sees less than it should ends
	w, err := other.Watch(ctx, metav1.ListOptions{TimeoutSeconds: &soon})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	// seen fails unless these are the next events, in any order
	seen := func(want ...string) {
		t.Helper()
		var got []string
		for range want {
			ev := <-w.ResultChan()
			u, ok := ev.Object.(*unstructured.Unstructured)
			if !ok || u.GetAPIVersion() != "example.com/v1beta1" {
				t.Fatalf("the watch saw %s %v, want %s", ev.Type, ev.Object, want)
			}
			got = append(got, fmt.Sprint(ev.Type, " ", u.GetName(), " ", u.Object["spec"]))
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("the watch saw %q, want %q", got, want)
		}
	}
	for _, name := range []string{"a", "b"} {
		made, err := other.Create(ctx, paint(name, "{colour: red}"), metav1.CreateOptions{FieldManager: "maker"})
		is("created", made, err, "map[colour:red]")
		seen("ADDED " + name + " map[colour:red]")
	}
	before := hook.calls.Load()
	got, err := stored.Get(ctx, "a", metav1.GetOptions{})
	if is("as stored", got, err, "map[color:red]"); hook.calls.Load() != before {
		t.Errorf("it took %d conversions to read what is stored", hook.calls.Load()-before)
	}
	got, err = stored.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"color":"green"}}`), metav1.PatchOptions{FieldManager: "maker"})
	is("patched", got, err, "map[color:green]")
	seen("MODIFIED a map[colour:green]")
	list, err := other.List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 2 || fmt.Sprint(list.Items[0].Object["spec"], list.Items[1].Object["spec"]) != "map[colour:green] map[colour:red]" {
		t.Errorf("list in the other version = %v, %v", list, err)
	}

	// what one applies in one version is theirs in the other
	got, err = other.Apply(ctx, "a", paint("a", "{colour: blue}"), metav1.ApplyOptions{FieldManager: "one", Force: true})
	is("applied", got, err, "map[colour:blue]")
	seen("MODIFIED a map[colour:blue]")
	in1 := paint("a", "{color: black}")
	in1.SetAPIVersion("example.com/v1")
	if _, err := stored.Apply(ctx, "a", in1, metav1.ApplyOptions{FieldManager: "two"}); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "one": .spec.colour`) {
		t.Errorf("apply of another's field in the other version: %v", err)
	}
	got, err = stored.Get(ctx, "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	owned := ""
	for _, m := range got.GetManagedFields() {
		if m.Manager == "one" {
			owned = fmt.Sprint(m.Operation, " ", m.APIVersion, " ", string(m.FieldsV1.Raw))
		}
	}
	if want := `Apply example.com/v1beta1 {"f:spec":{"f:colour":{}}}`; owned != want {
		t.Errorf("who applied owns %s, want %s", owned, want)
	}
	got, err = other.Apply(ctx, "a", paint("a", "{replicas: 2}"), metav1.ApplyOptions{FieldManager: "one"})
	is("a field applied no more", got, err, "map[replicas:2]")
	seen("MODIFIED a map[replicas:2]")

	// subresources
	u, err := other.Get(ctx, "b", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	u.Object["spec"] = map[string]any{"colour": "ignored"}
	u.Object["status"] = map[string]any{"replicas": int64(1)}
	got, err = other.UpdateStatus(ctx, u, metav1.UpdateOptions{})
	if is("status written", got, err, "map[colour:red]"); err == nil && fmt.Sprint(got.Object["status"]) != "map[replicas:1]" {
		t.Errorf("the status is %v", got.Object["status"])
	}
	seen("MODIFIED b map[colour:red]")
	scaled, err := other.Patch(ctx, "b", types.MergePatchType, []byte(`{"spec":{"replicas":3}}`), metav1.PatchOptions{}, "scale")
	if err != nil || fmt.Sprint(scaled.GetKind(), scaled.Object["spec"], scaled.Object["status"]) != "Scalemap[replicas:3] map[replicas:1]" {
		t.Errorf("scaled: %v, %v", scaled, err)
	}
	seen("MODIFIED b map[colour:red replicas:3]")

	code, _, table := do(t, e.HTTP(), "GET", e.Address+"/apis/example.com/v1beta1/paints/b", "", "application/json;as=Table;v=v1;g=meta.k8s.io", "")
	if code != http.StatusOK || !strings.Contains(string(table), `"cells":["b","red"]`) {
		t.Errorf("as a table: %d %s", code, table)
	}
	if err := other.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
	seen("DELETED a map[replicas:2]", "DELETED b map[colour:red replicas:3]")
	brokenConversions(t, hook, stored, other, paint)
}

// brokenConversions has the webhook answer in ways that it may not.
func brokenConversions(t *testing.T, hook *converterOfPaints, stored, other dynamic.ResourceInterface, paint func(name, spec string) *unstructured.Unstructured) {
	t.Helper()
	ctx := t.Context()
	if _, err := other.Create(ctx, paint("b", "{colour: red}"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// change makes an object new, which nobody has converted yet
	changes := 0
	change := func() {
		t.Helper()
		changes++
		if _, err := stored.Patch(ctx, "b", types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, changes), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		spoil func(*apiextensionsv1.ConversionReview)
		want  string
	}{
		"a refusal": {notToday, "failed: not today"},
		"too few": {func(r *apiextensionsv1.ConversionReview) {
			r.Response.ConvertedObjects = r.Response.ConvertedObjects[1:]
		}, "converted objects, got"},
		"another request's": {func(r *apiextensionsv1.ConversionReview) { r.Response.UID = "other" }, "response.uid"},
		"no answer":         {func(r *apiextensionsv1.ConversionReview) { r.Response = nil }, "no response provided"},
		"another version":   {eachPaint(func(u *unstructured.Unstructured) { u.SetAPIVersion("example.com/v9") }), "example.com/v9"},
		"another kind":      {eachPaint(func(u *unstructured.Unstructured) { u.SetKind("Varnish") }), "Varnish"},
		"another name":      {eachPaint(func(u *unstructured.Unstructured) { u.SetName("z") }), "same name"},
		"another UID":       {eachPaint(func(u *unstructured.Unstructured) { u.SetUID("z") }), "UID"},
	} {
		hook.spoiled(tc.spoil, func() {
			change()
			_, created := other.Create(ctx, paint("c", "{colour: red}"), metav1.CreateOptions{})
			_, read := other.Get(ctx, "b", metav1.GetOptions{})
			_, listed := other.List(ctx, metav1.ListOptions{})
			for what, err := range map[string]error{"create": created, "get": read, "list": listed} {
				if !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), "conversion webhook for example.com/") || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%s: %s = %v, want %s", name, what, err, tc.want)
				}
			}
			// who asks for it as it is stored gets it
			if _, err := stored.Get(ctx, "b", metav1.GetOptions{}); err != nil {
				t.Errorf("%s: get as stored = %v", name, err)
			}
		})
	}
	hook.spoiled(eachPaint(func(u *unstructured.Unstructured) {
		u.SetLabels(map[string]string{"by": "hook"})
		u.SetGeneration(99)
		u.SetFinalizers([]string{"example.com/x"})
	}), func() {
		change()
		got, err := other.Get(ctx, "b", metav1.GetOptions{})
		if err != nil || got.GetLabels()["by"] != "hook" || got.GetGeneration() == 99 || len(got.GetFinalizers()) > 0 {
			t.Errorf("metadata that the webhook changed: %v, %v", got, err)
		}
	})
	hook.spoiled(notToday, func() {
		change()
		soon := int64(10)
		w, err := other.Watch(ctx, metav1.ListOptions{TimeoutSeconds: &soon})
		if err == nil {
			defer w.Stop()
			ev := <-w.ResultChan()
			err = apierrors.FromObject(ev.Object)
		}
		if err == nil || !strings.Contains(err.Error(), "not today") {
			t.Errorf("a watch of what can not be converted = %v", err)
		}
	})
}
