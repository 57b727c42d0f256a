package admission_test

import (
	"fmt"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

func rule(operation admissionregistrationv1.OperationType, group, version string, resources ...string) []admissionregistrationv1.RuleWithOperations {
	return []admissionregistrationv1.RuleWithOperations{{
		Operations: []admissionregistrationv1.OperationType{operation},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Resources: resources},
	}}
}

// asked says what a request is about and was about first.
func asked(r *admissionv1.AdmissionRequest) string {
	name := func(k *metav1.GroupVersionKind, v *metav1.GroupVersionResource) string {
		return fmt.Sprintf("%s/%s %s %s", v.Group, v.Version, v.Resource, k.Kind)
	}
	return fmt.Sprintf("%s %s for %s", r.Operation, name(&r.Kind, &r.Resource), name(r.RequestKind, r.RequestResource))
}

func (r *receiver) saw() string {
	var out []string
	for _, q := range r.requests() {
		out = append(out, asked(q))
	}
	return strings.Join(out, ", ")
}

// TestEquivalentVersions has rules for one version of a resource see writes to another, in the version of the rule.
func TestEquivalentVersions(t *testing.T) {
	s := serve(t)
	t.Run("built-in", func(t *testing.T) { equivalentBuiltin(t, s) })
	t.Run("policy", func(t *testing.T) { equivalentPolicy(t, s) })
	t.Run("groups", func(t *testing.T) { equivalentGroups(t, s) })
	t.Run("custom", func(t *testing.T) { equivalentCustom(t, s) })
	t.Run("params", func(t *testing.T) { customParams(t, s) })
}

func autoscaler(name string) *autoscalingv1.HorizontalPodAutoscaler {
	half := int32(50)
	return &autoscalingv1.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: autoscalingv1.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv1.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "a"}, MaxReplicas: 3, TargetCPUUtilizationPercentage: &half,
		},
	}
}

func equivalentBuiltin(t *testing.T, s *server) {
	const resource = "horizontalpodautoscalers"
	creates, all := rule("CREATE", "autoscaling", "v2", resource), rule("*", "autoscaling", "v2", resource, resource+"/status")
	mutates := receive(t, patchWith(`[{"op": "replace", "path": "/spec/metrics/0/resource/target/averageUtilization", "value": 70}]`))
	keeps := receive(t, patchWith(`[{"op": "replace", "path": "/spec/maxReplicas", "value": 3}]`))
	validates, exact := receive(t, allow), receive(t, allow)
	s.mutating(t, mutating("a-mutates", mutates.client(), creates, func(h *admissionregistrationv1.MutatingWebhook) {
		h.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "version", Expression: "object.spec.metrics.size() == 1 && request.kind.version == 'v2' && request.requestKind.version == 'v1'"}}
	}))
	s.mutating(t, mutating("b-keeps", keeps.client(), creates))
	s.validating(t, validating("validates", validates.client(), all))
	s.validating(t, validating("exact", exact.client(), all, func(h *admissionregistrationv1.ValidatingWebhook) {
		only := admissionregistrationv1.Exact
		h.MatchPolicy = &only
	}))
	c := s.AutoscalingV1().HorizontalPodAutoscalers("default")
	got, err := c.Create(t.Context(), autoscaler("web"), metav1.CreateOptions{})
	if err != nil || *got.Spec.TargetCPUUtilizationPercentage != 70 || len(got.Annotations) != 0 {
		t.Fatalf("created %+v %v, %v", got.Spec, got.Annotations, err)
	}
	const v2 = "autoscaling/v2 horizontalpodautoscalers HorizontalPodAutoscaler for autoscaling/v1 horizontalpodautoscalers HorizontalPodAutoscaler"
	for name, hook := range map[string]*receiver{"mutating": mutates, "mutating without effect": keeps, "validating": validates} {
		if saw := hook.saw(); saw != "CREATE "+v2 {
			t.Errorf("%s: asked %s", name, saw)
		}
	}
	s.env.Eventually("the audit log tells which of them changed it", func() bool {
		return s.audit.has(`{\"webhook\":\"a-mutates.example.com\",\"mutated\":true}`) && s.audit.has(`{\"webhook\":\"b-keeps.example.com\",\"mutated\":false}`)
	})
	got.Status.CurrentReplicas = 1
	if _, err := c.UpdateStatus(t.Context(), got, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	requests := validates.requests()
	if len(requests) != 2 || requests[0].SubResource != "status" || requests[1].Operation != "DELETE" {
		t.Fatalf("asked %v", requests)
	}
	for _, r := range requests {
		if old := string(r.OldObject.Raw); !strings.Contains(old, `"apiVersion":"autoscaling/v2"`) || !strings.Contains(old, `"averageUtilization":70`) {
			t.Errorf("%s has the old object %s", asked(r), old)
		}
	}
	if saw := exact.saw(); saw != "" {
		t.Errorf("the rule that is exact was asked %s", saw)
	}
}

func equivalentPolicy(t *testing.T, s *server) {
	s.policies(t, `{metadata: {name: versions}, spec: {
  matchConstraints: {resourceRules: [{apiGroups: [autoscaling], apiVersions: [v2], operations: [CREATE], resources: [horizontalpodautoscalers]}]},
  matchConditions: [{name: version, expression: "object.spec.metrics.size() == 1"}],
  validations: [{expression: "false", messageExpression: "request.resource.version + ' for ' + request.requestResource.version + ': ' + string(object.spec.metrics[0].resource.target.averageUtilization)"}]}}`,
		`{spec: {validationActions: [Deny]}}`)
	create := func() error {
		_, err := s.AutoscalingV1().HorizontalPodAutoscalers("default").Create(t.Context(), autoscaler("policed"), metav1.CreateOptions{DryRun: []string{"All"}})
		return err
	}
	wantError(t, create(), 422, "denied request: v2 for v1: 50")
	s.policies(t, `{metadata: {name: exactly}, spec: {
  matchConstraints: {matchPolicy: Exact, resourceRules: [{apiGroups: [autoscaling], apiVersions: [v2], operations: [CREATE], resources: [horizontalpodautoscalers]}]},
  validations: [{expression: "false", message: exact}]}}`, `{spec: {validationActions: [Deny, Audit]}}`)
	wantError(t, create(), 422, "denied request: v2 for v1: 50")
	exclude := `{"spec":{"matchResources":{"excludeResourceRules":[{"apiGroups":["autoscaling"],"apiVersions":["v2"],"operations":["*"],"resources":["*"]}]}}}`
	if _, err := s.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Patch(t.Context(), "versions", types.MergePatchType, []byte(exclude), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := create(); err != nil {
		t.Errorf("excluded by its other version: %v", err)
	}
}

func equivalentGroups(t *testing.T, s *server) {
	hook := receive(t, patchWith(`[{"op": "replace", "path": "/note", "value": "changed"}]`))
	s.mutating(t, mutating("events", hook.client(), rule("CREATE", "events.k8s.io", "v1", "events")))
	got, err := s.CoreV1().Events("default").Create(t.Context(), &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "old"}, Message: "hello",
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "db"}}, metav1.CreateOptions{})
	if err != nil || got.Message != "changed" || got.InvolvedObject.Name != "db" {
		t.Errorf("created %+v, %v", got, err)
	}
	if _, err := s.EventsV1().Events("default").Create(t.Context(), &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "new"}, EventTime: metav1.NowMicro(), ReportingController: "example.com/c", ReportingInstance: "c-1",
		Action: "Testing", Reason: "Tested", Type: "Normal", Note: "it works",
	}, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	const want = "CREATE events.k8s.io/v1 events Event for /v1 events Event, CREATE events.k8s.io/v1 events Event for events.k8s.io/v1 events Event"
	if saw := hook.saw(); saw != want {
		t.Errorf("asked %s\nwant %s", saw, want)
	}
}

var gauges = schema.GroupVersionResource{Group: "example.com", Version: "v2", Resource: "gauges"}

func (s *server) dynamic(t *testing.T) dynamic.Interface {
	t.Helper()
	c, err := dynamic.NewForConfig(s.env.Admin())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func equivalentCustom(t *testing.T, s *server) {
	c := s.dynamic(t)
	object := func(text string) *unstructured.Unstructured {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			t.Fatal(err)
		}
		return u
	}
	version := func(name, field, more string) string {
		return fmt.Sprintf("  - {name: %s, %s, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}, %s: {type: string}}}}}}}\n", name, more, field)
	}
	const scale = "subresources: {scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}}"
	definition := object(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gauges.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: gauges, kind: Gauge}
  versions:
` + version("v2", "two", "served: true, storage: true, "+scale) + version("v0", "none", "served: false, storage: false") + version("v1", "one", "served: true, storage: false, "+scale))
	crds := apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")
	if _, err := c.Resource(crds).Create(t.Context(), definition, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.env.Eventually("the definition is served", func() bool {
		_, err := c.Resource(gauges).List(t.Context(), metav1.ListOptions{})
		return err == nil
	})
	first := receive(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		if r.Kind.Kind == "Scale" {
			return allow(r)
		}
		if raw := string(r.Object.Raw); !strings.Contains(raw, `"apiVersion":"example.com/v1"`) || !strings.Contains(raw, `"two":"kept"`) {
			return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: raw}}
		}
		return patchWith(`[{"op": "replace", "path": "/spec/size", "value": 2}]`)(r)
	})
	unserved := receive(t, allow)
	s.mutating(t, mutating("first", first.client(), rule("*", "example.com", "v1", "gauges", "gauges/scale")))
	either := rule("*", "example.com", "v1", "gauges")
	either[0].APIVersions = append(either[0].APIVersions, "v0") // v0 is the first in the definition
	s.validating(t, validating("unserved", unserved.client(), either))
	got, err := c.Resource(gauges).Namespace("default").Create(t.Context(), object("{apiVersion: example.com/v2, kind: Gauge, metadata: {name: a}, spec: {size: 1, two: kept}}"), metav1.CreateOptions{})
	if err != nil || fmt.Sprint(got.Object["spec"]) != "map[size:2 two:kept]" {
		t.Fatalf("created %v, %v", got, err)
	}
	if _, err := c.Resource(gauges).Namespace("default").Patch(t.Context(), "a", types.MergePatchType, []byte(`{"spec":{"replicas":3}}`), metav1.PatchOptions{}, "scale"); err != nil {
		t.Fatal(err)
	}
	const want = "CREATE example.com/v1 gauges Gauge for example.com/v2 gauges Gauge"
	if saw := first.saw(); saw != want+", UPDATE example.com/v1 gauges Scale for example.com/v2 gauges Scale" {
		t.Errorf("asked %s", saw)
	}
	if saw := unserved.saw(); saw != strings.ReplaceAll(want, "v1", "v0") {
		t.Errorf("for a version that is not served asked %s", saw)
	}
}

// customParams holds custom objects to a policy whose parameters are custom objects in another version.
func customParams(t *testing.T, s *server) {
	c := s.dynamic(t)
	s.policies(t, `{metadata: {name: limits}, spec: {paramKind: {apiVersion: example.com/v1, kind: Gauge},
  matchConstraints: {resourceRules: [{apiGroups: [example.com], apiVersions: [v2], operations: [CREATE], resources: [gauges]}]},
  validations: [{expression: "object.spec.size <= params.spec.size", messageExpression: "params.apiVersion + ' says at most ' + string(params.spec.size)"}]}}`,
		`{spec: {validationActions: [Deny], paramRef: {name: a, parameterNotFoundAction: Deny}}}`)
	for size, want := range map[int64]string{3: "", 4: "denied request: example.com/v1 says at most 3"} {
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v2", "kind": "Gauge", "spec": map[string]any{"size": size}}}
		u.SetName("limited")
		_, err := c.Resource(gauges).Namespace("default").Create(t.Context(), u, metav1.CreateOptions{DryRun: []string{"All"}})
		if want != "" {
			wantError(t, err, 422, want)
		} else if err != nil {
			t.Error(err)
		}
	}
}
