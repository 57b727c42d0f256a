package store

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/etcd"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// TestRestart has a second process read what the first has written.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	m, stopEtcd := startEtcd(t, etcd.Config{DataDir: dir})
	s := New(m.Client, testKinds, Options{Log: quiet()})
	stop := runStore(t, s)
	const objects = 2*loadPage + 17
	fill(t, s, objects)
	kept := mustCreate(t, s, configMaps, configMap("default", "a", "1"))
	mustCreate(t, s, services, service("svc", "1"))
	stop()
	stopEtcd()

	m, _ = startEtcd(t, etcd.Config{DataDir: dir})
	s = New(m.Client, testKinds, Options{Log: quiet()})
	runStore(t, s)
	list, err := s.List(t.Context(), configMaps, ListQuery{})
	if err != nil || len(list.Items) != objects+1 {
		t.Fatalf("after a restart there are %d objects, %v; want %d", len(list.Items), err, objects+1)
	}
	got, err := s.Get(t.Context(), configMaps, "default", "a", "")
	if err != nil {
		t.Fatal(err)
	}
	want, _ := kept.Encoded(JSON)
	if have, _ := got.Encoded(JSON); !bytes.Equal(have, want) {
		t.Errorf("after a restart the object is\n%s\nit was\n%s", have, want)
	}
	if _, err := s.Create(t.Context(), services, service("other", "1"), 0); err == nil {
		t.Error("after a restart a claim is forgotten")
	}
	// Watches go on over the restart, as far as history is read.
	r := watchFrom(t, s, configMaps, WatchQuery{Namespace: "default", ResourceVersion: revision(kept.Revision - 1)})
	r.expect("+a=1")
	mustUpdate(t, s, "a", "2")
	r.expect("~a=2")
	if _, err := s.Watch(t.Context(), configMaps, WatchQuery{ResourceVersion: revision(kept.Revision - replay)}); !apierrors.IsResourceExpired(err) {
		t.Errorf("a watch from long before the restart = %v, want 410", err)
	}
}

// TestStoredForm holds the bytes and keys in etcd to what Kubernetes writes there.
func TestStoredForm(t *testing.T) {
	s := newStore(t, Options{})
	cm := configMap("default", "a", "1")
	cm.Kind, cm.APIVersion, cm.ResourceVersion = "ConfigMap", "v1", "77"
	mustCreate(t, s, configMaps, cm)
	resp, err := s.client.Get(t.Context(), "/registry/core/configmaps/default/a")
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("the key is not there: %v, %v", resp, err)
	}
	var unknown runtime.Unknown
	message, ok := bytes.CutPrefix(resp.Kvs[0].Value, []byte("k8s\x00"))
	if !ok || unknown.Unmarshal(message) != nil {
		t.Fatalf("stored as %q", resp.Kvs[0].Value)
	}
	if unknown.APIVersion != "v1" || unknown.Kind != "ConfigMap" || unknown.ContentType != "" || unknown.ContentEncoding != "" {
		t.Errorf("stored with %+v", unknown)
	}
	want := configMap("default", "a", "1")
	raw, err := want.Marshal()
	if err != nil || !bytes.Equal(unknown.Raw, raw) {
		t.Errorf("stored message is %q, want that of the object without resourceVersion: %q", unknown.Raw, raw)
	}
}

// TestForeignWrites are those of another server on the same etcd.
func TestForeignWrites(t *testing.T) {
	ctx := t.Context()
	m, _ := startEtcd(t, etcd.Config{})
	ours, theirs := New(m.Client, testKinds, Options{Log: quiet()}), New(m.Client, testKinds, Options{Log: quiet()})
	runStore(t, ours)
	runStore(t, theirs)
	r := watchFrom(t, ours, configMaps, WatchQuery{})
	for i := range 50 {
		name := numbered(i)
		mustCreate(t, theirs, configMaps, configMap("default", name, "1"))
		if got, err := ours.Get(ctx, configMaps, "default", name, ""); err != nil || valueOf(got) != "1" {
			t.Fatalf("a consistent read behind another server's write = %v, %v", got, err)
		}
		mustUpdate(t, theirs, name, "2")
		// The cache may not have the update yet; a change that is refused for the old version is asked again.
		stale := errors.New("stale")
		if _, err := ours.Update(ctx, configMaps, "default", name, func(cur *Item) (kind.Object, error) {
			if valueOf(cur) != "2" {
				return nil, stale
			}
			return setValue("3")(cur)
		}); err != nil {
			t.Fatalf("Update behind another server's write = %v", err)
		}
		if got := mustUpdate(t, theirs, name, "3"); valueOf(got) != "3" {
			t.Fatal("an update that another server made already is not seen")
		}
		r.expect("+"+name+"=1", "~"+name+"=2", "~"+name+"=3")
	}
}

// TestCompactedHistory cuts the feed off from what it missed: it must read everything anew and end its watches.
func TestCompactedHistory(t *testing.T) {
	dir, socket := t.TempDir(), "unix://"+t.TempDir()+"/etcd.sock"
	_, stopEtcd := startEtcd(t, etcd.Config{DataDir: dir, ListenClient: []string{socket}})
	s := New(dial(t, socket), testKinds, Options{Log: quiet()})
	runStore(t, s)
	mustCreate(t, s, configMaps, configMap("default", "a", "1"))
	r := watchFrom(t, s, configMaps, WatchQuery{})
	r.expect("+a=1")
	stopEtcd()
	alone, stopEtcd := startEtcd(t, etcd.Config{DataDir: dir})
	other := New(alone.Client, testKinds, Options{Log: quiet()})
	stop := runStore(t, other)
	mustCreate(t, other, configMaps, configMap("default", "b", "1"))
	last := mustDelete(t, other, "a")
	other.compactTo(t.Context(), last.Revision)
	stop()
	stopEtcd()
	startEtcd(t, etcd.Config{DataDir: dir, ListenClient: []string{socket}})
	if err := r.ended(); !apierrors.IsResourceExpired(err) {
		t.Errorf("the watch ended with %v, want 410", err)
	}
	list, err := s.List(t.Context(), configMaps, ListQuery{})
	if err != nil || fmt.Sprint(names(list.Items)) != "[default/b]" {
		t.Errorf("after reading anew there is %v, %v; want b", list, err)
	}
	r = watchFrom(t, s, configMaps, WatchQuery{})
	r.expect("+b=1")
	mustUpdate(t, s, "b", "2")
	r.expect("~b=2")
}

func TestHealth(t *testing.T) {
	m, stopEtcd := startEtcd(t, etcd.Config{})
	s := New(m.Client, testKinds, Options{Log: quiet()})
	if s.Health() == nil {
		t.Error("a store that has not begun calls itself healthy")
	}
	stop := runStore(t, s)
	if err := s.Health(); err != nil {
		t.Errorf("Health = %v", err)
	}
	mustCreate(t, s, configMaps, configMap("default", "a", "1"))
	settle(t, s)
	stopEtcd()
	eventually(t, "unhealthy without etcd", func() bool { return s.Health() != nil })
	if _, err := s.Get(t.Context(), configMaps, "default", "a", "0"); err != nil {
		t.Errorf("a read that may be stale, without etcd = %v", err)
	}
	if _, err := s.Get(t.Context(), configMaps, "default", "a", ""); !apierrors.IsTimeout(err) && !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a consistent read without etcd = %v, want a timeout or 503", err)
	}
	if _, err := s.Create(t.Context(), configMaps, configMap("default", "b", "1"), 0); !apierrors.IsTimeout(err) && !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a write without etcd = %v, want a timeout or 503", err)
	}
	stop()
	if s.Health() == nil {
		t.Error("a store that has stopped calls itself healthy")
	}
}

// TestBrokenObject has a value in etcd that can not be read: no list may pass over it in silence.
func TestBrokenObject(t *testing.T) {
	ctx, s := t.Context(), newStore(t, Options{})
	mustCreate(t, s, configMaps, configMap("default", "a", "1"))
	resp, err := s.client.Put(ctx, "/registry/core/configmaps/default/b", "k8s\x00rubbish")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(ctx, configMaps, resp.Header.Revision); err != nil {
		t.Fatal(err)
	}
	if _, err := s.List(ctx, configMaps, ListQuery{}); !apierrors.IsInternalError(err) {
		t.Errorf("List = %v, want an error", err)
	}
	if _, err := s.Get(ctx, configMaps, "default", "b", ""); !apierrors.IsInternalError(err) {
		t.Errorf("Get = %v, want an error", err)
	}
	if _, err := s.Watch(ctx, configMaps, WatchQuery{}); !apierrors.IsInternalError(err) {
		t.Errorf("Watch = %v, want an error", err)
	}
	if _, err := s.Get(ctx, configMaps, "default", "a", ""); err != nil {
		t.Errorf("Get of another object = %v", err)
	}
	if _, err := s.client.Delete(ctx, "/registry/core/configmaps/default/b"); err != nil {
		t.Fatal(err)
	}
	if list, err := s.List(ctx, configMaps, ListQuery{}); err != nil || len(list.Items) != 1 {
		t.Errorf("List after the repair = %v, %v", list, err)
	}
}

// flip is a Transformer that shows whether it was used: it inverts bytes and binds them to their key. Values
// that begin with an old marker are stale.
type flip struct{ marker byte }

const oldMarker, newMarker = 1, 2

func (f flip) ToStorage(resource, key string, plain []byte) ([]byte, error) {
	return append([]byte{f.marker}, invert(plain, key)...), nil
}

func (f flip) FromStorage(resource, key string, stored []byte) ([]byte, bool, error) {
	if len(stored) == 0 || stored[0] != oldMarker && stored[0] != newMarker {
		return nil, false, fmt.Errorf("%s is not encrypted", resource)
	}
	return invert(stored[1:], key), stored[0] != f.marker, nil
}

func invert(in []byte, key string) []byte {
	out := make([]byte, len(in))
	for i := range in {
		out[i] = ^in[i] ^ key[i%len(key)]
	}
	return out
}

func TestTransform(t *testing.T) {
	ctx := t.Context()
	m, _ := startEtcd(t, etcd.Config{})
	old := New(m.Client, testKinds, Options{Log: quiet(), Transform: flip{oldMarker}})
	runStore(t, old)
	mustCreate(t, old, configMaps, configMap("default", "a", "secret"))
	stored := func() []byte {
		resp, err := m.Client.Get(ctx, "/registry/core/configmaps/default/a")
		if err != nil {
			t.Fatal(err)
		}
		return resp.Kvs[0].Value
	}
	if bytes.Contains(stored(), []byte("secret")) {
		t.Error("the value is stored in the clear")
	}
	s := New(m.Client, testKinds, Options{Log: quiet(), Transform: flip{newMarker}})
	runStore(t, s)
	if got, err := s.Get(ctx, configMaps, "default", "a", ""); err != nil || valueOf(got) != "secret" {
		t.Fatalf("Get with a new key = %v, %v", got, err)
	}
	mustUpdate(t, s, "a", "secret")
	if stored()[0] != newMarker {
		t.Error("a stale value was not written anew by an update that changes nothing else")
	}
	before := stored()
	mustUpdate(t, s, "a", "secret")
	if !bytes.Equal(before, stored()) {
		t.Error("a value that is not stale was written anew")
	}
	if _, err := m.Client.Put(ctx, "/registry/core/configmaps/default/clear", "k8s\x00"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.List(ctx, configMaps, ListQuery{}); !apierrors.IsInternalError(err) {
		t.Errorf("List over a value that can not be decrypted = %v, want an error", err)
	}
}

func TestErrors(t *testing.T) {
	ctx, s := t.Context(), newStore(t, Options{})
	big := configMap("default", "big", string(make([]byte, etcd.MaxRequest)))
	if _, err := s.Create(ctx, configMaps, big, 0); !apierrors.IsRequestEntityTooLargeError(err) {
		t.Errorf("Create of a huge object = %v, want 413", err)
	}
	if len(s.own.byKey) != 0 {
		t.Errorf("writes that failed are remembered: %d", len(s.own.byKey))
	}
	stranger := &kind.Kind{Plural: "strangers", New: configMaps.New}
	if _, err := s.Get(ctx, stranger, "", "a", ""); !apierrors.IsNotFound(err) {
		t.Errorf("Get of a kind that is not in the store = %v", err)
	}
	if err := s.Run(ctx); err == nil {
		t.Error("a store runs twice")
	}
}

// TestOwnWritesAreForgotten holds that what is kept until the watch brings a write does not pile up.
func TestOwnWritesAreForgotten(t *testing.T) {
	s := newStore(t, Options{})
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for i := range 50 {
				writeOne(t, s, fmt.Sprint("cm-", n%3), fmt.Sprint(n, ".", i))
			}
		})
	}
	wg.Wait()
	settle(t, s)
	s.own.mu.Lock()
	defer s.own.mu.Unlock()
	if len(s.own.byKey) != 0 {
		t.Errorf("%d keys are left", len(s.own.byKey))
	}
}
