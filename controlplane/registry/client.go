package registry

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/store"
)

// Client is the server's own client: it acts as the server itself, without authorization, and takes the same
// admission and validation as everyone. It implements client.Client and is safe for concurrent use.
type Client struct {
	registry *Registry
	manager  string
}

var _ client.Client = (*Client)(nil)

// NewClient returns a client whose writes are owned by the field manager of that name.
func NewClient(r *Registry, manager string) *Client { return &Client{registry: r, manager: manager} }

// cached asks the store for whatever its cache has.
const cached = "0"

// Get implements client.Client.
func (c *Client) Get(ctx context.Context, k *kind.Kind, namespace, name string) (kind.Object, error) {
	if err := c.registry.store.CaughtUp(ctx, k.StoredKind()); err != nil {
		return nil, asStatus(err)
	}
	item, err := c.registry.Get(ctx, k, namespace, name, cached)
	if err != nil {
		return nil, err
	}
	return item.Object, nil
}

// List implements client.Client.
func (c *Client) List(ctx context.Context, k *kind.Kind, q client.Query) ([]kind.Object, error) {
	if err := c.registry.store.CaughtUp(ctx, k.StoredKind()); err != nil {
		return nil, asStatus(err)
	}
	sq := store.ListQuery{Namespace: q.Namespace, Index: q.Index, Value: q.Value, ResourceVersion: cached}
	if q.Labels != nil && !q.Labels.Empty() {
		sq.Match = func(o kind.Object) bool { return matchLabels(q.Labels, o) }
	}
	list, err := c.registry.store.List(ctx, k.StoredKind(), sq)
	if err != nil {
		return nil, asStatus(err)
	}
	if err := presentAll(ctx, k, list.Items); err != nil {
		return nil, err
	}
	out := make([]kind.Object, len(list.Items))
	for i, item := range list.Items {
		out[i] = item.Object
	}
	return out, nil
}

func (c *Client) write() Write { return Write{FieldManager: c.manager, Unconditional: true} }

// Create implements client.Client. obj stays the caller's.
func (c *Client) Create(ctx context.Context, k *kind.Kind, obj kind.Object) (kind.Object, error) {
	return objectOf(c.registry.Create(ctx, k, obj.DeepCopyObject().(kind.Object), c.write()))
}

// Update implements client.Client. obj stays the caller's.
func (c *Client) Update(ctx context.Context, k *kind.Kind, obj kind.Object, subresource string) (kind.Object, error) {
	item, _, err := c.registry.Update(ctx, k, obj, subresource, c.write())
	return objectOf(item, err)
}

// Patch implements client.Client.
func (c *Client) Patch(ctx context.Context, k *kind.Kind, namespace, name string, t types.PatchType, data []byte, subresource string) (kind.Object, error) {
	item, _, err := c.registry.Patch(ctx, k, namespace, name, t, data, subresource, c.write())
	return objectOf(item, err)
}

// Delete implements client.Client.
func (c *Client) Delete(ctx context.Context, k *kind.Kind, namespace, name string, opts metav1.DeleteOptions) error {
	_, _, err := c.registry.Delete(ctx, k, namespace, name, &opts, c.write())
	return err
}

// Bind implements client.Client.
func (c *Client) Bind(ctx context.Context, namespace, pod string, uid types.UID, node string) error {
	return c.registry.Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pod, UID: uid},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	}, c.write())
}

// Evict implements client.Client.
func (c *Client) Evict(ctx context.Context, namespace, pod string) error {
	return c.registry.Evict(ctx, namespace, pod, nil, c.write())
}

func objectOf(item *store.Item, err error) (kind.Object, error) {
	if err != nil {
		return nil, err
	}
	return item.Object, nil
}

// Watch implements client.Client. Objects come as they are stored, whatever the version of k.
func (c *Client) Watch(ctx context.Context, k *kind.Kind, synced chan<- struct{}, handle func(client.Event)) error {
	f := &follower{kind: k, known: map[store.Key]kind.Object{}, handle: handle, synced: synced}
	for ctx.Err() == nil {
		w, err := c.registry.store.Watch(ctx, k.StoredKind(), store.WatchQuery{
			ResourceVersion: cached, SendInitialEvents: true, AllowBookmarks: true, Buffer: followBuffer,
		})
		if apierrors.IsNotFound(err) {
			f.gone()
			return nil
		}
		if err != nil {
			if err := f.failed(ctx, c.registry, err); err != nil {
				return err
			}
			continue
		}
		f.follow(ctx, w)
		if err := w.Err(); err != nil && ctx.Err() == nil {
			c.registry.log.Debug("watch resumes with a comparison", "kind", k.Kind, "cause", err)
		}
	}
	return ctx.Err()
}

// followBuffer is how far a controller may fall behind before its watch is compared afresh.
const followBuffer = 1 << 16

// follower remembers what it has told its handler, so that a watch that was cut off is resumed without a gap.
type follower struct {
	kind    *kind.Kind
	known   map[store.Key]kind.Object
	handle  func(client.Event)
	synced  chan<- struct{}
	initial map[store.Key]bool // what the initial events named; nil once they ended
}

// follow hands on one watch until it ends.
func (f *follower) follow(ctx context.Context, w *store.Watch) {
	defer w.Stop()
	f.initial = map[store.Key]bool{}
	for batch := w.Next(ctx); batch != nil; batch = w.Next(ctx) {
		for _, e := range batch {
			f.event(e)
		}
	}
}

func (f *follower) event(e store.Event) {
	if e.Type == store.Bookmark {
		if e.InitialEventsEnd && f.initial != nil {
			f.endInitial()
		}
		return
	}
	obj := e.Item.Object
	key := store.Key{Namespace: obj.GetNamespace(), Name: obj.GetName()}
	old := f.known[key]
	if f.initial != nil {
		f.initial[key] = true
	}
	if e.Type == store.Deleted {
		delete(f.known, key)
		if old != nil {
			f.handle(client.Event{Type: watch.Deleted, Object: obj, Old: old})
		}
		return
	}
	f.known[key] = obj
	switch {
	case old == nil:
		f.handle(client.Event{Type: watch.Added, Object: obj})
	case old.GetUID() != obj.GetUID():
		f.handle(client.Event{Type: watch.Deleted, Object: old, Old: old})
		f.handle(client.Event{Type: watch.Added, Object: obj})
	case old.GetResourceVersion() != obj.GetResourceVersion():
		f.handle(client.Event{Type: watch.Modified, Object: obj, Old: old})
	}
}

// gone tells that all objects went with their kind.
func (f *follower) gone() {
	f.initial = map[store.Key]bool{}
	f.endInitial()
}

// endInitial tells of what went while no watch was open.
func (f *follower) endInitial() {
	for key, old := range f.known {
		if !f.initial[key] {
			delete(f.known, key)
			f.handle(client.Event{Type: watch.Deleted, Object: old, Old: old})
		}
	}
	f.initial = nil
	if f.synced != nil {
		close(f.synced)
		f.synced = nil
	}
}
