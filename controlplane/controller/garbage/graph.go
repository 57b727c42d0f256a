package garbage

import (
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// place is where an object was last seen.
type place struct {
	resource schema.GroupResource
	loop.Key
}

// edge is an owner that an object names, and whether the object has that owner's deletion wait for its own.
type edge struct {
	owner  types.UID
	blocks bool
}

// graph knows which objects name which owners, as the watches say. Only objects with owners, and those that
// wait for their dependents, take memory. It decides what is looked at, never what is deleted: that is asked of
// the API, which is current.
type graph struct {
	mu         sync.Mutex
	places     map[types.UID]place
	owners     map[types.UID][]edge
	dependents map[types.UID]map[types.UID]struct{}
}

func newGraph() *graph {
	return &graph{places: map[types.UID]place{}, owners: map[types.UID][]edge{}, dependents: map[types.UID]map[types.UID]struct{}{}}
}

// note takes an event and returns the objects to look at.
func (g *graph) note(of schema.GroupResource, e client.Event) []loop.Key {
	g.mu.Lock()
	defer g.mu.Unlock()
	uid := e.Object.GetUID()
	if e.Type == watch.Deleted {
		return g.gone(uid)
	}
	refs := e.Object.GetOwnerReferences()
	waiting := waits(e.Object)
	before := g.owners[uid]
	if len(refs) == 0 && !waiting {
		g.unlink(uid)
		delete(g.places, uid)
		return g.unblocked(uid, before)
	}
	_, known := g.places[uid]
	g.places[uid] = place{of, loop.KeyOf(e.Object)}
	if changed := g.link(uid, refs); waiting || changed || !known {
		return append(g.unblocked(uid, before), loop.Key{Name: string(uid)})
	}
	return nil
}

// unblocked returns the owners that need wait for an object no longer, as before says that they did.
func (g *graph) unblocked(uid types.UID, before []edge) []loop.Key {
	var keys []loop.Key
	for _, e := range before {
		if _, ok := g.places[e.owner]; ok && e.blocks && !slices.Contains(g.owners[uid], e) {
			keys = append(keys, loop.Key{Name: string(e.owner)})
		}
	}
	return keys
}

// gone forgets an object; what it owned has lost an owner, and its owners may wait for it no longer.
func (g *graph) gone(uid types.UID) []loop.Key {
	var keys []loop.Key
	for d := range g.dependents[uid] {
		keys = append(keys, loop.Key{Name: string(d)})
	}
	before := g.owners[uid]
	g.unlink(uid)
	delete(g.places, uid)
	return append(keys, g.unblocked(uid, before)...)
}

func edgeOf(r metav1.OwnerReference) edge {
	return edge{r.UID, r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion}
}

// link records the owners of an object and says whether anything of them changed.
func (g *graph) link(uid types.UID, refs []metav1.OwnerReference) bool {
	if slices.EqualFunc(refs, g.owners[uid], func(r metav1.OwnerReference, e edge) bool { return edgeOf(r) == e }) {
		return false
	}
	g.unlink(uid)
	for _, r := range refs {
		g.owners[uid] = append(g.owners[uid], edgeOf(r))
		if g.dependents[r.UID] == nil {
			g.dependents[r.UID] = map[types.UID]struct{}{}
		}
		g.dependents[r.UID][uid] = struct{}{}
	}
	return true
}

func (g *graph) unlink(uid types.UID) {
	for _, e := range g.owners[uid] {
		delete(g.dependents[e.owner], uid)
		if len(g.dependents[e.owner]) == 0 {
			delete(g.dependents, e.owner)
		}
	}
	delete(g.owners, uid)
}

func (g *graph) find(uid types.UID) (place, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p, ok := g.places[uid]
	return p, ok
}

// waits says whether obj is being deleted and a finalizer of this controller holds it.
func waits(obj kind.Object) bool {
	return waitsForDependents(obj) || obj.GetDeletionTimestamp() != nil && slices.Contains(obj.GetFinalizers(), metav1.FinalizerOrphanDependents)
}

// waitsForDependents says whether obj is being deleted and goes when what it owns is gone.
func waitsForDependents(obj kind.Object) bool {
	return obj.GetDeletionTimestamp() != nil && slices.Contains(obj.GetFinalizers(), metav1.FinalizerDeleteDependents)
}
