package store

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/etcd"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// TestAddWhileOthersWrite adds a resource to one store while another store writes to it: nothing is missed and
// nothing is seen twice.
func TestAddWhileOthersWrite(t *testing.T) {
	m, _ := startEtcd(t, etcd.Config{})
	writer := New(m.Client, testKinds, Options{Log: quiet()})
	runStore(t, writer)
	reader := New(m.Client, []*kind.Kind{pods}, Options{Log: quiet()})
	runStore(t, reader)
	const before, during = 50, 300
	for i := range before {
		mustCreate(t, writer, configMaps, configMap("default", numbered(i), "a"))
	}
	if _, err := reader.Get(t.Context(), configMaps, "default", numbered(0), ""); !apierrors.IsNotFound(err) {
		t.Fatalf("Get before Add = %v", err)
	}
	done := make(chan error, 1)
	go func() {
		for i := range during {
			if _, err := writer.Create(t.Context(), configMaps, configMap("default", numbered(before+i), "a"), 0); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	if err := reader.Add(t.Context(), configMaps); err != nil {
		t.Fatal(err)
	}
	w, err := reader.Watch(t.Context(), configMaps, WatchQuery{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	seen := map[string]int{}
	for len(seen) < before+during {
		for _, e := range w.Next(t.Context()) {
			seen[e.Item.Object.GetName()]++
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for name, n := range seen {
		if n != 1 {
			t.Errorf("%s was seen %d times", name, n)
		}
	}
	list, err := reader.List(t.Context(), configMaps, ListQuery{})
	if err != nil || len(list.Items) != before+during {
		t.Errorf("List = %d objects, %v", len(list.Items), err)
	}
}

func TestDropEndsWatches(t *testing.T) {
	s := newStore(t, Options{})
	mustCreate(t, s, configMaps, configMap("default", "a", "1"))
	settle(t, s)
	w, err := s.Watch(t.Context(), configMaps, WatchQuery{ResourceVersion: s.LastWrite(configMaps)})
	if err != nil {
		t.Fatal(err)
	}
	s.Drop(configMaps)
	if batch := w.Next(t.Context()); batch != nil || w.Err() != nil {
		t.Errorf("the watch went on with %v, %v", batch, w.Err())
	}
	if _, err := s.Watch(t.Context(), configMaps, WatchQuery{}); !apierrors.IsNotFound(err) {
		t.Errorf("Watch = %v", err)
	}
	if _, err := s.Create(t.Context(), configMaps, configMap("default", "b", "1"), 0); !apierrors.IsNotFound(err) {
		t.Errorf("Create = %v", err)
	}
	if err := s.Add(t.Context(), configMaps); err != nil {
		t.Fatal(err)
	}
	if item, err := s.Get(t.Context(), configMaps, "default", "a", ""); err != nil || valueOf(item) != "1" {
		t.Errorf("Get after it was added again = %v", err)
	}
}

// TestCustomObjectsKeepTheirVersion writes an object in a version that is not its kind's, as objects of before a
// change of the storage version are.
func TestCustomObjectsKeepTheirVersion(t *testing.T) {
	k := &kind.Kind{
		Plural: "widgets", Custom: true, Namespaced: true, New: func() kind.Object { return &kind.Custom{} },
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Widget"),
	}
	k.Group = "example.com"
	s := newStore(t, Options{})
	if err := s.Add(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	make := func(name, version string) *kind.Custom {
		return &kind.Custom{
			TypeMeta:   metav1.TypeMeta{APIVersion: "example.com/" + version, Kind: "Widget"},
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"a": "b"}},
			Content:    map[string]any{"spec": map[string]any{"size": int64(3), "ratio": 0.5}},
		}
	}
	for _, version := range []string{"v1", "v1beta1"} {
		mustCreate(t, s, k, make(version, version))
	}
	fresh := New(s.client, []*kind.Kind{k}, Options{Log: quiet()})
	runStore(t, fresh)
	for _, version := range []string{"v1", "v1beta1"} {
		item, err := fresh.Get(t.Context(), k, "default", version, "")
		if err != nil {
			t.Fatal(err)
		}
		got := item.Object.(*kind.Custom)
		if got.APIVersion != "example.com/"+version || got.Labels["a"] != "b" || fmt.Sprint(got.Content) != "map[spec:map[ratio:0.5 size:3]]" {
			t.Errorf("%s came back as %s %v", version, got.APIVersion, got.Content)
		}
		body, err := item.Encoded(JSON)
		if want := `"spec":{"ratio":0.5,"size":3}}`; err != nil || string(body[len(body)-len(want):]) != want {
			t.Errorf("encoded as %s, %v", body, err)
		}
	}
}
