package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

const (
	// loadPage is how many keys one request of the first fill reads.
	loadPage = 2000
	// replay is how many revisions of history the first fill goes back to.
	replay = 2000
	// A feed that fails is tried again after this, doubled each time up to the second.
	retryFirst, retryMost = 50 * time.Millisecond, 5 * time.Second
	ageEvery              = 30 * time.Second
)

// everything is the key that a watch or a range from it on covers all keys with.
const everything = "\x00"

// errCompacted says that the history the feed wanted to resume from is gone.
var errCompacted = errors.New("history was compacted")

// Run feeds the caches until ctx ends; it lists and resumes by itself when etcd was away or compacted. When it
// returns, every watch has ended. A store runs once.
func (s *Store) Run(ctx context.Context) error {
	if !s.running.CompareAndSwap(false, true) {
		return errors.New("cannot run the store: it runs or has run already")
	}
	defer close(s.done)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { s.feed(ctx); return nil })
	g.Go(func() error { s.keep(ctx); return nil })
	return g.Wait()
}

func (s *Store) feed(ctx context.Context) {
	wait := retryFirst
	for ctx.Err() == nil {
		from, now, err := s.span(ctx)
		if err == nil {
			err = s.load(ctx, from)
		}
		if err == nil {
			s.own.forget(from)
			wait = retryFirst
			err = s.follow(ctx, from, now)
		}
		if ctx.Err() != nil {
			return
		}
		s.fail(fmt.Errorf("cannot follow etcd: %w", err))
		s.log.Warn("cannot follow etcd, reading everything anew", "error", err)
		pause(ctx, wait)
		wait = min(2*wait, retryMost)
	}
}

// Health returns nil while the caches follow etcd, else why they do not. A failure that the client of an external
// etcd bridges by itself does not show here.
func (s *Store) Health() error {
	select {
	case <-s.done:
		return stopped()
	case <-s.ready:
	default:
		return unavailable("the caches have yet to be filled")
	}
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// fail sets what Health says; nil: all is well.
func (s *Store) fail(err error) {
	switch {
	case err != nil:
		s.failed.Store(&err)
	case s.failed.Load() != nil:
		s.failed.Store(nil)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// span returns the revision to fill the caches from and etcd's current one. The first is some way back, as far as
// history is kept, so that watches of before a restart can resume: what happened since comes by the watch.
func (s *Store) span(ctx context.Context) (from, now int64, err error) {
	resp, err := s.client.Get(ctx, everything, clientv3.WithCountOnly())
	if err != nil {
		return 0, 0, fmt.Errorf("cannot read the current revision: %w", err)
	}
	now = resp.Header.Revision
	for back := int64(replay); back > 0; back /= 2 {
		from = max(1, now-back)
		_, err := s.client.Get(ctx, everything, clientv3.WithCountOnly(), clientv3.WithRev(from))
		if err == nil {
			return from, now, nil
		}
		if !errors.Is(err, rpctypes.ErrCompacted) {
			return 0, 0, fmt.Errorf("cannot look into the history: %w", err)
		}
	}
	return now, now, nil
}

// load fills every cache as of a revision.
func (s *Store) load(ctx context.Context, rev int64) error {
	s.filling.Lock()
	defer s.filling.Unlock()
	l := newLoader(s)
	g, ctx := errgroup.WithContext(ctx)
	pages := make(chan []*mvccpb.KeyValue, 1) // closed by the reader; one page is read while one is decoded
	g.Go(func() error {
		defer close(pages)
		return s.readAll(ctx, s.prefix, rev, pages)
	})
	for range loadWorkers {
		g.Go(func() error {
			for page := range pages {
				l.add(page)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for c, got := range l.got {
		c.replace(got.items, got.broken, rev)
	}
	return nil
}

// readAll sends all keys below a prefix in pages, as they were at a revision.
func (s *Store) readAll(ctx context.Context, prefix string, rev int64, pages chan<- []*mvccpb.KeyValue) error {
	for from := prefix; ; {
		opts := []clientv3.OpOption{
			clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)), clientv3.WithLimit(loadPage), clientv3.WithRev(rev),
		}
		resp, err := s.client.Get(ctx, from, opts...)
		if err != nil {
			return fmt.Errorf("cannot list %s: %w", prefix, err)
		}
		select {
		case pages <- resp.Kvs:
		case <-ctx.Done():
			return ctx.Err()
		}
		if !resp.More || len(resp.Kvs) == 0 {
			return nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

// follow applies what happens after from, the revision that the caches were filled at, and opens the store to
// readers once they have come to now. It returns when the history that it needs is compacted; other failures it
// resumes from.
func (s *Store) follow(ctx context.Context, from, now int64) error {
	s.readyAt = now
	s.advance(from)
	wait := retryFirst
	for {
		err := s.watchOnce(ctx, func() {
			wait = retryFirst
			s.fail(nil)
		})
		if ctx.Err() != nil || errors.Is(err, errCompacted) {
			return err
		}
		s.fail(fmt.Errorf("cannot watch etcd: %w", err))
		s.log.Warn("cannot watch etcd, resuming", "error", err)
		pause(ctx, wait)
		wait = min(2*wait, retryMost)
	}
}

func (s *Store) watchOnce(ctx context.Context, alive func()) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	watch := s.client.Watch(ctx, everything, clientv3.WithFromKey(), clientv3.WithRev(s.progress.revision()+1),
		clientv3.WithProgressNotify(), clientv3.WithCreatedNotify())
	for resp := range watch {
		if resp.CompactRevision != 0 {
			return fmt.Errorf("%w up to revision %d", errCompacted, resp.CompactRevision)
		}
		if err := resp.Err(); err != nil {
			return err
		}
		alive()
		s.applyResponse(&resp)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.New("the watch was closed")
}

// applyResponse applies whole revisions: etcd does not split one between responses unless asked to.
func (s *Store) applyResponse(resp *clientv3.WatchResponse) {
	if resp.IsProgressNotify() {
		s.advance(resp.Header.Revision)
		return
	}
	if len(resp.Events) == 0 {
		return
	}
	byCache := map[*cache][]update{}
	for _, ev := range resp.Events {
		if c, key := s.locate(ev.Kv.Key); c != nil {
			byCache[c] = append(byCache[c], s.read(c, key, ev))
		}
	}
	for c, updates := range byCache {
		c.apply(updates)
	}
	s.advance(resp.Events[len(resp.Events)-1].Kv.ModRevision)
}

// advance says that all caches are current up to a revision. Only the feed calls it.
func (s *Store) advance(rev int64) {
	s.progress.set(rev)
	if rev < s.readyAt {
		return
	}
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
}

// locate returns the cache of a key and the key within it; nil for keys that are not of objects of this store.
func (s *Store) locate(key []byte) (*cache, string) {
	rest, ok := strings.CutPrefix(string(key), s.prefix)
	if !ok {
		return nil, ""
	}
	group, rest, _ := strings.Cut(rest, "/")
	plural, name, ok := strings.Cut(rest, "/")
	if !ok {
		return nil, ""
	}
	return s.caches.Load().byPath[group+"/"+plural], name
}

// read turns an event into an update; what this process wrote itself need not be decoded again.
func (s *Store) read(c *cache, key string, ev *clientv3.Event) update {
	u := update{rev: ev.Kv.ModRevision, key: key}
	if ev.Type == clientv3.EventTypeDelete {
		return u
	}
	if u.item = s.own.take(ev.Kv); u.item != nil {
		return u
	}
	u.item, u.broken = s.decode(c, ev.Kv)
	if u.broken != nil {
		s.log.Error("cannot read an object; its resource is not served until it is mended", "error", u.broken)
	}
	return u
}
