package store

import (
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// loadWorkers decode at once during the first fill.
const loadWorkers = 4

// loader sorts what the first fill reads into what each cache gets.
type loader struct {
	store *Store

	mu  sync.Mutex
	got map[*cache]*loaded
}

type loaded struct {
	items  []*Item
	broken map[string]error
}

func newLoader(s *Store) *loader {
	l := &loader{store: s, got: map[*cache]*loaded{}}
	for _, c := range s.caches.Load().byPath {
		l.got[c] = &loaded{broken: map[string]error{}}
	}
	return l
}

// add decodes a page. It may run several times at once.
func (l *loader) add(page []*mvccpb.KeyValue) {
	found := map[*cache]*loaded{}
	for _, kv := range page {
		c, key := l.store.locate(kv.Key)
		if l.got[c] == nil {
			continue
		}
		if found[c] == nil {
			found[c] = &loaded{broken: map[string]error{}}
		}
		item, err := l.store.decode(c, kv)
		if err != nil {
			l.store.log.Error("cannot read an object; its resource is not served until it is mended", "error", err)
			found[c].broken[key] = err
			continue
		}
		found[c].items = append(found[c].items, item)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for c, f := range found {
		l.got[c].items = append(l.got[c].items, f.items...)
		for key, err := range f.broken {
			l.got[c].broken[key] = err
		}
	}
}
