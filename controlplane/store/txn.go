package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// write is one change of one object and of its claims, made in one transaction of etcd.
type write struct {
	store *Store
	cache *cache
	key   string
	value []byte
	obj   kind.Object
	swap  int64 // the revision that the object must have; 0: it must not exist
	ttl   time.Duration
	lease clientv3.LeaseID // kept when ttl is 0

	added, removed []string        // claims
	mine           map[string]bool // added claims that this object turned out to hold already
}

// commit writes the object. It returns the new item; or, when the object was not as swap says, what is in its
// place, nil for nothing.
func (w *write) commit(ctx context.Context) (*Item, *mvccpb.KeyValue, error) {
	for {
		resp, item, err := w.try(ctx)
		if err != nil || item != nil {
			return item, nil, err
		}
		existing := firstOf(resp.Responses[0])
		if w.swapped(existing) {
			return nil, existing, nil
		}
		// The object is as it should be, so it was a claim.
		if err := w.resolve(ctx, resp); err != nil {
			return nil, nil, err
		}
	}
}

// try runs the transaction once. Both results are nil only with an error.
func (w *write) try(ctx context.Context) (*clientv3.TxnResponse, *Item, error) {
	s := w.store
	var opts []clientv3.OpOption
	for retried := false; ; retried = true {
		lease := w.lease
		if w.ttl > 0 {
			var err error
			if lease, err = s.leases.get(ctx, w.ttl, retried); err != nil {
				return nil, nil, apiError("grant a lease for", w.key, err)
			}
		}
		opts = opts[:0]
		if lease != 0 {
			opts = append(opts, clientv3.WithLease(lease))
		}
		own := s.own.begin(s, w.key, w.key[len(s.prefix)+len(w.cache.path)+1:], w.value, w.obj, lease)
		resp, err := s.client.Txn(ctx).If(w.conditions()...).Then(w.puts(opts)...).Else(w.reads()...).Commit()
		if err == nil && resp.Succeeded {
			item := s.own.done(own, resp.Header.Revision)
			w.seen(ctx, item.Revision)
			return resp, item, nil
		}
		item := s.own.failed(w.key, own)
		if err == nil {
			return resp, nil, nil
		}
		if item != nil && ambiguous(err) {
			// The answer was lost, but the watch has brought the write.
			w.seen(ctx, item.Revision)
			return nil, item, nil
		}
		if leaseGone(err) && !retried {
			// A lease that was kept from before is gone with the object that hung on it.
			if w.ttl == 0 {
				w.lease = 0
			}
			continue
		}
		return nil, nil, apiError("write", w.key, err)
	}
}

func (w *write) conditions() []clientv3.Cmp {
	conds := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(w.key), "=", w.swap)}
	for _, claim := range w.added {
		key := w.store.claims + claim
		if w.mine[claim] {
			conds = append(conds, clientv3.Compare(clientv3.Value(key), "=", w.holder()))
		} else {
			conds = append(conds, clientv3.Compare(clientv3.CreateRevision(key), "=", 0))
		}
	}
	return conds
}

func (w *write) puts(opts []clientv3.OpOption) []clientv3.Op {
	ops := []clientv3.Op{clientv3.OpPut(w.key, string(w.value), opts...)}
	for _, claim := range w.added {
		ops = append(ops, clientv3.OpPut(w.store.claims+claim, w.holder(), opts...))
	}
	return append(ops, w.releases()...)
}

// releases gives up claims, but only those that are this object's: what a kind claims may differ between releases.
func (w *write) releases() []clientv3.Op {
	var ops []clientv3.Op
	for _, claim := range w.removed {
		key := w.store.claims + claim
		ops = append(ops, clientv3.OpTxn(
			[]clientv3.Cmp{clientv3.Compare(clientv3.Value(key), "=", w.holder())},
			[]clientv3.Op{clientv3.OpDelete(key)}, nil))
	}
	return ops
}

// reads returns the object first, then each added claim.
func (w *write) reads() []clientv3.Op {
	ops := []clientv3.Op{clientv3.OpGet(w.key)}
	for _, claim := range w.added {
		ops = append(ops, clientv3.OpGet(w.store.claims+claim))
	}
	return ops
}

// remove deletes the object and returns the revision of that; or, when the object was not as swap says, 0 and
// what is in its place.
func (w *write) remove(ctx context.Context) (int64, *mvccpb.KeyValue, error) {
	ops := append([]clientv3.Op{clientv3.OpDelete(w.key)}, w.releases()...)
	resp, err := w.store.client.Txn(ctx).If(w.conditions()...).Then(ops...).Else(w.reads()...).Commit()
	if err != nil {
		return 0, nil, apiError("delete", w.key, err)
	}
	if !resp.Succeeded {
		return 0, firstOf(resp.Responses[0]), nil
	}
	w.seen(ctx, resp.Header.Revision)
	return resp.Header.Revision, nil, nil
}

// seenWithin bounds how long a write waits for the caches: etcd has it, so it is answered even while the feed begins anew.
const seenWithin = time.Second

// seen ends a write that etcd has accepted: it waits until the caches have it and watches have its event to send. So who
// wrote reads it from whatever resourceVersion, and who writes one object after the other does not get ahead of those who
// are to be told of them. Before the caches are filled for the first time there is nobody to be told.
func (w *write) seen(ctx context.Context, rev int64) {
	w.cache.wrote(rev)
	select {
	case <-w.store.ready:
	default:
		return
	}
	if w.store.progress.revision() >= rev {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, seenWithin)
	defer cancel()
	_ = w.store.progress.wait(ctx, w.store.done, rev) // the write stands either way
}

func (w *write) swapped(existing *mvccpb.KeyValue) bool {
	if existing == nil {
		return w.swap != 0
	}
	return existing.ModRevision != w.swap
}

// holder is what a claim's value says: the object's key without the prefix.
func (w *write) holder() string { return strings.TrimPrefix(w.key, w.store.prefix) }

// resolve looks at the claims that stood in the way. It returns nil when the write should be tried again: they
// have gone meanwhile, are this object's own, or belong to no object any more.
func (w *write) resolve(ctx context.Context, resp *clientv3.TxnResponse) error {
	for i, claim := range w.added {
		kv := firstOf(resp.Responses[1+i])
		if kv == nil {
			delete(w.mine, claim)
			continue
		}
		holder := string(kv.Value)
		if holder == w.holder() && w.swap != 0 {
			if w.mine == nil {
				w.mine = map[string]bool{}
			}
			w.mine[claim] = true
			continue
		}
		freed, err := w.store.freeOrphan(ctx, claim, holder)
		if err != nil {
			return err
		}
		if !freed {
			return &ClaimError{Claim: claim, Holder: holder}
		}
	}
	return nil
}

// freeOrphan removes a claim whose holder does not exist. Transactions leave none behind; an object that was
// removed from etcd by other means does.
func (s *Store) freeOrphan(ctx context.Context, claim, holder string) (bool, error) {
	key := s.claims + claim
	resp, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.Value(key), "=", holder), clientv3.Compare(clientv3.CreateRevision(s.prefix+holder), "=", 0)).
		Then(clientv3.OpDelete(key)).
		Else(clientv3.OpGet(key)).Commit()
	if err != nil {
		return false, apiError("free the claim", claim, err)
	}
	if resp.Succeeded {
		s.log.Warn("freed a claim whose holder does not exist", "claim", claim, "holder", holder)
		return true, nil
	}
	// Held by another than a moment ago, or by no one: the next try will tell.
	kv := firstOf(resp.Responses[0])
	return kv == nil || string(kv.Value) != holder, nil
}

// difference returns what is only in after and what is only in before.
func difference(before, after []string) (added, removed []string) {
	for _, a := range after {
		if !slices.Contains(before, a) && !slices.Contains(added, a) {
			added = append(added, a)
		}
	}
	for _, b := range before {
		if !slices.Contains(after, b) && !slices.Contains(removed, b) {
			removed = append(removed, b)
		}
	}
	return added, removed
}

// wrote remembers the revision of a write for LastWrite.
func (c *cache) wrote(rev int64) {
	for {
		old := c.written.Load()
		if old >= rev || c.written.CompareAndSwap(old, rev) {
			return
		}
	}
}

func firstOf(op *etcdserverpb.ResponseOp) *mvccpb.KeyValue {
	if kvs := op.GetResponseRange().GetKvs(); len(kvs) > 0 {
		return kvs[0]
	}
	return nil
}

func encodeError(c *cache, key string, err error) error {
	return apierrors.NewInternalError(fmt.Errorf("cannot encode %s %s: %w", c.name, key, err))
}
