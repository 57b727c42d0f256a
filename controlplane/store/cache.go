package store

import (
	"fmt"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/third_party/forked/golang/btree"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const (
	treeDegree = 32
	// A snapshot that a continue token names is kept in memory for a while; after that, and for tokens from
	// another server, pages are read from etcd's history.
	maxPins = 8
	pinAge  = 2 * time.Minute
	// eventAge is how long an event is kept at most, however few there are.
	eventAge = 90 * time.Second
)

type tree = btree.BTree[*Item]

func less(a, b *Item) bool { return a.key < b.key }

// cache holds the current objects of one resource, its recent events and its watchers. The feed alone changes
// it; everyone reads it.
type cache struct {
	store *Store
	kind  *kind.Kind
	path  string // GROUP/PLURAL, as in keys
	name  string // PLURAL.GROUP, as in messages

	written atomic.Int64 // revision of this process's last answered write

	mu      sync.RWMutex
	tree    *tree
	rev     int64     // of the last change; the tree is that of every revision from here to progress
	frozen  *snapshot // of tree, made when someone needs one; nil after a change
	indexes map[string]map[string]map[string]*Item
	broken  map[string]error // objects that can not be read, by key

	events    fifo[*change]
	maxEvents int
	floor     int64 // events up to here are not in events any more

	// Of a cache that Add made: until its first fill, updates wait in pending; filled is that fill's revision, up
	// to which the feed brings what is known already.
	filling bool
	pending []update
	filled  int64
	dropped bool // no watch begins any more

	pins     fifo[pin]
	watchers map[bucket]map[*Watch]struct{}
}

// pin keeps a snapshot for continue tokens.
type pin struct {
	rev  int64
	snap *snapshot
	made time.Time
}

// change is one event in all that watchers with different filters need of it. It is immutable but for gone.
type change struct {
	rev  int64
	at   time.Time
	item *Item // nil: deleted
	prev *Item // nil: created

	once sync.Once
	gone *Item
}

// last returns the state before the change, at the change's revision: what a watcher that loses sight of the
// object gets. All watchers share it.
func (c *change) last() *Item {
	c.once.Do(func() { c.gone = c.prev.at(c.rev) })
	return c.gone
}

func (c *change) key() string {
	if c.item != nil {
		return c.item.key
	}
	return c.prev.key
}

func newCache(s *Store, k *kind.Kind, events int) *cache {
	c := &cache{
		store:     s,
		kind:      k,
		path:      pathOf(k.GroupResource()),
		name:      k.GroupResource().String(),
		maxEvents: events,
		watchers:  map[bucket]map[*Watch]struct{}{},
	}
	c.reset()
	return c
}

func (c *cache) reset() {
	c.tree, c.frozen = btree.New(treeDegree, less), nil
	c.indexes = map[string]map[string]map[string]*Item{}
	for name := range c.kind.Indexes {
		c.indexes[name] = map[string]map[string]*Item{}
	}
	c.broken = map[string]error{}
	c.events.clear()
	c.pins.clear()
	c.filled = 0
}

// replace sets the content at a revision. Watchers can not be told what happened in between and are ended.
func (c *cache) replace(items []*Item, broken map[string]error, rev int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset()
	for _, it := range items {
		c.tree.ReplaceOrInsert(it)
		c.index(it)
	}
	c.broken = broken
	c.rev, c.floor = rev, rev
	c.endWatches(apierrors.NewResourceExpired(watchExpired))
}

// update is what the feed has read for one key.
type update struct {
	rev    int64
	key    string
	item   *Item // nil: deleted, or broken
	broken error
}

// apply takes over the updates of one or more whole revisions and tells the watchers.
func (c *cache) apply(updates []update) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.take(updates)
}

// take is apply with the lock held.
func (c *cache) take(updates []update) {
	if c.filling {
		c.pending = append(c.pending, updates...)
		return
	}
	now := time.Now()
	c.frozen = nil
	told := map[bucket][]*change{}
	for _, u := range updates {
		if u.rev <= c.filled {
			continue
		}
		c.rev = u.rev
		if u.broken != nil {
			c.broken[u.key] = u.broken
		} else {
			delete(c.broken, u.key)
		}
		ch := c.put(u, now)
		if ch == nil {
			continue
		}
		c.remember(ch)
		if len(c.watchers) > 0 {
			c.eachBucket(ch, func(b bucket) {
				if list := told[b]; len(c.watchers[b]) > 0 && (len(list) == 0 || list[len(list)-1] != ch) {
					told[b] = append(list, ch)
				}
			})
		}
	}
	for b, changes := range told {
		for w := range c.watchers[b] {
			w.push(changes)
		}
	}
}

// put changes tree and indexes; nil means that nothing changed.
func (c *cache) put(u update, now time.Time) *change {
	var prev *Item
	var had bool
	if u.item == nil {
		prev, had = c.tree.Delete(&Item{key: u.key})
	} else {
		prev, had = c.tree.ReplaceOrInsert(u.item)
	}
	if had {
		c.unindex(prev)
	} else {
		prev = nil
	}
	if u.item != nil {
		c.index(u.item)
	} else if !had {
		return nil
	}
	return &change{rev: u.rev, at: now, item: u.item, prev: prev}
}

func (c *cache) remember(ch *change) {
	if c.events.len() >= c.maxEvents {
		c.floor = c.events.pop().rev
	}
	c.events.push(ch)
}

// age drops events and snapshots that are old.
func (c *cache) age(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.events.len() > 0 && now.Sub(c.events.at(0).at) > eventAge {
		c.floor = c.events.pop().rev
	}
	for c.pins.len() > 0 && now.Sub(c.pins.at(0).made) > pinAge {
		c.pins.pop()
	}
}

func (c *cache) index(it *Item) {
	for name, values := range c.kind.Indexes {
		byValue := c.indexes[name]
		for _, v := range values(it.Object) {
			if byValue[v] == nil {
				byValue[v] = map[string]*Item{}
			}
			byValue[v][it.key] = it
		}
	}
}

func (c *cache) unindex(it *Item) {
	for name, values := range c.kind.Indexes {
		byValue := c.indexes[name]
		for _, v := range values(it.Object) {
			// The new state may have taken the place already.
			if byValue[v][it.key] == it {
				delete(byValue[v], it.key)
			}
			if len(byValue[v]) == 0 {
				delete(byValue, v)
			}
		}
	}
}

// get returns the current item or nil.
func (c *cache) get(key string) (*Item, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if err := c.broken[key]; err != nil {
		return nil, c.brokenError(err)
	}
	it, _ := c.tree.Get(&Item{key: key})
	return it, nil
}

// snapshot returns the current objects, and the highest revision that they are those of.
func (c *cache) snapshot() (*snapshot, int64, error) {
	c.mu.RLock()
	t, rev, err := c.frozen, c.current(), c.whole()
	c.mu.RUnlock()
	if t != nil || err != nil {
		return t, rev, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.freeze(), c.current(), c.whole()
}

// freeze is called with the lock held for writing.
func (c *cache) freeze() *snapshot {
	if c.frozen == nil {
		c.frozen = &snapshot{tree: c.tree.Clone()}
	}
	return c.frozen
}

// current is called with the lock held. Updates reach the cache before progress is set, so what progress says
// is in the cache, and the cache may be ahead of it.
func (c *cache) current() int64 { return max(c.rev, c.store.progress.revision()) }

// whole says whether every object could be read.
func (c *cache) whole() error {
	for _, err := range c.broken {
		return c.brokenError(err)
	}
	return nil
}

func (c *cache) brokenError(err error) error {
	return apierrors.NewInternalError(fmt.Errorf("cannot read %s: %w", c.name, err))
}

// selected returns the objects with that value in an index, sorted.
func (c *cache) selected(index, value, namespace string) ([]*Item, int64, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	byValue, ok := c.indexes[index]
	if !ok {
		return nil, 0, apierrors.NewInternalError(fmt.Errorf("cannot list %s: no index %q", c.name, index))
	}
	prefix := c.prefixOf(namespace)
	out := make([]*Item, 0, len(byValue[value]))
	for key, it := range byValue[value] {
		if strings.HasPrefix(key, prefix) {
			out = append(out, it)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].key < out[j].key })
	return out, c.current(), c.whole()
}

// prefixOf returns what the keys of a namespace start with; "" is all.
func (c *cache) prefixOf(namespace string) string {
	if namespace == "" || !c.kind.Namespaced {
		return ""
	}
	return namespace + "/"
}

// pin keeps a snapshot for the continue tokens of a revision.
func (c *cache) pin(rev int64, t *snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.pins.len() {
		if c.pins.at(i).rev == rev {
			return
		}
	}
	if c.pins.len() >= maxPins {
		c.pins.pop()
	}
	c.pins.push(pin{rev, t, time.Now()})
}

// pinned returns the snapshot of a revision, or nil when it is not in memory.
func (c *cache) pinned(rev int64) *snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rev <= rev && rev <= c.current() {
		return c.freeze()
	}
	for i := range c.pins.len() {
		if p := c.pins.at(i); p.rev == rev {
			return p.snap
		}
	}
	return nil
}
