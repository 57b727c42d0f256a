// Package conformance holds every implementation of client.Client to the contract in that package's
// documentation.
package conformance

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// patience is how long an event may take.
const patience = 20 * time.Second

// Run holds the clients that fresh returns to the contract. Each has the namespace "default" and nothing else
// that the suite would touch.
func Run(t *testing.T, fresh func(t *testing.T) client.Client) {
	for name, test := range map[string]func(*testing.T, client.Client){
		"a write is seen by the next read": ownWrites,
		"a stale version is a conflict":    conflict,
		"names are made":                   generatedNames,
		"status and spec are apart":        statusApart,
		"finalizers hold an object":        finalizers,
		"a precondition holds a delete":    preconditions,
		"patches change":                   patches,
		"labels select":                    selectors,
		"a pod is bound once":              binding,
		"a watch tells all in order":       watching,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: map[string]string{"k": "v"}}
}

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ownWrites(t *testing.T, c client.Client) {
	ctx := t.Context()
	made := must[*corev1.ConfigMap](t)(client.Create(ctx, c, configMap("a")))
	if made.UID == "" || made.ResourceVersion == "" || made.CreationTimestamp.IsZero() {
		t.Fatalf("created object lacks metadata: %+v", made.ObjectMeta)
	}
	if _, err := client.Create(ctx, c, configMap("a")); !apierrors.IsAlreadyExists(err) {
		t.Fatalf("second create: %v", err)
	}
	for i := range 50 {
		cm := must[*corev1.ConfigMap](t)(client.Get[*corev1.ConfigMap](ctx, c, "default", "a")).DeepCopy()
		cm.Data["k"] = fmt.Sprint(i)
		cm = must[*corev1.ConfigMap](t)(client.Update(ctx, c, cm))
		got := must[*corev1.ConfigMap](t)(client.Get[*corev1.ConfigMap](ctx, c, "default", "a"))
		if got.ResourceVersion != cm.ResourceVersion || got.Data["k"] != fmt.Sprint(i) {
			t.Fatalf("read after write %d: version %s with %q, wrote %s", i, got.ResourceVersion, got.Data["k"], cm.ResourceVersion)
		}
	}
	if err := client.Delete[*corev1.ConfigMap](ctx, c, "default", "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get[*corev1.ConfigMap](ctx, c, "default", "a"); !apierrors.IsNotFound(err) {
		t.Fatalf("get of what was deleted: %v", err)
	}
}

func conflict(t *testing.T, c client.Client) {
	ctx := t.Context()
	old := must[*corev1.ConfigMap](t)(client.Create(ctx, c, configMap("a"))).DeepCopy()
	next := old.DeepCopy()
	next.Data["k"] = "new"
	must[*corev1.ConfigMap](t)(client.Update(ctx, c, next))
	old.Data["k"] = "stale"
	if _, err := client.Update(ctx, c, old); !apierrors.IsConflict(err) {
		t.Fatalf("update of a stale version: %v", err)
	}
	old.ResourceVersion = ""
	must[*corev1.ConfigMap](t)(client.Update(ctx, c, old))
	other := configMap("a")
	other.UID = "another"
	if _, err := client.Update(ctx, c, other); !apierrors.IsConflict(err) {
		t.Fatalf("update with another uid: %v", err)
	}
}

func generatedNames(t *testing.T, c client.Client) {
	names := map[string]bool{}
	for range 5 {
		cm := configMap("")
		cm.GenerateName = "made-"
		names[must[*corev1.ConfigMap](t)(client.Create(t.Context(), c, cm)).Name] = true
	}
	if len(names) != 5 {
		t.Fatalf("names: %v", names)
	}
}

func pod(name string) *corev1.Pod {
	no := false
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PodSpec{AutomountServiceAccountToken: &no, Containers: []corev1.Container{{Name: "c", Image: "registry.example/a:1"}}}}
}

func statusApart(t *testing.T, c client.Client) {
	ctx := t.Context()
	p := must[*corev1.Pod](t)(client.Create(ctx, c, pod("a"))).DeepCopy()
	p.Status.Message = "hello"
	p.Labels = map[string]string{"x": "y"}
	p = must[*corev1.Pod](t)(client.Update(ctx, c, p)).DeepCopy()
	if p.Status.Message != "" || p.Labels["x"] != "y" {
		t.Fatalf("update of the object: status %+v, labels %v", p.Status, p.Labels)
	}
	p.Status.Message = "hello"
	p.Spec.Containers[0].Image = "registry.example/a:2"
	p = must[*corev1.Pod](t)(client.UpdateStatus(ctx, c, p))
	if p.Status.Message != "hello" || p.Spec.Containers[0].Image != "registry.example/a:1" {
		t.Fatalf("update of the status: %q, image %s", p.Status.Message, p.Spec.Containers[0].Image)
	}
}

func finalizers(t *testing.T, c client.Client) {
	ctx := t.Context()
	cm := configMap("a")
	cm.Finalizers = []string{"example.com/hold"}
	must[*corev1.ConfigMap](t)(client.Create(ctx, c, cm))
	if err := client.Delete[*corev1.ConfigMap](ctx, c, "default", "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	held := must[*corev1.ConfigMap](t)(client.Get[*corev1.ConfigMap](ctx, c, "default", "a")).DeepCopy()
	if held.DeletionTimestamp == nil {
		t.Fatal("a held object has no deletionTimestamp")
	}
	held.Finalizers = nil
	must[*corev1.ConfigMap](t)(client.Update(ctx, c, held))
	if _, err := client.Get[*corev1.ConfigMap](ctx, c, "default", "a"); !apierrors.IsNotFound(err) {
		t.Fatalf("get after the last finalizer went: %v", err)
	}
}

func preconditions(t *testing.T, c client.Client) {
	ctx := t.Context()
	must[*corev1.ConfigMap](t)(client.Create(ctx, c, configMap("a")))
	uid := types.UID("another")
	err := client.Delete[*corev1.ConfigMap](ctx, c, "default", "a", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if !apierrors.IsConflict(err) {
		t.Fatalf("delete of another uid: %v", err)
	}
	if err := client.Delete[*corev1.ConfigMap](ctx, c, "default", "none", metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
		t.Fatalf("delete of nothing: %v", err)
	}
}

func patches(t *testing.T, c client.Client) {
	ctx, k := t.Context(), kind.Of[*corev1.ConfigMap]()
	must[*corev1.ConfigMap](t)(client.Create(ctx, c, configMap("a")))
	got := must[kind.Object](t)(c.Patch(ctx, k, "default", "a", types.MergePatchType, []byte(`{"data":{"k":null,"n":"1"}}`), ""))
	if d := got.(*corev1.ConfigMap).Data; len(d) != 1 || d["n"] != "1" {
		t.Fatalf("merge patch: %v", d)
	}
	if _, err := c.Patch(ctx, k, "default", "none", types.MergePatchType, []byte(`{}`), ""); !apierrors.IsNotFound(err) {
		t.Fatalf("patch of nothing: %v", err)
	}
}

func selectors(t *testing.T, c client.Client) {
	ctx := t.Context()
	for i := range 6 {
		cm := configMap(fmt.Sprintf("a-%d", i))
		cm.Labels = map[string]string{"parity": fmt.Sprint(i % 2)}
		must[*corev1.ConfigMap](t)(client.Create(ctx, c, cm))
	}
	odd := must[[]*corev1.ConfigMap](t)(client.List[*corev1.ConfigMap](ctx, c, client.Query{Namespace: "default", Labels: labels.SelectorFromSet(labels.Set{"parity": "1"})}))
	if len(odd) != 3 {
		t.Fatalf("%d objects by label", len(odd))
	}
	other := must[[]*corev1.ConfigMap](t)(client.List[*corev1.ConfigMap](ctx, c, client.Query{Namespace: "other"}))
	if len(other) != 0 {
		t.Fatalf("%d objects in another namespace", len(other))
	}
}

func binding(t *testing.T, c client.Client) {
	ctx := t.Context()
	p := must[*corev1.Pod](t)(client.Create(ctx, c, pod("a")))
	if err := c.Bind(ctx, "default", "a", "another", "n1"); !apierrors.IsConflict(err) {
		t.Fatalf("binding of another uid: %v", err)
	}
	if err := c.Bind(ctx, "default", "a", p.UID, "n1"); err != nil {
		t.Fatal(err)
	}
	if got := must[*corev1.Pod](t)(client.Get[*corev1.Pod](ctx, c, "default", "a")); got.Spec.NodeName != "n1" {
		t.Fatalf("bound to %q", got.Spec.NodeName)
	}
	if err := c.Bind(ctx, "default", "a", p.UID, "n2"); !apierrors.IsConflict(err) {
		t.Fatalf("second binding: %v", err)
	}
}

// watching holds a watch to: all that exists, then synced, then every change with what was before.
func watching(t *testing.T, c client.Client) {
	ctx, cancel := context.WithCancel(t.Context())
	must[*corev1.ConfigMap](t)(client.Create(ctx, c, configMap("before")))
	synced := make(chan struct{})
	events := make(chan client.Event, 100) // more than the suite makes
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := c.Watch(ctx, kind.Of[*corev1.ConfigMap](), synced, func(e client.Event) { events <- e }); ctx.Err() == nil {
			t.Errorf("watch ended: %v", err)
		}
	})
	defer wait.Wait()
	defer cancel()
	select {
	case <-synced:
	case <-time.After(patience):
		t.Fatal("the watch did not sync")
	}
	cm := must[*corev1.ConfigMap](t)(client.Create(ctx, c, configMap("after"))).DeepCopy()
	cm.Data["k"] = "changed"
	must[*corev1.ConfigMap](t)(client.Update(ctx, c, cm))
	if err := client.Delete[*corev1.ConfigMap](ctx, c, "default", "after", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		event watch.EventType
		name  string
		old   bool
		value string
	}{{watch.Added, "before", false, "v"}, {watch.Added, "after", false, "v"}, {watch.Modified, "after", true, "changed"}, {watch.Deleted, "after", true, "changed"}} {
		select {
		case e := <-events:
			got := e.Object.(*corev1.ConfigMap)
			if e.Type != want.event || got.Name != want.name || (e.Old != nil) != want.old || got.Data["k"] != want.value {
				t.Fatalf("event %s %s (old %v, %q), want %+v", e.Type, got.Name, e.Old != nil, got.Data["k"], want)
			}
		case <-time.After(patience):
			t.Fatalf("no event %+v", want)
		}
	}
}
