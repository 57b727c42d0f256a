// Package store keeps API objects in etcd and serves reads and watches from a cache in front of it.
//
// One etcd watch for the whole prefix feeds the caches of all resources. A cache holds a sorted index of the
// current objects and a ring of recent events, so a watch can resume from a resourceVersion. Objects in a
// cache are immutable; their encodings are made once for each format, when first asked for, and shared.
package store

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// Format is an encoding of objects on the wire.
type Format int

// The formats.
const (
	JSON Format = iota
	Protobuf
)

// Item is one immutable version of an object with its shared encodings. The object's resourceVersion is set.
type Item struct {
	Object   kind.Object
	Revision int64
	// encodings: private
}

// Encoded returns the object's bytes without TypeMeta: for JSON an object literal that has neither "kind" nor
// "apiVersion", for Protobuf the bare message (the caller wraps it in runtime.Unknown for get and watch). The
// bytes are shared and must not be changed.
func (i *Item) Encoded(f Format) ([]byte, error) { panic("to be written") }

// Options of a Store.
type Options struct {
	Prefix string // of all keys; "/registry" when empty
	// Events is how many recent events each resource keeps for watches that resume; 0 means a default.
	Events int
	// Transform encrypts and decrypts stored values at rest; nil means none.
	Transform Transformer
}

// Transformer changes stored bytes on their way to and from etcd; context is the object's key, to bind a value
// to its place.
type Transformer interface {
	ToStorage(resource, key string, plain []byte) ([]byte, error)
	FromStorage(resource, key string, stored []byte) (plain []byte, stale bool, err error)
}

// Store is safe for concurrent use. Errors are apierrors: NotFound, AlreadyExists, Conflict, ResourceExpired
// (410), Timeout, and so on.
type Store struct{}

// New returns a store of these kinds on an etcd client, which stays the caller's. Nothing is read before Run.
func New(client *clientv3.Client, kinds []*kind.Kind, opts Options) *Store { panic("to be written") }

// Run feeds the caches until ctx ends; it lists and resumes by itself when etcd was away or compacted.
func (s *Store) Run(ctx context.Context) error { panic("to be written") }

// Ready is closed once every cache has been filled for the first time.
func (s *Store) Ready() <-chan struct{} { panic("to be written") }

// Create writes a new object. ttl 0 means that it does not expire.
func (s *Store) Create(ctx context.Context, k *kind.Kind, obj kind.Object, ttl time.Duration) (*Item, error) {
	panic("to be written")
}

// Get reads one object. atLeast is the client's resourceVersion parameter: "" means as current as etcd, "0"
// whatever the cache has, a number not older than it.
func (s *Store) Get(ctx context.Context, k *kind.Kind, namespace, name, atLeast string) (*Item, error) {
	panic("to be written")
}

// Update changes an object by compare-and-swap. It calls change with the cached version first and again with
// the newest when that was stale; change must not alter what it gets, and may be called several times. An
// object from change that encodes to the same bytes is not written and the current item is returned.
func (s *Store) Update(ctx context.Context, k *kind.Kind, namespace, name string, change func(cur *Item) (kind.Object, error)) (*Item, error) {
	panic("to be written")
}

// Delete removes an object when check (may be nil) allows it, by compare-and-swap as Update, and returns its last state.
func (s *Store) Delete(ctx context.Context, k *kind.Kind, namespace, name string, check func(cur *Item) error) (*Item, error) {
	panic("to be written")
}

// ListQuery is what a list asks for.
type ListQuery struct {
	Namespace string
	// Match is called for each object; nil means all. A list's limit counts matching objects.
	Match func(kind.Object) bool
	// Index and Value use a key of kind.Kind.Indexes instead of a scan.
	Index, Value string

	ResourceVersion      string // as metav1.ListOptions
	ResourceVersionMatch string
	Limit                int64
	Continue             string
}

// List is one page.
type List struct {
	Items     []*Item
	Revision  int64  // resourceVersion of the list
	Continue  string // token of the next page, "" at the end
	Remaining *int64 // objects behind this page when known
}

// List reads a page; all pages of one list come from one consistent snapshot, or end in 410 when it is gone.
func (s *Store) List(ctx context.Context, k *kind.Kind, q ListQuery) (*List, error) {
	panic("to be written")
}

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
	Namespace, Name   string // "" means all
	Match             func(kind.Object) bool
	ResourceVersion   string // as metav1.ListOptions
	SendInitialEvents bool
	AllowBookmarks    bool
	BookmarkEvery     time.Duration // 0 means a minute
	Buffer            int           // events that may wait; a watcher that falls behind is ended with 410
}

// Watch is one open watch. Events is closed by the store when the watch ends; Err then says why (nil: Stop or
// context; otherwise an apierror such as ResourceExpired to send to the client).
type Watch struct{}

// Events delivers batches: all that was ready when the reader came. A batch belongs to the reader.
func (w *Watch) Events() <-chan []Event { panic("to be written") }

// Err returns why Events was closed.
func (w *Watch) Err() error { panic("to be written") }

// Stop ends the watch; it may be called several times and at any time.
func (w *Watch) Stop() { panic("to be written") }

// Watch opens a watch.
func (s *Store) Watch(ctx context.Context, k *kind.Kind, q WatchQuery) (*Watch, error) {
	panic("to be written")
}

// Wait returns once the cache of k holds revision or newer.
func (s *Store) Wait(ctx context.Context, k *kind.Kind, revision int64) error { panic("to be written") }

// ClaimError says that another object holds a claim of this one (kind.Kind.Claims); nothing was written.
type ClaimError struct {
	Claim  string
	Holder string // key of the object that holds it
}

func (e *ClaimError) Error() string { return "cannot claim " + e.Claim + ": held by " + e.Holder }

// Key names an object in its resource.
type Key = types.NamespacedName
