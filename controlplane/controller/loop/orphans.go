package loop

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// Orphans keeps the objects of a kind that no controller owns, from its watch, so that an owner that looks for
// what it could adopt need not scan the namespace. It is safe for concurrent use.
type Orphans struct {
	mu   sync.Mutex
	byNS map[string]map[string]kind.Object
}

// Note takes an event; call it from a Source's Keys.
func (o *Orphans) Note(e client.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	ns, name := e.Object.GetNamespace(), e.Object.GetName()
	if e.Type == watch.Deleted || controllerOf(e.Object) != nil {
		delete(o.byNS[ns], name)
		if len(o.byNS[ns]) == 0 {
			delete(o.byNS, ns)
		}
		return
	}
	if o.byNS == nil {
		o.byNS = map[string]map[string]kind.Object{}
	}
	if o.byNS[ns] == nil {
		o.byNS[ns] = map[string]kind.Object{}
	}
	o.byNS[ns][name] = e.Object
}

// In returns the orphans of a namespace.
func (o *Orphans) In(namespace string) []kind.Object {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([]kind.Object, 0, len(o.byNS[namespace]))
	for _, obj := range o.byNS[namespace] {
		out = append(out, obj)
	}
	return out
}

func controllerOf(obj kind.Object) *metav1.OwnerReference { return metav1.GetControllerOfNoCopy(obj) }
