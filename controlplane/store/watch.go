package store

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const (
	defaultBuffer   = 4096
	defaultBookmark = time.Minute
	// initialBatch is how many initial events are delivered at a time.
	initialBatch = 512
	// keptEvents is how many events a watch keeps the memory for. Most batches are of one or a few, and there are as many
	// watches as there are clients: made anew each time, they are what a server with many makes most garbage of.
	keptEvents = 16
)

// EventType is the type of a watch event.
type EventType int

// The event types. Bookmark carries only a revision (and InitialEventsEnd when it ends the initial events).
const (
	Added EventType = iota
	Modified
	Deleted
	Bookmark
)

// Event is a change as a watch with a filter sees it: an object that begins to match is Added, one that ceases
// to is Deleted (with its last matching state and the revision of the change).
type Event struct {
	Type             EventType
	Item             *Item // nil for Bookmark
	Prev             *Item // what it replaced; nil for Added
	Revision         int64
	InitialEventsEnd bool
}

// WatchQuery is what a watch asks for.
type WatchQuery struct {
	Namespace, Name string // "" means all
	// Index and Value, a key of kind.Kind.Indexes and a value, narrow the watch to objects that have it. The
	// watch is then not even woken for others, which matters when there are many, as a watch a node.
	Index, Value      string
	Match             func(kind.Object) bool
	ResourceVersion   string // as metav1.ListOptions
	SendInitialEvents bool
	AllowBookmarks    bool
	BookmarkEvery     time.Duration // 0 means a minute
	Buffer            int           // events that may wait; a watcher that falls behind is ended with 410
}

// Watch is one open watch. It has no goroutine of its own: its one reader calls Next until that says that the
// watch is over, and Stop at the end. Err then says why it ended (nil: Stop or context; otherwise an apierror such
// as ResourceExpired to send to the client).
type Watch struct {
	cache  *cache
	query  WatchQuery
	bucket bucket
	values func(kind.Object) []string // of the index, nil without
	from   int64                      // events up to here are not wanted

	// The reader's own: see watchread.go.
	start    *tree  // what the watch begins with and is still to be delivered; nil: all is
	position string // key behind which start goes on
	sent     int64  // revision up to which everything is delivered
	bookmark *time.Timer
	taken    []*change // what was taken from queue last, empty: the queue after the next
	batch    []Event   // what Next returned last, or its memory

	wake  chan struct{} // capacity 1: there is something in queue
	ended chan struct{} // closed by end

	mu    sync.Mutex
	queue []*change
	over  bool
	err   error
}

// bucket is a group of watchers that the same changes may concern.
type bucket struct {
	index string // "" for the groups by name
	value string // of the index; or a key, or a namespace with a slash, or "" for all
}

// eachBucket calls f for the groups that a change may concern.
func (c *cache) eachBucket(ch *change, f func(bucket)) {
	key := ch.key()
	f(bucket{})
	f(bucket{value: key})
	if i := strings.IndexByte(key, '/'); i >= 0 {
		f(bucket{value: key[:i+1]})
	}
	for name, values := range c.kind.Indexes {
		for _, it := range []*Item{ch.item, ch.prev} {
			if it == nil {
				continue
			}
			for _, v := range values(it.Object) {
				f(bucket{index: name, value: v})
			}
		}
	}
}

func (c *cache) bucketOf(q *WatchQuery) bucket {
	switch {
	case q.Index != "":
		return bucket{index: q.Index, value: q.Value}
	case q.Name != "" && (q.Namespace != "" || !c.kind.Namespaced):
		return bucket{value: keyOf(c.kind, q.Namespace, q.Name)}
	}
	return bucket{value: c.prefixOf(q.Namespace)}
}

// Err returns why the watch ended.
func (w *Watch) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Stop ends the watch and lets go of what it holds; it may be called several times and at any time.
func (w *Watch) Stop() {
	w.end(nil)
	w.cache.unregister(w)
}

// end ends the watch; the first reason counts. It does not wait and takes no lock but the watch's own.
func (w *Watch) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.over, w.err = true, err
		close(w.ended)
	}
}

// push queues changes, which it does not keep the slice of. It never waits: when too many are queued already, the
// watch ends.
func (w *Watch) push(changes []*change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return
	}
	if len(w.queue)+len(changes) > w.query.Buffer {
		w.over, w.err = true, apierrors.NewResourceExpired("The watch was too slow to read its events and has been ended.")
		close(w.ended)
		return
	}
	w.queue = append(w.queue, changes...)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take empties the queue. What it returns is the reader's until it is given back by its next call.
func (w *Watch) take() []*change {
	clear(w.taken)
	if cap(w.taken) > keptEvents {
		w.taken = nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taken, w.queue = w.queue, w.taken[:0]
	return w.taken
}

// Watch opens a watch.
//
// Without a resourceVersion it begins with the objects that there are, as Added events, as current as etcd;
// with "0" as the cache has them; with a number it resumes behind that revision, or ends in 410 at once when
// the events since are not kept any more. With SendInitialEvents it always begins with the objects, not older
// than the resourceVersion, and a bookmark with InitialEventsEnd follows them if bookmarks are allowed.
func (s *Store) Watch(ctx context.Context, k *kind.Kind, q WatchQuery) (*Watch, error) {
	c, err := s.cacheOf(k)
	if err != nil {
		return nil, err
	}
	w, err := c.newWatch(q)
	if err != nil {
		return nil, err
	}
	initial := q.SendInitialEvents || q.ResourceVersion == "" || q.ResourceVersion == "0"
	var from int64
	if initial {
		err = s.reach(ctx, q.ResourceVersion)
	} else if from, err = parseRevision(q.ResourceVersion); err == nil {
		err = s.waitReady(ctx)
	}
	if err != nil {
		return nil, err
	}
	if initial {
		w.start, w.sent, err = c.register(w)
	} else {
		err = c.resume(w, from)
		w.sent = from
	}
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (c *cache) newWatch(q WatchQuery) (*Watch, error) {
	if q.Buffer <= 0 {
		q.Buffer = defaultBuffer
	}
	if q.BookmarkEvery <= 0 {
		q.BookmarkEvery = defaultBookmark
	}
	w := &Watch{
		cache:  c,
		bucket: c.bucketOf(&q),
		query:  q,
		wake:   make(chan struct{}, 1),
		ended:  make(chan struct{}),
	}
	if q.Index != "" {
		if w.values = c.kind.Indexes[q.Index]; w.values == nil {
			return nil, apierrors.NewBadRequest("cannot watch " + c.name + ": no index " + q.Index)
		}
	}
	return w, nil
}

// register adds a watch that begins with the current objects, which it returns.
func (c *cache) register(w *Watch) (*tree, int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dropped {
		return nil, 0, unknownResource(c.kind.GroupResource())
	}
	if err := c.whole(); err != nil {
		return nil, 0, err
	}
	c.add(w)
	return c.freeze().tree, c.current(), nil
}

// resume adds a watch that goes on behind a revision. Events up to it that are still to come, because the client
// has seen more than this cache, are left out when they come.
func (c *cache) resume(w *Watch, from int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dropped {
		return unknownResource(c.kind.GroupResource())
	}
	if from < c.floor {
		return apierrors.NewResourceExpired(watchExpired)
	}
	missed := c.events.len()
	for missed > 0 && c.events.at(missed-1).rev > from {
		missed--
		w.queue = append(w.queue, c.events.at(missed))
	}
	slices.Reverse(w.queue)
	w.from = from
	c.add(w)
	return nil
}

func (c *cache) add(w *Watch) {
	set := c.watchers[w.bucket]
	if set == nil {
		set = map[*Watch]struct{}{}
		c.watchers[w.bucket] = set
	}
	set[w] = struct{}{}
}

func (c *cache) unregister(w *Watch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.watchers[w.bucket], w)
	if len(c.watchers[w.bucket]) == 0 {
		delete(c.watchers, w.bucket)
	}
}
