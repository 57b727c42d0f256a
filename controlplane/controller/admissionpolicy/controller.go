// Package admissionpolicy keeps the status of ValidatingAdmissionPolicies, by which their authors know that the
// server has seen them as they are, and where their expressions do not fit the types that they are about.
package admissionpolicy

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/expression"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// maxTypes is how many types one rule of a policy is checked against.
const maxTypes = 10

type controller struct {
	client  client.Client
	kinds   *kind.Table
	schemas expression.Schemas
	log     *slog.Logger
}

// New returns the controller. Without schemas no type is known.
func New(c client.Client, kinds *kind.Table, schemas expression.Schemas, log *slog.Logger) loop.Controller {
	if schemas == nil {
		schemas = func(schema.GroupVersionKind) (*spec.Schema, error) { return nil, nil }
	}
	r := &controller{client: c, kinds: kinds, schemas: schemas, log: log}
	return loop.Controller{
		Name: "validatingadmissionpolicy-status", For: kind.Of[*admissionregistrationv1.ValidatingAdmissionPolicy](),
		Reconcile: func(ctx context.Context, key loop.Key) (loop.Result, error) {
			return loop.Result{}, r.observe(ctx, key)
		},
	}
}

// observe checks a policy once in each of its generations.
func (r *controller) observe(ctx context.Context, key loop.Key) error {
	p, err := client.Get[*admissionregistrationv1.ValidatingAdmissionPolicy](ctx, r.client, "", key.Name)
	if apierrors.IsNotFound(err) || err == nil && p.Status.ObservedGeneration >= p.Generation {
		return nil
	}
	if err != nil {
		return err
	}
	warnings, err := expression.TypeWarnings(p, concrete(p.Spec.MatchConstraints, r.kinds), r.schemas)
	if err != nil {
		r.log.Warn("cannot check all types of a policy", "policy", p.Name, "error", err)
	}
	next := p.DeepCopy()
	next.Status.ObservedGeneration = p.Generation
	next.Status.TypeChecking = &admissionregistrationv1.TypeChecking{ExpressionWarnings: warnings}
	if _, err := client.UpdateStatus(ctx, r.client, next); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot update status of policy %s: %w", key.Name, err)
	}
	return nil
}

// concrete returns the kinds that rules name without a wildcard, in order.
func concrete(m *admissionregistrationv1.MatchResources, kinds *kind.Table) []schema.GroupVersionKind {
	var out []schema.GroupVersionKind
	if m == nil {
		return nil
	}
	for i := range m.ResourceRules {
		named := namedBy(&m.ResourceRules[i].Rule, kinds)
		full := len(named) >= maxTypes
		out = append(out, named[:min(len(named), maxTypes)]...)
		if full {
			break
		}
	}
	slices.SortFunc(out, func(a, b schema.GroupVersionKind) int {
		return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.Version, b.Version), strings.Compare(a.Kind, b.Kind))
	})
	return slices.Compact(out)
}

func namedBy(r *admissionregistrationv1.Rule, kinds *kind.Table) []schema.GroupVersionKind {
	wild := func(v string) bool { return strings.Contains(v, "*") }
	if slices.ContainsFunc(r.APIGroups, wild) || slices.ContainsFunc(r.APIVersions, wild) {
		return nil
	}
	var out []schema.GroupVersionKind
	for _, group := range slices.Sorted(slices.Values(r.APIGroups)) {
		for _, version := range slices.Sorted(slices.Values(r.APIVersions)) {
			for _, resource := range slices.Sorted(slices.Values(r.Resources)) {
				for _, k := range kinds.Served() {
					// Kubernetes looks the core group up by what "" means to its mapper: any group
					if k.Plural == resource && k.Version == version && (group == "" || k.Group == group) {
						out = append(out, k.GroupVersionKind)
					}
				}
				for gvr, gvk := range kind.Virtual {
					if gvr.Resource == resource && gvr.Version == version && (group == "" || gvr.Group == group) {
						out = append(out, gvk)
					}
				}
			}
		}
	}
	return out
}
