package kind

import (
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	pathvalidation "k8s.io/apimachinery/pkg/api/validation/path"
)

func roleKind() *Kind {
	return definition[*rbacv1.Role]{
		gv: rbacv1.SchemeGroupVersion, kind: "Role", plural: "roles", singular: "role", namespaced: true,
		new:           func() *rbacv1.Role { return &rbacv1.Role{} },
		list:          func() runtime.Object { return &rbacv1.RoleList{} },
		validName:     pathSegmentName,
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
		validName:     pathSegmentName,
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
				errs = append(errs, strictly(s, path.Index(i))...)
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

func roleBindingKind() *Kind {
	return definition[*rbacv1.RoleBinding]{
		gv: rbacv1.SchemeGroupVersion, kind: "RoleBinding", plural: "rolebindings", singular: "rolebinding", namespaced: true,
		new:       func() *rbacv1.RoleBinding { return &rbacv1.RoleBinding{} },
		list:      func() runtime.Object { return &rbacv1.RoleBindingList{} },
		validName: pathSegmentName,
		defaults: func(b *rbacv1.RoleBinding) {
			defaultRoleRef(&b.RoleRef)
			defaultSubjects(b.Subjects)
		},
		validate: func(b *rbacv1.RoleBinding) field.ErrorList {
			return validateBinding(b.RoleRef, b.Subjects, true, "Role", "ClusterRole")
		},
		validateUpdate: func(b, old *rbacv1.RoleBinding) field.ErrorList { return sameRoleRef(b.RoleRef, old.RoleRef) },
		columns:        bindingColumns(rbacv1.RoleBinding{}.SwaggerDoc()["roleRef"]),
		row: func(b *rbacv1.RoleBinding, now time.Time) []any {
			return bindingRow(b, b.RoleRef, b.Subjects, now)
		},
	}.build()
}

func clusterRoleBindingKind() *Kind {
	return definition[*rbacv1.ClusterRoleBinding]{
		gv: rbacv1.SchemeGroupVersion, kind: "ClusterRoleBinding", plural: "clusterrolebindings", singular: "clusterrolebinding",
		new:       func() *rbacv1.ClusterRoleBinding { return &rbacv1.ClusterRoleBinding{} },
		list:      func() runtime.Object { return &rbacv1.ClusterRoleBindingList{} },
		validName: pathSegmentName,
		defaults: func(b *rbacv1.ClusterRoleBinding) {
			defaultRoleRef(&b.RoleRef)
			defaultSubjects(b.Subjects)
		},
		validate: func(b *rbacv1.ClusterRoleBinding) field.ErrorList {
			return validateBinding(b.RoleRef, b.Subjects, false, "ClusterRole")
		},
		validateUpdate: func(b, old *rbacv1.ClusterRoleBinding) field.ErrorList { return sameRoleRef(b.RoleRef, old.RoleRef) },
		columns:        bindingColumns(rbacv1.ClusterRoleBinding{}.SwaggerDoc()["roleRef"]),
		row: func(b *rbacv1.ClusterRoleBinding, now time.Time) []any {
			return bindingRow(b, b.RoleRef, b.Subjects, now)
		},
	}.build()
}

// pathSegmentName is the rule for RBAC names: what can be one segment of a URL, such as "system:node".
func pathSegmentName(name string, prefix bool) []string {
	if prefix {
		return pathvalidation.IsValidPathSegmentPrefix(name)
	}
	return pathvalidation.IsValidPathSegmentName(name)
}

func defaultRoleRef(ref *rbacv1.RoleRef) {
	emptyTo(&ref.APIGroup, rbacv1.GroupName)
}

func defaultSubjects(subjects []rbacv1.Subject) {
	for i := range subjects {
		s := &subjects[i]
		if s.APIGroup == "" && (s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind) {
			s.APIGroup = rbacv1.GroupName
		}
	}
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

func validateBinding(ref rbacv1.RoleRef, subjects []rbacv1.Subject, namespaced bool, kinds ...string) field.ErrorList {
	errs := validateRoleRef(ref, field.NewPath("roleRef"), kinds...)
	errs = append(errs, validateSubjects(subjects, namespaced, field.NewPath("subjects"))...)
	if ref.Name == "" {
		errs = append(errs, field.Required(field.NewPath("roleRef", "name"), ""))
	}
	return errs
}

func validateRoleRef(ref rbacv1.RoleRef, path *field.Path, kinds ...string) field.ErrorList {
	var errs field.ErrorList
	if ref.APIGroup != rbacv1.GroupName {
		errs = append(errs, field.NotSupported(path.Child("apiGroup"), ref.APIGroup, []string{rbacv1.GroupName}))
	}
	known := false
	for _, k := range kinds {
		known = known || ref.Kind == k
	}
	if !known {
		errs = append(errs, field.NotSupported(path.Child("kind"), ref.Kind, kinds))
	}
	if ref.Name == "" {
		return errs // said at the end
	}
	return append(errs, invalidEach(path.Child("name"), ref.Name, pathSegmentName(ref.Name, false))...)
}

func validateSubjects(subjects []rbacv1.Subject, namespaced bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, s := range subjects {
		at := path.Index(i)
		group := rbacv1.GroupName
		switch s.Kind {
		case rbacv1.ServiceAccountKind:
			group = ""
			if s.Name != "" {
				errs = append(errs, invalidEach(at.Child("name"), s.Name, validation.IsDNS1123Subdomain(s.Name))...)
			}
		case rbacv1.UserKind, rbacv1.GroupKind:
		default:
			errs = append(errs, field.NotSupported(at.Child("kind"), s.Kind, []string{rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind}))
			continue
		}
		if s.APIGroup != group {
			errs = append(errs, field.NotSupported(at.Child("apiGroup"), s.APIGroup, []string{group}))
		}
		if s.Kind == rbacv1.ServiceAccountKind && !namespaced && s.Namespace == "" {
			errs = append(errs, field.Required(at.Child("namespace"), ""))
		}
	}
	for i := range subjects {
		if subjects[i].Name == "" {
			errs = append(errs, field.Required(path.Index(i).Child("name"), ""))
		}
	}
	return errs
}

func sameRoleRef(ref, old rbacv1.RoleRef) field.ErrorList {
	if ref == old {
		return nil
	}
	// quoted in the form that has no version
	return field.ErrorList{field.Invalid(field.NewPath("roleRef"), struct{ APIGroup, Kind, Name string }(ref), "field is immutable")}
}

func bindingColumns(roleRef string) []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		nameColumn(), column("Role", "string", roleRef), ageColumn(),
		wide("Users", "string", "Users in the binding"), wide("Groups", "string", "Groups in the binding"),
		wide("ServiceAccounts", "string", "ServiceAccounts in the binding"),
	}
}

func bindingRow(obj Object, ref rbacv1.RoleRef, subjects []rbacv1.Subject, now time.Time) []any {
	var users, groups, accounts []string
	for _, s := range subjects {
		switch s.Kind {
		case rbacv1.ServiceAccountKind:
			accounts = append(accounts, s.Namespace+"/"+s.Name)
		case rbacv1.UserKind:
			users = append(users, s.Name)
		case rbacv1.GroupKind:
			groups = append(groups, s.Name)
		}
	}
	return []any{
		obj.GetName(), ref.Kind + "/" + ref.Name, age(obj, now),
		strings.Join(users, ", "), strings.Join(groups, ", "), strings.Join(accounts, ", "),
	}
}
