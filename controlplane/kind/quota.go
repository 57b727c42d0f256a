package kind

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func resourceQuotaKind() *Kind {
	return definition[*corev1.ResourceQuota]{
		gv: corev1.SchemeGroupVersion, kind: "ResourceQuota", plural: "resourcequotas", singular: "resourcequota", short: []string{"quota"}, namespaced: true,
		new:  func() *corev1.ResourceQuota { return &corev1.ResourceQuota{} },
		list: func() runtime.Object { return &corev1.ResourceQuotaList{} },
		defaults: func(q *corev1.ResourceQuota) {
			for _, list := range []corev1.ResourceList{q.Spec.Hard, q.Status.Hard, q.Status.Used} {
				defaultResources(list)
			}
		},
		prepareCreate: func(q *corev1.ResourceQuota) { q.Status = corev1.ResourceQuotaStatus{} },
		prepareUpdate: func(q, old *corev1.ResourceQuota) { q.Status = old.Status },
		validate:      validateQuota,
		validateUpdate: func(q, old *corev1.ResourceQuota) field.ErrorList {
			if sameScopes(q.Spec.Scopes, old.Spec.Scopes) && apiequality.Semantic.DeepEqual(q.Spec.ScopeSelector, old.Spec.ScopeSelector) {
				return nil
			}
			return field.ErrorList{field.Invalid(field.NewPath("spec", "scopes"), q.Spec.Scopes, "field is immutable")}
		},
		status: &statusRules[*corev1.ResourceQuota]{
			prepareUpdate: func(q, old *corev1.ResourceQuota) { q.Spec = old.Spec },
			validate: func(q, _ *corev1.ResourceQuota) field.ErrorList {
				errs := validateResourceList(q.Status.Hard, field.NewPath("status", "hard"))
				return append(errs, validateResourceList(q.Status.Used, field.NewPath("status", "used"))...)
			},
		},
		columns: []metav1.TableColumnDefinition{
			nameColumn(),
			column("Request", "string", "Request represents a minimum amount of cpu/memory that a container may consume."),
			column("Limit", "string", "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node."),
			ageColumn(),
		},
		row: func(q *corev1.ResourceQuota, now time.Time) []any {
			var requests, limits []string
			for _, name := range slices.Sorted(maps.Keys(q.Status.Hard)) {
				used, hard := q.Status.Used[name], q.Status.Hard[name]
				text := fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String())
				if strings.HasPrefix(string(name), "limits") {
					limits = append(limits, text)
					continue
				}
				requests = append(requests, text)
			}
			return []any{q.Name, strings.Join(requests, ", "), strings.Join(limits, ", "), age(q, now)}
		},
	}.build()
}

func sameScopes(a, b []corev1.ResourceQuotaScope) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

var quotaScopes = []corev1.ResourceQuotaScope{
	corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort,
	corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity,
	corev1.ResourceQuotaScopeVolumeAttributesClass,
}

func validateQuota(q *corev1.ResourceQuota) field.ErrorList {
	path := field.NewPath("spec")
	errs := validateResourceList(q.Spec.Hard, path.Child("hard"))
	for i, s := range q.Spec.Scopes {
		if !slices.Contains(quotaScopes, s) {
			errs = append(errs, field.Invalid(path.Child("scopes").Index(i), s, "unsupported scope"))
		}
	}
	conflict := func(a, b corev1.ResourceQuotaScope) {
		if slices.Contains(q.Spec.Scopes, a) && slices.Contains(q.Spec.Scopes, b) {
			errs = append(errs, field.Invalid(path.Child("scopes"), q.Spec.Scopes, "conflicting scopes"))
		}
	}
	conflict(corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort)
	conflict(corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating)
	return errs
}
