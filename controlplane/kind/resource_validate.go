package kind

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"
)

func labelName(name string, path *field.Path) field.ErrorList {
	return metavalidation.ValidateLabelName(name, path)
}

func isHugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// isNative says whether Kubernetes itself gives the resource its meaning.
func isNative(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// isExtended says whether the resource is one that a device plug-in or an administrator made up.
func isExtended(name corev1.ResourceName) bool {
	return !isNative(name) && !strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix)
}

// overcommits says whether more of a resource may be promised by limits than there is.
func overcommits(name corev1.ResourceName) bool { return isNative(name) && !isHugePages(name) }

func validateQuantity(name corev1.ResourceName, q resource.Quantity, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if q.Sign() < 0 {
		errs = append(errs, field.Invalid(path, q.String(), "must be greater than or equal to 0").WithOrigin("minimum"))
	}
	if (isExtended(name) || isHugePages(name) || name == corev1.ResourcePods) && q.MilliValue()%1000 != 0 {
		errs = append(errs, field.Invalid(path, q.String(), "must be an integer"))
	}
	return errs
}

// validateResourceList checks names and quantities of capacity, bounds and quotas.
func validateResourceList(list corev1.ResourceList, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for name, q := range list {
		at := path.Key(string(name))
		errs = append(errs, invalidEach(at, name, validation.IsQualifiedName(string(name)))...)
		errs = append(errs, validateQuantity(name, q, at)...)
	}
	return errs
}

// containerResources are the resources without a domain that a container can ask for.
var containerResources = map[corev1.ResourceName]bool{
	corev1.ResourceCPU: true, corev1.ResourceMemory: true, corev1.ResourceEphemeralStorage: true,
}

func validateContainerResource(name corev1.ResourceName, path *field.Path) field.ErrorList {
	errs := invalidEach(path, name, validation.IsQualifiedName(string(name)))
	switch {
	case len(errs) > 0:
	case !strings.Contains(string(name), "/"):
		if !containerResources[name] && !isHugePages(name) {
			errs = append(errs, field.Invalid(path, name, "must be a standard resource for containers"))
		}
	case isNative(name):
		errs = append(errs, field.Invalid(path, name, "doesn't follow extended resource name standard"))
	}
	return errs
}

// validateResources checks what one container asks for.
func validateResources(r *corev1.ResourceRequirements, claims map[string]bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	limits, requests := path.Child("limits"), path.Child("requests")
	for name, q := range r.Limits {
		at := limits.Key(string(name))
		errs = append(errs, validateContainerResource(name, at)...)
		errs = append(errs, validateQuantity(name, q, at)...)
	}
	for name, q := range r.Requests {
		at := requests.Key(string(name))
		errs = append(errs, validateContainerResource(name, at)...)
		errs = append(errs, validateQuantity(name, q, at)...)
	}
	errs = append(errs, validateRequestsWithin(r, path)...)
	for i, c := range r.Claims {
		at := path.Child("claims").Index(i)
		if c.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else if !claims[c.Name] {
			errs = append(errs, field.NotFound(at, c.Name))
		}
	}
	return errs
}

func validateRequestsWithin(r *corev1.ResourceRequirements, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	requests := path.Child("requests")
	huge, base := false, false
	for _, list := range []corev1.ResourceList{r.Limits, r.Requests} {
		for name := range list {
			huge = huge || isHugePages(name)
			base = base || name == corev1.ResourceCPU || name == corev1.ResourceMemory
		}
	}
	for name, request := range r.Requests {
		limit, limited := r.Limits[name]
		switch {
		case limited && request.Cmp(limit) != 0 && !overcommits(name):
			errs = append(errs, field.Invalid(requests, request.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String())))
		case limited && request.Cmp(limit) > 0:
			errs = append(errs, field.Invalid(requests, request.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		case !limited && !overcommits(name):
			errs = append(errs, field.Required(path.Child("limits"), "Limit must be set for non overcommitable resources"))
		}
	}
	if huge && !base {
		errs = append(errs, field.Forbidden(path, "HugePages require cpu or memory"))
	}
	return errs
}

// validatePodResources checks what a pod asks for as a whole.
func validatePodResources(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for part, list := range map[string]corev1.ResourceList{"limits": s.Resources.Limits, "requests": s.Resources.Requests} {
		for name, q := range list {
			at := path.Child(part).Key(string(name))
			if !resourcehelper.IsSupportedPodLevelResource(name) {
				errs = append(errs, field.NotSupported(at, name, resourcehelper.SupportedPodLevelResources().UnsortedList()))
			}
			errs = append(errs, validateQuantity(name, q, at)...)
		}
	}
	if len(s.Resources.Claims) > 0 {
		errs = append(errs, field.Forbidden(path.Child("claims"), "claims may not be set for Resources at pod-level"))
	}
	errs = append(errs, validateRequestsWithin(s.Resources, path)...)
	// what containers request together must fit what the pod requests
	pod := &corev1.Pod{Spec: *s}
	sums := resourcehelper.AggregateContainerRequests(pod, resourcehelper.PodResourcesOptions{})
	for name, sum := range sums {
		if request, ok := s.Resources.Requests[name]; ok && sum.Cmp(request) > 0 {
			errs = append(errs, field.Invalid(path.Child("requests").Key(string(name)), request.String(),
				fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", sum.String())))
		}
	}
	for _, c := range allContainers(s) {
		for name, limit := range c.Resources.Limits {
			if bound, ok := s.Resources.Limits[name]; ok && limit.Cmp(bound) > 0 {
				errs = append(errs, field.Invalid(path.Child("limits").Key(string(name)), bound.String(),
					fmt.Sprintf("must be greater than or equal to the limit of container %s, %s", c.Name, limit.String())))
			}
		}
	}
	return errs
}
