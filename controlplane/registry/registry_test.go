package registry_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/registry"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*serverConn).readFrames"),
		goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*serverConn).serve"),
	)
}

func pod(name, node string) *corev1.Pod {
	no := false
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "a"}},
		Spec: corev1.PodSpec{NodeName: node, AutomountServiceAccountToken: &no, Containers: []corev1.Container{{Name: "c", Image: "registry.example/a:1", Ports: []corev1.ContainerPort{{ContainerPort: 80}}}}}}
}

func create[T kind.Object](t *testing.T, c client.Client, obj T) T {
	t.Helper()
	made, err := client.Create(t.Context(), c, obj)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func gone[T kind.Object](t *testing.T, c client.Client, namespace, name string) bool {
	t.Helper()
	_, err := client.Get[T](t.Context(), c, namespace, name)
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return err != nil
}

func TestPodsAreDeletedWithGrace(t *testing.T) {
	c := apitest.Start(t, apitest.Options{}).Client
	ten, two, zero := int64(10), int64(2), int64(0)
	remove := func(name string, grace *int64) {
		t.Helper()
		if err := client.Delete[*corev1.Pod](t.Context(), c, "default", name, metav1.DeleteOptions{GracePeriodSeconds: grace}); err != nil {
			t.Fatal(err)
		}
	}
	create(t, c, pod("waiting", ""))
	remove("waiting", nil)
	if !gone[*corev1.Pod](t, c, "default", "waiting") {
		t.Error("a pod without a node stays for its grace")
	}
	create(t, c, pod("bound", "n1"))
	graceOf := func() int64 {
		t.Helper()
		p, err := client.Get[*corev1.Pod](t.Context(), c, "default", "bound")
		if err != nil {
			t.Fatal(err)
		}
		if p.DeletionTimestamp == nil || p.DeletionGracePeriodSeconds == nil {
			t.Fatal("the pod is not marked")
		}
		if left := time.Until(p.DeletionTimestamp.Time); left > time.Duration(*p.DeletionGracePeriodSeconds+1)*time.Second {
			t.Errorf("deletion in %v with a grace of %d s", left, *p.DeletionGracePeriodSeconds)
		}
		return *p.DeletionGracePeriodSeconds
	}
	remove("bound", &ten)
	if g := graceOf(); g != 10 {
		t.Errorf("grace %d", g)
	}
	remove("bound", &two)
	if g := graceOf(); g != 2 {
		t.Errorf("grace %d after a shorter one", g)
	}
	remove("bound", &ten)
	if g := graceOf(); g != 2 {
		t.Errorf("grace %d after a longer one", g)
	}
	remove("bound", &zero)
	if !gone[*corev1.Pod](t, c, "default", "bound") {
		t.Error("a pod stays after a grace of zero")
	}
}

func TestPropagationLeavesFinalizers(t *testing.T) {
	c := apitest.Start(t, apitest.Options{}).Client
	for policy, want := range map[metav1.DeletionPropagation][]string{
		metav1.DeletePropagationForeground: {metav1.FinalizerDeleteDependents},
		metav1.DeletePropagationOrphan:     {metav1.FinalizerOrphanDependents},
		metav1.DeletePropagationBackground: nil,
	} {
		name := string(policy[0]+'a'-'A') + "-map"
		create(t, c, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}})
		if err := client.Delete[*corev1.ConfigMap](t.Context(), c, "default", name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
			t.Fatal(err)
		}
		if want == nil {
			if !gone[*corev1.ConfigMap](t, c, "default", name) {
				t.Errorf("%s: the object stays", policy)
			}
			continue
		}
		cm, err := client.Get[*corev1.ConfigMap](t.Context(), c, "default", name)
		if err != nil || !reflect.DeepEqual(cm.Finalizers, want) || cm.DeletionTimestamp == nil {
			t.Errorf("%s: %+v, %v", policy, cm, err)
		}
	}
}

func TestNamespaceGoesByItsFinalizer(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	e.Namespace("team")
	if err := client.Delete[*corev1.Namespace](t.Context(), e.Client, "", "team", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ns, err := client.Get[*corev1.Namespace](t.Context(), e.Client, "", "team")
	if err != nil || ns.Status.Phase != corev1.NamespaceTerminating || ns.DeletionTimestamp == nil {
		t.Fatalf("namespace after delete: %+v, %v", ns, err)
	}
	_, err = client.Create(t.Context(), e.Client, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "late"}})
	if !apierrors.IsForbidden(err) || !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		t.Errorf("create in a namespace that goes: %v", err)
	}
	done := ns.DeepCopy()
	done.Spec.Finalizers = nil
	if _, err := client.Update(t.Context(), e.Client, done); err != nil {
		t.Fatal(err)
	}
	if gone[*corev1.Namespace](t, e.Client, "", "team") {
		t.Fatal("an update of the namespace took its finalizer")
	}
	if _, err := e.Client.Update(t.Context(), kind.Of[*corev1.Namespace](), done, "finalize"); err != nil && !apierrors.IsConflict(err) {
		t.Fatal(err)
	}
	if !gone[*corev1.Namespace](t, e.Client, "", "team") {
		t.Fatal("the finalized namespace stays")
	}
}

// TestManagedFieldsOfCreate holds the short way of create to what the general manager makes of the same object.
func TestManagedFieldsOfCreate(t *testing.T) {
	e := apitest.Start(t, apitest.Options{NoAdmission: true})
	p := create(t, e.Client, pod("a", ""))
	if len(p.ManagedFields) != 1 {
		t.Fatalf("entries: %+v", p.ManagedFields)
	}
	entry := p.ManagedFields[0]
	if entry.Manager != "test" || entry.Operation != metav1.ManagedFieldsOperationUpdate || entry.APIVersion != "v1" || entry.FieldsType != "FieldsV1" || entry.Time == nil {
		t.Fatalf("entry: %+v", entry)
	}
	var got, want any
	if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(`{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:automountServiceAccountToken":{},
		"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:imagePullPolicy":{},"f:name":{},
		"f:ports":{".":{},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:protocol":{}}},
		"f:resources":{},"f:terminationMessagePath":{},"f:terminationMessagePolicy":{}}},
		"f:dnsPolicy":{},"f:enableServiceLinks":{},"f:restartPolicy":{},"f:schedulerName":{},"f:securityContext":{},"f:terminationGracePeriodSeconds":{}}}`), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("fields %s", entry.FieldsV1.GetRawBytes())
	}
	// a status write owns the status and nothing else
	changed := p.DeepCopy()
	changed.Status.Phase = corev1.PodRunning
	p, err := client.UpdateStatus(t.Context(), registry.NewClient(e.Registry, "agent"), changed)
	if err != nil {
		t.Fatal(err)
	}
	byAgent := slices.IndexFunc(p.ManagedFields, func(f metav1.ManagedFieldsEntry) bool { return f.Manager == "agent" })
	if len(p.ManagedFields) != 2 || byAgent < 0 || p.ManagedFields[byAgent].Subresource != "status" ||
		string(p.ManagedFields[byAgent].FieldsV1.GetRawBytes()) != `{"f:status":{"f:phase":{}}}` {
		t.Fatalf("entries after a status write: %+v", p.ManagedFields)
	}
}

func TestGenerationCountsChangesOfTheSpec(t *testing.T) {
	c := apitest.Start(t, apitest.Options{}).Client
	d := create(t, c, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "d"}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "a"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.example/a:1"}}}}}})
	step := func(want int64, change func(*appsv1.Deployment)) {
		t.Helper()
		n := d.DeepCopy()
		change(n)
		var err error
		if d, err = client.Update(t.Context(), c, n); err != nil {
			t.Fatal(err)
		}
		if d.Generation != want {
			t.Errorf("generation %d, want %d", d.Generation, want)
		}
	}
	step(1, func(n *appsv1.Deployment) { n.Labels = map[string]string{"x": "y"} })
	step(1, func(n *appsv1.Deployment) { n.Generation = 7 })
	step(2, func(n *appsv1.Deployment) { two := int32(2); n.Spec.Replicas = &two })
	before := d.ResourceVersion
	step(2, func(*appsv1.Deployment) {})
	if d.ResourceVersion != before {
		t.Error("an update that changes nothing was written")
	}
}

func TestPatchesOfEachKind(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	create(t, e.Client, pod("a", ""))
	k := kind.Of[*corev1.Pod]()
	for _, tc := range []struct {
		kind types.PatchType
		data string
		ok   func(*corev1.Pod) bool
	}{
		{types.StrategicMergePatchType, `{"spec":{"containers":[{"name":"c","image":"registry.example/a:2"}]}}`, func(p *corev1.Pod) bool {
			return len(p.Spec.Containers) == 1 && p.Spec.Containers[0].Image == "registry.example/a:2" && len(p.Spec.Containers[0].Ports) == 1
		}},
		{types.MergePatchType, `{"metadata":{"labels":{"app":null,"b":"c"}}}`, func(p *corev1.Pod) bool { return len(p.Labels) == 1 && p.Labels["b"] == "c" }},
		{types.JSONPatchType, `[{"op":"test","path":"/spec/containers/0/name","value":"c"},{"op":"replace","path":"/spec/containers/0/image","value":"registry.example/a:3"}]`,
			func(p *corev1.Pod) bool { return p.Spec.Containers[0].Image == "registry.example/a:3" }},
	} {
		got, err := e.Client.Patch(t.Context(), k, "default", "a", tc.kind, []byte(tc.data), "")
		if err != nil || !tc.ok(got.(*corev1.Pod)) {
			t.Errorf("%s: %v, %v", tc.kind, got, err)
		}
	}
}

func TestFieldSelectors(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	create(t, e.Client, pod("a", "n1"))
	create(t, e.Client, pod("b", "n2"))
	create(t, e.Client, pod("c", ""))
	for text, want := range map[string]int{"spec.nodeName=n1": 1, "spec.nodeName!=n1": 2, "spec.nodeName=": 1, "metadata.name=b": 1, "metadata.name=b,spec.nodeName=n1": 0, "status.phase=Pending": 3} {
		list, err := e.Registry.List(t.Context(), kind.Of[*corev1.Pod](), registry.ListQuery{Fields: fields.ParseSelectorOrDie(text)})
		if err != nil || len(list.Items) != want {
			t.Errorf("%s: %d objects, want %d: %v", text, len(list.Items), want, err)
		}
	}
}
