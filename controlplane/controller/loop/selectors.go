package loop

import (
	"sync"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// Selectors keeps the label selectors of a kind's objects, from its watch, to find which of them select another
// object. It is safe for concurrent use.
type Selectors struct {
	// Of returns an object's selector; nil when it selects nothing.
	Of func(kind.Object) labels.Selector

	mu   sync.Mutex
	byNS map[string]map[string]labels.Selector
}

// Note takes an event and concerns no key; it is the Keys of a Source.
func (s *Selectors) Note(e client.Event) []Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	ns, name := e.Object.GetNamespace(), e.Object.GetName()
	var selector labels.Selector
	if e.Type != watch.Deleted {
		selector = s.Of(e.Object)
	}
	if selector == nil {
		delete(s.byNS[ns], name)
		if len(s.byNS[ns]) == 0 {
			delete(s.byNS, ns)
		}
		return nil
	}
	if s.byNS == nil {
		s.byNS = map[string]map[string]labels.Selector{}
	}
	if s.byNS[ns] == nil {
		s.byNS[ns] = map[string]labels.Selector{}
	}
	s.byNS[ns][name] = selector
	return nil
}

// Selecting returns the keys of the objects in obj's namespace that select it.
func (s *Selectors) Selecting(obj kind.Object) []Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []Key
	for name, selector := range s.byNS[obj.GetNamespace()] {
		if selector.Matches(labels.Set(obj.GetLabels())) {
			keys = append(keys, Key{Namespace: obj.GetNamespace(), Name: name})
		}
	}
	return keys
}

// OwnersOf returns the keys of the controllers of that kind that e's object has or had, and of those that
// select it when it has none: whose business a change of it is.
func (s *Selectors) OwnersOf(e client.Event, ownerKind string) []Key {
	var keys []Key
	for _, obj := range []kind.Object{e.Object, e.Old} {
		if obj == nil {
			continue
		}
		if ref := controllerOf(obj); ref != nil && ref.Kind == ownerKind {
			keys = append(keys, Key{Namespace: obj.GetNamespace(), Name: ref.Name})
		}
	}
	if controllerOf(e.Object) == nil {
		keys = append(keys, s.Selecting(e.Object)...)
	}
	return keys
}
