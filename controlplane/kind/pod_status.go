package kind

import (
	"fmt"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/container"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/podspec"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

var (
	podStatusPath   = field.NewPath("status")
	annotationsPath = field.NewPath("metadata", "annotations")
)

// preparePodStatus restores what the status of a pod does not cover, and what old clients drop since they do not know of it.
func preparePodStatus(p, old *corev1.Pod) {
	p.Spec = old.Spec
	p.OwnerReferences = old.OwnerReferences
	s, was := &p.Status, &old.Status
	if s.QOSClass == "" {
		s.QOSClass = was.QOSClass
	}
	if s.ResourceClaimStatuses == nil {
		s.ResourceClaimStatuses = was.ResourceClaimStatuses
	}
	if s.ExtendedResourceClaimStatus == nil {
		s.ExtendedResourceClaimStatus = was.ExtendedResourceClaimStatus
	}
	if s.ObservedGeneration == 0 {
		s.ObservedGeneration = was.ObservedGeneration
	}
	keepObserved(s.Conditions, was.Conditions)
	// behind gates that are closed
	s.NodeAllocatableResourceClaimStatuses = nil
	s.VolumeHealth = nil
	eachContainerStatus(s, func(list []corev1.ContainerStatus, _ *field.Path) {
		for i := range list {
			for j := range list[i].VolumeMounts {
				list[i].VolumeMounts[j].VolumeStatus = nil
			}
		}
	})
}

// keepObserved keeps the generation that a condition was observed for. Types may repeat: they are matched in order.
func keepObserved(conditions, old []corev1.PodCondition) {
	observed := map[corev1.PodConditionType][]int64{}
	for _, c := range old {
		observed[c.Type] = append(observed[c.Type], c.ObservedGeneration)
	}
	for i := range conditions {
		c := &conditions[i]
		was := observed[c.Type]
		if len(was) == 0 {
			continue
		}
		observed[c.Type] = was[1:]
		if c.ObservedGeneration == 0 {
			c.ObservedGeneration = was[0]
		}
	}
}

func eachContainerStatus(s *corev1.PodStatus, f func(list []corev1.ContainerStatus, path *field.Path)) {
	f(s.ContainerStatuses, podStatusPath.Child("containerStatuses"))
	f(s.InitContainerStatuses, podStatusPath.Child("initContainerStatuses"))
	f(s.EphemeralContainerStatuses, podStatusPath.Child("ephemeralContainerStatuses"))
}

func validatePodStatusUpdate(p, old *corev1.Pod) field.ErrorList {
	s, path := &p.Status, podStatusPath
	errs := validateAnnotationChange(p, old)
	errs = append(errs, podspec.ValidateAnnotations(p.Annotations, &p.Spec, podspec.Exemptions(&old.Spec, &old.ObjectMeta), annotationsPath)...)
	errs = append(errs, validatePodConditions(s.Conditions, path.Child("conditions"))...)
	if name := s.NominatedNodeName; name != "" && name != old.Status.NominatedNodeName {
		errs = append(errs, validate.Subdomain(name, path.Child("nominatedNodeName"))...)
		if old.Spec.NodeName != "" {
			errs = append(errs, field.Forbidden(path.Child("nominatedNodeName"), "may not be set on pods that are already bound to a node"))
		}
	}
	if s.ObservedGeneration < 0 {
		errs = append(errs, field.Invalid(path.Child("observedGeneration"), s.ObservedGeneration, "must be a non-negative integer"))
	}
	errs = append(errs, validate.Immutable(s.QOSClass, old.Status.QOSClass, path.Child("qosClass"))...)
	errs = append(errs, stayTerminated(p, old)...)
	errs = append(errs, validateClaimStatuses(p, path.Child("resourceClaimStatuses"))...)
	if c := s.ExtendedResourceClaimStatus; c != nil {
		errs = append(errs, validateExtendedClaim(c, &p.Spec, path.Child("extendedResourceClaimStatus"))...)
	}
	errs = append(errs, validatePodIPs(s, &old.Status, path.Child("podIPs"))...)
	errs = append(errs, validateHostIPs(s, &old.Status, path.Child("hostIPs"))...)
	eachContainerStatus(s, func(list []corev1.ContainerStatus, path *field.Path) {
		errs = append(errs, validateStatusUsers(list, p.Spec.OS, path)...)
	})
	return append(errs, validateAllocated(p)...)
}

func validatePodConditions(conditions []corev1.PodCondition, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, c := range conditions {
		at := path.Index(i)
		if c.ObservedGeneration < 0 {
			errs = append(errs, field.Invalid(at.Child("observedGeneration"), c.ObservedGeneration, "must be a non-negative integer"))
		}
		errs = append(errs, validate.QualifiedName(string(c.Type), at.Child("Type"))...)
	}
	return errs
}

// stayTerminated refuses to revive, in the status, a container that is not to run again.
func stayTerminated(p, old *corev1.Pod) field.ErrorList {
	var errs field.ErrorList
	check := func(now, was []corev1.ContainerStatus, path *field.Path, restarts func(name string, code int32) bool) {
		for i := range was {
			t := was[i].State.Terminated
			if t == nil {
				continue
			}
			j := slices.IndexFunc(now, func(c corev1.ContainerStatus) bool { return c.Name == was[i].Name && c.State.Terminated == nil })
			if j >= 0 && !restarts(was[i].Name, t.ExitCode) {
				errs = append(errs, field.Forbidden(path.Index(i).Child("state"), "may not be transitioned to non-terminated state"))
			}
		}
	}
	among := func(containers []corev1.Container) func(string, int32) bool {
		return func(name string, code int32) bool {
			i := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == name })
			return i >= 0 && restartsAfter(&containers[i], old.Spec.RestartPolicy, code)
		}
	}
	now, was := &p.Status, &old.Status
	if !restartsAll(&old.Spec) {
		check(now.ContainerStatuses, was.ContainerStatuses, podStatusPath.Child("containerStatuses"), among(old.Spec.Containers))
		check(now.InitContainerStatuses, was.InitContainerStatuses, podStatusPath.Child("initContainerStatuses"), among(old.Spec.InitContainers))
	}
	check(now.EphemeralContainerStatuses, was.EphemeralContainerStatuses, podStatusPath.Child("ephemeralContainerStatuses"),
		func(string, int32) bool { return false })
	return errs
}

// restartsAll says whether a container's end can make all containers of a pod start again.
func restartsAll(s *corev1.PodSpec) bool {
	for _, c := range container.Lasting(s) {
		for _, rule := range c.RestartPolicyRules {
			if rule.Action == corev1.ContainerRestartRuleActionRestartAllContainers {
				return true
			}
		}
	}
	return false
}

// restartsAfter says whether a container runs again after it ended so: by its first rule that matches, its policy, or its pod's.
func restartsAfter(c *corev1.Container, pod corev1.RestartPolicy, code int32) bool {
	policy := string(pod)
	if c.RestartPolicy != nil {
		for _, rule := range c.RestartPolicyRules {
			if e := rule.ExitCodes; e != nil && slices.Contains(e.Values, code) == (e.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
				return true
			}
		}
		policy = string(*c.RestartPolicy)
	}
	switch policy {
	case string(corev1.RestartPolicyOnFailure):
		return code != 0
	case string(corev1.RestartPolicyNever):
		return false
	}
	return true
}

// validateClaimStatuses checks that what is said of claims is of the pod's.
func validateClaimStatuses(p *corev1.Pod, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, c := range p.Status.ResourceClaimStatuses {
		at := path.Index(i)
		if !slices.ContainsFunc(p.Spec.ResourceClaims, func(known corev1.PodResourceClaim) bool { return known.Name == c.Name }) {
			errs = append(errs, field.Invalid(at.Child("name"), c.Name, "must match the name of an entry in `spec.resourceClaims`"))
		}
		if seen[c.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		}
		seen[c.Name] = true
		if c.ResourceClaimName != nil {
			errs = append(errs, validate.Subdomain(*c.ResourceClaimName, at.Child("resourceClaimName"))...)
		}
	}
	return errs
}

// validateExtendedClaim checks the claim that was made for the extended resources that containers ask for.
func validateExtendedClaim(c *corev1.PodExtendedResourceClaimStatus, s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	mappings := path.Child("requestMappings")
	if len(c.RequestMappings) == 0 {
		errs = append(errs, field.Required(mappings, "at least one request mapping is required"))
	}
	seen := map[corev1.ContainerExtendedResourceRequest]bool{}
	for i, m := range c.RequestMappings {
		at := mappings.Index(i)
		all := container.Lasting(s)
		j := slices.IndexFunc(all, func(c *corev1.Container) bool { return c.Name == m.ContainerName })
		if j < 0 {
			errs = append(errs, field.Invalid(at.Child("containerName"), m.ContainerName, "must match the name of an entry in spec.initContainers.name or spec.containers.name"))
		} else if _, ok := all[j].Resources.Requests[corev1.ResourceName(m.ResourceName)]; !ok {
			errs = append(errs, field.Invalid(at.Child("resourceName"), m.ResourceName,
				"must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests"))
		}
		errs = append(errs, validate.DNSLabel(m.RequestName, path.Child("requestName"))...)
		if seen[m] {
			errs = append(errs, field.Duplicate(at.Child("containerName"), m.ContainerName), field.Duplicate(at.Child("resourceName"), m.ResourceName),
				field.Duplicate(at.Child("requestName"), m.RequestName))
		}
		seen[m] = true
	}
	if c.ResourceClaimName == "" {
		return append(errs, field.Required(path.Child("resourceClaimName"), ""))
	}
	return append(errs, validate.Subdomain(c.ResourceClaimName, path.Child("resourceClaimName"))...)
}

func validatePodIPs(s, old *corev1.PodStatus, path *field.Path) field.ErrorList {
	ips, was := make([]string, len(s.PodIPs)), make([]string, len(old.PodIPs))
	for i := range s.PodIPs {
		ips[i] = s.PodIPs[i].IP
	}
	for i := range old.PodIPs {
		was[i] = old.PodIPs[i].IP
	}
	errs := validateIPs(ips, was, s.PodIPs, path)
	switch {
	case (s.PodIP != "") != (len(ips) > 0):
		errs = append(errs, field.Invalid(path, s.PodIPs, "podIP and podIPs must either both be set or both be unset"))
	case len(ips) > 0 && s.PodIP != ips[0]:
		errs = append(errs, field.Invalid(path.Index(0).Child("ip"), ips[0], "must be equal to `podIP`"))
	}
	return errs
}

func validateHostIPs(s, old *corev1.PodStatus, path *field.Path) field.ErrorList {
	if len(s.HostIPs) == 0 {
		return nil
	}
	ips, was := make([]string, len(s.HostIPs)), make([]string, len(old.HostIPs))
	for i := range s.HostIPs {
		ips[i] = s.HostIPs[i].IP
	}
	for i := range old.HostIPs {
		was[i] = old.HostIPs[i].IP
	}
	var errs field.ErrorList
	if s.HostIP != ips[0] {
		errs = append(errs, field.Invalid(path.Index(0).Child("ip"), ips[0], "must be equal to `hostIP`"))
	}
	return append(errs, validateIPs(ips, was, s.HostIPs, path)...)
}

// validateStatusUsers checks as whom containers run. The kernel knows more users than a pod may ask for.
func validateStatusUsers(list []corev1.ContainerStatus, os *corev1.PodOS, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range list {
		if list[i].User == nil || list[i].User.Linux == nil {
			continue
		}
		u, at := list[i].User.Linux, path.Index(i).Child("user", "linux")
		if os != nil && os.Name != corev1.Linux {
			if os.Name == corev1.Windows {
				errs = append(errs, field.Forbidden(at, "cannot be set for a windows pod"))
			}
			continue
		}
		if u.UID < 0 || u.UID > math.MaxUint32 {
			errs = append(errs, field.Invalid(at.Child("uid"), u.UID, fmt.Sprintf("must be between 0 and %d, inclusive", int64(math.MaxUint32))))
		}
		errs = append(errs, validate.Each(at.Child("gid"), u.GID, validation.IsValidGroupID(u.GID))...)
		for j, g := range u.SupplementalGroups {
			errs = append(errs, validate.Each(at.Child("supplementalGroups").Index(j), g, validation.IsValidGroupID(g))...)
		}
	}
	return errs
}

func validateAllocated(p *corev1.Pod) field.ErrorList {
	s := &p.Status
	errs := validateAllocatedOf(s.ContainerStatuses, p.Spec.Containers, s, podStatusPath.Child("containerStatuses"))
	errs = append(errs, validateAllocatedOf(s.InitContainerStatuses, p.Spec.InitContainers, s, podStatusPath.Child("initContainerStatuses"))...)
	for i := range s.EphemeralContainerStatuses {
		if len(s.EphemeralContainerStatuses[i].AllocatedResourcesStatus) > 0 {
			errs = append(errs, field.Forbidden(podStatusPath.Child("ephemeralContainerStatuses").Index(i).Child("allocatedResourcesStatus"), "must not be specified in container status"))
		}
	}
	return errs
}

// validateAllocatedOf checks the health of devices: they are of what the container asked for, each once.
func validateAllocatedOf(list []corev1.ContainerStatus, containers []corev1.Container, s *corev1.PodStatus, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range list {
		j := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == list[i].Name })
		for k, a := range list[i].AllocatedResourcesStatus {
			at := path.Index(i).Child("allocatedResourcesStatus").Index(k)
			if j >= 0 {
				if message := notAskedFor(a.Name, &containers[j], s.ExtendedResourceClaimStatus); message != "" {
					errs = append(errs, field.Invalid(at.Child("name"), a.Name, message))
				}
			}
			seen := map[corev1.ResourceID]bool{}
			for l, r := range a.Resources {
				at := at.Child("resources").Index(l)
				errs = append(errs, validate.Supported(r.Health, at.Child("health"), corev1.ResourceHealthStatusHealthy, corev1.ResourceHealthStatusUnhealthy, corev1.ResourceHealthStatusUnknown)...)
				if m := r.Message; m != nil {
					if *m == "" {
						errs = append(errs, field.Required(at.Child("message"), "must be non-empty if specified"))
					} else if len(*m) > corev1.ResourceHealthMessageMaxLength {
						errs = append(errs, field.TooLong(at.Child("message"), *m, corev1.ResourceHealthMessageMaxLength))
					}
				}
				if seen[r.ResourceID] {
					errs = append(errs, field.Duplicate(at.Child("resourceID"), r.ResourceID))
				}
				seen[r.ResourceID] = true
			}
		}
	}
	return errs
}

// notAskedFor says what a container would have had to ask for to have the resource; "" when it did.
func notAskedFor(name corev1.ResourceName, c *corev1.Container, extended *corev1.PodExtendedResourceClaimStatus) string {
	ref, claimed := strings.CutPrefix(string(name), "claim:")
	if !claimed {
		if _, ok := c.Resources.Requests[name]; ok {
			return ""
		}
		return "must match one of the container's resource requests"
	}
	claim, request, _ := strings.Cut(ref, "/")
	for _, asked := range c.Resources.Claims {
		if asked.Request == "" && asked.Name == ref || asked.Request != "" && asked.Name+"/"+asked.Request == ref {
			return ""
		}
	}
	if extended != nil && claim != "" && request != "" && claim == extended.ResourceClaimName {
		for _, m := range extended.RequestMappings {
			if q, ok := c.Resources.Requests[corev1.ResourceName(m.ResourceName)]; ok && !q.IsZero() && m.ContainerName == c.Name && m.RequestName == request {
				return ""
			}
		}
	}
	return "must match one of the container's resource claims as 'claim:<claimName>/<requestName>' when container.resources.claims[*].request is set or 'claim:<claimName>' when it is empty"
}
