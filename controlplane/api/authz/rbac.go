package authz

import (
	"slices"
	"strconv"
	"strings"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// rules are the roles and bindings as the watches last told of them, indexed by subject: a decision looks only
// at the bindings of the user and their groups.
type rules struct {
	mu           sync.RWMutex
	clusterRoles map[string][]rbacv1.PolicyRule
	roles        map[string][]rbacv1.PolicyRule // NAMESPACE/NAME
	bindings     map[string]binding             // "/NAME" of a cluster role binding, NAMESPACE/NAME of a role binding
	bySubject    map[string]map[string]bool     // subject to keys of bindings
}

type binding struct {
	namespace string // "" for the whole cluster
	name      string
	ref       rbacv1.RoleRef
	subjects  []string
}

func newRules() *rules {
	return &rules{clusterRoles: map[string][]rbacv1.PolicyRule{}, roles: map[string][]rbacv1.PolicyRule{},
		bindings: map[string]binding{}, bySubject: map[string]map[string]bool{}}
}

// subjectKey names a subject; namespace is that of a role binding, which its service accounts default to.
func subjectKey(s rbacv1.Subject, namespace string) string {
	switch s.Kind {
	case rbacv1.GroupKind:
		return "g/" + s.Name
	case rbacv1.ServiceAccountKind:
		if s.Namespace != "" {
			namespace = s.Namespace
		}
		return "u/system:serviceaccount:" + namespace + ":" + s.Name
	}
	return "u/" + s.Name
}

func (r *rules) setBinding(namespace, name string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := namespace + "/" + name
	r.unlink(key)
	b := binding{namespace: namespace, name: name, ref: ref}
	for _, s := range subjects {
		sk := subjectKey(s, namespace)
		b.subjects = append(b.subjects, sk)
		if r.bySubject[sk] == nil {
			r.bySubject[sk] = map[string]bool{}
		}
		r.bySubject[sk][key] = true
	}
	r.bindings[key] = b
}

func (r *rules) deleteBinding(namespace, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unlink(namespace + "/" + name)
}

// unlink forgets a binding. The caller holds the lock.
func (r *rules) unlink(key string) {
	for _, sk := range r.bindings[key].subjects {
		delete(r.bySubject[sk], key)
		if len(r.bySubject[sk]) == 0 {
			delete(r.bySubject, sk)
		}
	}
	delete(r.bindings, key)
}

func (r *rules) setRole(namespace, name string, rules []rbacv1.PolicyRule) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if namespace == "" {
		r.clusterRoles[name] = rules
		return
	}
	r.roles[namespace+"/"+name] = rules
}

func (r *rules) deleteRole(namespace, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if namespace == "" {
		delete(r.clusterRoles, name)
		return
	}
	delete(r.roles, namespace+"/"+name)
}

// resolve returns the rules of a reference from a binding in namespace. The caller holds the lock.
func (r *rules) resolve(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, bool) {
	if ref.Kind == "Role" {
		rules, ok := r.roles[namespace+"/"+ref.Name]
		return rules, ok
	}
	rules, ok := r.clusterRoles[ref.Name]
	return rules, ok
}

// grant says by what a user has a rule.
type grant struct {
	binding binding
	subject string // as subjectKey has it
}

// String is for the audit log and access reviews, in Kubernetes' words.
func (g *grant) String() string {
	kind, name := "ClusterRoleBinding", g.binding.name
	if g.binding.namespace != "" {
		kind, name = "RoleBinding", name+"/"+g.binding.namespace
	}
	subject := "User " + strconv.Quote(g.subject[2:])
	if g.subject[0] == 'g' {
		subject = "Group " + strconv.Quote(g.subject[2:])
	} else if sa, ok := strings.CutPrefix(g.subject[2:], "system:serviceaccount:"); ok {
		ns, account, _ := strings.Cut(sa, ":")
		subject = "ServiceAccount " + strconv.Quote(account+"/"+ns)
	}
	return kind + " " + strconv.Quote(name) + " of " + g.binding.ref.Kind + " " + strconv.Quote(g.binding.ref.Name) + " to " + subject
}

// bindingsOf calls f for every binding that the user has in namespace ("" for the cluster), with its rules, until f
// says false. known is false when the role is not there.
func (r *rules) bindingsOf(u *kind.User, namespace string, f func(b binding, subject string, rules []rbacv1.PolicyRule, known bool) bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	visit := func(subject string) bool {
		for key := range r.bySubject[subject] {
			b := r.bindings[key]
			if b.namespace != "" && b.namespace != namespace {
				continue
			}
			rules, known := r.resolve(b.ref, b.namespace)
			if !f(b, subject, rules, known) {
				return false
			}
		}
		return true
	}
	if !visit("u/" + u.Name) {
		return
	}
	for _, g := range u.Groups {
		if !visit("g/" + g) {
			return
		}
	}
}

// each calls f for every rule that the user has in namespace until f says false.
func (r *rules) each(u *kind.User, namespace string, f func(rbacv1.PolicyRule) bool) {
	r.bindingsOf(u, namespace, func(_ binding, _ string, rules []rbacv1.PolicyRule, _ bool) bool {
		for _, rule := range rules {
			if !f(rule) {
				return false
			}
		}
		return true
	})
}

// allowed returns what grants the request, or nil and which roles of the user's bindings are missing.
func (r *rules) allowed(a Attributes) (*grant, string) {
	var found *grant
	var missing []string
	r.bindingsOf(a.User, a.Namespace, func(b binding, subject string, rules []rbacv1.PolicyRule, known bool) bool {
		if !known {
			missing = append(missing, missingRole(b.ref))
		}
		for i := range rules {
			if covers(&rules[i], &a) {
				found = &grant{b, subject}
				return false
			}
		}
		return true
	})
	if found != nil || len(missing) == 0 {
		return found, ""
	}
	slices.Sort(missing)
	if missing = slices.Compact(missing); len(missing) == 1 {
		return nil, missing[0]
	}
	return nil, "[" + strings.Join(missing, ", ") + "]"
}

func missingRole(ref rbacv1.RoleRef) string {
	return strings.ToLower(ref.Kind) + "." + rbacv1.GroupName + " " + strconv.Quote(ref.Name) + " not found"
}

func has(list []string, v string) bool {
	return slices.Contains(list, "*") || slices.Contains(list, v)
}

// covers says whether one rule allows what is asked.
func covers(rule *rbacv1.PolicyRule, a *Attributes) bool {
	if !has(rule.Verbs, a.Verb) {
		return false
	}
	if !a.IsResource {
		return slices.ContainsFunc(rule.NonResourceURLs, func(pattern string) bool { return coversPath(pattern, a.Path) })
	}
	if !has(rule.APIGroups, a.Group) {
		return false
	}
	resource := a.Resource
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	if !coversResource(rule.Resources, resource, a.Subresource) {
		return false
	}
	return len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, a.Name)
}

func coversResource(resources []string, resource, subresource string) bool {
	for _, r := range resources {
		if r == "*" || r == resource || subresource != "" && r == "*/"+subresource {
			return true
		}
	}
	return false
}

func coversPath(pattern, path string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(path, prefix)
	}
	return pattern == path
}

// Rules returns what a user may do in a namespace, and why that is not all of it when it is not.
func (a *Authorizer) Rules(u *kind.User, namespace string) (out []rbacv1.PolicyRule, incomplete string) {
	if _, ok := nodeOf(u); ok {
		incomplete = "node authorizer does not support user rule resolution"
	}
	a.rbac.each(u, namespace, func(rule rbacv1.PolicyRule) bool {
		out = append(out, rule)
		return true
	})
	return out, incomplete
}
