package store

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"weak"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// Format is an encoding of objects on the wire.
type Format int

// The formats.
const (
	JSON Format = iota
	Protobuf
	formats
)

// Item is one immutable version of an object with its shared encodings. The object's resourceVersion is set,
// its TypeMeta is empty. Others may make an Item of an object that is not stored, as a dry run answers with; its
// encodings are then its own.
type Item struct {
	Object   kind.Object
	Revision int64

	key   string           // NAMESPACE/NAME, or NAME
	marks labelMarks       // of the object's labels
	lease clientv3.LeaseID // 0: does not expire
	stale bool             // to be written anew at the next update

	view    atomic.Pointer[view]
	shared  *encodings // nil when not made by a store
	mu      sync.Mutex
	encoded [formats][]byte
}

// newItem takes over obj. The caller must be the only one who knows it.
func (s *Store) newItem(key string, obj kind.Object, revision int64) *Item {
	obj.SetResourceVersion(strconv.FormatInt(revision, 10))
	return &Item{Object: obj, Revision: revision, key: key, marks: marksOf(obj.GetLabels()), shared: s.encodings}
}

// view is an item in another version. An item keeps the one that was asked for last.
type view struct {
	kind *kind.Kind
	item *Item
}

// View returns the item in the version of k if it was made by SetView, else nil.
func (i *Item) View(k *kind.Kind) *Item {
	if v := i.view.Load(); v != nil && v.kind == k {
		return v.item
	}
	return nil
}

// SetView returns the item in the version of k, whose object obj is, and keeps it.
func (i *Item) SetView(k *kind.Kind, obj kind.Object) *Item {
	v := i
	if obj != i.Object {
		v = &Item{Object: obj, Revision: i.Revision, key: i.key, shared: i.shared}
	}
	i.view.Store(&view{k, v})
	return v
}

// at returns a copy with another revision: what a watcher gets when the object is gone or ceased to match.
func (i *Item) at(revision int64) *Item {
	obj := shallowCopy(i.Object)
	obj.SetResourceVersion(strconv.FormatInt(revision, 10))
	return &Item{Object: obj, Revision: revision, key: i.key, marks: i.marks, lease: i.lease, shared: i.shared}
}

// shallowCopy returns an object whose own fields, metadata's included, may be set; what they point to is shared.
func shallowCopy(obj kind.Object) kind.Object {
	v := reflect.New(reflect.TypeOf(obj).Elem())
	v.Elem().Set(reflect.ValueOf(obj).Elem())
	return v.Interface().(kind.Object)
}

// Encoded returns the object's bytes without TypeMeta: for JSON an object literal that has neither "kind" nor
// "apiVersion", for Protobuf the bare message (the caller wraps it in runtime.Unknown for get and watch). The
// bytes are shared and must not be changed. They are made when first asked for, once however many ask at the
// same time, and kept while the item is among those that were encoded last.
func (i *Item) Encoded(f Format) ([]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if b := i.encoded[f]; b != nil {
		return b, nil
	}
	b, err := encode(i.Object, f, newBytes)
	if err != nil {
		return nil, fmt.Errorf("cannot encode %T %s: %w", i.Object, i.key, err)
	}
	i.encoded[f] = b
	if i.shared != nil {
		i.shared.added(i, f, len(b))
	}
	return b, nil
}

// EncodedOnce is Encoded for one who reads many objects in passing: bytes that no one has asked for yet are not kept, so that
// they do not drive out those of objects that are read often. Protobuf is then made in memory from alloc, which must return
// that many bytes; they are the caller's.
func (i *Item) EncodedOnce(f Format, alloc func(n int) []byte) ([]byte, error) {
	i.mu.Lock()
	b := i.encoded[f]
	i.mu.Unlock()
	if b != nil {
		return b, nil
	}
	b, err := encode(i.Object, f, alloc)
	if err != nil {
		return nil, fmt.Errorf("cannot encode %T %s: %w", i.Object, i.key, err)
	}
	return b, nil
}

func encode(obj kind.Object, f Format, alloc func(n int) []byte) ([]byte, error) {
	if f == Protobuf {
		m, ok := obj.(protoMessage)
		if !ok {
			return nil, fmt.Errorf("the type has no protobuf form")
		}
		b := alloc(m.Size())
		n, err := m.MarshalToSizedBuffer(b)
		return b[:n], err
	}
	if !obj.GetObjectKind().GroupVersionKind().Empty() {
		obj = shallowCopy(obj)
		obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
	// As Kubernetes' serializer writes it: HTML characters escaped, no line end.
	return json.Marshal(obj)
}

// protoMessage is what the API types of k8s.io/api implement.
type protoMessage interface {
	runtime.ProtobufMarshaller
	Marshal() ([]byte, error)
	MarshalToSizedBuffer([]byte) (int, error)
	Unmarshal([]byte) error
}

func newBytes(n int) []byte { return make([]byte, n) }

// encodings bounds the bytes of encodings that items keep: the oldest go first. It holds items weakly, so an
// old version of an object does not live longer for having been encoded.
type encodings struct {
	max int

	mu    sync.Mutex
	bytes int
	queue fifo[encodedItem]
}

type encodedItem struct {
	item   weak.Pointer[Item]
	format Format
	size   int
}

func newEncodings(max int) *encodings { return &encodings{max: max} }

// added is called with the item's lock held. The locks of other items are only tried, so that two that are
// encoded at once can not wait for each other; an item in use keeps its bytes for another round.
func (e *encodings) added(i *Item, f Format, size int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queue.push(encodedItem{weak.Make(i), f, size})
	e.bytes += size
	for n := e.queue.len(); e.bytes > e.max && n > 1; n-- {
		old := e.queue.pop()
		item := old.item.Value()
		if item == i || item != nil && !item.mu.TryLock() {
			e.queue.push(old)
			continue
		}
		e.bytes -= old.size
		if item != nil {
			item.encoded[old.format] = nil
			item.mu.Unlock()
		}
	}
}
