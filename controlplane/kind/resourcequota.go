package kind

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/quantity"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/unversioned"
)

func resourceQuotaKind() *Kind {
	return definition[*corev1.ResourceQuota]{
		gv: corev1.SchemeGroupVersion, kind: "ResourceQuota", plural: "resourcequotas", singular: "resourcequota", short: []string{"quota"}, namespaced: true,
		new:  func() *corev1.ResourceQuota { return &corev1.ResourceQuota{} },
		list: func() runtime.Object { return &corev1.ResourceQuotaList{} },
		defaults: func(q *corev1.ResourceQuota) {
			for _, list := range []corev1.ResourceList{q.Spec.Hard, q.Status.Hard, q.Status.Used} {
				quantity.Round(list)
			}
		},
		prepareCreate: func(q *corev1.ResourceQuota) { q.Status = corev1.ResourceQuotaStatus{} },
		prepareUpdate: func(q, old *corev1.ResourceQuota) { q.Status = old.Status },
		validate:      validateQuota,
		warnings:      quotaWarnings,
		validateUpdate: func(q, old *corev1.ResourceQuota) field.ErrorList {
			if sameScopes(q.Spec.Scopes, old.Spec.Scopes) {
				return nil
			}
			return field.ErrorList{field.Invalid(field.NewPath("spec", "scopes"), q.Spec.Scopes, "field is immutable")}
		},
		status: &statusRules[*corev1.ResourceQuota]{
			prepareUpdate: func(q, old *corev1.ResourceQuota) { q.Spec = old.Spec },
			validate: func(q, _ *corev1.ResourceQuota) field.ErrorList {
				errs := validateQuotaList(q.Status.Hard, field.NewPath("status", "hard"))
				return append(errs, validateQuotaList(q.Status.Used, field.NewPath("status", "used"))...)
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
	errs := validateQuotaList(q.Spec.Hard, path.Child("hard"))
	scopes := path.Child("scopes")
	for _, s := range q.Spec.Scopes {
		if !slices.Contains(quotaScopes, s) {
			errs = append(errs, field.Invalid(scopes, q.Spec.Scopes, "unsupported scope"))
		}
		for range misfits(s, q.Spec.Hard) {
			errs = append(errs, field.Invalid(scopes, q.Spec.Scopes, "unsupported scope applied to resource"))
		}
	}
	for range conflicts(q.Spec.Scopes) {
		errs = append(errs, field.Invalid(scopes, q.Spec.Scopes, "conflicting scopes"))
	}
	if q.Spec.ScopeSelector != nil {
		errs = append(errs, validateScopeSelector(q, path.Child("scopeSelector", "matchExpressions"))...)
	}
	return errs
}

// conflicts counts the pairs of scopes that no pod is in both of.
func conflicts(scopes []corev1.ResourceQuotaScope) int {
	n := 0
	for _, pair := range [][2]corev1.ResourceQuotaScope{
		{corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort},
		{corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating},
	} {
		if slices.Contains(scopes, pair[0]) && slices.Contains(scopes, pair[1]) {
			n++
		}
	}
	return n
}

func validateScopeSelector(q *corev1.ResourceQuota, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	var named []corev1.ResourceQuotaScope
	for _, req := range q.Spec.ScopeSelector.MatchExpressions {
		named = append(named, req.ScopeName)
		if !slices.Contains(quotaScopes, req.ScopeName) {
			errs = append(errs, field.Invalid(path.Child("scopeName"), req.ScopeName, "unsupported scope"))
		}
		for range misfits(req.ScopeName, q.Spec.Hard) {
			errs = append(errs, field.Invalid(path, unversioned.Form(q.Spec.ScopeSelector), "unsupported scope applied to resource"))
		}
		switch req.ScopeName {
		case corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopeTerminating,
			corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
			if req.Operator != corev1.ScopeSelectorOpExists {
				errs = append(errs, field.Invalid(path.Child("operator"), req.Operator,
					"must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"))
			}
		}
		switch req.Operator {
		case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
			if len(req.Values) == 0 {
				errs = append(errs, field.Required(path.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"))
			}
		case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
			if len(req.Values) != 0 {
				errs = append(errs, field.Invalid(path.Child("values"), req.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"))
			}
		default:
			errs = append(errs, field.Invalid(path.Child("operator"), req.Operator, "not a valid selector operator"))
		}
	}
	for range conflicts(named) {
		errs = append(errs, field.Invalid(path, q.Spec.Scopes, "conflicting scopes"))
	}
	return errs
}

// quotaCompute are the resources that pods have while they run.
var quotaCompute = []corev1.ResourceName{
	corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
}

// isQuotaResource says whether a name without a domain is of what a quota can limit. Storage is so by its requests alone.
func isQuotaResource(name corev1.ResourceName) bool {
	return quantity.IsStandard(name) && name != corev1.ResourceStorage
}

// validateQuotaResource takes what a quota can count, and resources with a domain.
func validateQuotaResource(name corev1.ResourceName, path *field.Path) field.ErrorList {
	errs := quantity.ValidateName(name, path)
	if !strings.Contains(string(name), "/") && !isQuotaResource(name) {
		errs = append(errs, field.Invalid(path, name, "must be a standard resource for quota"))
	}
	return errs
}

// misfits counts the limited resources for which a scope means nothing.
func misfits(scope corev1.ResourceQuotaScope, hard corev1.ResourceList) int {
	n := 0
	for name := range hard {
		if !isQuotaResource(name) {
			continue
		}
		fits := true
		switch scope {
		case corev1.ResourceQuotaScopeBestEffort:
			fits = name == corev1.ResourcePods
		case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeNotBestEffort,
			corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
			fits = name == corev1.ResourcePods || slices.Contains(quotaCompute, name)
		case corev1.ResourceQuotaScopeVolumeAttributesClass:
			fits = name == corev1.ResourcePersistentVolumeClaims || name == corev1.ResourceRequestsStorage
		}
		if !fits {
			n++
		}
	}
	return n
}

// quotaWarnings tells of requests that may be more than limits, on create.
func quotaWarnings(q, old *corev1.ResourceQuota) []string {
	if old != nil {
		return nil
	}
	var out []string
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceStorage, corev1.ResourceEphemeralStorage} {
		requests, limits := "requests."+name, "limits."+name
		request, ok := q.Spec.Hard[requests]
		if !ok && (name == corev1.ResourceCPU || name == corev1.ResourceMemory) {
			if request, ok = q.Spec.Hard[name]; ok {
				requests = name
			}
		}
		if limit, limited := q.Spec.Hard[limits]; ok && limited && request.Cmp(limit) > 0 {
			out = append(out, fmt.Sprintf("ResourceQuota %s (%s) should be less than %s (%s)", requests, request.String(), limits, limit.String()))
		}
	}
	return out
}

// validateQuotaList checks the names and amounts of what is limited or used.
func validateQuotaList(list corev1.ResourceList, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(list)) {
		at := path.Key(string(name))
		errs = append(errs, validateQuotaResource(name, at)...)
		errs = append(errs, quantity.Validate(name, list[name], at)...)
	}
	return errs
}
