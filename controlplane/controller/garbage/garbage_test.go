package garbage

import (
	"context"
	"log/slog"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/clienttest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/clienttest/plane"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

func TestJudge(t *testing.T) {
	ref := []metav1.OwnerReference{{}}
	for _, tc := range []struct {
		name       string
		owners     owners
		dependents bool
		want       verdict
	}{
		{"no owner", owners{}, false, keep},
		{"an owner", owners{solid: ref}, false, keep},
		{"one of two is gone", owners{solid: ref, absent: ref}, false, disown},
		{"one of two waits", owners{solid: ref, waiting: ref}, true, disown},
		{"the owner is gone", owners{absent: ref}, true, deleteNow},
		{"the owner waits", owners{waiting: ref}, false, deleteNow},
		{"the owner waits for a tree", owners{waiting: ref}, true, deleteDeep},
	} {
		if got := judge(tc.owners, tc.dependents); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}

func podOf(name string, refs ...metav1.OwnerReference) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: types.UID(name), OwnerReferences: refs}}
}

func refTo(apiVersion, kind, name string) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: apiVersion, Kind: kind, Name: name, UID: types.UID(name)}
}

func TestCollect(t *testing.T) {
	there := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "there", Namespace: "ns", UID: "there"}}
	successor := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "renewed", Namespace: "ns", UID: "another"}}
	for _, tc := range []struct {
		name string
		refs []metav1.OwnerReference
		left int // references afterwards, -1 when the object is gone
	}{
		{"owner exists", []metav1.OwnerReference{refTo("apps/v1", "ReplicaSet", "there")}, 1},
		{"owner is gone", []metav1.OwnerReference{refTo("apps/v1", "ReplicaSet", "gone")}, -1},
		{"another object has the owner's name", []metav1.OwnerReference{refTo("apps/v1", "ReplicaSet", "renewed")}, -1},
		{"one of two is gone", []metav1.OwnerReference{refTo("apps/v1", "ReplicaSet", "there"), refTo("apps/v1", "ReplicaSet", "gone")}, 1},
		{"a kind that is not served", []metav1.OwnerReference{refTo("example.com/v1", "Widget", "w")}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := clienttest.NewFake(there, successor, podOf("p", tc.refs...))
			r := &controller{client: c, kinds: kind.Builtin(), graph: newGraph()}
			pod, err := client.Get[*corev1.Pod](t.Context(), c, "ns", "p")
			if err != nil {
				t.Fatal(err)
			}
			keys := r.graph.note(kind.Of[*corev1.Pod]().GroupResource(), client.Event{Type: watch.Added, Object: pod})
			if len(keys) != 1 {
				t.Fatalf("a new object is not looked at: %v", keys)
			}
			if _, err := r.reconcile(t.Context(), keys[0]); err != nil {
				t.Fatal(err)
			}
			got, err := client.Get[*corev1.Pod](t.Context(), c, "ns", "p")
			switch {
			case tc.left < 0 && !apierrors.IsNotFound(err):
				t.Errorf("it is still there: %v", err)
			case tc.left >= 0 && (err != nil || len(got.OwnerReferences) != tc.left):
				t.Errorf("references %v, %v", got, err)
			}
		})
	}
}

func TestGraphForgets(t *testing.T) {
	g := newGraph()
	k := kind.Of[*corev1.Pod]()
	child := podOf("child", refTo("v1", "Pod", "parent"))
	g.note(k.GroupResource(), client.Event{Type: watch.Added, Object: child})
	if keys := g.note(k.GroupResource(), client.Event{Type: watch.Modified, Object: child, Old: child}); len(keys) != 0 {
		t.Errorf("a change that matters not is looked at: %v", keys)
	}
	if keys := g.note(k.GroupResource(), client.Event{Type: watch.Deleted, Object: podOf("parent")}); len(keys) != 1 || keys[0] != (loop.Key{Name: "child"}) {
		t.Errorf("what lost its owner: %v", keys)
	}
	g.note(k.GroupResource(), client.Event{Type: watch.Deleted, Object: child})
	waiting := podOf("waiting")
	waiting.DeletionTimestamp, waiting.Finalizers = &metav1.Time{}, []string{metav1.FinalizerDeleteDependents}
	g.note(k.GroupResource(), client.Event{Type: watch.Modified, Object: waiting})
	g.note(k.GroupResource(), client.Event{Type: watch.Deleted, Object: waiting})
	if len(g.places)+len(g.owners)+len(g.dependents) != 0 {
		t.Errorf("left: %v %v %v", g.places, g.owners, g.dependents)
	}
}

func blocking(ref metav1.OwnerReference) metav1.OwnerReference {
	ref.BlockOwnerDeletion = new(true)
	return ref
}

// TestForegroundEnds has owners that wait for dependents which never go, or wait for the owner themselves.
func TestForegroundEnds(t *testing.T) {
	pod := func(name string) metav1.OwnerReference { return blocking(refTo("v1", "Pod", name)) }
	for name, tc := range map[string]struct {
		pods []kind.Object
		left int
	}{
		"a circle":                   {[]kind.Object{podOf("first", pod("third")), podOf("second", pod("first")), podOf("third", pod("second"))}, 0},
		"dependents of another, too": {[]kind.Object{podOf("first"), podOf("second", pod("first"), pod("other")), podOf("other")}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := clienttest.NewFake(tc.pods...)
			plane.Go(t, func(ctx context.Context) error {
				return loop.Run(ctx, c, slog.New(slog.DiscardHandler), New(c, kind.Builtin()))
			})
			foreground := metav1.DeletePropagationForeground
			if err := client.Delete[*corev1.Pod](t.Context(), c, "ns", "first", metav1.DeleteOptions{PropagationPolicy: &foreground}); err != nil {
				t.Fatal(err)
			}
			plane.Eventually(t, 10*time.Second, "deleted", func() bool {
				left, err := client.List[*corev1.Pod](t.Context(), c, client.Query{})
				return err == nil && len(left) == tc.left
			})
		})
	}
}
