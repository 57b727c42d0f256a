package podspec

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/container"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/quantity"
)

func requestsFromLimits(r *corev1.ResourceRequirements) {
	if r.Limits == nil {
		return
	}
	if r.Requests == nil {
		r.Requests = corev1.ResourceList{}
	}
	for name, limit := range r.Limits {
		if _, ok := r.Requests[name]; !ok {
			r.Requests[name] = limit.DeepCopy()
		}
	}
}

// DefaultResources completes what a pod asks for as a whole (KEP-2837) from what its containers ask for together:
// limits of huge pages, then requests, or where no container has any the pod's own limit, then limits of what every container limits.
func DefaultResources(p *corev1.Pod) {
	r := p.Spec.Resources
	if len(r.Limits) == 0 && len(r.Requests) == 0 {
		return
	}
	limits := resourcehelper.AggregateContainerLimits(p, resourcehelper.PodResourcesOptions{})
	fillResources(&r.Limits, limits, func(name corev1.ResourceName) bool {
		_, requested := r.Requests[name]
		return quantity.IsHugePages(name) && !requested
	})
	requests := resourcehelper.AggregateContainerRequests(p, resourcehelper.PodResourcesOptions{})
	fillResources(&r.Requests, requests, quantity.Overcommits)
	fillResources(&r.Requests, r.Limits, func(corev1.ResourceName) bool { return true })
	for name, limit := range limits {
		// a limit is no less than what is requested
		if request, ok := r.Requests[name]; ok && request.Cmp(limit) > 0 {
			limits[name] = request
		}
	}
	fillResources(&r.Limits, limits, func(name corev1.ResourceName) bool {
		_, requested := r.Requests[name]
		return requested && allLimited(&p.Spec, name)
	})
}

func allLimited(s *corev1.PodSpec, name corev1.ResourceName) bool {
	for _, c := range container.Lasting(s) {
		if _, ok := c.Resources.Limits[name]; !ok {
			return false
		}
	}
	return true
}

// fillResources adds to a list what it lacks and the pod as a whole can have.
func fillResources(to *corev1.ResourceList, from corev1.ResourceList, want func(corev1.ResourceName) bool) {
	for name, q := range from {
		if _, ok := (*to)[name]; ok || !resourcehelper.IsSupportedPodLevelResource(name) || !want(name) {
			continue
		}
		if *to == nil {
			*to = corev1.ResourceList{}
		}
		(*to)[name] = q.DeepCopy()
	}
}

// validatePodResource checks the name of what a pod can ask for as a whole.
func validatePodResource(name corev1.ResourceName, path *field.Path) field.ErrorList {
	errs := quantity.ValidateName(name, path)
	if len(errs) == 0 && !resourcehelper.IsSupportedPodLevelResource(name) {
		return field.ErrorList{field.NotSupported(path, name, slices.Sorted(maps.Keys(resourcehelper.SupportedPodLevelResources())))}
	}
	return errs
}

// validatePodResources checks what a pod asks for as a whole, and that its containers ask for no more.
func validatePodResources(s *corev1.PodSpec, scope *container.Scope, path *field.Path) field.ErrorList {
	r := s.Resources
	if r == nil {
		return nil
	}
	if s.OS != nil && s.OS.Name == corev1.Windows {
		return field.ErrorList{field.Forbidden(path, "may not be set for a windows pod")}
	}
	var errs field.ErrorList
	if r.Claims != nil {
		errs = append(errs, field.Forbidden(path.Child("claims"), "claims may not be set for Resources at pod-level"))
	}
	errs = append(errs, container.ValidateResources(r, scope, validatePodResource, path)...)
	pod := &corev1.Pod{Spec: *s}
	for name, sum := range resourcehelper.AggregateContainerRequests(pod, resourcehelper.PodResourcesOptions{}) {
		if request, ok := r.Requests[name]; ok && sum.Cmp(request) > 0 {
			errs = append(errs, field.Invalid(path.Child("requests").Key(string(name)), request.String(),
				fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", sum.String())))
		}
	}
	for name, sum := range resourcehelper.AggregateContainerLimits(pod, resourcehelper.PodResourcesOptions{}) {
		if limit, ok := r.Limits[name]; ok && quantity.IsHugePages(name) && sum.Cmp(limit) > 0 {
			errs = append(errs, field.Invalid(path.Child("limits").Key(string(name)), limit.String(),
				fmt.Sprintf("must be greater than or equal to aggregate container limits of %s", sum.String())))
		}
	}
	for i := range s.Containers {
		for name, limit := range s.Containers[i].Resources.Limits {
			if bound, ok := r.Limits[name]; ok && limit.Cmp(bound) > 0 {
				errs = append(errs, field.Invalid(path.Child("containers").Index(i).Key(string(name)).Child("limits"), limit.String(),
					fmt.Sprintf("must be less than or equal to pod limits of %s", bound.String())))
			}
		}
	}
	return errs
}
