package clienttest

import (
	"context"
	"reflect"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// watcher is an unbounded list of events on their way to one handler.
type watcher struct {
	mu     sync.Mutex
	events []client.Event
	more   chan struct{} // capacity 1: a wake-up is not lost while the handler runs; never closed
}

func (w *watcher) add(e client.Event) {
	w.mu.Lock()
	w.events = append(w.events, e)
	w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
}

func (w *watcher) take() []client.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	events := w.events
	w.events = nil
	return events
}

func (f *Fake) tell(k *kind.Kind, e client.Event) {
	for w := range f.watchers[k] {
		w.add(e)
	}
}

// Watch implements client.Client.
func (f *Fake) Watch(ctx context.Context, k *kind.Kind, synced chan<- struct{}, handle func(client.Event)) error {
	w := &watcher{more: make(chan struct{}, 1)}
	f.mu.Lock()
	for _, obj := range f.objects[k] {
		w.add(client.Event{Type: watch.Added, Object: obj})
	}
	if f.watchers[k] == nil {
		f.watchers[k] = map[*watcher]struct{}{}
	}
	f.watchers[k][w] = struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.watchers[k], w)
		f.mu.Unlock()
	}()
	for first := true; ; first = false {
		for _, e := range w.take() {
			handle(e)
		}
		if first && synced != nil {
			close(synced)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.more:
		}
	}
}

func labelSet(m map[string]string) labels.Set { return m }

func addFinalizer(obj kind.Object, name string) {
	for _, f := range obj.GetFinalizers() {
		if f == name {
			return
		}
	}
	obj.SetFinalizers(append(obj.GetFinalizers(), name))
}

func statusOf(obj kind.Object) reflect.Value {
	return reflect.ValueOf(obj).Elem().FieldByName("Status")
}

func copyStatus(to, from kind.Object) {
	if v := statusOf(to); v.IsValid() {
		v.Set(statusOf(from))
	}
}

func clearStatus(obj kind.Object) {
	if v := statusOf(obj); v.IsValid() {
		v.SetZero()
	}
}

// sameSpec compares all but metadata and status.
func sameSpec(a, b kind.Object) bool {
	strip := func(o kind.Object) kind.Object {
		o = o.DeepCopyObject().(kind.Object)
		clearStatus(o)
		meta := reflect.ValueOf(o).Elem().FieldByName("ObjectMeta")
		meta.Set(reflect.ValueOf(metav1.ObjectMeta{}))
		return o
	}
	return reflect.DeepEqual(strip(a), strip(b))
}
