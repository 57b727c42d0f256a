package loop

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/clienttest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns"}}
}

// run runs controllers until the test ends, or the returned function is called.
func run(t *testing.T, c client.Client, controllers ...Controller) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, c, slog.New(slog.DiscardHandler), controllers...) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() })
	return stop
}

func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func TestWorksOnWhatExistsAndWhatChanges(t *testing.T) {
	c := clienttest.NewFake(configMap("a"))
	keys := make(chan Key, 100)
	stop := run(t, c, Controller{Name: "test", For: kind.Of[*corev1.ConfigMap](), Reconcile: func(_ context.Context, key Key) (Result, error) {
		keys <- key
		return Result{}, nil
	}})
	if key := receive(t, keys); key.Name != "a" {
		t.Errorf("got %v", key)
	}
	if _, err := client.Create(t.Context(), c, configMap("b")); err != nil {
		t.Fatal(err)
	}
	if key := receive(t, keys); key.Name != "b" {
		t.Errorf("got %v", key)
	}
	if err := stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestErrorsAndPanicsAreTriedAgain(t *testing.T) {
	var calls atomic.Int32
	done := make(chan struct{})
	run(t, clienttest.NewFake(), Controller{Name: "test", Initial: []Key{{Name: "x"}}, Reconcile: func(context.Context, Key) (Result, error) {
		switch calls.Add(1) {
		case 1:
			return Result{}, errors.New("not yet")
		case 2:
			panic("broken")
		case 3:
			return Result{After: time.Millisecond}, nil
		default:
			close(done)
			return Result{}, nil
		}
	}})
	receive(t, done)
}

func TestOneKeyAtATime(t *testing.T) {
	q := newQueue()
	key := Key{Name: "x"}
	q.add(key)
	q.add(key)
	if got, ok := q.get(); !ok || got != key {
		t.Fatal(got, ok)
	}
	q.add(key)
	if len(q.ready) != 0 {
		t.Error("a key that is worked on was handed out again")
	}
	q.done(key)
	if len(q.ready) != 1 {
		t.Error("a key that was added meanwhile was lost")
	}
	q.close()
	if _, ok := q.get(); ok {
		t.Error("a closed queue hands out keys")
	}
}

func TestTheShortestDelayCounts(t *testing.T) {
	q := newQueue()
	defer q.close()
	key := Key{Name: "x"}
	q.addAfter(key, time.Hour)
	q.addAfter(key, time.Millisecond)
	q.addAfter(key, time.Hour)
	if got, ok := q.get(); !ok || got != key {
		t.Error(got, ok)
	}
}

func TestBackOff(t *testing.T) {
	for failures, want := range map[int]time.Duration{0: firstBackOff, 1: 2 * firstBackOff, 13: 5 * time.Millisecond << 13, 14: lastBackOff, 1000: lastBackOff} {
		if got := backOff(failures); got != want {
			t.Errorf("after %d failures: %s, want %s", failures, got, want)
		}
	}
}

func TestSlowStartStopsEarly(t *testing.T) {
	var calls atomic.Int32
	n, err := SlowStart(1000, func() error {
		if calls.Add(1) > 3 {
			return errors.New("quota")
		}
		return nil
	})
	if n != 3 || err == nil || calls.Load() != 7 {
		t.Errorf("%d succeeded of %d calls, %v", n, calls.Load(), err)
	}
}

// brokenClient has watches that end by themselves.
type brokenClient struct{ client.Client }

func (brokenClient) Watch(context.Context, *kind.Kind, chan<- struct{}, func(client.Event)) error {
	return errors.New("gone")
}

func TestABrokenWatchEndsRun(t *testing.T) {
	err := Run(t.Context(), brokenClient{clienttest.NewFake()}, nil, Controller{
		Name: "test", For: kind.Of[*corev1.ConfigMap](), Reconcile: func(context.Context, Key) (Result, error) { return Result{}, nil },
	})
	if err == nil || err.Error() != "cannot watch configmaps: gone" {
		t.Errorf("got %v", err)
	}
}

func TestNothingIsAdoptedByWhatIsDeleted(t *testing.T) {
	owner := &corev1.ReplicationController{ObjectMeta: metav1.ObjectMeta{Name: "rc", Namespace: "ns", Finalizers: []string{metav1.FinalizerOrphanDependents}}}
	c := clienttest.NewFake(owner, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "ns"}}, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "b", Namespace: "ns"}})
	k := kind.Of[*corev1.ReplicationController]()
	// What a controller's worker read before the owner was deleted.
	read, err := client.Get[*corev1.ReplicationController](t.Context(), c, "ns", "rc")
	if err != nil {
		t.Fatal(err)
	}
	adopt := func(name string) int {
		t.Helper()
		pod, err := client.Get[*corev1.Pod](t.Context(), c, "ns", name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Adopt(t.Context(), c, k, read, []*corev1.Pod{pod})
		if err != nil {
			t.Fatal(err)
		}
		return len(got)
	}
	if adopt("a") != 1 {
		t.Error("a pod was not adopted")
	}
	if err := client.Delete[*corev1.ReplicationController](t.Context(), c, "ns", "rc", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if adopt("b") != 0 {
		t.Error("an owner that is being deleted adopted a pod")
	}
	next := read.DeepCopy()
	next.Finalizers = nil
	next.ResourceVersion = ""
	if _, err := client.Update(t.Context(), c, next); err != nil {
		t.Fatal(err)
	}
	if adopt("b") != 0 {
		t.Error("an owner that is gone adopted a pod")
	}
}
