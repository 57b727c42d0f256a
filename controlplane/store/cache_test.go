package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// eventually polls until f is true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(10 * time.Second); !f(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after 10 s still not: %s", what)
		}
	}
}

func TestLastWrite(t *testing.T) {
	s := newStore(t, Options{})
	if got := s.LastWrite(configMaps); got != "0" {
		t.Errorf("LastWrite before any = %s", got)
	}
	for i := range 200 {
		name := numbered(i)
		made := mustCreate(t, s, configMaps, configMap("default", name, "1"))
		if got := s.LastWrite(configMaps); got != revision(made.Revision) {
			t.Fatalf("LastWrite = %s, want %d", got, made.Revision)
		}
		if _, err := s.Get(t.Context(), configMaps, "default", name, s.LastWrite(configMaps)); err != nil {
			t.Fatalf("a read behind the own write = %v", err)
		}
		mustDelete(t, s, name)
		if _, err := s.Get(t.Context(), configMaps, "default", name, s.LastWrite(configMaps)); !apierrors.IsNotFound(err) {
			t.Fatalf("a read behind the own delete = %v", err)
		}
	}
	if got := s.LastWrite(services); got != "0" {
		t.Errorf("LastWrite of another resource = %s", got)
	}
}

// TestWriteIsSeen reads what was written from the cache as it is.
func TestWriteIsSeen(t *testing.T) {
	ctx, s := t.Context(), newStore(t, Options{})
	for i := range 200 {
		name := numbered(i)
		made := mustCreate(t, s, configMaps, configMap("default", name, "1"))
		if got, err := s.Get(ctx, configMaps, "default", name, "0"); err != nil || got != made {
			t.Fatalf("the cache after a create = %v, %v", got, err)
		}
		if i%2 == 0 {
			continue
		}
		changed, err := s.Update(ctx, configMaps, "default", name, setValue("2"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Get(ctx, configMaps, "default", name, "0"); err != nil || got != changed {
			t.Fatalf("the cache after an update = %v, %v", got, err)
		}
		mustDelete(t, s, name)
		if _, err := s.Get(ctx, configMaps, "default", name, "0"); !apierrors.IsNotFound(err) {
			t.Fatalf("the cache after a delete = %v", err)
		}
	}
}

func TestCompaction(t *testing.T) {
	s := newStore(t, Options{CompactEvery: 10 * time.Millisecond})
	first := mustCreate(t, s, configMaps, configMap("default", "a", "0"))
	i := 0
	eventually(t, "old history dropped", func() bool {
		i++
		mustUpdate(t, s, "a", strconv.Itoa(i))
		_, err := s.client.Get(t.Context(), "/", clientv3.WithRev(first.Revision))
		return errors.Is(err, rpctypes.ErrCompacted)
	})
	if got, err := s.Get(t.Context(), configMaps, "default", "a", ""); err != nil || valueOf(got) != strconv.Itoa(i) {
		t.Errorf("after a compaction Get = %v, %v", got, err)
	}
}

func TestAge(t *testing.T) {
	s := newStore(t, Options{})
	first := mustCreate(t, s, configMaps, configMap("default", "a", "0"))
	last := mustUpdate(t, s, "a", "1")
	if _, err := s.List(t.Context(), configMaps, ListQuery{Limit: 1}); err != nil {
		t.Fatal(err)
	}
	c := s.caches.Load().byPath["core/configmaps"]
	c.age(time.Now().Add(eventAge + pinAge))
	if c.events.len() != 0 || c.pins.len() != 0 {
		t.Errorf("%d events and %d snapshots are kept for ever", c.events.len(), c.pins.len())
	}
	if _, err := s.Watch(t.Context(), configMaps, WatchQuery{ResourceVersion: revision(first.Revision)}); !apierrors.IsResourceExpired(err) {
		t.Errorf("a watch from before what was dropped = %v, want 410", err)
	}
	watchFrom(t, s, configMaps, WatchQuery{ResourceVersion: revision(last.Revision)})
}

func TestEncodingsAreBounded(t *testing.T) {
	s := &Store{encodings: newEncodings(10 << 10)}
	var items []*Item
	for i := range 100 {
		item := s.newItem(numbered(i), configMap("default", numbered(i), kibibyte), int64(i+1))
		if _, err := item.Encoded(JSON); err != nil {
			t.Fatal(err)
		}
		items = append(items, item)
	}
	kept := 0
	for _, it := range items {
		kept += len(it.encoded[JSON])
	}
	if kept == 0 || kept > s.encodings.max || kept != s.encodings.bytes {
		t.Errorf("items keep %d bytes of encodings, accounted %d; at most %d are allowed", kept, s.encodings.bytes, s.encodings.max)
	}
	if last := items[99]; last.encoded[JSON] == nil {
		t.Error("the item that was encoded last has lost its bytes")
	}
	runtime.KeepAlive(items)
}

func TestEncodedOnceKeepsNothing(t *testing.T) {
	s := &Store{encodings: newEncodings(10 << 10)}
	for _, f := range []Format{JSON, Protobuf} {
		item := s.newItem("cm", configMap("default", "cm", kibibyte), 1)
		var lent []byte
		once, err := item.EncodedOnce(f, func(n int) []byte {
			lent = make([]byte, n)
			return lent
		})
		if err != nil {
			t.Fatal(err)
		}
		if f == Protobuf && (len(lent) == 0 || &once[0] != &lent[0]) {
			t.Error("protobuf is not in the memory that was lent for it")
		}
		if item.encoded[f] != nil || s.encodings.bytes != 0 {
			t.Errorf("format %d: %d bytes are kept", f, s.encodings.bytes)
		}
		kept, err := item.Encoded(f)
		if err != nil || !bytes.Equal(kept, once) {
			t.Errorf("format %d: kept and once differ: %q and %q, %v", f, kept, once, err)
		}
		s.encodings = newEncodings(10 << 10)
		if again, err := item.EncodedOnce(f, nil); err != nil || &again[0] != &kept[0] {
			t.Errorf("format %d: what is kept is not used, %v", f, err)
		}
	}
}

func TestEncodedAtOnce(t *testing.T) {
	s := &Store{encodings: newEncodings(2 << 10)}
	items := make([]*Item, 8)
	for i := range items {
		items[i] = s.newItem(numbered(i), configMap("default", numbered(i), kibibyte), 1)
	}
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() {
			for i := range 500 {
				b, err := items[(n+i)%len(items)].Encoded(Format(i % 2))
				if err != nil || len(b) < len(kibibyte) {
					t.Errorf("Encoded = %d bytes, %v", len(b), err)
				}
			}
		})
	}
	wg.Wait()
}

func TestWaitAndReadsEndWithTheirContext(t *testing.T) {
	s := newStore(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Wait(ctx, configMaps, 1<<40); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait with an ended context = %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := s.Wait(ctx, configMaps, 1<<40); !apierrors.IsTimeout(err) {
		t.Errorf("Wait past its deadline = %v, want a timeout", err)
	}
	if len(s.progress.waiters) != 0 {
		t.Error("one who waited is not forgotten")
	}
	// Readers that give up while they wait for another's question must not keep the next from asking.
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Microsecond)
			defer cancel()
			for range 20 {
				_, _ = s.current.get(ctx)
			}
		})
	}
	wg.Wait()
	if _, err := s.List(t.Context(), configMaps, ListQuery{}); err != nil {
		t.Errorf("List after that = %v", err)
	}
}

func TestFifo(t *testing.T) {
	var f fifo[int]
	next, want := 0, 0
	for _, step := range []int{5, -3, 100, -90, 3, -15, 200, -150, -50} {
		for ; step > 0; step-- {
			f.push(next)
			next++
		}
		for ; step < 0; step++ {
			if got := f.pop(); got != want {
				t.Fatalf("pop = %d, want %d", got, want)
			}
			want++
		}
		for i := range f.len() {
			if got := f.at(i); got != want+i {
				t.Fatalf("at(%d) = %d, want %d", i, got, want+i)
			}
		}
	}
	if f.len() != 0 || len(f.ring) > 64 {
		t.Errorf("an empty queue has %d elements and room for %d", f.len(), len(f.ring))
	}
}

// TestJSONStorage is the form of types that have no protobuf message.
func TestJSONStorage(t *testing.T) {
	b, err := marshalJSON("example.com/v1", "Thing", configMap("default", "a", "1"))
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"apiVersion":"example.com/v1","kind":"Thing","metadata":`; !strings.HasPrefix(string(b), want) {
		t.Errorf("stored as %s, want it to begin with %s", b, want)
	}
	back, err := unmarshal(configMaps, b)
	if err != nil || fmt.Sprint(back) != fmt.Sprint(configMap("default", "a", "1")) {
		t.Errorf("read back as %v, %v", back, err)
	}
}
