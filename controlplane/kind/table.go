package kind

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Table is a set of kinds by type, by resource and by kind. Those that it is made of stay; others, which are
// defined at run time, come and go by Set and Remove. It is safe for concurrent use, and what it returns is a
// snapshot that later changes do not touch.
type Table struct {
	now atomic.Pointer[snapshot]

	mu      sync.Mutex // orders changes
	fixed   []*Kind
	defined map[schema.GroupResource][]*Kind
	changed chan struct{} // closed by the next change, which makes a new one
}

// snapshot is the content of a table between two changes.
type snapshot struct {
	number     int64
	stored     []*Kind
	served     []*Kind
	byStored   map[schema.GroupResource]*Kind
	versions   map[schema.GroupResource][]*Kind // by the stored kind's resource
	byResource map[schema.GroupVersionResource]*Kind
	byKind     map[schema.GroupVersionKind]*Kind
	byType     map[reflect.Type]*Kind
}

// NewTable indexes kinds, further versions among them. It panics on a duplicate, which is a defect of the program.
func NewTable(kinds ...*Kind) *Table {
	t := &Table{fixed: kinds, defined: map[schema.GroupResource][]*Kind{}, changed: make(chan struct{})}
	t.now.Store(t.index())
	return t
}

// Copy returns a table with the same kinds that changes by itself.
func (t *Table) Copy() *Table {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := &Table{fixed: t.fixed, defined: maps.Clone(t.defined), changed: make(chan struct{})}
	c.now.Store(c.index())
	return c
}

// index makes the snapshot of the table's state. The caller holds the lock or is the only one who knows it.
func (t *Table) index() *snapshot {
	s := &snapshot{
		byStored:   map[schema.GroupResource]*Kind{},
		versions:   map[schema.GroupResource][]*Kind{},
		byResource: map[schema.GroupVersionResource]*Kind{},
		byKind:     map[schema.GroupVersionKind]*Kind{},
		byType:     map[reflect.Type]*Kind{},
	}
	if last := t.now.Load(); last != nil {
		s.number = last.number + 1
	}
	for _, k := range t.fixed {
		if !s.add(k) {
			panic(fmt.Sprintf("kind %s is in the table twice", k.GroupVersionKind))
		}
		s.byType[reflect.TypeOf(k.New())] = k
	}
	resources := slices.SortedFunc(maps.Keys(t.defined), func(a, b schema.GroupResource) int { return strings.Compare(a.String(), b.String()) })
	for _, gr := range resources {
		for _, k := range t.defined[gr] {
			s.add(k)
		}
		slices.SortStableFunc(s.versions[gr], func(a, b *Kind) int { return a.Place - b.Place })
	}
	return s
}

// add says whether the kind's names were free. A kind that is built in keeps its name from those that are defined later.
func (s *snapshot) add(k *Kind) bool {
	if s.byKind[k.GroupVersionKind] != nil || s.byResource[k.GroupVersionResource()] != nil {
		return false
	}
	if k.Stored == nil {
		if s.byStored[k.GroupResource()] != nil {
			return false
		}
		s.stored = append(s.stored, k)
		s.byStored[k.GroupResource()] = k
	}
	stored := k.StoredKind().GroupResource()
	s.versions[stored] = append(s.versions[stored], k)
	if k.Unserved {
		return true
	}
	s.served = append(s.served, k)
	s.byKind[k.GroupVersionKind] = k
	s.byResource[k.GroupVersionResource()] = k
	return true
}

// Kinds returns the stored kinds, one a resource, in the order of discovery: what to go through to see every
// object once. The slice must not be changed.
func (t *Table) Kinds() []*Kind { return t.now.Load().stored }

// Served returns the kinds in every version that is served, in the order of discovery. The slice must not be changed.
func (t *Table) Served() []*Kind { return t.now.Load().served }

// ByGroupResource returns the stored kind of a resource, or nil.
func (t *Table) ByGroupResource(gr schema.GroupResource) *Kind { return t.now.Load().byStored[gr] }

// Versions returns the kinds in which the objects of k exist, k and those that are not served among them, also under
// another group, in the order in which they are defined. The slice must not be changed.
func (t *Table) Versions(k *Kind) []*Kind {
	return t.now.Load().versions[k.StoredKind().GroupResource()]
}

// ByResource returns the kind that a path names, or nil.
func (t *Table) ByResource(gvr schema.GroupVersionResource) *Kind {
	return t.now.Load().byResource[gvr]
}

// ByKind returns the kind of that name, or nil.
func (t *Table) ByKind(gvk schema.GroupVersionKind) *Kind { return t.now.Load().byKind[gvk] }

// ByType returns the kind whose Go type obj has, or nil. Kinds that are defined at run time share one type and are
// not found by it.
func (t *Table) ByType(obj any) *Kind { return t.now.Load().byType[reflect.TypeOf(obj)] }

// Number counts changes: what was made of the table is current as long as it stays the same.
func (t *Table) Number() int64 { return t.now.Load().number }

// Changed returns a channel that the next change closes. Ask for it before reading what it is to tell of.
func (t *Table) Changed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed
}

// Set adds a resource that is defined at run time, or replaces it: its stored kind and its further versions. It
// panics when the table is that of Builtin.
func (t *Table) Set(resource schema.GroupResource, kinds ...*Kind) {
	t.change(func() { t.defined[resource] = kinds })
}

// Remove takes a resource out that Set added.
func (t *Table) Remove(resource schema.GroupResource) {
	t.change(func() { delete(t.defined, resource) })
}

func (t *Table) change(f func()) {
	if t == Builtin() {
		panic("the table of built-in kinds can not be changed: Copy it")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
	t.now.Store(t.index())
	close(t.changed)
	t.changed = make(chan struct{})
}
