package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/etcd"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// watcher reads a watch one event at a time.
type watcher struct {
	t    testing.TB
	w    *Watch
	have []Event
}

func watchFrom(t testing.TB, s *Store, k *kind.Kind, q WatchQuery) *watcher {
	t.Helper()
	w, err := s.Watch(t.Context(), k, q)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return &watcher{t: t, w: w}
}

// patience is how long a test waits for an event or for the end of a watch.
const patience = 10 * time.Second

// next returns the next event; it fails the test when none comes.
func (r *watcher) next() Event {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	for len(r.have) == 0 {
		if r.have = r.w.Next(ctx); r.have == nil {
			r.t.Fatalf("no event within %s, or the watch has ended: %v", patience, r.w.Err())
		}
	}
	ev := r.have[0]
	r.have = r.have[1:]
	return ev
}

// expect reads as many events as there are texts and compares them.
func (r *watcher) expect(want ...string) {
	r.t.Helper()
	for _, text := range want {
		if got := describe(r.next()); got != text {
			r.t.Fatalf("event = %q, want %q", got, text)
		}
	}
}

// ended waits for the end of the watch and returns why it ended.
func (r *watcher) ended() error {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	for r.w.Next(ctx) != nil {
	}
	if ctx.Err() != nil {
		r.t.Fatalf("the watch has not ended after %s", patience)
	}
	return r.w.Err()
}

// describe shows an event as "+name=value", "~name=value", "-name=value" or "bookmark".
func describe(ev Event) string {
	if ev.Type == Bookmark {
		if ev.InitialEventsEnd {
			return "initial events end"
		}
		return "bookmark"
	}
	text := [...]string{Added: "+", Modified: "~", Deleted: "-"}[ev.Type] + ev.Item.Object.GetName()
	if cm, ok := ev.Item.Object.(*corev1.ConfigMap); ok {
		text += "=" + cm.Data["value"]
	}
	return text
}

func revision(n int64) string { return strconv.FormatInt(n, 10) }

func mustUpdate(t testing.TB, s *Store, name, value string) *Item {
	t.Helper()
	item, err := s.Update(t.Context(), configMaps, "default", name, setValue(value))
	if err != nil {
		t.Fatal(err)
	}
	return item
}

func mustDelete(t testing.TB, s *Store, name string) *Item {
	t.Helper()
	item, err := s.Delete(t.Context(), configMaps, "default", name, nil)
	if err != nil {
		t.Fatal(err)
	}
	return item
}

func TestWatchStart(t *testing.T) {
	s := newStore(t, Options{})
	a := mustCreate(t, s, configMaps, configMap("default", "a", "1"))
	mustCreate(t, s, configMaps, configMap("default", "b", "1"))
	mustCreate(t, s, configMaps, configMap("other", "c", "1"))
	b2 := mustUpdate(t, s, "b", "2")
	for name, tc := range map[string]struct {
		query WatchQuery
		want  []string
	}{
		"most recent":             {WatchQuery{}, []string{"+a=1", "+b=2", "+c=1"}},
		"one namespace":           {WatchQuery{Namespace: "default"}, []string{"+a=1", "+b=2"}},
		"one object":              {WatchQuery{Namespace: "default", Name: "b"}, []string{"+b=2"}},
		"behind a":                {WatchQuery{ResourceVersion: revision(a.Revision)}, []string{"+b=1", "+c=1", "~b=2"}},
		"behind all":              {WatchQuery{ResourceVersion: revision(b2.Revision)}, nil},
		"behind a, filtered":      {WatchQuery{ResourceVersion: revision(a.Revision), Match: valueIs("2")}, []string{"+b=2"}},
		"initial events":          {WatchQuery{SendInitialEvents: true, AllowBookmarks: true, ResourceVersion: revision(b2.Revision)}, []string{"+a=1", "+b=2", "+c=1", "initial events end"}},
		"initial events filtered": {WatchQuery{SendInitialEvents: true, AllowBookmarks: true, Match: valueIs("2")}, []string{"+b=2", "initial events end"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := watchFrom(t, s, configMaps, tc.query)
			r.expect(tc.want...)
		})
	}
	// Each of them has ended; one more sees what comes next and nothing before it.
	r := watchFrom(t, s, configMaps, WatchQuery{ResourceVersion: revision(b2.Revision)})
	gone := mustDelete(t, s, "a")
	ev := r.next()
	if describe(ev) != "-a=1" || ev.Revision != gone.Revision || ev.Item.Object.GetResourceVersion() != revision(gone.Revision) {
		t.Errorf("event = %s at %d, object at %s; want -a=1 at %d", describe(ev), ev.Revision, ev.Item.Object.GetResourceVersion(), gone.Revision)
	}
}

func valueIs(v string) func(kind.Object) bool {
	return func(o kind.Object) bool { return o.(*corev1.ConfigMap).Data["value"] == v }
}

func TestWatchFilterTransitions(t *testing.T) {
	s := newStore(t, Options{})
	r := watchFrom(t, s, configMaps, WatchQuery{Namespace: "default", Match: valueIs("in")})
	mustCreate(t, s, configMaps, configMap("default", "a", "out"))
	mustUpdate(t, s, "a", "in")
	out := mustUpdate(t, s, "a", "out")
	mustUpdate(t, s, "a", "in")
	mustDelete(t, s, "a")
	r.expect("+a=in")
	left := r.next()
	if describe(left) != "-a=in" || left.Item.Object.GetResourceVersion() != revision(out.Revision) {
		t.Errorf("event = %s at %s, want the last matching state at revision %d", describe(left), left.Item.Object.GetResourceVersion(), out.Revision)
	}
	r.expect("+a=in", "-a=in")
}

func TestWatchByIndex(t *testing.T) {
	s := newStore(t, Options{})
	pod := func(name, node string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PodSpec{NodeName: node}}
	}
	mustCreate(t, s, pods, pod("a", "n1"))
	mustCreate(t, s, pods, pod("b", ""))
	r := watchFrom(t, s, pods, WatchQuery{Index: "spec.nodeName", Value: "n1"})
	r.expect("+a")
	mustCreate(t, s, pods, pod("c", "n2"))
	if _, err := s.Update(t.Context(), pods, "default", "b", func(*Item) (kind.Object, error) { return pod("b", "n1"), nil }); err != nil {
		t.Fatal(err)
	}
	r.expect("+b")
	if _, err := s.Delete(t.Context(), pods, "default", "a", nil); err != nil {
		t.Fatal(err)
	}
	r.expect("-a")
	if _, err := s.Watch(t.Context(), pods, WatchQuery{Index: "nothing"}); !apierrors.IsBadRequest(err) {
		t.Errorf("watch by an index that is not there = %v", err)
	}
	list, err := s.List(t.Context(), pods, ListQuery{Index: "spec.nodeName", Value: "n1"})
	if err != nil || !slices.Equal(names(list.Items), []string{"default/b"}) {
		t.Errorf("list by index = %v, %v", list, err)
	}
}

func TestWatchBookmarks(t *testing.T) {
	s := newStore(t, Options{})
	r := watchFrom(t, s, configMaps, WatchQuery{Namespace: "quiet", AllowBookmarks: true, BookmarkEvery: 5 * time.Millisecond})
	made := mustCreate(t, s, services, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "other"}})
	for {
		ev := r.next()
		if ev.Type != Bookmark {
			t.Fatalf("event = %s, want only bookmarks", describe(ev))
		}
		// Events of other resources move bookmarks on too.
		if ev.Revision >= made.Revision {
			return
		}
	}
}

func TestWatchTooOld(t *testing.T) {
	s := newStore(t, Options{Events: 4})
	first := mustCreate(t, s, configMaps, configMap("default", "a", "0"))
	for i := range 6 {
		mustUpdate(t, s, "a", fmt.Sprint("v", i))
	}
	settle(t, s)
	if _, err := s.Watch(t.Context(), configMaps, WatchQuery{ResourceVersion: revision(first.Revision)}); !apierrors.IsResourceExpired(err) {
		t.Errorf("watch from a forgotten revision = %v, want 410", err)
	}
	r := watchFrom(t, s, configMaps, WatchQuery{ResourceVersion: revision(first.Revision + 2)})
	r.expect("~a=v2", "~a=v3", "~a=v4", "~a=v5")
	if _, err := s.Watch(t.Context(), configMaps, WatchQuery{ResourceVersion: "x"}); !apierrors.IsBadRequest(err) {
		t.Errorf("watch from %q = %v, want 400", "x", err)
	}
}

func TestSlowWatcherIsCutOff(t *testing.T) {
	s := newStore(t, Options{})
	mustCreate(t, s, configMaps, configMap("default", "a", "0"))
	slow := watchFrom(t, s, configMaps, WatchQuery{Buffer: 8})
	slow.expect("+a=0")
	quick := watchFrom(t, s, configMaps, WatchQuery{Buffer: 8})
	quick.expect("+a=0")
	for i := range 100 {
		mustUpdate(t, s, "a", fmt.Sprint("v", i))
		quick.expect(fmt.Sprint("~a=v", i))
	}
	if err := slow.ended(); !apierrors.IsResourceExpired(err) {
		t.Errorf("the slow watcher ended with %v, want 410", err)
	}
}

func TestWatchEnds(t *testing.T) {
	m, _ := startEtcd(t, etcd.Config{})
	s := New(m.Client, testKinds, Options{Log: quiet()})
	stop := runStore(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	byContext := watchFrom(t, s, configMaps, WatchQuery{})
	cancel()
	if batch := byContext.w.Next(ctx); batch != nil {
		t.Errorf("a watch whose context ended delivers %v", batch)
	}
	if err := byContext.ended(); err != nil {
		t.Errorf("a watch whose context ended says %v", err)
	}
	stoppedByUser := watchFrom(t, s, configMaps, WatchQuery{})
	stoppedByUser.w.Stop()
	stoppedByUser.w.Stop()
	if err := stoppedByUser.ended(); err != nil {
		t.Errorf("a watch that was stopped says %v", err)
	}
	mustCreate(t, s, configMaps, configMap("default", "a", ""))
	defective := watchFrom(t, s, configMaps, WatchQuery{Match: func(kind.Object) bool { panic("a defect") }})
	if err := defective.ended(); !apierrors.IsInternalError(err) {
		t.Errorf("a watch whose query panics says %v, want 500", err)
	}
	open := watchFrom(t, s, configMaps, WatchQuery{})
	stop()
	if err := open.ended(); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a watch on a store that stopped says %v, want 503", err)
	}
	if _, err := s.Watch(t.Context(), configMaps, WatchQuery{}); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a watch after the store stopped = %v, want 503", err)
	}
	if _, err := s.Get(t.Context(), configMaps, "default", "a", "0"); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a read after the store stopped = %v, want 503", err)
	}
}

// TestWatchSeesEveryVersionOnce writes from many goroutines and compares what three watchers see with what the
// writers were told, across a restart of etcd behind the store.
func TestWatchSeesEveryVersionOnce(t *testing.T) {
	const writers, rounds = 8, 60
	dir, socket := t.TempDir(), "unix://"+t.TempDir()+"/etcd.sock"
	cfg := etcd.Config{DataDir: dir, ListenClient: []string{socket}}
	_, stopEtcd := startEtcd(t, cfg)
	client := dial(t, socket)
	s := New(client, testKinds, Options{Log: quiet()})
	runStore(t, s)
	var seen [3]map[int64]string
	var readers sync.WaitGroup
	var watches []*Watch
	for n := range seen {
		w, err := s.Watch(t.Context(), configMaps, WatchQuery{Buffer: writers * rounds * 10, ResourceVersion: "0"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Stop)
		watches = append(watches, w)
		readers.Go(func() { seen[n] = collect(t, w) })
	}
	var mu sync.Mutex
	written := map[int64]string{}
	half := make(chan struct{}) // closed by the first writer
	var wg sync.WaitGroup
	for n := range writers {
		wg.Go(func() {
			for i := range rounds {
				for rev, text := range writeOne(t, s, fmt.Sprint("cm-", n%4), fmt.Sprint(n, ".", i)) {
					mu.Lock()
					written[rev] = text
					mu.Unlock()
				}
				if n == 0 && i == rounds/2 {
					close(half)
				}
			}
		})
	}
	<-half
	stopEtcd()
	startEtcd(t, cfg)
	wg.Wait()
	last := mustCreate(t, s, configMaps, configMap("default", lastName, ""))
	written[last.Revision] = "+" + lastName + "="
	readers.Wait()
	for n, got := range seen {
		for rev, text := range written {
			if got[rev] != text {
				t.Errorf("watcher %d saw %q at %d, want %q", n, got[rev], rev, text)
			}
		}
	}
	for _, w := range watches {
		w.Stop()
	}
}

// lastName is the object whose creation ends collect.
const lastName = "last"

// collect reads until lastName is created and returns what happened at each revision.
func collect(t *testing.T, w *Watch) map[int64]string {
	got := map[int64]string{}
	var before int64
	for batch := w.Next(t.Context()); batch != nil; batch = w.Next(t.Context()) {
		for _, ev := range batch {
			if ev.Revision <= before {
				t.Errorf("%s at %d came behind revision %d", describe(ev), ev.Revision, before)
			}
			before = ev.Revision
			got[ev.Revision] = describe(ev)
			if ev.Item.Object.GetName() == lastName {
				return got
			}
		}
	}
	t.Errorf("the watch ended early: %v", w.Err())
	return got
}

// writeOne creates, updates or deletes an object and returns what a watch must see of it. While etcd is away
// errors are expected; what they say of the write is unknown, so they count for nothing.
func writeOne(t *testing.T, s *Store, name, value string) map[int64]string {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if item, err := s.Create(ctx, configMaps, configMap("default", name, value), 0); err == nil {
		return map[int64]string{item.Revision: "+" + name + "=" + value}
	}
	if len(value)%3 == 0 {
		item, err := s.Delete(ctx, configMaps, "default", name, nil)
		if err != nil {
			return nil
		}
		return map[int64]string{item.Revision: "-" + name + "=" + valueOf(item)}
	}
	item, err := s.Update(ctx, configMaps, "default", name, setValue(value))
	if err != nil {
		return nil
	}
	return map[int64]string{item.Revision: "~" + name + "=" + value}
}
