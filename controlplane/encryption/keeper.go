package encryption

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// pageSize is how many values are read at once, each of 1 MiB at most.
	pageSize = 100
	// retryAfter is how long a rewriting waits that etcd was away for.
	retryAfter = 5 * time.Second
	// settled is how long ago a key must have been retired to be removed: a write that took it just before takes
	// no longer than a request may, a minute.
	settled = 2 * time.Minute
)

// KeyStatus says of one key what is stored under it.
type KeyStatus struct {
	ID string `json:"id"`
	// Primary is the key that writes.
	Primary bool `json:"primary"`
	// Retired is when it ceased to be.
	Retired *time.Time `json:"retired,omitempty"`
	Values  int        `json:"values"`
}

// Status says which keys are in use.
type Status struct {
	Keys []KeyStatus `json:"keys"`
	// Clear is how many values are not encrypted.
	Clear int `json:"clear"`
}

// Stale is how many values are to be written anew.
func (s *Status) Stale() int {
	n := s.Clear
	for _, k := range s.Keys {
		if !k.Primary {
			n += k.Values
		}
	}
	return n
}

// Keeper changes the keys of a server that runs, and writes anew what is under older ones.
//
// A rotation can be cut off anywhere: the new key is in the file before it is used, each value is written anew by
// one transaction that fails when somebody else wrote it, and Run goes on where the last one ended.
type Keeper struct {
	keys   *Keys
	client *clientv3.Client
	// prefixes are what begins the etcd keys of each resource.
	prefixes map[string]string
	log      *slog.Logger
	now      func() time.Time
	mu       sync.Mutex    // held while keys are changed
	kick     chan struct{} // wakes Run; one place is enough, since it looks at all values
}

// NewKeeper returns a keeper of these resources; prefixes says what begins the etcd keys of each.
func NewKeeper(keys *Keys, c *clientv3.Client, prefixes map[string]string, log *slog.Logger) *Keeper {
	return &Keeper{keys: keys, client: c, prefixes: prefixes, log: log, now: time.Now, kick: make(chan struct{}, 1)}
}

// Run writes stale values anew, now and after each rotation, until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	for {
		wake := (<-chan time.Time)(nil)
		n, err := k.rewrite(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			k.log.Warn("cannot write all secrets under the new key; trying again", "error", err)
			wake = time.After(retryAfter)
		case n > 0:
			k.log.Info("secrets written under the primary key", "values", n)
			continue // once more, for what was being written meanwhile
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-k.kick:
		case <-wake:
		}
	}
}

// value is one that is stored; key is the id of what it is under, or empty.
type value struct {
	resource, key string
	name          string
	data          []byte
	revision      int64
	lease         int64
}

// each calls f for every value.
func (k *Keeper) each(ctx context.Context, f func(value) error) error {
	for resource, prefix := range k.prefixes {
		end := clientv3.GetPrefixRangeEnd(prefix)
		for from := prefix; ; {
			page, err := k.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(pageSize))
			if err != nil {
				return fmt.Errorf("cannot read stored values of %s: %w", resource, err)
			}
			for _, kv := range page.Kvs {
				if err := f(value{resource, keyOf(kv.Value), string(kv.Key), kv.Value, kv.ModRevision, kv.Lease}); err != nil {
					return err
				}
				from = string(kv.Key) + "\x00"
			}
			if !page.More {
				break
			}
		}
	}
	return nil
}

// keyOf returns the id of the key that a value is under; empty means none.
func keyOf(stored []byte) string {
	rest, ok := bytes.CutPrefix(stored, []byte(prefix))
	if !ok {
		return ""
	}
	id, _, _ := bytes.Cut(rest, []byte(":"))
	return string(id)
}

// rewrite writes every stale value anew and says how many there were.
func (k *Keeper) rewrite(ctx context.Context) (int, error) {
	n := 0
	err := k.each(ctx, func(v value) error {
		plain, stale, err := k.keys.FromStorage(v.resource, v.name, v.data)
		if err != nil || !stale {
			return err
		}
		sealed, err := k.keys.ToStorage(v.resource, v.name, plain)
		if err != nil {
			return err
		}
		n++
		_, err = k.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(v.name), "=", v.revision)).
			Then(clientv3.OpPut(v.name, string(sealed), clientv3.WithLease(clientv3.LeaseID(v.lease)))).Commit()
		if err != nil {
			return fmt.Errorf("cannot write %s: %w", v.name, err)
		}
		return nil // a value that somebody else wrote meanwhile is looked at again in the next pass
	})
	return n, err
}

// Status counts what is under which key.
func (k *Keeper) Status(ctx context.Context) (*Status, error) {
	counts := map[string]int{}
	if err := k.each(ctx, func(v value) error { counts[v.key]++; return nil }); err != nil {
		return nil, err
	}
	s := &Status{Clear: counts[""]}
	for i, fk := range k.keys.ring.Load().file {
		ks := KeyStatus{ID: fk.ID, Primary: i == 0, Values: counts[fk.ID]}
		if !fk.Retired.IsZero() {
			ks.Retired = &fk.Retired
		}
		s.Keys = append(s.Keys, ks)
	}
	return s, nil
}

// Rotate puts a new key in front and has Run write everything anew under it.
func (k *Keeper) Rotate(ctx context.Context) (*Status, error) {
	k.mu.Lock()
	err := k.keys.rotate(k.now())
	k.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case k.kick <- struct{}{}:
	default:
	}
	return k.Status(ctx)
}

// Prune removes the keys under which nothing is stored any more.
func (k *Keeper) Prune(ctx context.Context) (*Status, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, err := k.Status(ctx)
	if err != nil {
		return nil, err
	}
	unused := map[string]bool{}
	for _, key := range s.Keys {
		if !key.Primary && key.Values == 0 && key.Retired != nil && k.now().Sub(*key.Retired) > settled {
			unused[key.ID] = true
		}
	}
	if len(unused) == 0 {
		return s, nil
	}
	if err := k.keys.drop(unused); err != nil {
		return nil, err
	}
	return k.Status(ctx)
}

// The paths by which administrators reach a keeper.
const (
	StatusPath = "/fairlead/encryption"
	RotatePath = "/fairlead/encryption/rotate"
	PrunePath  = "/fairlead/encryption/prune"
)

// Paths returns the handlers of a keeper, for the API server to serve to whom roles let use them.
func (k *Keeper) Paths() map[string]http.Handler {
	return map[string]http.Handler{
		StatusPath: k.serve(http.MethodGet, k.Status),
		RotatePath: k.serve(http.MethodPost, k.Rotate),
		PrunePath:  k.serve(http.MethodPost, k.Prune),
	}
}

func (k *Keeper) serve(method string, do func(context.Context) (*Status, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			http.Error(w, "use "+method, http.StatusMethodNotAllowed)
			return
		}
		status, err := do(r.Context())
		if err != nil {
			k.log.Error("cannot look after encryption keys", "path", r.URL.Path, "error", err)
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(status)
	})
}
