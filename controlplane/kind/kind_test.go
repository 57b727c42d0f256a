package kind_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// known has the types of all kinds.
var known = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(s); err != nil {
			panic(err)
		}
	}
	return s
}()

// TestEveryKindIsWhole fails when a kind lacks something that every kind must have.
func TestEveryKindIsWhole(t *testing.T) {
	for _, k := range kind.Builtin().Kinds() {
		t.Run(k.Kind, func(t *testing.T) {
			if k.Version == "" || k.Kind == "" || k.Plural == "" || k.Singular != strings.ToLower(k.Kind) {
				t.Errorf("names are %s %q %q", k.GroupVersionKind, k.Plural, k.Singular)
			}
			typ, err := known.New(k.GroupVersionKind)
			if err != nil {
				t.Fatalf("client-go does not know %s: %v", k.GroupVersionKind, err)
			}
			if got, want := reflect.TypeOf(k.New()), reflect.TypeOf(typ); got != want {
				t.Errorf("New returns %s, want %s", got, want)
			}
			list, err := known.New(k.GroupVersion().WithKind(k.Kind + "List"))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := reflect.TypeOf(k.NewList()), reflect.TypeOf(list); got != want {
				t.Errorf("NewList returns %s, want %s", got, want)
			}
			if !meta.IsListType(k.NewList()) {
				t.Error("the list is none")
			}
			if k.Validate == nil && k.ValidateCreate == nil {
				t.Error("no validation")
			}
			if k.Indexes[kind.OwnerIndex] == nil {
				t.Error("no index by owner")
			}
			if kind.Builtin().ByResource(k.GroupVersionResource()) != k || kind.Builtin().ByKind(k.GroupVersionKind) != k || kind.Builtin().ByType(k.New()) != k {
				t.Error("the table does not find it")
			}
			hasStatus := reflect.ValueOf(k.New()).Elem().FieldByName("Status").IsValid()
			if hasStatus != (k.Status != nil) {
				t.Errorf("status subresource: %v, the type has a status: %v", k.Status != nil, hasStatus)
			}
			if k.Status != nil && (k.PrepareUpdate == nil || k.Status.PrepareUpdate == nil) {
				t.Error("an update could change the status, or a status update the rest")
			}
		})
	}
}

func TestEveryKindPrints(t *testing.T) {
	for _, k := range kind.Builtin().Kinds() {
		t.Run(k.Kind, func(t *testing.T) {
			obj := k.New()
			obj.SetName("a-name")
			named, described := false, true
			row := k.Row(obj, now)
			if len(row) != len(k.Columns) {
				t.Fatalf("%d columns, %d cells", len(k.Columns), len(row))
			}
			for i, c := range k.Columns {
				if c.Name == "Name" {
					named = c.Format == "name" && row[i] == "a-name"
				}
				described = described && c.Description != "" && c.Name != "" && c.Type != ""
				if c.Name == "AllowVolumeExpansion" {
					continue // a string, and true or false is given, in Kubernetes too
				}
				if _, ok := row[i].(string); c.Type == "string" && !ok && !isNumber(row[i]) {
					t.Errorf("cell %s is %T", c.Name, row[i])
				}
			}
			if !named {
				t.Error("no column has the name")
			}
			if !described {
				t.Errorf("a column has no name, type or description: %+v", k.Columns)
			}
		})
	}
}

func isNumber(v any) bool {
	_, ok := v.(int64)
	return ok
}

// TestStatusIsKept checks that an update of the object leaves its status and one of the status leaves the spec.
func TestStatusIsKept(t *testing.T) {
	for _, k := range kind.Builtin().Kinds() {
		if k.Status == nil {
			continue
		}
		t.Run(k.Kind, func(t *testing.T) {
			old, changed := k.New(), filled(t, k, 1)
			old.SetName("x")
			if k.Default != nil {
				k.Default(old)
				k.Default(changed)
			}
			main := changed.DeepCopyObject().(kind.Object)
			k.PrepareUpdate(main, old)
			if !apiequality.Semantic.DeepEqual(part(main, "Status"), part(old, "Status")) {
				t.Error("an update changed the status")
			}
			status := changed.DeepCopyObject().(kind.Object)
			k.Status.PrepareUpdate(status, old)
			if !apiequality.Semantic.DeepEqual(part(status, "Spec"), part(old, "Spec")) {
				t.Error("a status update changed the spec")
			}
		})
	}
}

func part(obj kind.Object, name string) any {
	f := reflect.ValueOf(obj).Elem().FieldByName(name)
	if !f.IsValid() {
		return nil
	}
	return f.Interface()
}

// TestIndexes checks what controllers look up.
func TestIndexes(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{UID: "a"}, {UID: "b"}}},
		Spec:       corev1.PodSpec{NodeName: "n1"},
	}
	pods := kind.Of[*corev1.Pod]()
	if got := pods.Indexes[kind.OwnerIndex](pod); !reflect.DeepEqual(got, []string{"a", "b"}) {
		t.Errorf("owners are %v", got)
	}
	if got := pods.Indexes[kind.NodeNameIndex](pod); !reflect.DeepEqual(got, []string{"n1"}) {
		t.Errorf("node is %v", got)
	}
	if got := pods.Indexes[kind.NodeNameIndex](&corev1.Pod{}); got != nil {
		t.Errorf("a pod without a node is indexed as %v", got)
	}
}

func TestGracePeriod(t *testing.T) {
	pods := kind.Of[*corev1.Pod]()
	running := parse[*corev1.Pod](t, "spec: {nodeName: n1, terminationGracePeriodSeconds: 7}")
	done := running.DeepCopy()
	done.Status.Phase = corev1.PodSucceeded
	unscheduled := running.DeepCopy()
	unscheduled.Spec.NodeName = ""
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		opts *metav1.DeleteOptions
		want int64
	}{
		{"its own", running, nil, 7},
		{"the caller's", running, metav1.NewDeleteOptions(3), 3},
		{"forced", running, metav1.NewDeleteOptions(0), 0},
		{"negative", running, metav1.NewDeleteOptions(-5), 1},
		{"finished", done, nil, 0},
		{"on no node", unscheduled, metav1.NewDeleteOptions(30), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := pods.GracePeriod(c.pod, c.opts); got != c.want {
				t.Errorf("grace is %d, want %d", got, c.want)
			}
		})
	}
}

func TestClaims(t *testing.T) {
	s := parse[*corev1.Service](t, `
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.9
  clusterIPs: [10.96.0.9]
  healthCheckNodePort: 30003
  ports:
  - {name: a, port: 53, protocol: TCP, nodePort: 30001}
  - {name: b, port: 53, protocol: UDP, nodePort: 30001}`)
	want := []string{"clusterip/10.96.0.9", "nodeport/TCP/30001", "nodeport/UDP/30001", "nodeport/TCP/30003"}
	if got := kind.Of[*corev1.Service]().Claims(s); !reflect.DeepEqual(got, want) {
		t.Errorf("claims are %v, want %v", got, want)
	}
	if got := kind.Of[*corev1.Service]().Claims(parse[*corev1.Service](t, "spec: {clusterIP: None, clusterIPs: [None]}")); len(got) != 0 {
		t.Errorf("a headless service claims %v", got)
	}
}

// parse reads an object from YAML without defaults. Unknown fields are a mistake of the test.
func parse[T kind.Object](t testing.TB, text string) T {
	t.Helper()
	obj := kind.Of[T]().New().(T)
	if err := yaml.UnmarshalStrict([]byte(text), obj); err != nil {
		t.Fatalf("cannot parse %s: %v", text, err)
	}
	return obj
}

// created reads an object and takes it through the steps of a create.
func created(t testing.TB, k *kind.Kind, text string) kind.Object {
	t.Helper()
	obj := k.New()
	if err := yaml.UnmarshalStrict([]byte(text), obj); err != nil {
		t.Fatalf("cannot parse %s: %v", text, err)
	}
	if k.Default != nil {
		k.Default(obj)
	}
	if k.PrepareCreate != nil {
		k.PrepareCreate(obj)
	}
	if k.Complete != nil {
		k.Complete(obj)
	}
	return obj
}

// short are errors as "path: type", sorted by nothing: tests compare sets.
func short(errs field.ErrorList) map[string]bool {
	out := map[string]bool{}
	for _, e := range errs {
		out[e.Field+": "+string(e.Type)] = true
	}
	return out
}
