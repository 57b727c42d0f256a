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
	ok, reason := s.authz.Allowed(r.Context(), r.attributes(r.user))
	r.audit.authorized(ok, reason)
	if !ok {
		return forbidden(r, r.user, reason)
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

// mayImpersonate asks for each thing that is impersonated.
func (s *Server) mayImpersonate(r *request, name string, groups []string, uid string, extra map[string][]string) error {
	if s.config.AllowAll {
		return nil
	}
	ask := func(group, resource, subresource, namespace, name string) error {
		a := authz.Attributes{User: r.user, Verb: "impersonate", Group: group, Resource: resource, Subresource: subresource, Namespace: namespace, Name: name, IsResource: true}
		if ok, reason := s.authz.Allowed(r.Context(), a); !ok {
			return forbidden(&request{Request: r.Request, resource: true, verb: "impersonate", group: group, plural: resource, subresource: subresource, namespace: namespace, name: name}, r.user, reason)
		}
		return nil
	}
	if ns, sa, ok := serviceAccountName(name); ok {
		if err := ask("", "serviceaccounts", "", ns, sa); err != nil {
			return err
		}
	} else if err := ask("", "users", "", "", name); err != nil {
		return err
	}
	for _, g := range groups {
		if err := ask("", "groups", "", "", g); err != nil {
			return err
		}
	}
	if uid != "" {
		if err := ask("authentication.k8s.io", "uids", "", "", uid); err != nil {
			return err
		}
	}
	for key, values := range extra {
		for _, v := range values {
			if err := ask("authentication.k8s.io", "userextras", key, "", v); err != nil {
				return err
			}
		}
	}
	return nil
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
