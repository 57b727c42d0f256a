package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// Grant is a role or binding as a user wants it.
type Grant struct {
	Kind *kind.Kind
	// Namespace and Name are those of the request's path: who creates an object may not choose by its name a permission
	// that is for one name.
	Namespace, Name string
	Object          kind.Object
	Old             kind.Object // what is there; nil of a new one
}

// Escalates refuses a role or binding that gives away what the user does not have, unless they may escalate
// roles or bind this one. That holds for a change of labels too, since by these one role takes up another.
func (a *Authorizer) Escalates(ctx context.Context, u *kind.User, g Grant) error {
	if u == nil || slices.Contains(u.Groups, masters) || g.Old != nil && onlyCollected(g.Object, g.Old) {
		return nil
	}
	switch o := g.Object.(type) {
	case *rbacv1.Role:
		return a.checkRules(ctx, u, g, o.Rules)
	case *rbacv1.ClusterRole:
		if err := a.checkRules(ctx, u, g, o.Rules); err != nil {
			return err
		}
		// such a role may gather anything; who has everything may escalate too
		if old, ok := g.Old.(*rbacv1.ClusterRole); (aggregates(o) || ok && aggregates(old)) && !a.mayEscalate(ctx, u, g) {
			return apierrors.NewForbidden(g.Kind.GroupResource(), o.Name, errors.New("must have cluster-admin privileges to use the aggregationRule"))
		}
	case *rbacv1.RoleBinding:
		return a.checkBinding(ctx, u, g, o.RoleRef)
	case *rbacv1.ClusterRoleBinding:
		return a.checkBinding(ctx, u, g, o.RoleRef)
	}
	return nil
}

// onlyCollected says whether a change is of nothing but what the garbage collector needs: owners and finalizers.
func onlyCollected(obj, old kind.Object) bool {
	same := obj.DeepCopyObject().(kind.Object)
	same.SetOwnerReferences(old.GetOwnerReferences())
	same.SetFinalizers(old.GetFinalizers())
	// these are the server's, or say nothing of the object
	same.SetManagedFields(old.GetManagedFields())
	same.SetResourceVersion(old.GetResourceVersion())
	same.SetUID(old.GetUID())
	same.SetCreationTimestamp(old.GetCreationTimestamp())
	same.SetGeneration(old.GetGeneration())
	same.SetSelfLink(old.GetSelfLink())
	same.GetObjectKind().SetGroupVersionKind(old.GetObjectKind().GroupVersionKind())
	return apiequality.Semantic.DeepEqual(same, old)
}

func aggregates(r *rbacv1.ClusterRole) bool {
	return r.AggregationRule != nil && len(r.AggregationRule.ClusterRoleSelectors) > 0
}

func (a *Authorizer) mayEscalate(ctx context.Context, u *kind.User, g Grant) bool {
	gr := g.Kind.GroupResource()
	ok, _ := a.Allowed(ctx, Attributes{User: u, Verb: "escalate", Group: gr.Group, Resource: gr.Resource, Namespace: g.Namespace, Name: g.Name, IsResource: true})
	return ok
}

func (a *Authorizer) checkRules(ctx context.Context, u *kind.User, g Grant, rules []rbacv1.PolicyRule) error {
	missing := a.missing(u, g.Namespace, rules)
	if len(missing) == 0 || a.mayEscalate(ctx, u, g) {
		return nil
	}
	return escalation(u, g, missing)
}

func (a *Authorizer) checkBinding(ctx context.Context, u *kind.User, g Grant, ref rbacv1.RoleRef) error {
	role := "clusterroles"
	if ref.Kind == "Role" {
		role = "roles"
	}
	if ok, _ := a.Allowed(ctx, Attributes{User: u, Verb: "bind", Group: rbacv1.GroupName, Resource: role, Namespace: g.Namespace, Name: ref.Name, IsResource: true}); ok {
		return nil
	}
	a.rbac.mu.RLock()
	rules, found := a.rbac.resolve(ref, g.Namespace)
	a.rbac.mu.RUnlock()
	if !found {
		return apierrors.NewNotFound(schema.GroupResource{Group: rbacv1.GroupName, Resource: role}, ref.Name)
	}
	if missing := a.missing(u, g.Namespace, rules); len(missing) > 0 {
		return escalation(u, g, missing)
	}
	return nil
}

func escalation(u *kind.User, g Grant, missing []rbacv1.PolicyRule) error {
	texts := make([]string, len(missing))
	for i := range missing {
		texts[i] = ruleText(missing[i])
	}
	return apierrors.NewForbidden(g.Kind.GroupResource(), g.Object.GetName(), fmt.Errorf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
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
