package admission

import (
	"context"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// rules name requests to webhooks and policies. Those of webhooks have no names of objects.
type rules struct {
	list []admissionregistrationv1.NamedRuleWithOperations
	// equivalent says that a rule for one version of a resource also means writes to its others.
	equivalent bool
}

func newRules(list []admissionregistrationv1.NamedRuleWithOperations, policy *admissionregistrationv1.MatchPolicyType) rules {
	return rules{list, policy != nil && *policy == admissionregistrationv1.Equivalent}
}

// match returns the version of a request's resource in which the rules name it, nil when they do not: the request's own
// before all others, then that of the first rule, and of those that one rule names the first that is defined. It is asked
// first, since it needs no subject.
func (rs rules) match(r *Request, kinds *kind.Table) *kind.Kind {
	for i := range rs.list {
		if matchRule(r, r.Kind, &rs.list[i]) {
			return r.Kind
		}
	}
	if !rs.equivalent {
		return nil
	}
	versions := kinds.Versions(r.Kind)
	if len(versions) < 2 {
		return nil
	}
	for i := range rs.list {
		for _, k := range versions {
			if k.GroupVersionKind != r.Kind.GroupVersionKind && k.HasSubresource(r.Subresource) && matchRule(r, k, &rs.list[i]) {
				return k
			}
		}
	}
	return nil
}

// matchRule says whether a rule names a request as one to k.
func matchRule(r *Request, k *kind.Kind, rule *admissionregistrationv1.NamedRuleWithOperations) bool {
	if rule.Scope != nil && *rule.Scope != admissionregistrationv1.AllScopes {
		// a namespace is not in itself
		if namespaced := k.Namespaced && r.Namespace != ""; namespaced != (*rule.Scope == admissionregistrationv1.NamespacedScope) {
			return false
		}
	}
	names := func(list []string, name string) bool {
		return slices.ContainsFunc(list, func(v string) bool { return v == "*" || v == name })
	}
	verb := slices.ContainsFunc(rule.Operations, func(op admissionregistrationv1.OperationType) bool {
		return op == admissionregistrationv1.OperationAll || string(op) == string(r.Verb)
	})
	if !verb || !names(rule.APIGroups, k.Group) || !names(rule.APIVersions, k.Version) {
		return false
	}
	resource := slices.ContainsFunc(rule.Resources, func(v string) bool {
		res, sub, _ := strings.Cut(v, "/")
		return (res == "*" || res == k.Plural) && (sub == "*" || sub == r.Subresource)
	})
	return resource && (len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, r.Name))
}

// matchNamespace says whether the request's namespace has the labels. What is in no namespace always does; a
// namespace is judged by its own labels.
func (s *subject) matchNamespace(ctx context.Context, c client.Client, selector labels.Selector) (bool, error) {
	if selector.Empty() {
		return true, nil
	}
	r := s.request
	if _, ok := r.Kind.New().(*corev1.Namespace); ok {
		for _, obj := range []runtime.Object{s.object, s.old} {
			if ns, ok := obj.(*corev1.Namespace); ok {
				return selector.Matches(labels.Set(ns.Labels)), nil
			}
		}
	}
	if !r.Kind.Namespaced {
		return true, nil
	}
	ns, err := client.Get[*corev1.Namespace](ctx, c, "", r.Namespace)
	if err != nil {
		return false, err
	}
	return selector.Matches(labels.Set(ns.Labels)), nil
}

// matchObject says whether the object has the labels, now or before.
func (s *subject) matchObject(selector labels.Selector) bool {
	if selector.Empty() {
		return true
	}
	for _, obj := range []runtime.Object{s.object, s.old} {
		if meta, ok := obj.(metav1.Object); ok && selector.Matches(labels.Set(meta.GetLabels())) {
			return true
		}
	}
	return false
}
