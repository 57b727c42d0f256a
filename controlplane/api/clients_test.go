package api_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
)

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"k": "v"}}
}

// bothEncodings runs a test with a JSON and with a protobuf client.
func bothEncodings(t *testing.T, test func(*testing.T, *apitest.Env, kubernetes.Interface)) {
	for name, contentType := range map[string]string{"JSON": "application/json", "protobuf": "application/vnd.kubernetes.protobuf"} {
		t.Run(name, func(t *testing.T) {
			e := apitest.Start(t, apitest.Options{})
			c := e.Admin()
			c.ContentType, c.AcceptContentTypes = contentType, contentType
			test(t, e, e.Kube(c))
		})
	}
}

func TestTypedClient(t *testing.T) {
	bothEncodings(t, func(t *testing.T, _ *apitest.Env, c kubernetes.Interface) {
		ctx, cms := t.Context(), c.CoreV1().ConfigMaps("default")
		made, err := cms.Create(ctx, configMap("a"), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if made.Data["k"] != "v" || made.UID == "" {
			t.Fatalf("created %+v", made)
		}
		made.Data["k"] = "w"
		if made, err = cms.Update(ctx, made, metav1.UpdateOptions{}); err != nil || made.Data["k"] != "w" {
			t.Fatalf("updated %+v: %v", made, err)
		}
		got, err := cms.Get(ctx, "a", metav1.GetOptions{})
		if err != nil || got.ResourceVersion != made.ResourceVersion {
			t.Fatalf("got %+v: %v", got, err)
		}
		if _, err := cms.Get(ctx, "none", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Fatalf("get of nothing: %v", err)
		}
		if err := cms.Delete(ctx, "a", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &made.UID}}); err != nil {
			t.Fatal(err)
		}
		dry, err := cms.Create(ctx, configMap("dry"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil || dry.Data["k"] != "v" {
			t.Fatalf("dry run: %+v, %v", dry, err)
		}
		if _, err := cms.Get(ctx, "dry", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Fatalf("get of a dry run's object: %v", err)
		}
	})
}

func TestPagesAreOneSnapshot(t *testing.T) {
	bothEncodings(t, func(t *testing.T, _ *apitest.Env, c kubernetes.Interface) {
		ctx, cms := t.Context(), c.CoreV1().ConfigMaps("default")
		for i := range 25 {
			cm := configMap(fmt.Sprintf("a-%02d", i))
			cm.Data["size"] = strings.Repeat("x", i*i*i*10) // up to 138 kB: pages are encoded in pieces of 64 KiB
			if _, err := cms.Create(ctx, cm, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		whole, err := cms.List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		page, err := cms.List(ctx, metav1.ListOptions{Limit: 10})
		if err != nil || len(page.Items) != 10 || page.Continue == "" || page.RemainingItemCount == nil || *page.RemainingItemCount != 15 {
			t.Fatalf("first page: %d items, %+v, %v", len(page.Items), page.ListMeta, err)
		}
		version := page.ResourceVersion
		if _, err := cms.Create(ctx, configMap("a-99"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		seen := page.Items
		for page.Continue != "" {
			if page, err = cms.List(ctx, metav1.ListOptions{Limit: 10, Continue: page.Continue}); err != nil {
				t.Fatal(err)
			}
			seen = append(seen, page.Items...)
			if page.ResourceVersion != version {
				t.Errorf("page of version %s, first of %s", page.ResourceVersion, version)
			}
		}
		if !apiequality.Semantic.DeepEqual(seen, whole.Items) {
			t.Fatalf("pages have %d objects, and they are not the %d of the whole list", len(seen), len(whole.Items))
		}
	})
}

// next returns the next event that is no bookmark, or fails the test.
func next(t *testing.T, w watch.Interface) watch.Event {
	t.Helper()
	for {
		select {
		case e, ok := <-w.ResultChan():
			if !ok {
				t.Fatal("the watch ended")
			}
			if e.Type != watch.Bookmark {
				return e
			}
		case <-time.After(20 * time.Second):
			t.Fatal("no event")
		}
	}
}

func TestWatch(t *testing.T) {
	bothEncodings(t, func(t *testing.T, _ *apitest.Env, c kubernetes.Interface) {
		ctx, cms := t.Context(), c.CoreV1().ConfigMaps("default")
		first, err := cms.Create(ctx, configMap("a"), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		w, err := cms.Watch(ctx, metav1.ListOptions{ResourceVersion: first.ResourceVersion, LabelSelector: "on=yes"})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		for _, patch := range []string{`{"metadata":{"labels":{"on":"yes"}}}`, `{"data":{"k":"w"}}`, `{"metadata":{"labels":{"on":"no"}}}`} {
			if _, err := cms.Patch(ctx, "a", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range []watch.EventType{watch.Added, watch.Modified, watch.Deleted} {
			if e := next(t, w); e.Type != want {
				t.Fatalf("event %s of %v, want %s", e.Type, e.Object, want)
			}
		}
	})
}

func TestWatchListEndsInitialEvents(t *testing.T) {
	bothEncodings(t, func(t *testing.T, _ *apitest.Env, c kubernetes.Interface) {
		cms := c.CoreV1().ConfigMaps("default")
		if _, err := cms.Create(t.Context(), configMap("a"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		yes := true
		w, err := cms.Watch(t.Context(), metav1.ListOptions{SendInitialEvents: &yes, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		if e := next(t, w); e.Type != watch.Added {
			t.Fatalf("event %s", e.Type)
		}
		select {
		case e := <-w.ResultChan():
			cm, ok := e.Object.(*corev1.ConfigMap)
			if e.Type != watch.Bookmark || !ok || cm.Annotations[metav1.InitialEventsAnnotationKey] != "true" || cm.ResourceVersion == "" {
				t.Fatalf("event %s %+v", e.Type, e.Object)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("no bookmark ends the initial events")
		}
	})
}

func TestWatchFromTheFutureOrPast(t *testing.T) {
	e := apitest.Start(t, apitest.Options{Events: 10})
	cms := e.Kube(e.Admin()).CoreV1().ConfigMaps("default")
	first, err := cms.Create(t.Context(), configMap("a"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if _, err := cms.Create(t.Context(), configMap(fmt.Sprintf("b-%d", i)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w, err := cms.Watch(t.Context(), metav1.ListOptions{ResourceVersion: first.ResourceVersion})
	if err == nil {
		defer w.Stop()
		err = apierrors.FromObject(next(t, w).Object)
	}
	if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		t.Fatalf("watch from a version that is forgotten: %v", err)
	}
	if w, err := cms.Watch(t.Context(), metav1.ListOptions{ResourceVersion: "nonsense"}); err == nil {
		w.Stop()
		t.Fatal("a watch from nonsense was opened")
	}
}

func TestWatchTimeout(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	one := int64(1)
	w, err := e.Kube(e.Admin()).CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{TimeoutSeconds: &one, FieldSelector: "metadata.name=none"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	select {
	case event, ok := <-w.ResultChan():
		if ok {
			t.Errorf("the watch tells of %s %v instead of ending", event.Type, event.Object)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the watch goes on beyond its timeout")
	}
}

func TestInformer(t *testing.T) {
	bothEncodings(t, func(t *testing.T, e *apitest.Env, c kubernetes.Interface) {
		ctx, cancel := context.WithCancel(t.Context())
		f := informers.NewSharedInformerFactoryWithOptions(c, 0, informers.WithNamespace("default"))
		inf := f.Core().V1().ConfigMaps().Informer()
		f.Start(ctx.Done())
		defer f.Shutdown()
		defer cancel()
		if !cache.WaitForCacheSync(ctx.Done(), inf.HasSynced) {
			t.Fatal("the informer did not sync")
		}
		for i := range 20 {
			if _, err := c.CoreV1().ConfigMaps("default").Create(ctx, configMap("a"+strconv.Itoa(i)), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		e.Eventually("the informer has all objects", func() bool { return len(inf.GetStore().List()) == 20 })
	})
}

func TestServerSideApply(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	ctx, cms := t.Context(), e.Kube(e.Admin()).CoreV1().ConfigMaps("default")
	apply := func(manager string, force bool, data map[string]string) (*corev1.ConfigMap, error) {
		return cms.Apply(ctx, applycorev1.ConfigMap("a", "default").WithData(data), metav1.ApplyOptions{FieldManager: manager, Force: force})
	}
	if _, err := apply("one", false, map[string]string{"x": "1", "y": "1"}); err != nil {
		t.Fatal(err)
	}
	_, err := apply("two", false, map[string]string{"x": "2"})
	if !apierrors.IsConflict(err) {
		t.Fatalf("apply of another's field: %v", err)
	}
	causes := err.(apierrors.APIStatus).Status().Details.Causes
	if len(causes) != 1 || causes[0].Type != metav1.CauseTypeFieldManagerConflict || causes[0].Field != ".data.x" || causes[0].Message != `conflict with "one"` {
		t.Fatalf("causes %+v", causes)
	}
	got, err := apply("two", true, map[string]string{"x": "2"})
	if err != nil || got.Data["x"] != "2" || got.Data["y"] != "1" {
		t.Fatalf("forced apply: %v, %v", got.Data, err)
	}
	before := got.ResourceVersion
	if got, err = apply("two", false, map[string]string{"x": "2"}); err != nil || got.ResourceVersion != before {
		t.Fatalf("the same apply again wrote version %s after %s: %v", got.ResourceVersion, before, err)
	}
	// what a manager ceases to name goes, when nobody else owns it
	if got, err = apply("one", false, map[string]string{}); err != nil || len(got.Data) != 1 {
		t.Fatalf("apply without fields left %v: %v", got.Data, err)
	}
}
