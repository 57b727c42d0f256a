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

// graph knows which objects name which owners, as the watches say. Only objects with owners, and those that
// wait for their dependents, take memory. It decides what is looked at, never what is deleted: that is asked of
// the API, which is current.
type graph struct {
	mu         sync.Mutex
	places     map[types.UID]place
	owners     map[types.UID][]types.UID
	dependents map[types.UID]map[types.UID]struct{}
}

func newGraph() *graph {
	return &graph{places: map[types.UID]place{}, owners: map[types.UID][]types.UID{}, dependents: map[types.UID]map[types.UID]struct{}{}}
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
	if len(refs) == 0 && !waiting {
		g.unlink(uid)
		delete(g.places, uid)
		return nil
	}
	_, known := g.places[uid]
	g.places[uid] = place{of, loop.KeyOf(e.Object)}
	changed := g.link(uid, refs)
	if waiting || changed || !known {
		return []loop.Key{{Name: string(uid)}}
	}
	return nil
}

// gone forgets an object; what it owned has lost an owner, and its owners may wait for it no longer.
func (g *graph) gone(uid types.UID) []loop.Key {
	var keys []loop.Key
	for d := range g.dependents[uid] {
		keys = append(keys, loop.Key{Name: string(d)})
	}
	for _, o := range g.owners[uid] {
		if _, ok := g.places[o]; ok {
			keys = append(keys, loop.Key{Name: string(o)})
		}
	}
	g.unlink(uid)
	delete(g.places, uid)
	return keys
}

// link records the owners of an object and says whether they changed.
func (g *graph) link(uid types.UID, refs []metav1.OwnerReference) bool {
	same := len(refs) == len(g.owners[uid])
	for i := 0; same && i < len(refs); i++ {
		same = slices.Contains(g.owners[uid], refs[i].UID)
	}
	if same {
		return false
	}
	g.unlink(uid)
	for _, r := range refs {
		g.owners[uid] = append(g.owners[uid], r.UID)
		if g.dependents[r.UID] == nil {
			g.dependents[r.UID] = map[types.UID]struct{}{}
		}
		g.dependents[r.UID][uid] = struct{}{}
	}
	return true
}

func (g *graph) unlink(uid types.UID) {
	for _, o := range g.owners[uid] {
		delete(g.dependents[o], uid)
		if len(g.dependents[o]) == 0 {
			delete(g.dependents, o)
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
	return obj.GetDeletionTimestamp() != nil &&
		(slices.Contains(obj.GetFinalizers(), metav1.FinalizerDeleteDependents) || slices.Contains(obj.GetFinalizers(), metav1.FinalizerOrphanDependents))
}
