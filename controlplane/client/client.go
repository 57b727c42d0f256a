// Package client is how controllers, the scheduler and the server's own loops read and write the API without a
// network in between: reads come from the watch cache, writes take the same admission and validation as any
// client's. The implementation is registry.Client; Fake in package clienttest passes the same suite.
package client

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// Query narrows a List. The zero Query is everything.
type Query struct {
	Namespace string
	Labels    labels.Selector // nil: all
	Index     string          // a key of kind.Kind.Indexes, with Value
	Value     string
}

// Event is one change of one object. Old is what the cache held before, nil for Added; Object is the last
// state for Deleted. Neither may be changed.
type Event struct {
	Type   watch.EventType // Added, Modified or Deleted
	Object kind.Object
	Old    kind.Object
}

// Client reads and writes objects of every kind. Objects that it returns from reads are shared with the cache
// and must not be changed: DeepCopy first. Errors are apierrors (k8s.io/apimachinery/pkg/api/errors). All
// methods may run at once.
//
// Reads are served from the cache and are never older than the last write that this process was answered for,
// so a controller needs no expectations of its own writes.
type Client interface {
	Get(ctx context.Context, k *kind.Kind, namespace, name string) (kind.Object, error)
	List(ctx context.Context, k *kind.Kind, q Query) ([]kind.Object, error)

	Create(ctx context.Context, k *kind.Kind, obj kind.Object) (kind.Object, error)
	// Update replaces the object, or with subresource "status" its status; a resourceVersion in obj is a
	// precondition, an empty one is not.
	Update(ctx context.Context, k *kind.Kind, obj kind.Object, subresource string) (kind.Object, error)
	Patch(ctx context.Context, k *kind.Kind, namespace, name string, t types.PatchType, data []byte, subresource string) (kind.Object, error)
	Delete(ctx context.Context, k *kind.Kind, namespace, name string, opts metav1.DeleteOptions) error
	// Bind sets a pod's node as POST pods/NAME/binding does; it is a conflict when the pod has one already.
	Bind(ctx context.Context, namespace, pod string, uid types.UID, node string) error
	// Evict removes a pod as POST pods/NAME/eviction does: 429 when a disruption budget forbids it.
	Evict(ctx context.Context, namespace, pod string) error

	// Watch calls handle for every object that exists (as Added) and then for every change, in order, one call
	// at a time, from one goroutine, until ctx ends. synced is closed after the objects that exist. handle must
	// be quick: enqueue, not work. A watcher that falls behind is resumed with a fresh comparison and misses no
	// final state. Watch returns when ctx ends; or nil when the kind, having been defined at run time, is served
	// no more: its objects have then been told of as Deleted.
	Watch(ctx context.Context, k *kind.Kind, synced chan<- struct{}, handle func(Event)) error
}

// Get returns the object of T's kind with that name.
func Get[T kind.Object](ctx context.Context, c Client, namespace, name string) (T, error) {
	obj, err := c.Get(ctx, kind.Of[T](), namespace, name)
	return as[T](obj, err)
}

// List returns the objects of T's kind that q selects.
func List[T kind.Object](ctx context.Context, c Client, q Query) ([]T, error) {
	objs, err := c.List(ctx, kind.Of[T](), q)
	if err != nil {
		return nil, err
	}
	out := make([]T, len(objs))
	for i, o := range objs {
		out[i] = o.(T)
	}
	return out, nil
}

// Create stores a new object and returns it as stored.
func Create[T kind.Object](ctx context.Context, c Client, obj T) (T, error) {
	got, err := c.Create(ctx, kind.Of[T](), obj)
	return as[T](got, err)
}

// Update replaces an object and returns it as stored.
func Update[T kind.Object](ctx context.Context, c Client, obj T) (T, error) {
	got, err := c.Update(ctx, kind.Of[T](), obj, "")
	return as[T](got, err)
}

// UpdateStatus replaces an object's status and returns the object as stored.
func UpdateStatus[T kind.Object](ctx context.Context, c Client, obj T) (T, error) {
	got, err := c.Update(ctx, kind.Of[T](), obj, "status")
	return as[T](got, err)
}

// Delete removes an object of T's kind.
func Delete[T kind.Object](ctx context.Context, c Client, namespace, name string, opts metav1.DeleteOptions) error {
	return c.Delete(ctx, kind.Of[T](), namespace, name, opts)
}

func as[T kind.Object](obj kind.Object, err error) (T, error) {
	if err != nil {
		var zero T
		return zero, err
	}
	return obj.(T), nil
}
