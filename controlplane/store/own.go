package store

import (
	"bytes"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// ownWrites hands the objects that this process writes to the feed, so that they are not decoded when they come
// back by the watch, and the cache and the answer of the write share one item and its encodings.
type ownWrites struct {
	mu    sync.Mutex
	byKey map[string][]*ownWrite
}

// ownWrite is a write from before its transaction until the watch has brought it or it has failed.
type ownWrite struct {
	value []byte // as stored
	item  *Item  // nil until the revision is known: from the transaction or the watch, whichever is first
	make  func(rev int64) *Item
}

func newOwnWrites() *ownWrites { return &ownWrites{byKey: map[string][]*ownWrite{}} }

// begin announces a write. obj belongs to the store from now on.
func (o *ownWrites) begin(s *Store, key, within string, value []byte, obj kind.Object, lease clientv3.LeaseID) *ownWrite {
	w := &ownWrite{value: value}
	w.make = func(rev int64) *Item {
		item := s.newItem(within, obj, rev)
		item.lease = lease
		return item
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.byKey[key] = append(o.byKey[key], w)
	return w
}

// done returns the item of a write that etcd has accepted. The watch takes it off the list.
func (o *ownWrites) done(w *ownWrite, rev int64) *Item {
	o.mu.Lock()
	defer o.mu.Unlock()
	if w.item == nil {
		w.item = w.make(rev)
	}
	return w.item
}

// failed takes a write off the list that was not accepted, or of which that is not known. It returns the item
// when the watch has brought it all the same.
func (o *ownWrites) failed(key string, w *ownWrite) *Item {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.remove(key, w)
	return w.item
}

// take returns the item of an own write that the watch brings, or nil.
func (o *ownWrites) take(kv *mvccpb.KeyValue) *Item {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := string(kv.Key)
	for _, w := range o.byKey[key] {
		// Of two equal values at the same key, one may have a revision already that is not this one's.
		if !bytes.Equal(w.value, kv.Value) || w.item != nil && w.item.Revision != kv.ModRevision {
			continue
		}
		if w.item == nil {
			w.item = w.make(kv.ModRevision)
		}
		o.remove(key, w)
		return w.item
	}
	return nil
}

// newest returns the newest own write of a key that the watch has not brought yet, or nil.
func (o *ownWrites) newest(key string) *Item {
	o.mu.Lock()
	defer o.mu.Unlock()
	var item *Item
	for _, w := range o.byKey[key] {
		if w.item != nil && (item == nil || w.item.Revision > item.Revision) {
			item = w.item
		}
	}
	return item
}

// forget drops writes that the feed has jumped over by reading everything anew.
func (o *ownWrites) forget(rev int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, writes := range o.byKey {
		for _, w := range writes {
			if w.item != nil && w.item.Revision <= rev {
				o.remove(key, w)
			}
		}
	}
}

// remove is called with the lock held. It makes a new slice: callers range over the old one.
func (o *ownWrites) remove(key string, w *ownWrite) {
	var rest []*ownWrite
	for _, x := range o.byKey[key] {
		if x != w {
			rest = append(rest, x)
		}
	}
	if rest == nil {
		delete(o.byKey, key)
		return
	}
	o.byKey[key] = rest
}
