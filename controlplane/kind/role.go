package kind

import (
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

func roleKind() *Kind {
	return definition[*rbacv1.Role]{
		gv: rbacv1.SchemeGroupVersion, kind: "Role", plural: "roles", singular: "role", namespaced: true,
		new:           func() *rbacv1.Role { return &rbacv1.Role{} },
		list:          func() runtime.Object { return &rbacv1.RoleList{} },
		validName:     validate.PathSegmentName,
		prepareCreate: func(r *rbacv1.Role) { r.Rules = noneIfEmpty(r.Rules) },
		prepareUpdate: func(r, _ *rbacv1.Role) { r.Rules = noneIfEmpty(r.Rules) },
		validate:      func(r *rbacv1.Role) field.ErrorList { return validateRules(r.Rules, true, field.NewPath("rules")) },
		columns:       []metav1.TableColumnDefinition{nameColumn(), createdColumn()},
		row:           func(r *rbacv1.Role, _ time.Time) []any { return []any{r.Name, createdAt(r)} },
	}.build()
}

func clusterRoleKind() *Kind {
	return definition[*rbacv1.ClusterRole]{
		gv: rbacv1.SchemeGroupVersion, kind: "ClusterRole", plural: "clusterroles", singular: "clusterrole",
		new:           func() *rbacv1.ClusterRole { return &rbacv1.ClusterRole{} },
		list:          func() runtime.Object { return &rbacv1.ClusterRoleList{} },
		validName:     validate.PathSegmentName,
		prepareCreate: func(r *rbacv1.ClusterRole) { r.Rules = noneIfEmpty(r.Rules) },
		prepareUpdate: func(r, _ *rbacv1.ClusterRole) { r.Rules = noneIfEmpty(r.Rules) },
		validate: func(r *rbacv1.ClusterRole) field.ErrorList {
			errs := validateRules(r.Rules, false, field.NewPath("rules"))
			if r.AggregationRule == nil {
				return errs
			}
			path := field.NewPath("aggregationRule", "clusterRoleSelectors")
			if len(r.AggregationRule.ClusterRoleSelectors) == 0 {
				return append(errs, field.Required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil"))
			}
			for i := range r.AggregationRule.ClusterRoleSelectors {
				s := &r.AggregationRule.ClusterRoleSelectors[i]
				errs = append(errs, validate.Selector(s, path.Index(i))...)
				if _, err := metav1.LabelSelectorAsSelector(s); err != nil {
					errs = append(errs, field.Invalid(path.Index(i), nil, "invalid label selector."))
				}
			}
			return errs
		},
		columns: []metav1.TableColumnDefinition{nameColumn(), createdColumn()},
		row:     func(r *rbacv1.ClusterRole, _ time.Time) []any { return []any{r.Name, createdAt(r)} },
	}.build()
}

func validateRules(rules []rbacv1.PolicyRule, namespaced bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, r := range rules {
		at := path.Index(i)
		if len(r.NonResourceURLs) > 0 {
			if namespaced {
				errs = append(errs, field.Invalid(at.Child("nonResourceURLs"), r.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs"))
			}
			if len(r.APIGroups) > 0 || len(r.Resources) > 0 || len(r.ResourceNames) > 0 {
				errs = append(errs, field.Invalid(at.Child("nonResourceURLs"), r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs"))
			}
			continue
		}
		if len(r.APIGroups) == 0 {
			errs = append(errs, field.Required(at.Child("apiGroups"), "resource rules must supply at least one api group"))
		}
		if len(r.Resources) == 0 {
			errs = append(errs, field.Required(at.Child("resources"), "resource rules must supply at least one resource"))
		}
	}
	for i := range rules {
		if len(rules[i].Verbs) == 0 {
			errs = append(errs, field.Required(path.Index(i).Child("verbs"), ""))
		}
	}
	return errs
}
