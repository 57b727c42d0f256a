// Package admission has the plug-ins that every write passes between defaulting and validation.
package admission

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// Request is one write on its way to the store.
type Request struct {
	Verb        kind.Verb
	Kind        *kind.Kind
	Subresource string // "" for the object itself, "status", "binding", "eviction", "exec", …
	Namespace   string
	Name        string      // may be empty on create with generateName
	Object      kind.Object // new state; Admit may change it; nil on delete
	Old         kind.Object // state before; nil on create; must not be changed
	DryRun      bool
	User        *kind.User // nil: the server itself
	Warn        func(text string)

	// Body is what the request carries when that is no object of Kind: a Binding, an Eviction, a Scale, a
	// TokenRequest, the options of a connection. Admit may change it. A write of a pod's binding or of a scale is
	// asked about twice: with the body, and with the object as the body changes it and no body.
	Body *Body
	// FieldManager, and Delete on a delete, are the client's options.
	FieldManager string
	Delete       *metav1.DeleteOptions

	settle []func(Outcome)
}

// Body of a request to a subresource.
type Body struct {
	Kind   schema.GroupVersionKind
	Object runtime.Object
	Old    runtime.Object // nil, or the body that was there before
}

// Outcome is what became of a write that all plug-ins allowed.
type Outcome int

// The outcomes.
const (
	Stored  Outcome = iota
	Refused         // it is certain that nothing was stored
	Unknown         // the answer of the store was lost
)

// OnSettled has f called when the outcome of a create or an update is known, also when a later plug-in refuses it.
// A write that is tried again is another request.
func (r *Request) OnSettled(f func(Outcome)) { r.settle = append(r.settle, f) }

// Settle tells those who asked what became of the request, once.
func (r *Request) Settle(o Outcome) {
	for _, f := range r.settle {
		f(o)
	}
	r.settle = nil
}

func (r *Request) warn(text string) {
	if r.Warn != nil {
		r.Warn(text)
	}
}

// Plugin is one admission step. Admit may change r.Object, Validate may not; both refuse by returning an
// apierrors error. All Admits run in order, then validation of the kind, then all Validates. A plug-in is safe
// for concurrent use and may be asked several times for one request (when a write is retried).
type Plugin interface {
	Name() string
	Admit(ctx context.Context, r *Request) error
	Validate(ctx context.Context, r *Request) error
}
