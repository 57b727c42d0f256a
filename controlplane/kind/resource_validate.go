package kind

import (
	"fmt"
	"maps"
	"slices"
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

// isExtended says whether the resource is one that a device plug-in or an administrator made up. A quota must be able to name it too.
func isExtended(name corev1.ResourceName) bool {
	return !isNative(name) && !strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) &&
		len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(name))) == 0
}

// overcommits says whether more of a resource may be promised by limits than there is.
func overcommits(name corev1.ResourceName) bool { return isNative(name) && !isHugePages(name) }

// countedResources are numbers of objects.
var countedResources = map[corev1.ResourceName]bool{
	corev1.ResourcePods: true, corev1.ResourceQuotas: true, corev1.ResourceServices: true, corev1.ResourceReplicationControllers: true,
	corev1.ResourceSecrets: true, corev1.ResourceConfigMaps: true, corev1.ResourcePersistentVolumeClaims: true,
	corev1.ResourceServicesNodePorts: true, corev1.ResourceServicesLoadBalancers: true,
}

// measuredResources are the other resources that have a name without a domain.
var measuredResources = map[corev1.ResourceName]bool{
	corev1.ResourceCPU: true, corev1.ResourceMemory: true, corev1.ResourceEphemeralStorage: true, corev1.ResourceStorage: true,
	corev1.ResourceRequestsCPU: true, corev1.ResourceRequestsMemory: true, corev1.ResourceRequestsEphemeralStorage: true, corev1.ResourceRequestsStorage: true,
	corev1.ResourceLimitsCPU: true, corev1.ResourceLimitsMemory: true, corev1.ResourceLimitsEphemeralStorage: true,
}

// isStandard says whether a name without a domain is one that Kubernetes knows.
func isStandard(name corev1.ResourceName) bool {
	return countedResources[name] || measuredResources[name] || isHugePages(name) || strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix)
}

// validateResourceName checks the name of a resource of any use.
func validateResourceName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	errs := invalidEach(path, name, validation.IsQualifiedName(string(name)))
	if len(errs) > 0 || strings.Contains(string(name), "/") || isStandard(name) {
		return errs
	}
	return field.ErrorList{field.Invalid(path, name, "must be a standard resource type or fully qualified")}
}

func validateQuantity(name corev1.ResourceName, q resource.Quantity, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if q.Sign() < 0 {
		errs = append(errs, field.Invalid(path, q.String(), "must be greater than or equal to 0").WithOrigin("minimum"))
	}
	if (countedResources[name] || isExtended(name)) && isFractional(q) {
		errs = append(errs, field.Invalid(path, q, "must be an integer"))
	}
	return errs
}

func isFractional(q resource.Quantity) bool { return q.MilliValue()%1000 != 0 }

// validateContainerResource checks the name of what a container can ask for.
func validateContainerResource(name corev1.ResourceName, path *field.Path) field.ErrorList {
	errs := validateResourceName(name, path)
	switch {
	case !strings.Contains(string(name), "/"):
		if name != corev1.ResourceCPU && name != corev1.ResourceMemory && name != corev1.ResourceEphemeralStorage && !isHugePages(name) {
			errs = append(errs, field.Invalid(path, name, "must be a standard resource for containers"))
		}
	case !isNative(name) && !isExtended(name):
		errs = append(errs, field.Invalid(path, name, "doesn't follow extended resource name standard"))
	}
	return errs
}

// validatePodResource checks the name of what a pod can ask for as a whole.
func validatePodResource(name corev1.ResourceName, path *field.Path) field.ErrorList {
	errs := validateResourceName(name, path)
	if len(errs) == 0 && !resourcehelper.IsSupportedPodLevelResource(name) {
		return field.ErrorList{field.NotSupported(path, name, slices.Sorted(maps.Keys(resourcehelper.SupportedPodLevelResources())))}
	}
	return errs
}

// validateResources checks what a container or a pod asks for.
func validateResources(r *corev1.ResourceRequirements, scope *containerScope, validName func(corev1.ResourceName, *field.Path) field.ErrorList, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	huge, base := false, false
	check := func(name corev1.ResourceName, q resource.Quantity, at *field.Path) {
		errs = append(errs, validName(name, at)...)
		errs = append(errs, validateQuantity(name, q, at)...)
		huge = huge || isHugePages(name)
		base = base || name == corev1.ResourceCPU || name == corev1.ResourceMemory
	}
	pages := func(name corev1.ResourceName, q resource.Quantity, at *field.Path) {
		if isHugePages(name) && !scope.exempt.partPages && !wholePages(name, q) {
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
		case limited && request.Cmp(limit) != 0 && !overcommits(name):
			errs = append(errs, field.Invalid(requests, request.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String())))
		case limited && request.Cmp(limit) > 0:
			errs = append(errs, field.Invalid(requests, request.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		case !limited && !overcommits(name):
			errs = append(errs, field.Required(limits, "Limit must be set for non overcommitable resources"))
		}
		pages(name, request, requests.Key(string(name)))
	}
	if huge && !base {
		errs = append(errs, field.Forbidden(path, "HugePages require cpu or memory"))
	}
	return append(errs, validateClaimsOfContainer(r.Claims, scope.claims, path.Child("claims"))...)
}

// wholePages says whether a quantity is so many pages of the size that the resource's name has.
func wholePages(name corev1.ResourceName, q resource.Quantity) bool {
	size, err := resource.ParseQuantity(strings.TrimPrefix(string(name), corev1.ResourceHugePagesPrefix))
	return err == nil && size.Sign() > 0 && !isFractional(size) && q.Value()%size.Value() == 0
}

// validateClaimsOfContainer checks that each claim is one of the pod's, and that none is named twice: it as a whole, or one request of it.
func validateClaimsOfContainer(claims []corev1.ResourceClaim, known map[string]bool, path *field.Path) field.ErrorList {
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
			errs = append(errs, dnsLabel(c.Request, at.Child("request"))...)
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

// validatePodResources checks what a pod asks for as a whole, and that its containers ask for no more.
func validatePodResources(s *corev1.PodSpec, scope *containerScope, path *field.Path) field.ErrorList {
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
	errs = append(errs, validateResources(r, scope, validatePodResource, path)...)
	pod := &corev1.Pod{Spec: *s}
	for name, sum := range resourcehelper.AggregateContainerRequests(pod, resourcehelper.PodResourcesOptions{}) {
		if request, ok := r.Requests[name]; ok && sum.Cmp(request) > 0 {
			errs = append(errs, field.Invalid(path.Child("requests").Key(string(name)), request.String(),
				fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", sum.String())))
		}
	}
	for name, sum := range resourcehelper.AggregateContainerLimits(pod, resourcehelper.PodResourcesOptions{}) {
		if limit, ok := r.Limits[name]; ok && isHugePages(name) && sum.Cmp(limit) > 0 {
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
