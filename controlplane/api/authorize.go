package api

import (
	"context"

	"k8s.io/apimachinery/pkg/fields"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/authz"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// authorize asks whether the user may do what the request asks.
func (s *Server) authorize(r *request) error {
	if s.config.AllowAll {
		return nil
	}
	at := r.attributes(r.user)
	ok, reason := s.authz.Allowed(r.Context(), at)
	r.audit.authorized(ok, reason)
	if !ok {
		return forbidden(at, reason)
	}
	return nil
}

// Allowed says whether a user may do something, for other parts of the server.
func (s *Server) Allowed(ctx context.Context, at authz.Attributes) bool {
	if s.config.AllowAll {
		return true
	}
	ok, _ := s.authz.Allowed(ctx, at)
	return ok
}

// attributes of the request for a user.
func (r *request) attributes(u *kind.User) authz.Attributes {
	if !r.resource {
		return authz.Attributes{User: u, Verb: r.verb, Path: r.URL.Path}
	}
	name := r.name
	if name == "" && (r.verb == "list" || r.verb == "watch") {
		// a list of one named object is allowed to whom roles let read that name
		if sel, err := fields.ParseSelector(r.query.Get("fieldSelector")); err == nil {
			name, _ = sel.RequiresExactMatch("metadata.name")
		}
	}
	return authz.Attributes{User: u, Verb: r.verb, Group: r.group, Version: r.version, Resource: r.plural, Subresource: r.subresource,
		Namespace: r.namespace, Name: name, Labels: r.query.Get("labelSelector"), Fields: r.query.Get("fieldSelector"), IsResource: true}
}

// escalation returns the check that refuses to let a user give away by RBAC what they do not have; nil for
// other kinds.
func (s *Server) escalation(r *request) func(obj, old kind.Object) error {
	if s.config.AllowAll || r.group != "rbac.authorization.k8s.io" {
		return nil
	}
	return func(obj, old kind.Object) error {
		return s.authz.Escalates(r.Context(), r.user, authz.Grant{Kind: r.kind, Namespace: r.namespace, Name: r.name, Object: obj, Old: old})
	}
}
