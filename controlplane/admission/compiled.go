package admission

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// compiled keeps what is made of the objects of a kind, each made once for each of its versions. It looks at the
// watch cache at each request, so that an object counts as soon as the cache has it; as long as nothing changed that
// is a comparison, and with no objects it is nothing.
type compiled[T any] struct {
	kind *kind.Kind
	// make must not fail: what is wrong with an object shows when it is used.
	make func(kind.Object) T

	mu   sync.Mutex // held while a new list is made
	last atomic.Pointer[compiledList[T]]
}

type compiledList[T any] struct {
	objects []kind.Object // in the order of names
	made    []T
}

// get returns what is made of the objects that are there, in the order of their names.
func (c *compiled[T]) get(ctx context.Context, from client.Client) ([]T, error) {
	objects, err := from.List(ctx, c.kind, client.Query{})
	if err != nil || len(objects) == 0 {
		return nil, err
	}
	if last := c.last.Load(); last != nil && slices.EqualFunc(last.objects, objects, sameVersion) {
		return last.made, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.last.Load()
	if last == nil {
		last = &compiledList[T]{}
	}
	next := &compiledList[T]{objects: objects, made: make([]T, len(objects))}
	for i, obj := range objects {
		if at := slices.IndexFunc(last.objects, func(had kind.Object) bool { return sameVersion(had, obj) }); at >= 0 {
			next.made[i] = last.made[at]
		} else {
			next.made[i] = c.make(obj)
		}
	}
	c.last.Store(next)
	return next.made, nil
}

func sameVersion(a, b kind.Object) bool {
	return a == b || a.GetUID() == b.GetUID() && a.GetResourceVersion() == b.GetResourceVersion()
}
