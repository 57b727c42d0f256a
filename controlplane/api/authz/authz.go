// Package authz decides who may do what: role-based access control over cached roles, and a node's right to
// what its pods need.
package authz

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// Attributes of what is asked.
type Attributes struct {
	User                                  *kind.User
	Verb                                  string
	Path                                  string // of what is no resource
	IsResource                            bool
	Group, Version, Resource, Subresource string
	Namespace, Name                       string
	// Labels and Fields are the selectors of a list or watch as they were sent.
	Labels, Fields string
}

// masters may do everything, so that no mistake in a role locks everyone out.
const masters = "system:masters"

// Authorizer is safe for concurrent use. It decides from caches that Run fills and keeps.
type Authorizer struct {
	client client.Client
	kinds  *kind.Table
	log    *slog.Logger
	ready  atomic.Bool
	rbac   *rules
	nodes  *graph
	// changed wakes the aggregation; one place is enough, since it looks at all roles.
	changed chan struct{}
}

// New returns an authorizer that knows no role yet.
func New(c client.Client, kinds *kind.Table, log *slog.Logger) *Authorizer {
	return &Authorizer{client: c, kinds: kinds, log: log, rbac: newRules(), nodes: newGraph(), changed: make(chan struct{}, 1)}
}

// Ready says whether the caches have been filled.
func (a *Authorizer) Ready() bool { return a.ready.Load() }

// Allowed decides. The reason says by what it is allowed, or is for the answer when it is not.
func (a *Authorizer) Allowed(ctx context.Context, at Attributes) (bool, string) {
	if at.User == nil {
		return false, "no user"
	}
	if slices.Contains(at.User.Groups, masters) {
		return true, ""
	}
	var refusals []string
	if node, ok := nodeOf(at.User); ok {
		allowed, reason := a.node(ctx, node, at)
		if allowed {
			return true, ""
		}
		if reason != "" {
			refusals = append(refusals, "node: "+reason)
		}
	}
	grant, missing := a.rbac.allowed(at)
	if grant != nil {
		return true, "RBAC: allowed by " + grant.String()
	}
	if missing != "" {
		refusals = append(refusals, "rbac: RBAC: "+missing)
	}
	return false, strings.Join(refusals, "\n") // each with who refuses, as kube-apiserver has it since 1.37
}
