package authz

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// Escalates refuses a role or binding that gives away what the user does not have, unless they may escalate
// roles or bind this one.
func (a *Authorizer) Escalates(ctx context.Context, u *kind.User, k *kind.Kind, namespace string, obj kind.Object) error {
	if u == nil || slices.Contains(u.Groups, masters) {
		return nil
	}
	gr := k.GroupResource()
	switch o := obj.(type) {
	case *rbacv1.Role:
		return a.checkRules(ctx, u, gr, namespace, o.Name, o.Rules)
	case *rbacv1.ClusterRole:
		if err := a.checkRules(ctx, u, gr, "", o.Name, o.Rules); err != nil {
			return err
		}
		if o.AggregationRule != nil && !a.hasAll(u, "") {
			return a.checkRules(ctx, u, gr, "", o.Name, []rbacv1.PolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}})
		}
	case *rbacv1.RoleBinding:
		return a.checkBinding(ctx, u, gr, namespace, o.Name, o.RoleRef)
	case *rbacv1.ClusterRoleBinding:
		return a.checkBinding(ctx, u, gr, "", o.Name, o.RoleRef)
	}
	return nil
}

// SameGrant says whether a change of a role or binding leaves what it grants as it was.
func SameGrant(obj, old kind.Object) bool {
	switch o := obj.(type) {
	case *rbacv1.Role:
		return apiequality.Semantic.DeepEqual(o.Rules, old.(*rbacv1.Role).Rules)
	case *rbacv1.ClusterRole:
		was := old.(*rbacv1.ClusterRole)
		return apiequality.Semantic.DeepEqual(o.Rules, was.Rules) && apiequality.Semantic.DeepEqual(o.AggregationRule, was.AggregationRule)
	case *rbacv1.RoleBinding:
		was := old.(*rbacv1.RoleBinding)
		return apiequality.Semantic.DeepEqual(o.Subjects, was.Subjects) && o.RoleRef == was.RoleRef
	case *rbacv1.ClusterRoleBinding:
		was := old.(*rbacv1.ClusterRoleBinding)
		return apiequality.Semantic.DeepEqual(o.Subjects, was.Subjects) && o.RoleRef == was.RoleRef
	}
	return false
}

func (a *Authorizer) hasAll(u *kind.User, namespace string) bool {
	return len(a.missing(u, namespace, []rbacv1.PolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}})) == 0
}

func (a *Authorizer) checkRules(ctx context.Context, u *kind.User, gr schema.GroupResource, namespace, name string, rules []rbacv1.PolicyRule) error {
	if ok, _ := a.Allowed(ctx, Attributes{User: u, Verb: "escalate", Group: gr.Group, Resource: gr.Resource, Namespace: namespace, Name: name, IsResource: true}); ok {
		return nil
	}
	if missing := a.missing(u, namespace, rules); len(missing) > 0 {
		return escalation(u, gr, name, missing)
	}
	return nil
}

func (a *Authorizer) checkBinding(ctx context.Context, u *kind.User, gr schema.GroupResource, namespace, name string, ref rbacv1.RoleRef) error {
	role := "clusterroles"
	if ref.Kind == "Role" {
		role = "roles"
	}
	if ok, _ := a.Allowed(ctx, Attributes{User: u, Verb: "bind", Group: rbacv1.GroupName, Resource: role, Namespace: namespace, Name: ref.Name, IsResource: true}); ok {
		return nil
	}
	a.rbac.mu.RLock()
	rules, found := a.rbac.resolve(ref, namespace)
	a.rbac.mu.RUnlock()
	if !found {
		return apierrors.NewNotFound(schema.GroupResource{Group: rbacv1.GroupName, Resource: role}, ref.Name)
	}
	if missing := a.missing(u, namespace, rules); len(missing) > 0 {
		return escalation(u, gr, name, missing)
	}
	return nil
}

func escalation(u *kind.User, gr schema.GroupResource, name string, missing []rbacv1.PolicyRule) error {
	texts := make([]string, len(missing))
	for i := range missing {
		texts[i] = ruleText(missing[i])
	}
	return apierrors.NewForbidden(gr, name, fmt.Errorf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		u.Name, u.Groups, strings.Join(texts, "\n")))
}

func ruleText(r rbacv1.PolicyRule) string {
	var parts []string
	add := func(name string, v []string) {
		if len(v) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", name, v))
		}
	}
	add("APIGroups", r.APIGroups)
	add("Resources", r.Resources)
	add("ResourceNames", r.ResourceNames)
	add("NonResourceURLs", r.NonResourceURLs)
	add("Verbs", r.Verbs)
	return "{" + strings.Join(parts, ", ") + "}"
}

// missing returns the parts of rules, one verb and one resource each, that the user does not have.
func (a *Authorizer) missing(u *kind.User, namespace string, rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	var owned []rbacv1.PolicyRule
	a.rbac.each(u, namespace, func(r rbacv1.PolicyRule) bool {
		owned = append(owned, r)
		return true
	})
	var out []rbacv1.PolicyRule
	for _, rule := range rules {
		for _, part := range parts(rule) {
			if !slices.ContainsFunc(owned, func(o rbacv1.PolicyRule) bool { return includes(o, part) }) {
				out = append(out, part)
			}
		}
	}
	return out
}

// parts splits a rule into rules of one verb and one resource or path each.
func parts(r rbacv1.PolicyRule) []rbacv1.PolicyRule {
	var out []rbacv1.PolicyRule
	for _, verb := range r.Verbs {
		for _, url := range r.NonResourceURLs {
			out = append(out, rbacv1.PolicyRule{Verbs: []string{verb}, NonResourceURLs: []string{url}})
		}
		for _, group := range r.APIGroups {
			for _, resource := range r.Resources {
				part := rbacv1.PolicyRule{Verbs: []string{verb}, APIGroups: []string{group}, Resources: []string{resource}}
				if len(r.ResourceNames) == 0 {
					out = append(out, part)
				}
				for _, name := range r.ResourceNames {
					part.ResourceNames = []string{name}
					out = append(out, part)
				}
			}
		}
	}
	return out
}

// includes says whether a rule gives all that a part does.
func includes(owned, part rbacv1.PolicyRule) bool {
	if !has(owned.Verbs, part.Verbs[0]) {
		return false
	}
	if len(part.NonResourceURLs) > 0 {
		return slices.ContainsFunc(owned.NonResourceURLs, func(p string) bool { return p == part.NonResourceURLs[0] || coversPath(p, part.NonResourceURLs[0]) })
	}
	if !has(owned.APIGroups, part.APIGroups[0]) {
		return false
	}
	resource := part.Resources[0]
	_, sub, _ := strings.Cut(resource, "/")
	if !coversResource(owned.Resources, resource, sub) {
		return false
	}
	if len(owned.ResourceNames) == 0 {
		return true
	}
	return len(part.ResourceNames) > 0 && slices.Contains(owned.ResourceNames, part.ResourceNames[0])
}
