// Package admission has the plug-ins that every write passes between defaulting and validation.
package admission

import (
	"context"

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
}

// Plugin is one admission step. Admit may change r.Object, Validate may not; both refuse by returning an
// apierrors error. All Admits run in order, then validation of the kind, then all Validates. A plug-in is safe
// for concurrent use and may be asked several times for one request (when a write is retried).
type Plugin interface {
	Name() string
	Admit(ctx context.Context, r *Request) error
	Validate(ctx context.Context, r *Request) error
}
