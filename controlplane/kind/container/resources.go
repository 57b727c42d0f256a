package container

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/quantity"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

func validateResizePolicy(policies []corev1.ContainerResizePolicy, scope *Scope, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[corev1.ResourceName]bool{}
	for i, p := range policies {
		if seen[p.ResourceName] {
			errs = append(errs, field.Duplicate(path.Index(i), p.ResourceName))
		}
		seen[p.ResourceName] = true
		errs = append(errs, validate.OneOf(p.ResourceName, path, corev1.ResourceCPU, corev1.ResourceMemory)...)
		errs = append(errs, validate.OneOf(p.RestartPolicy, path, corev1.NotRequired, corev1.RestartContainer)...)
		if scope.Restart == corev1.RestartPolicyNever && p.RestartPolicy != corev1.NotRequired {
			errs = append(errs, field.Invalid(path, p.RestartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"))
		}
	}
	return errs
}

// ValidateResources checks what a container or a pod asks for.
func ValidateResources(r *corev1.ResourceRequirements, scope *Scope, validName func(corev1.ResourceName, *field.Path) field.ErrorList, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	huge, base := false, false
	check := func(name corev1.ResourceName, q resource.Quantity, at *field.Path) {
		errs = append(errs, validName(name, at)...)
		errs = append(errs, quantity.Validate(name, q, at)...)
		huge = huge || quantity.IsHugePages(name)
		base = base || name == corev1.ResourceCPU || name == corev1.ResourceMemory
	}
	pages := func(name corev1.ResourceName, q resource.Quantity, at *field.Path) {
		if quantity.IsHugePages(name) && !scope.Exempt.partPages && !quantity.WholePages(name, q) {
			errs = append(errs, field.Invalid(at, q.String(), fmt.Sprintf("%s is not positive integer multiple of %s", q.String(), name)))
		}
	}
	limits, requests := path.Child("limits"), path.Child("requests")
	for name, q := range r.Limits {
		check(name, q, limits.Key(string(name)))
		pages(name, q, limits.Key(string(name)))
	}
	for name, request := range r.Requests {
		check(name, request, requests.Key(string(name)))
		limit, limited := r.Limits[name]
		switch {
		case limited && request.Cmp(limit) != 0 && !quantity.Overcommits(name):
			errs = append(errs, field.Invalid(requests, request.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String())))
		case limited && request.Cmp(limit) > 0:
			errs = append(errs, field.Invalid(requests, request.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		case !limited && !quantity.Overcommits(name):
			errs = append(errs, field.Required(limits, "Limit must be set for non overcommitable resources"))
		}
		pages(name, request, requests.Key(string(name)))
	}
	if huge && !base {
		errs = append(errs, field.Forbidden(path, "HugePages require cpu or memory"))
	}
	return append(errs, validateClaims(r.Claims, scope.Claims, path.Child("claims"))...)
}

// validateClaims checks that each claim is one of the pod's, and that none is named twice: it as a whole, or one request of it.
func validateClaims(claims []corev1.ResourceClaim, known map[string]bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	whole, parts, exact := map[string]bool{}, map[string]int{}, map[corev1.ResourceClaim]bool{}
	for i, c := range claims {
		at := path.Index(i)
		if c.Name == "" {
			errs = append(errs, field.Required(at, ""))
			continue
		}
		if whole[c.Name] {
			errs = append(errs, field.Duplicate(at, c.Name))
		} else if c.Request == "" {
			for range parts[c.Name] {
				errs = append(errs, field.Duplicate(at, c.Name))
			}
			whole[c.Name] = true
		} else {
			errs = append(errs, validate.DNSLabel(c.Request, at.Child("request"))...)
			if exact[c] {
				errs = append(errs, field.Duplicate(at, c.Name+"/"+c.Request))
			} else {
				exact[c] = true
				parts[c.Name]++
			}
		}
		if !known[c.Name] {
			errs = append(errs, noSuchClaim(c.Name, known, at))
		}
	}
	return errs
}

func noSuchClaim(name string, known map[string]bool, path *field.Path) *field.Error {
	err := field.NotFound(path, name)
	err.Detail = "must be one of the names in pod.spec.resourceClaims"
	if len(known) == 0 {
		err.Detail += " which is empty"
	} else {
		err.Detail += ": " + strings.Join(slices.Sorted(maps.Keys(known)), ", ")
	}
	return err
}
