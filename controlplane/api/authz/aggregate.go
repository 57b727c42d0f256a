package authz

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
)

// retryAfter is how long a failed reconciliation waits.
const retryAfter = time.Second

func (a *Authorizer) aggregateSoon() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// aggregate keeps the rules of cluster roles with an aggregation rule until ctx ends.
func (a *Authorizer) aggregate(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.changed:
		}
		if err := a.retry(ctx, "cannot aggregate cluster roles", a.aggregateAll); err != nil {
			return err
		}
	}
}

func (a *Authorizer) aggregateAll(ctx context.Context) error {
	roles, err := client.List[*rbacv1.ClusterRole](ctx, a.client, client.Query{})
	if err != nil {
		return err
	}
	slices.SortFunc(roles, func(x, y *rbacv1.ClusterRole) int { return strings.Compare(x.Name, y.Name) })
	for _, role := range roles {
		if role.AggregationRule == nil {
			continue
		}
		rules := aggregated(role, roles)
		if equalRules(role.Rules, rules) {
			continue
		}
		changed := role.DeepCopy()
		changed.Rules = rules
		if _, err := client.Update(ctx, a.client, changed); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// aggregated joins the rules of the roles that a role's selectors choose.
func aggregated(role *rbacv1.ClusterRole, roles []*rbacv1.ClusterRole) []rbacv1.PolicyRule {
	out := []rbacv1.PolicyRule{}
	for i := range role.AggregationRule.ClusterRoleSelectors {
		sel, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			continue
		}
		for _, r := range roles {
			if r.Name == role.Name || !sel.Matches(labels.Set(r.Labels)) {
				continue
			}
			for _, rule := range r.Rules {
				if !slices.ContainsFunc(out, func(o rbacv1.PolicyRule) bool { return reflect.DeepEqual(o, rule) }) {
					out = append(out, rule)
				}
			}
		}
	}
	return out
}

func equalRules(a, b []rbacv1.PolicyRule) bool {
	return len(a) == len(b) && (len(a) == 0 || reflect.DeepEqual(a, b))
}
