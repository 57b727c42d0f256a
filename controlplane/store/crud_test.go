package store

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

func TestCreateGetUpdateDelete(t *testing.T) {
	ctx, s := t.Context(), newStore(t, Options{})
	made := mustCreate(t, s, configMaps, configMap("default", "a", "1"))
	if made.Object.GetResourceVersion() == "" || made.Revision == 0 {
		t.Fatalf("a created object has no resourceVersion: %+v", made.Object)
	}
	got, err := s.Get(ctx, configMaps, "default", "a", "")
	if err != nil || got != made {
		t.Fatalf("Get = %v, %v; want the created item itself", got, err)
	}
	if _, err := s.Create(ctx, configMaps, configMap("default", "a", "2"), 0); !apierrors.IsAlreadyExists(err) {
		t.Fatalf("second Create = %v, want AlreadyExists", err)
	}
	changed, err := s.Update(ctx, configMaps, "default", "a", setValue("2"))
	if err != nil || valueOf(changed) != "2" || changed.Revision <= made.Revision {
		t.Fatalf("Update = %+v, %v", changed, err)
	}
	if valueOf(made) != "1" {
		t.Error("an update changed the old item")
	}
	same, err := s.Update(ctx, configMaps, "default", "a", setValue("2"))
	if err != nil || same.Revision != changed.Revision {
		t.Fatalf("an update that changes nothing = revision %d, %v; want %d", same.Revision, err, changed.Revision)
	}
	gone, err := s.Delete(ctx, configMaps, "default", "a", nil)
	if err != nil || valueOf(gone) != "2" || gone.Revision <= changed.Revision {
		t.Fatalf("Delete = %+v, %v", gone, err)
	}
	if _, err := s.Get(ctx, configMaps, "default", "a", ""); !apierrors.IsNotFound(err) {
		t.Errorf("Get after Delete = %v, want NotFound", err)
	}
	if _, err := s.Update(ctx, configMaps, "default", "a", setValue("3")); !apierrors.IsNotFound(err) {
		t.Errorf("Update after Delete = %v, want NotFound", err)
	}
	if _, err := s.Delete(ctx, configMaps, "default", "a", nil); !apierrors.IsNotFound(err) {
		t.Errorf("Delete after Delete = %v, want NotFound", err)
	}
}

func TestRefusalsReachTheCaller(t *testing.T) {
	ctx, s := t.Context(), newStore(t, Options{})
	mustCreate(t, s, configMaps, configMap("default", "a", "1"))
	refused := errors.New("refused")
	if _, err := s.Update(ctx, configMaps, "default", "a", func(*Item) (kind.Object, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Errorf("Update = %v, want the caller's error", err)
	}
	if _, err := s.Delete(ctx, configMaps, "default", "a", func(*Item) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("Delete = %v, want the caller's error", err)
	}
	same, err := s.Update(ctx, configMaps, "default", "a", func(cur *Item) (kind.Object, error) { return cur.Object, nil })
	if err != nil || valueOf(same) != "1" {
		t.Errorf("Update that returns what it got = %v, %v", same, err)
	}
}

func TestEncoded(t *testing.T) {
	s := newStore(t, Options{})
	cm := configMap("default", "a", "<&>")
	cm.Kind, cm.APIVersion = "ConfigMap", "v1"
	item := mustCreate(t, s, configMaps, cm)
	js, err := item.Encoded(JSON)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"metadata":{"name":"a","namespace":"default","resourceVersion":"` + cm.ResourceVersion +
		`","labels":{"app":"test"}},"data":{"value":"\u003c\u0026\u003e"}}`
	if string(js) != want {
		t.Errorf("JSON = %s\nwant   %s", js, want)
	}
	pb, err := item.Encoded(Protobuf)
	if err != nil {
		t.Fatal(err)
	}
	var back corev1.ConfigMap
	if err := back.Unmarshal(pb); err != nil || back.ResourceVersion != cm.ResourceVersion || back.Data["value"] != "<&>" {
		t.Errorf("Protobuf = %+v, %v", back, err)
	}
	if again, _ := item.Encoded(JSON); &again[0] != &js[0] {
		t.Error("the encoding was made twice")
	}
}

// TestEncodedUnstored is an item as a dry run makes it.
func TestEncodedUnstored(t *testing.T) {
	cm := configMap("default", "a", "1")
	cm.Kind, cm.APIVersion = "ConfigMap", "v1"
	item := &Item{Object: cm}
	js, err := item.Encoded(JSON)
	if want := `{"metadata":{"name":"a","namespace":"default","labels":{"app":"test"}},"data":{"value":"1"}}`; err != nil || string(js) != want {
		t.Errorf("JSON = %s, %v; want %s", js, err, want)
	}
	if cm.Kind != "ConfigMap" {
		t.Error("encoding has changed the object")
	}
	if _, err := item.Encoded(Protobuf); err != nil {
		t.Error(err)
	}
}
