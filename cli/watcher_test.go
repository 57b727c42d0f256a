package cli_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// event is what a watch says of one object at one revision.
type event struct {
	kind, name, value string
	even              bool // the object has the label that the third watcher selects
	rev               int64
}

// watcher keeps one watch of the config maps of a namespace open over any number of restarts of the server.
type watcher struct {
	name   string
	client kubernetes.Interface
	opts   metav1.ListOptions
	events []event
	last   int64 // the revision to go on from
}

// run watches until ctx ends, or until it has seen the object of the name end.
func (w *watcher) run(ctx context.Context, up func(context.Context), end string) error {
	for ctx.Err() == nil {
		opts := w.opts
		opts.ResourceVersion, opts.AllowWatchBookmarks = strconv.FormatInt(w.last, 10), true
		open, err := w.client.CoreV1().ConfigMaps(namespace).Watch(ctx, opts)
		if err != nil {
			if apierrors.IsGone(err) || apierrors.IsResourceExpired(err) || apierrors.IsBadRequest(err) {
				return fmt.Errorf("watcher %s cannot resume from %d: %w", w.name, w.last, err)
			}
			up(ctx)
			continue
		}
		ended, err := w.read(ctx, open, end)
		open.Stop()
		if ended || err != nil {
			return err
		}
	}
	return ctx.Err()
}

// read takes events until the watch breaks, or says that it has seen the end.
func (w *watcher) read(ctx context.Context, open watch.Interface, end string) (bool, error) {
	for {
		var e watch.Event
		var ok bool
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case e, ok = <-open.ResultChan():
		}
		if !ok {
			return false, nil
		}
		cm, is := e.Object.(*corev1.ConfigMap)
		if !is {
			if err := apierrors.FromObject(e.Object); apierrors.IsGone(err) || apierrors.IsResourceExpired(err) {
				return false, fmt.Errorf("watcher %s was told at %d: %w", w.name, w.last, err)
			}
			return false, nil // the connection was cut within an event
		}
		rev := revision(cm)
		if rev < w.last || rev == w.last && e.Type != watch.Bookmark {
			return false, fmt.Errorf("watcher %s was told of %s %s at revision %d after %d", w.name, e.Type, cm.Name, rev, w.last)
		}
		w.last = rev
		if e.Type == watch.Bookmark {
			continue
		}
		if cm.Name == end {
			return true, nil
		}
		w.events = append(w.events, event{string(e.Type), cm.Name, cm.Data["value"], cm.Labels["even"] == "yes", rev})
	}
}

// compare holds a watcher's events to the log of all: to the same, or to what its selector makes of it.
func (w *watcher) compare(t *testing.T, log []event) {
	t.Helper()
	want := log
	if w.opts.LabelSelector != "" {
		want = selectEven(log)
	}
	if slices.Equal(w.events, want) {
		return
	}
	for i := range max(len(want), len(w.events)) {
		if i >= len(want) || i >= len(w.events) || want[i] != w.events[i] {
			t.Errorf("watcher %s saw %d events, want %d; from number %d they are\n%+v\nwant\n%+v", w.name, len(w.events), len(want), i,
				w.events[min(i, len(w.events)):min(i+3, len(w.events))], want[min(i, len(want)):min(i+3, len(want))])
			return
		}
	}
}

// selectEven is what a watch for even=yes sees of all events.
func selectEven(log []event) []event {
	var out []event
	was := map[string]event{} // the last matching state of the objects that match
	for _, e := range log {
		old, matched := was[e.name]
		matches := e.even && e.kind != "DELETED"
		switch {
		case matches && matched:
			e.kind = "MODIFIED"
		case matches:
			e.kind = "ADDED"
		case matched:
			e = event{"DELETED", e.name, old.value, true, e.rev}
		default:
			continue
		}
		delete(was, e.name)
		if matches {
			was[e.name] = e
		}
		out = append(out, e)
	}
	return out
}

func revision(o metav1.Object) int64 {
	rev, err := strconv.ParseInt(o.GetResourceVersion(), 10, 64)
	if err != nil {
		return -1
	}
	return rev
}
