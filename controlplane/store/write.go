package store

import (
	"bytes"
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// Create writes a new object. ttl 0 means that it does not expire. obj is the store's from here on; after an
// error that says for certain that nothing was written (all but Timeout, ServiceUnavailable and the context's)
// it is the caller's again.
func (s *Store) Create(ctx context.Context, k *kind.Kind, obj kind.Object, ttl time.Duration) (*Item, error) {
	c, err := s.cacheOf(k)
	if err != nil {
		return nil, err
	}
	key := s.keyOf(c, keyOf(k, obj.GetNamespace(), obj.GetName()))
	value, err := s.encode(c, key, obj)
	if err != nil {
		return nil, err
	}
	w := write{store: s, cache: c, key: key, value: value, obj: obj, ttl: ttl}
	if k.Claims != nil {
		w.added = k.Claims(obj)
	}
	item, existing, err := w.commit(ctx)
	if err == nil && existing != nil {
		return nil, apierrors.NewAlreadyExists(k.GroupResource(), obj.GetName())
	}
	return item, err
}

// Update changes an object by compare-and-swap. It calls change with the cached version first and again with
// the newest when that was stale; change must not alter what it gets, and may be called several times. What it
// returns is the store's from then on; an error that it returns for the newest version ends the update and is
// returned as it is. An object from change that encodes to the same bytes is not written and the current item
// is returned.
func (s *Store) Update(ctx context.Context, k *kind.Kind, namespace, name string, change func(cur *Item) (kind.Object, error)) (*Item, error) {
	c, err := s.cacheOf(k)
	if err != nil {
		return nil, err
	}
	return s.swap(ctx, c, namespace, name, func(cur *Item) (*Item, *mvccpb.KeyValue, error) {
		obj, err := change(cur)
		if err != nil {
			return nil, nil, refusal{err}
		}
		if obj == cur.Object && !cur.stale {
			return nil, nil, errUnchanged
		}
		return s.replace(ctx, c, cur, obj)
	})
}

// replace writes obj in the place of cur: the item, or what is there instead, or errUnchanged.
func (s *Store) replace(ctx context.Context, c *cache, cur *Item, obj kind.Object) (*Item, *mvccpb.KeyValue, error) {
	if obj == cur.Object {
		obj = shallowCopy(obj)
	}
	clearStored(obj)
	plain, err := marshal(c.kind, obj)
	if err != nil {
		return nil, nil, encodeError(c, cur.key, err)
	}
	if !cur.stale {
		was := shallowCopy(cur.Object)
		clearStored(was)
		if before, err := marshal(c.kind, was); err == nil && bytes.Equal(plain, before) {
			return nil, nil, errUnchanged
		}
	}
	key := s.keyOf(c, cur.key)
	value, err := s.toStorage(c, key, plain)
	if err != nil {
		return nil, nil, err
	}
	w := write{store: s, cache: c, key: key, value: value, obj: obj, swap: cur.Revision, lease: cur.lease}
	if c.kind.TTL != nil {
		w.ttl = c.kind.TTL(obj)
	}
	if c.kind.Claims != nil {
		w.added, w.removed = difference(c.kind.Claims(cur.Object), c.kind.Claims(obj))
	}
	return w.commit(ctx)
}

// Delete removes an object when check (may be nil) allows it, by compare-and-swap as Update, and returns its
// last state with the revision of its end. An error of check is returned as it is.
func (s *Store) Delete(ctx context.Context, k *kind.Kind, namespace, name string, check func(cur *Item) error) (*Item, error) {
	c, err := s.cacheOf(k)
	if err != nil {
		return nil, err
	}
	return s.swap(ctx, c, namespace, name, func(cur *Item) (*Item, *mvccpb.KeyValue, error) {
		if check != nil {
			if err := check(cur); err != nil {
				return nil, nil, refusal{err}
			}
		}
		w := write{store: s, cache: c, key: s.keyOf(c, cur.key), swap: cur.Revision}
		if k.Claims != nil {
			w.removed = k.Claims(cur.Object)
		}
		rev, existing, err := w.remove(ctx)
		if err != nil || rev == 0 {
			return nil, existing, err
		}
		return cur.at(rev), nil, nil
	})
}

// errUnchanged is what a try returns when there is nothing to write.
var errUnchanged = errors.New("nothing to change")

// refusal is an error of the caller's function, as opposed to one of the store.
type refusal struct{ error }

// swap runs try with the cached item and, as long as that turns out to be stale, with the newest. try returns the
// new item; or what etcd has in place of the item that it was given (without key: nothing); or an error.
func (s *Store) swap(ctx context.Context, c *cache, namespace, name string, try func(*Item) (*Item, *mvccpb.KeyValue, error)) (*Item, error) {
	within := keyOf(c.kind, namespace, name)
	notFound := apierrors.NewNotFound(c.kind.GroupResource(), name)
	cur, newest := s.known(c, within), false
	for {
		if cur == nil {
			var err error
			if cur, err = s.readNewest(ctx, c, within); err != nil {
				return nil, err
			}
			if newest = true; cur == nil {
				return nil, notFound
			}
		}
		item, existing, err := try(cur)
		refused, isRefusal := errors.AsType[refusal](err)
		switch {
		case err == nil && item != nil:
			return item, nil
		case err == nil:
			if existing == nil {
				return nil, notFound
			}
			if cur, err = s.decode(c, existing); err != nil {
				return nil, c.brokenError(err)
			}
			newest = true
		case !isRefusal && !errors.Is(err, errUnchanged):
			return nil, err
		default:
			// What the caller's function says counts only for the newest version.
			if !newest {
				now, rerr := s.readNewest(ctx, c, within)
				if rerr != nil {
					return nil, rerr
				}
				newest = true
				if now == nil || now.Revision != cur.Revision {
					if cur = now; cur == nil {
						return nil, notFound
					}
					continue
				}
			}
			if isRefusal {
				return nil, refused.error
			}
			return cur, nil
		}
	}
}

// known returns the newest version that this process knows of, or nil.
func (s *Store) known(c *cache, within string) *Item {
	item := s.own.newest(s.keyOf(c, within))
	cached, err := c.get(within)
	if err == nil && cached != nil && (item == nil || cached.Revision > item.Revision) {
		return cached
	}
	return item
}

// readNewest reads an object from etcd; nil when there is none.
func (s *Store) readNewest(ctx context.Context, c *cache, within string) (*Item, error) {
	key := s.keyOf(c, within)
	resp, err := s.client.Get(ctx, key)
	if err != nil {
		return nil, apiError("read", key, err)
	}
	if len(resp.Kvs) == 0 {
		return nil, nil
	}
	kv := resp.Kvs[0]
	if cached, err := c.get(within); err == nil && cached != nil && cached.Revision == kv.ModRevision {
		return cached, nil
	}
	item, err := s.decode(c, kv)
	if err != nil {
		return nil, c.brokenError(err)
	}
	return item, nil
}

func (s *Store) keyOf(c *cache, within string) string { return s.prefix + c.path + "/" + within }

// clearStored empties what is not part of the stored bytes.
func clearStored(obj kind.Object) {
	obj.SetResourceVersion("")
	if _, custom := obj.(*kind.Custom); !custom {
		obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
}

func (s *Store) encode(c *cache, key string, obj kind.Object) ([]byte, error) {
	clearStored(obj)
	plain, err := marshal(c.kind, obj)
	if err != nil {
		return nil, encodeError(c, key, err)
	}
	return s.toStorage(c, key, plain)
}

func (s *Store) toStorage(c *cache, key string, plain []byte) ([]byte, error) {
	if s.transform == nil {
		return plain, nil
	}
	value, err := s.transform.ToStorage(c.name, key, plain)
	if err != nil {
		return nil, encodeError(c, key, err)
	}
	return value, nil
}

// leaseGone says that a lease ended between its grant and its use.
func leaseGone(err error) bool { return errors.Is(err, rpctypes.ErrLeaseNotFound) }
