package store

import (
	"context"
	"maps"
	"net/http"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// caches are those of all resources. A value is immutable: Add and Drop put another in its place.
type caches struct {
	byResource map[schema.GroupResource]*cache // what is served
	byPath     map[string]*cache               // what is fed, by "GROUP/PLURAL" as in keys
}

// republish changes the caches. The caller holds filling.
func (s *Store) republish(f func(*caches)) {
	now := s.caches.Load()
	next := &caches{byResource: maps.Clone(now.byResource), byPath: maps.Clone(now.byPath)}
	f(next)
	s.caches.Store(next)
}

// Add begins to serve a resource, with what etcd holds of it. It waits for the first fill of the other caches.
// Of a resource that is served already nothing changes: a cache needs no more of its kind than its names, its
// scope and its indexes.
func (s *Store) Add(ctx context.Context, k *kind.Kind) (err error) {
	if err := s.waitReady(ctx); err != nil {
		return err
	}
	s.filling.Lock()
	defer s.filling.Unlock()
	gr := k.GroupResource()
	if s.caches.Load().byResource[gr] != nil {
		return nil
	}
	c := newCache(s, k, s.events)
	c.filling = true
	s.republish(func(all *caches) { all.byPath[c.path] = c })
	defer func() {
		if err != nil {
			s.republish(func(all *caches) { delete(all.byPath, c.path) })
		}
	}()
	// The feed knows of the cache by now, so it keeps for it what happens after this revision.
	rev, err := s.current.get(ctx)
	if err != nil {
		return apiError("read", "the current revision", err)
	}
	got, err := s.readCache(ctx, c, rev)
	if err != nil {
		return apiError("list", c.name, err)
	}
	c.fill(got, rev)
	s.republish(func(all *caches) { all.byResource[gr] = c })
	return nil
}

// readCache reads what etcd holds of one resource at a revision.
func (s *Store) readCache(ctx context.Context, c *cache, rev int64) (*loaded, error) {
	l := &loader{store: s, got: map[*cache]*loaded{c: {broken: map[string]error{}}}}
	g, ctx := errgroup.WithContext(ctx)
	pages := make(chan []*mvccpb.KeyValue, 1) // closed by the reader; one page is read while one is decoded
	g.Go(func() error {
		defer close(pages)
		return s.readAll(ctx, s.keyOf(c, ""), rev, pages)
	})
	g.Go(func() error {
		for page := range pages {
			l.add(page)
		}
		return nil
	})
	return l.got[c], g.Wait()
}

// Drop ceases to serve a resource and ends its watches. What etcd holds of it stays there.
func (s *Store) Drop(k *kind.Kind) {
	s.filling.Lock()
	defer s.filling.Unlock()
	gr := k.GroupResource()
	c := s.caches.Load().byResource[gr]
	if c == nil {
		return
	}
	s.republish(func(all *caches) {
		delete(all.byResource, gr)
		delete(all.byPath, c.path)
	})
	c.drop()
}

// EndWatches ends the watches of a resource without an error, so that clients open them anew: the objects that
// they have seen would look different now.
func (s *Store) EndWatches(k *kind.Kind) {
	if c := s.caches.Load().byResource[k.GroupResource()]; c != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.endWatches(nil)
	}
}

// fill sets the first content of a cache that Add has made, and goes on with what the feed brought meanwhile.
func (c *cache) fill(got *loaded, rev int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, it := range got.items {
		c.tree.ReplaceOrInsert(it)
		c.index(it)
	}
	c.broken = got.broken
	c.rev, c.floor, c.filled = rev, rev, rev
	pending := c.pending
	c.filling, c.pending = false, nil
	c.take(pending)
}

func (c *cache) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropped = true
	c.endWatches(nil)
}

// endWatches is called with the lock held.
func (c *cache) endWatches(err error) {
	for _, set := range c.watchers {
		for w := range set {
			w.end(err)
		}
	}
}

// unknownResource is the answer for a resource that is not in the store, or not any more.
func unknownResource(gr schema.GroupResource) error {
	err := withCode(http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource")
	err.ErrStatus.Details = &metav1.StatusDetails{Group: gr.Group, Kind: gr.Resource}
	return err
}
