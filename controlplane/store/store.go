// Package store keeps API objects in etcd and serves reads and watches from a cache in front of it.
//
// One etcd watch feeds the caches of all resources. A cache holds a sorted index of the current objects and a
// ring of recent events, so a watch can resume from a resourceVersion. Objects in a cache are immutable; their
// encodings are made once for each format, when first asked for, and shared.
//
// # Keys
//
// An object lives at PREFIX/GROUP/PLURAL[/NAMESPACE]/NAME, the group of core kinds being "core"; the claims of
// kind.Kind.Claims at PREFIX-claims/CLAIM, each with its holder's key as value. Values are what kube-apiserver
// stores: "k8s\x00" and a runtime.Unknown with the protobuf message, or JSON for types without protobuf. A
// resourceVersion is etcd's mod revision.
//
// # Order and freshness
//
// The watch is on the whole key space (an external etcd must let the server read all of it), so every revision of
// etcd shows in it, and the caches are current up to a revision as soon as the watch has delivered it. A consistent
// read asks etcd for its revision (a read index, no disk) and waits until the caches have it. A write returns when the
// caches have it and watches its event, or a second after etcd has it when the feed cannot follow: reads with LastWrite
// as lower bound see the own writes of this process even then, without asking etcd, and Update and Delete of an object
// that this process has just written start from that write.
package store

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const (
	defaultPrefix = "/registry"
	defaultEvents = 4096
	// defaultCompact is both how often history is dropped and how old it then is at least.
	defaultCompact = 5 * time.Minute
	// encodingBytes bounds the encodings that all items together keep.
	encodingBytes = 32 << 20
)

// Options of a Store.
type Options struct {
	Prefix string // of all keys; "/registry" when empty
	// Events is how many recent events each resource keeps for watches that resume; 0 means a default.
	Events int
	// Transform encrypts and decrypts stored values at rest; nil means none.
	Transform Transformer
	// CompactEvery is how often history that is older than this is dropped from etcd; 0 means five minutes,
	// a negative value never.
	CompactEvery time.Duration
	Log          *slog.Logger // nil: slog.Default
}

// Transformer changes stored bytes on their way to and from etcd; context is the object's key, to bind a value
// to its place. resource is the resource with its group, such as "secrets" or "deployments.apps". The methods
// may run at once and must not keep or change what they are given.
type Transformer interface {
	ToStorage(resource, key string, plain []byte) ([]byte, error)
	// FromStorage also says whether the value is stale, such as encrypted with an old key: it is then written
	// anew by the next update, even when that changes nothing.
	FromStorage(resource, key string, stored []byte) (plain []byte, stale bool, err error)
}

// Store is safe for concurrent use. Errors are apierrors: NotFound, AlreadyExists, Conflict, ResourceExpired
// (410), Timeout, and so on; and ClaimError. Reads and watches wait for the first fill of the caches.
type Store struct {
	client    *clientv3.Client
	prefix    string // ends in a slash
	claims    string // ends in a slash
	transform Transformer
	compact   time.Duration
	log       *slog.Logger

	caches  atomic.Pointer[caches]
	events  int        // that a cache keeps
	filling sync.Mutex // held while caches are filled from etcd, so that the feed and Add do not do it at once

	encodings *encodings
	own       *ownWrites
	leases    *leases
	progress  progress
	current   currentRevision

	running atomic.Bool
	failed  atomic.Pointer[error] // why the feed does not follow etcd; nil: it does
	readyAt int64                 // revision from which on the store is open to readers; the feed's own
	ready   chan struct{}         // closed by Run after the first fill
	done    chan struct{}         // closed by Run when it returns
}

// New returns a store of these kinds on an etcd client, which stays the caller's. Nothing is read before Run.
// It panics when two kinds are the same resource, which is a defect of the program.
func New(client *clientv3.Client, kinds []*kind.Kind, opts Options) *Store {
	if opts.Prefix == "" {
		opts.Prefix = defaultPrefix
	}
	if opts.Events <= 0 {
		opts.Events = defaultEvents
	}
	if opts.CompactEvery == 0 {
		opts.CompactEvery = defaultCompact
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	prefix := strings.TrimSuffix(opts.Prefix, "/")
	s := &Store{
		client:    client,
		prefix:    prefix + "/",
		claims:    prefix + "-claims/",
		transform: opts.Transform,
		compact:   opts.CompactEvery,
		log:       opts.Log,
		events:    opts.Events,
		encodings: newEncodings(encodingBytes),
		own:       newOwnWrites(),
		leases:    newLeases(client),
		ready:     make(chan struct{}),
		done:      make(chan struct{}),
	}
	s.current.client = client
	all := &caches{byResource: map[schema.GroupResource]*cache{}, byPath: map[string]*cache{}}
	for _, k := range kinds {
		gr := k.GroupResource()
		if all.byResource[gr] != nil {
			panic(fmt.Sprintf("resource %s is in the store twice", gr))
		}
		c := newCache(s, k, opts.Events)
		all.byResource[gr] = c
		all.byPath[c.path] = c
	}
	s.caches.Store(all)
	return s
}

// Ready is closed once every cache has been filled for the first time.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// Wait returns once the cache of k holds revision or newer.
func (s *Store) Wait(ctx context.Context, k *kind.Kind, revision int64) error {
	if _, err := s.cacheOf(k); err != nil {
		return err
	}
	return s.progress.wait(ctx, s.done, revision)
}

// LastWrite returns the resourceVersion of the last write to k that this process was answered for, "0" when
// there was none. Passed as lower bound to Get or List it makes them see all own writes, without asking etcd.
func (s *Store) LastWrite(k *kind.Kind) string {
	c, err := s.cacheOf(k)
	if err != nil {
		return "0"
	}
	return strconv.FormatInt(c.written.Load(), 10)
}

// CaughtUp waits until the cache of k holds every write to it that this process was answered for.
func (s *Store) CaughtUp(ctx context.Context, k *kind.Kind) error {
	c, err := s.cacheOf(k)
	if err != nil {
		return err
	}
	return s.progress.wait(ctx, s.done, c.written.Load())
}

// Ping returns once etcd has answered for its newest revision, as every consistent read has it do.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.current.get(ctx)
	return err
}

// Revision returns the revision up to which the caches are current.
func (s *Store) Revision() int64 { return s.progress.revision() }

func (s *Store) cacheOf(k *kind.Kind) (*cache, error) {
	c := s.caches.Load().byResource[k.GroupResource()]
	if c == nil {
		return nil, unknownResource(k.GroupResource())
	}
	return c, nil
}

// Key names an object in its resource.
type Key = types.NamespacedName

// KeysOf returns what begins the etcd keys of a resource's objects, for what looks after stored values.
func (s *Store) KeysOf(gr schema.GroupResource) string { return s.prefix + pathOf(gr) + "/" }
