// Package quota counts what objects take of the ResourceQuotas of their namespace: how much an object uses, which
// quotas it falls under, and whether a quota has room for it. Admission charges by it and a controller counts
// everything afresh by it, so that both agree.
package quota

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	resources "k8s.io/apiserver/pkg/quota/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// Evaluator measures the objects of one resource. All functions are pure; nil ones have the plain answer.
type Evaluator struct {
	resource schema.GroupResource
	// counts says whether a resource of a quota is one of those that the objects use.
	counts func(corev1.ResourceName) bool
	// usage is what one object uses.
	usage func(kind.Object) corev1.ResourceList
	// updates says whether an update of the object (or of that subresource) may use more; nil: never.
	updates func(subresource string) bool
	// required says what an object has to state where a quota limits these resources; nil: nothing.
	required func(obj kind.Object, limited []corev1.ResourceName) error
	// inScope says whether an object is in a scope; nil: never.
	inScope func(obj kind.Object, s corev1.ScopedResourceSelectorRequirement) bool
}

// For returns the evaluator of a resource. Every resource has one: what has no rules of its own is counted.
func For(gr schema.GroupResource) *Evaluator {
	if e := core[gr]; e != nil {
		return e
	}
	return counter(gr, "")
}

// core are the evaluators of the resources that quotas have names of their own for.
var core = map[schema.GroupResource]*Evaluator{
	{Resource: "pods"}:                   pods(),
	{Resource: "services"}:               services(),
	{Resource: "persistentvolumeclaims"}: claims(),
	{Resource: "replicationcontrollers"}: counter(schema.GroupResource{Resource: "replicationcontrollers"}, corev1.ResourceReplicationControllers),
	{Resource: "resourcequotas"}:         counter(schema.GroupResource{Resource: "resourcequotas"}, corev1.ResourceQuotas),
	{Resource: "secrets"}:                counter(schema.GroupResource{Resource: "secrets"}, corev1.ResourceSecrets),
	{Resource: "configmaps"}:             counter(schema.GroupResource{Resource: "configmaps"}, corev1.ResourceConfigMaps),
}

// counter counts objects, as "count/RESOURCE.GROUP" and under an older name when there is one.
func counter(gr schema.GroupResource, alias corev1.ResourceName) *Evaluator {
	name := countName(gr)
	return &Evaluator{
		resource: gr,
		counts:   func(n corev1.ResourceName) bool { return n == name || alias != "" && n == alias },
		usage: func(kind.Object) corev1.ResourceList {
			used := corev1.ResourceList{name: one()}
			if alias != "" {
				used[alias] = one()
			}
			return used
		},
	}
}

func countName(gr schema.GroupResource) corev1.ResourceName {
	return corev1.ResourceName("count/" + gr.String())
}

func one() resource.Quantity { return *resource.NewQuantity(1, resource.DecimalSI) }

// Counted returns the resource that a "count/RESOURCE.GROUP" of a quota counts.
func Counted(name corev1.ResourceName) (schema.GroupResource, bool) {
	rest, ok := strings.CutPrefix(string(name), "count/")
	if !ok || rest == "" {
		return schema.GroupResource{}, false
	}
	return schema.ParseGroupResource(rest), true
}

// Watches says whether a write of that form can use more of a quota.
func (e *Evaluator) Watches(verb kind.Verb, subresource string) bool {
	switch verb {
	case kind.Create:
		return subresource == ""
	case kind.Update:
		return e.updates != nil && e.updates(subresource)
	}
	return false
}

// Counts returns those of the resources that the evaluator's objects use.
func (e *Evaluator) Counts(of corev1.ResourceList) []corev1.ResourceName {
	var out []corev1.ResourceName
	for name := range of {
		if e.counts(name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Usage is what an object uses, whatever quotas there are.
func (e *Evaluator) Usage(obj kind.Object) corev1.ResourceList { return e.usage(obj) }

// InScopes says whether a quota's scopes all hold for an object.
func (e *Evaluator) InScopes(q *corev1.ResourceQuota, obj kind.Object) bool {
	for _, s := range scopes(q) {
		if e.inScope == nil || !e.inScope(obj, s) {
			return false
		}
	}
	return true
}

// scopes are those of a quota in the one form that says all.
func scopes(q *corev1.ResourceQuota) []corev1.ScopedResourceSelectorRequirement {
	var out []corev1.ScopedResourceSelectorRequirement
	for _, s := range q.Spec.Scopes {
		out = append(out, corev1.ScopedResourceSelectorRequirement{ScopeName: s, Operator: corev1.ScopeSelectorOpExists})
	}
	if q.Spec.ScopeSelector != nil {
		out = append(out, q.Spec.ScopeSelector.MatchExpressions...)
	}
	return out
}

// Charge returns what a write takes of a quota: nothing when the quota is not about the object or the write uses
// no more than before. old is nil on create. The error is a refusal, in Kubernetes' words.
func (e *Evaluator) Charge(q *corev1.ResourceQuota, obj, old kind.Object) (corev1.ResourceList, error) {
	limited := e.Counts(q.Status.Hard)
	if len(limited) == 0 || !e.InScopes(q, obj) {
		return nil, nil
	}
	if e.required != nil {
		if err := e.required(obj, limited); err != nil {
			return nil, fmt.Errorf("failed quota: %s: %w", q.Name, err)
		}
	}
	for _, name := range limited {
		if _, known := q.Status.Used[name]; !known {
			return nil, fmt.Errorf("status unknown for quota: %s, resources: %s", q.Name, joinNames(limited))
		}
	}
	used := e.usage(obj)
	if negative := resources.IsNegative(used); len(negative) > 0 {
		return nil, fmt.Errorf("quota usage is negative for resource(s): %s", joinNames(negative))
	}
	if old != nil && e.InScopes(q, old) {
		used = resources.SubtractWithNonNegativeResult(used, e.usage(old))
	}
	taken := corev1.ResourceList{}
	for _, name := range limited {
		if amount, ok := used[name]; ok && !amount.IsZero() {
			taken[name] = amount
		}
	}
	return taken, nil
}

// Take adds a charge to what is used of a quota, which gets a new list. It changes nothing and says why in
// Kubernetes' words when that would be more than there is.
func Take(q *corev1.ResourceQuota, charge corev1.ResourceList) error {
	next := resources.Add(q.Status.Used, charge)
	if fits, over := resources.LessThanOrEqual(resources.Mask(next, resources.ResourceNames(charge)), q.Status.Hard); !fits {
		return fmt.Errorf("exceeded quota: %s, requested: %s, used: %s, limited: %s", q.Name,
			format(resources.Mask(charge, over)), format(resources.Mask(q.Status.Used, over)), format(resources.Mask(q.Status.Hard, over)))
	}
	q.Status.Used = next
	return nil
}

// Return takes a charge back from what is used, in place, as far as the quota still has its resources.
func Return(q *corev1.ResourceQuota, charge corev1.ResourceList) {
	kept := resources.Mask(charge, resources.ResourceNames(q.Status.Used))
	q.Status.Used = resources.SubtractWithNonNegativeResult(q.Status.Used, kept)
}

func format(list corev1.ResourceList) string {
	parts := make([]string, 0, len(list))
	for _, name := range slices.Sorted(maps.Keys(list)) {
		value := list[name]
		parts = append(parts, string(name)+"="+value.String())
	}
	return strings.Join(parts, ",")
}

func joinNames(names []corev1.ResourceName) string {
	parts := make([]string, len(names))
	for i, n := range names {
		parts[i] = string(n)
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

// Count returns what the objects that list yields use of a quota's hard limits together. list is asked once for
// each resource that the limits are about, and may say with ErrUnknownResource that there is none.
func Count(q *corev1.ResourceQuota, list func(schema.GroupResource) ([]kind.Object, error)) (corev1.ResourceList, error) {
	used := corev1.ResourceList{}
	for _, gr := range concerned(q) {
		objs, err := list(gr)
		if errors.Is(err, ErrUnknownResource) {
			continue
		}
		if err != nil {
			return nil, err
		}
		e := For(gr)
		limited := e.Counts(q.Spec.Hard)
		for _, name := range limited {
			used[name] = resource.Quantity{Format: resource.DecimalSI}
		}
		for _, obj := range objs {
			if e.InScopes(q, obj) {
				used = resources.Add(used, resources.Mask(e.usage(obj), limited))
			}
		}
	}
	return used, nil
}

// ErrUnknownResource says that no objects of the resource can exist.
var ErrUnknownResource = errors.New("unknown resource")

// concerned returns the resources that a quota's hard limits are about.
func concerned(q *corev1.ResourceQuota) []schema.GroupResource {
	var out []schema.GroupResource
	for gr, e := range core {
		if len(e.Counts(q.Spec.Hard)) > 0 {
			out = append(out, gr)
		}
	}
	for name := range q.Spec.Hard {
		if gr, ok := Counted(name); ok && core[gr] == nil {
			out = append(out, gr)
		}
	}
	return out
}

// Uncounted leaves room for charges whose objects are not stored yet: used is what was counted, had what the quota
// said before and open what is under way. An open charge may be in had or not and its object in used or not; what
// is returned is too much by no more than open, and never too little.
func Uncounted(used, had, open corev1.ResourceList) corev1.ResourceList {
	out := resources.Add(used, nil)
	for name, amount := range open {
		counted, ok := used[name]
		if !ok {
			continue
		}
		most := counted.DeepCopy()
		most.Add(amount)
		if before := had[name]; before.Cmp(most) < 0 {
			most = before.DeepCopy()
		}
		if most.Cmp(counted) > 0 {
			out[name] = most
		}
	}
	return out
}

// Concerns says whether a quota's hard limits are about objects of the resource.
func Concerns(q *corev1.ResourceQuota, gr schema.GroupResource) bool {
	return len(For(gr).Counts(q.Spec.Hard)) > 0
}
