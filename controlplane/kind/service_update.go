package kind

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// ValidateClusterIPs checks the addresses of a service and their families against each other, before what is missing of
// them is found and after. old is nil on create: addresses that it has may stay as they are.
func ValidateClusterIPs(s, old *corev1.Service) field.ErrorList {
	spec := &s.Spec
	if spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	ips := specPath.Child("clusterIPs")
	var errs field.ErrorList
	switch {
	case spec.ClusterIP == "" && len(spec.ClusterIPs) > 0:
		errs = append(errs, field.Invalid(ips, spec.ClusterIPs, "must be empty when `clusterIP` is not specified"))
	case spec.ClusterIP != "" && len(spec.ClusterIPs) == 0:
		errs = append(errs, field.Required(ips, ""))
	case spec.ClusterIP != "" && spec.ClusterIPs[0] != spec.ClusterIP:
		errs = append(errs, field.Invalid(ips, spec.ClusterIPs, "first value must match `clusterIP`"))
	}
	seen := map[corev1.IPFamily]bool{}
	for i, f := range spec.IPFamilies {
		at := specPath.Child("ipFamilies").Index(i)
		errs = append(errs, validate.Supported(f, at, corev1.IPv4Protocol, corev1.IPv6Protocol)...)
		if seen[f] {
			errs = append(errs, field.Duplicate(at, f))
		}
		seen[f] = true
	}
	if p := spec.IPFamilyPolicy; p != nil {
		errs = append(errs, validate.Supported(*p, specPath.Child("ipFamilyPolicy"), corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack)...)
	}
	addresses := validateAddresses(spec, old, ips)
	errs = append(errs, addresses...)
	if len(spec.ClusterIPs) > 2 {
		errs = append(errs, field.Invalid(ips, spec.ClusterIPs, "may only hold up to 2 values"))
	}
	if len(addresses) > 0 {
		return errs // what follows would say the same in other words
	}
	if len(spec.ClusterIPs) > 1 {
		switch both, err := netutils.IsDualStackIPStrings(spec.ClusterIPs); {
		case err != nil:
			errs = append(errs, field.InternalError(ips, fmt.Errorf("failed to check for dual stack with error:%w", err)))
		case !both:
			errs = append(errs, field.Invalid(ips, spec.ClusterIPs, "may specify no more than one IP for each IP family"))
		}
	}
	if isHeadless(s) {
		return errs
	}
	for i, ip := range spec.ClusterIPs {
		if i == len(spec.IPFamilies) {
			break
		}
		if f := spec.IPFamilies[i]; f == corev1.IPv4Protocol && netutils.IsIPv6String(ip) || f == corev1.IPv6Protocol && !netutils.IsIPv6String(ip) {
			errs = append(errs, field.Invalid(ips.Index(i), ip, fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%v]`", f, i)))
		}
	}
	return errs
}

func validateAddresses(spec *corev1.ServiceSpec, old *corev1.Service, path *field.Path) field.ErrorList {
	var kept []string
	if old != nil {
		kept = old.Spec.ClusterIPs
	}
	var errs field.ErrorList
	for i, ip := range spec.ClusterIPs {
		if i > 0 || ip != corev1.ClusterIPNone {
			errs = append(errs, validate.IP(ip, kept, path.Index(i))...)
		} else if len(spec.ClusterIPs) > 1 {
			errs = append(errs, field.Invalid(path, spec.ClusterIPs, "'None' must be the first and only value"))
		}
	}
	return errs
}

// validateServiceUpdate lets services gain and lose a second address, and keeps the first.
func validateServiceUpdate(s, old *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	if s.Spec.Type != corev1.ServiceTypeExternalName && old.Spec.Type != corev1.ServiceTypeExternalName {
		if !isHeadless(s) || !isHeadless(old) {
			errs = append(errs, validateClusterIPsUpdate(s, old)...)
		}
		if !isHeadless(s) && !isHeadless(old) {
			errs = append(errs, validateFamiliesUpdate(s, old)...)
		}
	}
	balanced := s.Spec.Type == corev1.ServiceTypeLoadBalancer
	class := specPath.Child("loadBalancerClass")
	if balanced && old.Spec.Type == corev1.ServiceTypeLoadBalancer && !ptr.Equal(s.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass) {
		errs = append(errs, field.Invalid(class, s.Spec.LoadBalancerClass, "may not change once set"))
	}
	errs = append(errs, validateBalancerClass(&s.Spec, class)...)
	if WantsHealthCheckNodePort(s) && WantsHealthCheckNodePort(old) && s.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
		errs = append(errs, field.Forbidden(specPath.Child("healthCheckNodePort"), "field is immutable"))
	}
	return append(errs, validateService(s, old)...)
}

const keptOnce = "may not change once set"

// releasesSecond says whether the policy allows to go on with one family.
func releasesSecond(s *corev1.Service) bool {
	return ptr.Deref(s.Spec.IPFamilyPolicy, "") == corev1.IPFamilyPolicySingleStack
}

func validateClusterIPsUpdate(s, old *corev1.Service) field.ErrorList {
	path := specPath.Child("clusterIPs")
	now, was := s.Spec.ClusterIPs, old.Spec.ClusterIPs
	var errs field.ErrorList
	if len(now) == len(was) {
		for i := range was {
			if now[i] != was[i] {
				errs = append(errs, field.Invalid(path.Index(i), now, keptOnce))
			}
		}
		return errs
	}
	if len(now) == 0 {
		errs = append(errs, field.Invalid(path.Index(0), now, "primary clusterIP can not be unset"))
	}
	if len(was) > 0 && len(now) > 0 && now[0] != was[0] {
		errs = append(errs, field.Invalid(path.Index(0), now, keptOnce))
	}
	if len(was) > len(now) && len(now) == 1 && !releasesSecond(s) {
		errs = append(errs, field.Invalid(specPath.Child("ipFamilyPolicy"), s.Spec.IPFamilyPolicy, "must be set to 'SingleStack' when releasing the secondary clusterIP"))
	}
	return errs
}

func validateFamiliesUpdate(s, old *corev1.Service) field.ErrorList {
	path := specPath.Child("ipFamilies").Index(0)
	now, was := s.Spec.IPFamilies, old.Spec.IPFamilies
	var errs field.ErrorList
	if len(now) == len(was) {
		for i := range was {
			if now[i] != was[i] {
				errs = append(errs, field.Invalid(path, now, keptOnce))
			}
		}
		return errs
	}
	if len(was) > len(now) && len(s.Spec.ClusterIPs) == 0 {
		errs = append(errs, field.Invalid(path, now, "primary ipFamily can not be unset"))
	}
	if len(was) > 0 && len(now) > 0 && now[0] != was[0] {
		errs = append(errs, field.Invalid(path, s.Spec.ClusterIPs, keptOnce))
	}
	if len(was) > len(now) && len(now) == 1 && !releasesSecond(s) {
		errs = append(errs, field.Invalid(specPath.Child("ipFamilyPolicy"), s.Spec.IPFamilyPolicy, "must be set to 'SingleStack' when releasing the secondary ipFamily"))
	}
	return errs
}

func validateServiceStatus(s, old *corev1.Service) field.ErrorList {
	path := field.NewPath("status", "loadBalancer", "ingress")
	points := s.Status.LoadBalancer.Ingress
	if len(points) > 0 && s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return field.ErrorList{field.Forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")}
	}
	var kept []string
	for _, in := range old.Status.LoadBalancer.Ingress {
		kept = append(kept, in.IP)
	}
	var errs field.ErrorList
	for i, in := range points {
		at := path.Index(i)
		mode := at.Child("ipMode")
		var modeErrs field.ErrorList
		switch {
		case in.IPMode == nil && in.IP != "":
			modeErrs = append(modeErrs, field.Required(mode, "must be specified when `ip` is set"))
		case in.IPMode != nil && in.IP == "":
			modeErrs = append(modeErrs, field.Forbidden(mode, "may not be specified when `ip` is not set"))
		case in.IPMode != nil:
			modeErrs = validate.Supported(*in.IPMode, mode, corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP)
		}
		errs = append(errs, validatePoint(in.IP, in.Hostname, kept, modeErrs, at)...)
	}
	return errs
}
