package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/tools/pager"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
)

// TestListOptions has every combination of resourceVersion, resourceVersionMatch, limit, continue and
// sendInitialEvents that Kubernetes tells apart.
func TestListOptions(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	hc := e.HTTP()
	first, err := e.Kube(e.Admin()).CoreV1().ConfigMaps("default").Create(t.Context(), configMap("a"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	second, err := e.Kube(e.Admin()).CoreV1().ConfigMaps("default").Create(t.Context(), configMap("b"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rv := first.ResourceVersion
	// waits until the cache, of which resourceVersion=0 takes what it has, has both
	do(t, hc, "GET", e.Address+maps+"?resourceVersion="+second.ResourceVersion, "", "", "")
	const exact, newer = "&resourceVersionMatch=Exact", "&resourceVersionMatch=NotOlderThan"
	for query, want := range map[string]struct {
		code, items int
		field       string
	}{
		"":                              {200, 2, ""},
		"resourceVersion=0":             {200, 2, ""},
		"resourceVersion=" + rv:         {200, 2, ""},
		"limit=5&resourceVersion=" + rv: {200, 1, ""}, // of old it means exactly
		"limit=5&resourceVersion=0":     {200, 2, ""},
		"resourceVersion=" + rv + exact: {200, 1, ""},
		"resourceVersion=" + rv + exact + "&limit=5":          {200, 1, ""},
		"resourceVersion=" + rv + newer:                       {200, 2, ""},
		"resourceVersion=" + rv + newer + "&limit=5":          {200, 2, ""},
		"resourceVersion=0" + newer:                           {200, 2, ""},
		"resourceVersion=0" + exact:                           {422, 0, "resourceVersionMatch"},
		exact:                                                 {422, 0, "resourceVersionMatch"},
		newer:                                                 {422, 0, "resourceVersionMatch"},
		"resourceVersion=1&resourceVersionMatch=Newest":       {422, 0, "resourceVersionMatch"},
		"resourceVersion=1" + exact + "&continue=x":           {422, 0, "resourceVersionMatch"},
		"resourceVersion=x":                                   {400, 0, ""},
		"resourceVersion=-1":                                  {400, 0, ""},
		"resourceVersion=" + rv + "&continue=" + token:        {400, 0, ""},
		"sendInitialEvents=true":                              {422, 0, "sendInitialEvents"},
		"resourceVersion=1&sendInitialEvents=false" + newer:   {422, 0, "sendInitialEvents"},
		"watch=1" + newer:                                     {422, 0, "resourceVersionMatch"},
		"watch=1&sendInitialEvents=1":                         {422, 0, "resourceVersionMatch"},
		"watch=1&sendInitialEvents=0":                         {422, 0, "resourceVersionMatch"},
		"watch=1&sendInitialEvents=1" + exact:                 {422, 0, "resourceVersionMatch"},
		"watch=1&sendInitialEvents=1" + newer + "&continue=x": {422, 0, "resourceVersionMatch"},
		"watch=1&timeoutSeconds=x":                            {400, 0, ""},
		"limit=-1":                                            {200, 2, ""},
		"unknown=1&pretty=true":                               {200, 2, ""},
	} {
		code, _, data := do(t, hc, "GET", e.Address+maps+"?"+query, "", "", "")
		var got struct {
			Items   []json.RawMessage
			Details metav1.StatusDetails
		}
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatalf("%s: %v: %s", query, err, data)
		}
		if code != want.code || len(got.Items) != want.items {
			t.Errorf("%s: got %d with %d items, want %d with %d: %.300s", query, code, len(got.Items), want.code, want.items, data)
		}
		if want.field != "" && (len(got.Details.Causes) == 0 || got.Details.Causes[0].Field != want.field) {
			t.Errorf("%s: causes %+v, want field %s", query, got.Details.Causes, want.field)
		}
	}
}

// token continues at "a" of whatever there is.
const token = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiYSJ9"

// TestListGoesOnAfterCompaction has a list end in 410 because its snapshot is compacted away; the token of that
// answer goes on with what there is, and client-go's pager knows how.
func TestListGoesOnAfterCompaction(t *testing.T) {
	e := apitest.Start(t, apitest.Options{Events: 10})
	cms := e.Kube(e.Admin()).CoreV1().ConfigMaps("default")
	for i := range 6 {
		if _, err := cms.Create(t.Context(), configMap(fmt.Sprint("a-", i)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	page, err := cms.List(t.Context(), metav1.ListOptions{Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	// The snapshots of some lists stay in memory: as many others, and a compaction, take this one.
	for i := range 40 {
		if _, err := cms.Patch(t.Context(), "a-5", types.MergePatchType, fmt.Appendf(nil, `{"data":{"k":"%d"}}`, i), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := cms.List(t.Context(), metav1.ListOptions{Limit: 2}); err != nil {
			t.Fatal(err)
		}
	}
	last, err := cms.Get(t.Context(), "a-5", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	compact(t, e, last.ResourceVersion)
	_, err = cms.List(t.Context(), metav1.ListOptions{Limit: 2, Continue: page.Continue})
	if !apierrors.IsResourceExpired(err) {
		t.Fatalf("a page of a compacted list: %v", err)
	}
	on := err.(apierrors.APIStatus).Status().Continue
	rest, err := cms.List(t.Context(), metav1.ListOptions{Limit: 2, Continue: on})
	if err != nil || len(rest.Items) != 2 || rest.Items[0].Name != "a-2" || rest.ResourceVersion == page.ResourceVersion {
		t.Fatalf("the rest is %+v: %v", rest, err)
	}
	first := true
	all, _, err := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		if !first && o.Continue != "" && o.Continue != on {
			o.Continue = page.Continue
		}
		first = false
		return cms.List(ctx, o)
	}).List(t.Context(), metav1.ListOptions{Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	if list := all.(*corev1.ConfigMapList); len(list.Items) != 6 || list.Continue != "" {
		t.Errorf("the pager found %d objects", len(list.Items))
	}
}

func compact(t *testing.T, e *apitest.Env, resourceVersion string) {
	t.Helper()
	var rev int64
	if _, err := fmt.Sscan(resourceVersion, &rev); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Member.Client.Compact(t.Context(), rev); err != nil {
		t.Fatal(err)
	}
}

// TestDryRunChangesNothing dry-runs every verb that writes.
func TestDryRunChangesNothing(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	ctx, c := t.Context(), e.Kube(e.Admin())
	all := []string{metav1.DryRunAll}
	if _, err := c.CoreV1().ConfigMaps("default").Create(ctx, configMap("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.example/a:1"}}}}
	if _, err := c.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	one := int32(1)
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d"}, Spec: appsv1.DeploymentSpec{Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: pod.Spec}}}
	if _, err := c.AppsV1().Deployments("default").Create(ctx, d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	snapshot := func() string {
		var out []string
		for _, path := range []string{maps, "/api/v1/namespaces/default/pods", "/apis/apps/v1/namespaces/default/deployments", "/api/v1/namespaces/default/services", "/api/v1/namespaces"} {
			_, _, data := do(t, e.HTTP(), "GET", e.Address+path, "", "", "")
			var list struct{ Items []json.RawMessage }
			if err := json.Unmarshal(data, &list); err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprintf("%s", list.Items))
		}
		return strings.Join(out, "\n")
	}
	before := snapshot()
	scale, err := c.AppsV1().Deployments("default").GetScale(ctx, "d", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	scale.Spec.Replicas = 5
	for name, write := range map[string]func() error{
		"create": func() error {
			_, err := c.CoreV1().ConfigMaps("default").Create(ctx, configMap("b"), metav1.CreateOptions{DryRun: all})
			return err
		},
		"create with a claim": func() error {
			_, err := c.CoreV1().Services("default").Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{DryRun: all})
			return err
		},
		"update": func() error {
			cm := configMap("a")
			cm.Data["k"] = "w"
			got, err := c.CoreV1().ConfigMaps("default").Update(ctx, cm, metav1.UpdateOptions{DryRun: all})
			if err == nil && got.Data["k"] != "w" {
				err = fmt.Errorf("answered %v", got.Data)
			}
			return err
		},
		"status": func() error {
			_, err := c.CoreV1().Pods("default").Patch(ctx, "p", types.MergePatchType, []byte(`{"status":{"phase":"Running"}}`), metav1.PatchOptions{DryRun: all}, "status")
			return err
		},
		"patch": func() error {
			_, err := c.CoreV1().ConfigMaps("default").Patch(ctx, "a", types.MergePatchType, []byte(`{"data":{"k":"w"}}`), metav1.PatchOptions{DryRun: all})
			return err
		},
		"apply": func() error {
			_, err := c.CoreV1().ConfigMaps("default").Apply(ctx, applycorev1.ConfigMap("a", "default").WithData(map[string]string{"x": "y"}), metav1.ApplyOptions{FieldManager: "m", DryRun: all})
			return err
		},
		"apply of a new object": func() error {
			_, err := c.CoreV1().ConfigMaps("default").Apply(ctx, applycorev1.ConfigMap("n", "default"), metav1.ApplyOptions{FieldManager: "m", DryRun: all})
			return err
		},
		"scale": func() error {
			_, err := c.AppsV1().Deployments("default").UpdateScale(ctx, "d", scale, metav1.UpdateOptions{DryRun: all})
			return err
		},
		"bind": func() error {
			return c.CoreV1().Pods("default").Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}, metav1.CreateOptions{DryRun: all})
		},
		"evict": func() error {
			return c.PolicyV1().Evictions("default").Evict(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, DeleteOptions: &metav1.DeleteOptions{DryRun: all}})
		},
		"delete": func() error {
			return c.CoreV1().ConfigMaps("default").Delete(ctx, "a", metav1.DeleteOptions{DryRun: all})
		},
		"delete of a namespace": func() error { return c.CoreV1().Namespaces().Delete(ctx, "default", metav1.DeleteOptions{DryRun: all}) },
		"delete collection": func() error {
			return c.CoreV1().ConfigMaps("default").DeleteCollection(ctx, metav1.DeleteOptions{DryRun: all}, metav1.ListOptions{})
		},
	} {
		if err := write(); err != nil {
			// a dry run may be refused, as the deletion of a namespace that must stay, but not fail
			if name != "delete of a namespace" || !apierrors.IsForbidden(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if after := snapshot(); after != before {
			t.Fatalf("%s changed\n%s\nto\n%s", name, before, after)
		}
	}
	if err := c.CoreV1().ConfigMaps("default").Delete(ctx, "none", metav1.DeleteOptions{DryRun: all}); !apierrors.IsNotFound(err) {
		t.Errorf("dry run of the deletion of nothing: %v", err)
	}
	if _, err := c.CoreV1().ConfigMaps("default").Create(ctx, configMap("a"), metav1.CreateOptions{DryRun: all}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("dry run of the creation of what is there: %v", err)
	}
}

// TestFieldValidation has what fieldValidation says of each way to send fields that are unknown or there twice.
func TestFieldValidation(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	hc := e.HTTP()
	if _, err := e.Kube(e.Admin()).CoreV1().ConfigMaps("default").Create(t.Context(), configMap("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const patched = 422 // the patch could be read, and what it makes could not
	for _, tc := range []struct {
		method, path, contentType, body, warning string
		code                                     int // of a strict refusal
	}{
		{"POST", maps, jsonType, `{"metadata":{"generateName":"x-"},"foo":1}`, `unknown field "foo"`, 400},
		{"POST", maps, jsonType, `{"metadata":{"generateName":"x-"},"data":{},"data":{}}`, `duplicate field "data"`, 400},
		{"POST", maps, "application/yaml", "metadata: {generateName: x-}\nfoo: 1\n", `unknown field "foo"`, 400},
		{"PUT", maps + "/a", jsonType, `{"metadata":{"name":"a"},"foo":1}`, `unknown field "foo"`, 400},
		{"PATCH", maps + "/a", "application/merge-patch+json", `{"foo":1}`, `unknown field "foo"`, patched},
		{"PATCH", maps + "/a", "application/merge-patch+json", `{"data":{"a":"1","a":"2"}}`, `duplicate field "data.a"`, 400},
		{"PATCH", maps + "/a", "application/strategic-merge-patch+json", `{"foo":1}`, `unknown field "foo"`, patched},
		{"PATCH", maps + "/a", "application/json-patch+json", `[{"op":"add","path":"/foo","value":1}]`, `unknown field "foo"`, patched},
		{"PATCH", maps + "/a", "application/json-patch+json", `[{"op":"test","path":"/kind","value":"ConfigMap","foo":1}]`, `json patch unknown field "[0].foo"`, 400},
	} {
		for _, how := range []string{"Ignore", "Warn", "", "Strict"} {
			code, h, data := do(t, hc, tc.method, e.Address+tc.path+"?fieldValidation="+how, tc.contentType, "", tc.body)
			refused, warned := how == "Strict", how == "Warn" || how == ""
			if (code >= 400) != refused || refused && (code != tc.code || !strings.Contains(string(data), strings.ReplaceAll(tc.warning, `"`, `\"`))) {
				t.Errorf("%s of %s, %q: %d %.300s", tc.method, tc.body, how, code, data)
			}
			if got := h.Get("Warning"); strings.Contains(got, strings.ReplaceAll(tc.warning, `"`, `\"`)) != warned {
				t.Errorf("%s of %s, %q warns %q", tc.method, tc.body, how, got)
			}
		}
	}
}

// TestApplyOwnsFields has managers share a field, take it, and let it go.
func TestApplyOwnsFields(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	ctx, c := t.Context(), e.Kube(e.Admin())
	cms := c.CoreV1().ConfigMaps("default")
	apply := func(manager string, force bool, data map[string]string) *corev1.ConfigMap {
		t.Helper()
		got, err := cms.Apply(ctx, applycorev1.ConfigMap("a", "default").WithData(data), metav1.ApplyOptions{FieldManager: manager, Force: force})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	apply("one", false, map[string]string{"both": "1", "first": "1"})
	apply("two", false, map[string]string{"both": "1"})
	if got := apply("one", false, map[string]string{"first": "1"}); got.Data["both"] != "1" {
		t.Errorf("a field that another owns went with one of its owners: %v", got.Data)
	}
	if got := apply("two", false, map[string]string{}); len(got.Data) != 1 || got.Data["first"] != "1" {
		t.Errorf("a field without an owner stays: %v", got.Data)
	}
	// an update by somebody else takes the field: an apply of another value is then a conflict with it
	if _, err := cms.Patch(ctx, "a", types.MergePatchType, []byte(`{"data":{"first":"2"}}`), metav1.PatchOptions{FieldManager: "hand"}); err != nil {
		t.Fatal(err)
	}
	_, err := cms.Apply(ctx, applycorev1.ConfigMap("a", "default").WithData(map[string]string{"first": "1"}), metav1.ApplyOptions{FieldManager: "one"})
	if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "hand"`) {
		t.Errorf("apply of what a hand changed: %v", err)
	}
	d := applyappsv1.Deployment("d", "default").WithSpec(applyappsv1.DeploymentSpec().
		WithSelector(applymetav1.LabelSelector().WithMatchLabels(map[string]string{"a": "b"})).
		WithTemplate(applycorev1.PodTemplateSpec().WithLabels(map[string]string{"a": "b"}).WithSpec(applycorev1.PodSpec().
			WithContainers(applycorev1.Container().WithName("c").WithImage("registry.example/a:1").WithPorts(applycorev1.ContainerPort().WithContainerPort(80))))))
	deployments := c.AppsV1().Deployments("default")
	if _, err := deployments.Apply(ctx, d, metav1.ApplyOptions{FieldManager: "one"}); err != nil {
		t.Fatal(err)
	}
	sidecar := applyappsv1.Deployment("d", "default").WithSpec(applyappsv1.DeploymentSpec().WithTemplate(applycorev1.PodTemplateSpec().WithSpec(applycorev1.PodSpec().
		WithContainers(applycorev1.Container().WithName("side").WithImage("registry.example/b:1")))))
	two, err := deployments.Apply(ctx, sidecar, metav1.ApplyOptions{FieldManager: "two"})
	if err != nil || len(two.Spec.Template.Spec.Containers) != 2 {
		t.Fatalf("a list is merged by its key to %+v: %v", two.Spec.Template.Spec.Containers, err)
	}
	status := applyappsv1.Deployment("d", "default").WithStatus(applyappsv1.DeploymentStatus().WithReadyReplicas(0).WithObservedGeneration(1))
	done, err := deployments.ApplyStatus(ctx, status, metav1.ApplyOptions{FieldManager: "controller"})
	if err != nil || done.Status.ObservedGeneration != 1 || len(done.Spec.Template.Spec.Containers) != 2 {
		t.Fatalf("apply of a status: %+v, %v", done, err)
	}
	at := slices.IndexFunc(done.ManagedFields, func(f metav1.ManagedFieldsEntry) bool { return f.Manager == "controller" })
	if at < 0 || done.ManagedFields[at].Subresource != "status" || done.ManagedFields[at].Operation != metav1.ManagedFieldsOperationApply {
		t.Errorf("managed fields %+v", done.ManagedFields)
	}
	again, err := applyappsv1.ExtractDeployment(done, "two")
	if err != nil || len(again.Spec.Template.Spec.Containers) != 1 || *again.Spec.Template.Spec.Containers[0].Name != "side" {
		t.Errorf("what manager two has applied reads %+v: %v", again, err)
	}
}

// TestNegotiation has what is asked of encodings by header, and that nothing is done which can not be answered.
func TestNegotiation(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	hc := e.HTTP()
	const partial, partials, table = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/json;as=Table;v=v1;g=meta.k8s.io"
	const pods = "/api/v1/namespaces/default/pods"
	for _, tc := range []struct {
		method, path, contentType, accept, body string
		code                                    int
		want                                    string
	}{
		{"POST", maps, jsonType, "text/html", `{"metadata":{"name":"unanswerable"}}`, 406, "NotAcceptable"},
		{"GET", maps + "/unanswerable", "", "", "", 404, "NotFound"},
		{"POST", maps, "text/plain", "", `{}`, 415, "UnsupportedMediaType"},
		{"POST", maps, jsonType, partial, `{"metadata":{"name":"a"},"data":{"k":"v"}}`, 201, `"kind":"PartialObjectMetadata"`},
		{"POST", maps, jsonType, table, `{"metadata":{"name":"b"}}`, 201, `"kind":"Table"`},
		{"PATCH", maps + "/a", "application/merge-patch+json", partial, `{"data":{"k":"w"}}`, 200, `"kind":"PartialObjectMetadata"`},
		{"GET", maps, "", partials, "", 200, `"kind":"PartialObjectMetadataList"`},
		{"GET", maps, "", partial, "", 406, "NotAcceptable"},
		{"GET", maps + "/a", "", partials, "", 406, "NotAcceptable"},
		{"GET", maps + "/a", "", "text/html, application/yaml;q=0.5", "", 200, "apiVersion: v1"},
		{"GET", maps + "/a?watch=1", "", "", "", 200, `"kind":"ConfigMap"`}, // a name wins over the parameter
		{"GET", maps + "?watch=1&timeoutSeconds=1", "", table, "", 200, `"columnDefinitions":[{`},
		{"GET", maps + "?watch=1&timeoutSeconds=1", "", partial, "", 200, `"kind":"PartialObjectMetadata"`},
		{"GET", maps + "?watch=1&timeoutSeconds=1", "", "application/yaml", "", 406, "NotAcceptable"},
		{"GET", maps + "?watch=1&timeoutSeconds=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan", "", "", "", 200, ""},
		{"GET", maps + "?watch=1&timeoutSeconds=-1", "", "", "", 200, ""},
		{"GET", maps + "?watch=1&timeoutSeconds=1&continue=x", "", "", "", 422, "resourceVersionMatch is forbidden when continue is provided"},
		{"GET", maps + "?watch=1&timeoutSeconds=1&allowWatchBookmarks=true&fieldSelector=metadata.name%3Dnone", "", "", "", 200, "k8s.io/initial-events-end"},
		{"GET", "/api/v1/watch/namespaces/default/configmaps/none?timeoutSeconds=1", "", "", "", 200, ""},
		{"GET", "/api/v1/watch/namespaces/default/configmaps/none?fieldSelector=metadata.name%3Da", "", "", "", 400, "doesn't match requested name"},
		{"OPTIONS", maps, "", "", "", 405, "MethodNotAllowed"},
		{"GET", maps + "?timeout=soon", "", "", "", 400, "invalid timeout specified in the request URL - time: invalid duration"},
		{"GET", "/version?timeout=soon", "", "", "", 400, "invalid timeout specified in the request URL"},
		{"GET", maps + "?timeout=0s", "", "", "", 200, `"kind":"ConfigMapList"`},
		{"POST", maps, jsonType, "", `{"metadata":{"name":"a_b","resourceVersion":"1"}}`, 422, "metadata.name"},
		{"POST", maps, jsonType, "", `{"metadata":{"name":"versioned","resourceVersion":"1"}}`, 400, "resourceVersion should not be set on objects to be created"},
		{"PUT", maps, jsonType, "", `{}`, 405, "MethodNotAllowed"},
		{"DELETE", "/api/v1/namespaces", "", "", "", 405, "MethodNotAllowed"},
		{"POST", maps + "?fieldManager=" + strings.Repeat("x", 129), jsonType, "", `{"metadata":{"name":"long"}}`, 422, "fieldManager"},
		{"POST", "/apis/apps/v1/namespaces/default/controllerrevisions", protobufType, "", revisionBody(t, "no JSON"), 422, `"field":"data"`},
		{"DELETE", maps + "/b?propagationPolicy=Foreground&orphanDependents=true", "", "", "", 422, "cannot be both set"},
		{"GET", pods + "?labelSelector=a+in+(b)&fieldSelector=spec.nodeName%3Dn,status.phase!%3DRunning", "", "", "", 200, `"items":[]`},
	} {
		code, h, data := do(t, hc, tc.method, e.Address+tc.path, tc.contentType, tc.accept, tc.body)
		if code != tc.code || !strings.Contains(string(data), tc.want) {
			t.Errorf("%s %s, Accept %s: got %d %s %.400s", tc.method, tc.path, tc.accept, code, h.Get("Content-Type"), data)
		}
		if tc.want == "" && len(data) > 0 {
			t.Errorf("%s %s: a watch without initial events begins with %.400s", tc.method, tc.path, data)
		}
	}
	for _, path := range []string{"/healthz", "/apis", "/openapi/v2"} {
		code, h, data := do(t, hc, "HEAD", e.Address+path, "", "", "")
		if code != 200 || len(data) != 0 || h.Get("Content-Type") == "" {
			t.Errorf("HEAD of %s: %d with %d bytes", path, code, len(data))
		}
	}
	for _, path := range []string{"/openapi/v2", "/openapi/v3/api/v1", "/apis"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.Address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json")
		for _, want := range []int{200, 304} {
			resp, err := hc.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			tag := resp.Header.Get("ETag")
			if err := resp.Body.Close(); err != nil || resp.StatusCode != want || tag == "" {
				t.Errorf("%s with If-None-Match %q: %d, ETag %q, %v", path, req.Header.Get("If-None-Match"), resp.StatusCode, tag, err)
			}
			req.Header.Set("If-None-Match", tag)
		}
	}
}

const protobufType = "application/vnd.kubernetes.protobuf"

// revisionBody is a ControllerRevision in protobuf with data that only protobuf can carry.
func revisionBody(t *testing.T, data string) string {
	t.Helper()
	r := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: "raw"}, Data: runtime.RawExtension{Raw: []byte(data)}}
	raw, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	body, err := (&runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "apps/v1", Kind: "ControllerRevision"}, Raw: raw}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return "k8s\x00" + string(body)
}

// TestDeletion has the ways of an object out of the API: preconditions, finalizers, and what an update of an object
// that goes may do.
func TestDeletion(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	ctx, cms := t.Context(), e.Kube(e.Admin()).CoreV1().ConfigMaps("default")
	held := configMap("held")
	held.Finalizers = []string{"example.com/hold"}
	made, err := cms.Create(ctx, held, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	other, stale := types.UID("other"), "1"
	for _, p := range []metav1.Preconditions{{UID: &other}, {ResourceVersion: &stale}} {
		if err := cms.Delete(ctx, "held", metav1.DeleteOptions{Preconditions: &p}); !apierrors.IsConflict(err) {
			t.Errorf("delete with preconditions %+v: %v", p, err)
		}
	}
	no := false
	code, _, _ := do(t, e.HTTP(), "DELETE", e.Address+maps+"/held?orphanDependents=false", "", "", "")
	if code != http.StatusAccepted {
		t.Errorf("delete that waits for dependents: %d", code)
	}
	for range 2 { // the second finds it going already
		if err := cms.Delete(ctx, "held", metav1.DeleteOptions{OrphanDependents: &no}); err != nil {
			t.Fatal(err)
		}
	}
	going, err := cms.Get(ctx, "held", metav1.GetOptions{})
	if err != nil || going.DeletionTimestamp == nil || going.UID != made.UID {
		t.Fatalf("a held object after its deletion: %+v, %v", going, err)
	}
	going.Finalizers = append(going.Finalizers, "example.com/more")
	if _, err := cms.Update(ctx, going, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) && !apierrors.IsForbidden(err) {
		t.Errorf("a finalizer is added to an object that goes: %v", err)
	}
	if _, err := cms.Create(ctx, configMap("held"), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("create beside an object that goes: %v", err)
	}
	w, err := cms.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=held", ResourceVersion: going.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if _, err := cms.Patch(ctx, "held", types.JSONPatchType, []byte(`[{"op":"remove","path":"/metadata/finalizers"}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	for {
		if ev := next(t, w); ev.Type == "DELETED" {
			break
		}
	}
	if _, err := cms.Get(ctx, "held", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("an object without finalizers stays: %v", err)
	}
	for name, labels := range map[string]map[string]string{"x": {"go": "yes"}, "y": {"go": "yes"}, "z": {"go": "no"}} {
		cm := configMap(name)
		cm.Labels = labels
		if _, err := cms.Create(ctx, cm, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := cms.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "go=yes", FieldSelector: "metadata.name!=y"}); err != nil {
		t.Fatal(err)
	}
	left, err := cms.List(ctx, metav1.ListOptions{LabelSelector: "go"})
	if err != nil || len(left.Items) != 2 {
		t.Errorf("a collection's deletion left %d: %v", len(left.Items), err)
	}
}

// TestPatchesKeepVersions has a resourceVersion in each kind of patch be a precondition, and a uid be as it was.
func TestPatchesKeepVersions(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	ctx, cms := t.Context(), e.Kube(e.Admin()).CoreV1().ConfigMaps("default")
	first, err := cms.Create(ctx, configMap("a"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	second, err := cms.Patch(ctx, "a", types.MergePatchType, []byte(`{"data":{"k":"2"}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for kind, body := range map[types.PatchType]string{
		types.MergePatchType:          `{"metadata":{%s},"data":{"n":"%d"}}`,
		types.StrategicMergePatchType: `{"metadata":{%s},"data":{"n":"%d"}}`,
		types.ApplyPatchType:          `{"apiVersion":"v1","kind":"ConfigMap","metadata":{%s},"data":{"n":"%d"}}`,
	} {
		for i, tc := range []struct {
			meta string
			ok   bool
		}{
			{fmt.Sprintf(`"resourceVersion":%q`, first.ResourceVersion), false},
			{`"uid":"other"`, false},
			{fmt.Sprintf(`"resourceVersion":%q,"uid":%q`, second.ResourceVersion, second.UID), true},
		} {
			yes := true
			opts := metav1.PatchOptions{FieldManager: "m"}
			if kind == types.ApplyPatchType {
				opts.Force = &yes
			}
			got, err := cms.Patch(ctx, "a", kind, fmt.Appendf(nil, body, tc.meta, i), opts)
			refused := apierrors.IsConflict(err)
			if strings.Contains(tc.meta, "other") {
				refused = apierrors.IsInvalid(err) // a UID is a field that does not change
			}
			if tc.ok != (err == nil) || !tc.ok && !refused {
				t.Errorf("%s with %s: %v", kind, tc.meta, err)
			}
			if err == nil {
				second = got
			}
		}
	}
}

// TestCompressedList reads a list that is worth compressing, as a client on another host.
func TestCompressedList(t *testing.T) {
	e, handler := startHandler(t, nil)
	big := configMap("big")
	big.Data["k"] = strings.Repeat("x", 300_000)
	if _, err := e.Kube(e.Admin()).CoreV1().ConfigMaps("default").Create(t.Context(), big, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for encoding, want := range map[string]string{"gzip": "gzip", "deflate, gzip;q=0.5": "gzip", "identity": "", "gzip;q=0": ""} {
		hr := directRequest(t.Context(), "GET", maps, "", nil)
		hr.Header.Set("Accept-Encoding", encoding)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, hr)
		if got := w.Header().Get("Content-Encoding"); got != want || w.Code != http.StatusOK || strings.HasPrefix(w.Body.String(), "\x1f\x8b") != (want != "") {
			t.Errorf("Accept-Encoding %s: %d, Content-Encoding %q, want %q", encoding, w.Code, got, want)
		}
	}
}

// TestEvictionBody reads evictions of both versions and checks what they say of the deletion.
func TestEvictionBody(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	c := e.Kube(e.Admin()).CoreV1()
	if _, err := c.Pods("default").Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.example/a:1"}}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	evict := func(body string) error {
		return c.RESTClient().Post().Namespace("default").Resource("pods").Name("p").SubResource("eviction").Body([]byte(body)).SetHeader("Content-Type", "application/json").Do(t.Context()).Error()
	}
	err := evict(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p"},"deleteOptions":{"propagationPolicy":"Sometimes"}}`)
	if cause, ok := apierrors.StatusCause(err, metav1.CauseTypeFieldValueNotSupported); !ok || cause.Field != "propagationPolicy" {
		t.Errorf("policy that there is not: %v", err)
	}
	if err := evict(`{"apiVersion":"policy/v1beta1","kind":"Eviction","metadata":{"name":"p"}}`); err != nil {
		t.Errorf("of the older version: %v", err)
	}
}
