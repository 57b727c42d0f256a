package kind

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// maxAffinitySeconds is a day.
const maxAffinitySeconds = 86400

var servicePath = field.NewPath("spec")

func validateService(s *corev1.Service) field.ErrorList {
	path := servicePath
	spec := &s.Spec
	headless := spec.ClusterIP == corev1.ClusterIPNone
	var errs field.ErrorList
	if len(spec.Ports) == 0 && !headless && spec.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(path.Child("ports"), ""))
	}
	errs = append(errs, validateServiceType(s, headless, path)...)
	errs = append(errs, validateServicePorts(spec.Ports, headless, path.Child("ports"))...)
	errs = append(errs, metavalidation.ValidateLabels(spec.Selector, path.Child("selector"))...)
	errs = append(errs, oneOf(spec.SessionAffinity, path.Child("sessionAffinity"), corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)...)
	errs = append(errs, validateAffinityConfig(spec, path)...)
	errs = append(errs, validateClusterIPs(s, path)...)
	for i, ip := range spec.ExternalIPs {
		at := path.Child("externalIPs").Index(i)
		if invalid := validation.IsValidIPForLegacyField(at, ip, false, nil); len(invalid) > 0 {
			errs = append(errs, invalid...)
		} else {
			errs = append(errs, validateEndpointIP(ip, at)...)
		}
	}
	for i, cidr := range spec.LoadBalancerSourceRanges {
		errs = append(errs, validation.IsValidCIDRForLegacyField(path.Child("loadBalancerSourceRanges").Index(i), strings.TrimSpace(cidr), false, nil)...)
	}
	if len(spec.LoadBalancerSourceRanges) > 0 && spec.Type != corev1.ServiceTypeLoadBalancer {
		errs = append(errs, field.Forbidden(path.Child("LoadBalancerSourceRanges"), "may only be used when `type` is 'LoadBalancer'"))
	}
	errs = append(errs, validateTrafficPolicies(s, path)...)
	if d := spec.TrafficDistribution; d != nil {
		errs = append(errs, oneOf(*d, path.Child("trafficDistribution"),
			corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode)...)
	}
	return errs
}

func validateServiceType(s *corev1.Service, headless bool, path *field.Path) field.ErrorList {
	spec := &s.Spec
	var errs field.ErrorList
	switch spec.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		if headless {
			at := path.Child("clusterIPs")
			if len(spec.ClusterIPs) > 0 {
				at = at.Index(0)
			}
			errs = append(errs, field.Invalid(at, spec.ClusterIP, fmt.Sprintf("may not be set to 'None' for %s services", spec.Type)))
		}
	case corev1.ServiceTypeExternalName:
		if name := strings.TrimSuffix(spec.ExternalName, "."); name == "" {
			errs = append(errs, field.Required(path.Child("externalName"), ""))
		} else {
			errs = append(errs, invalidEach(path.Child("externalName"), spec.ExternalName, validation.IsDNS1123Subdomain(name))...)
		}
	case corev1.ServiceTypeClusterIP:
	default:
		errs = append(errs, oneOf(spec.Type, path.Child("type"), corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort)...)
	}
	if !WantsNodePorts(s) && spec.Type != corev1.ServiceTypeLoadBalancer {
		for i, p := range spec.Ports {
			if p.NodePort != 0 {
				errs = append(errs, field.Forbidden(path.Child("ports").Index(i).Child("nodePort"), "may not be used when `type` is '"+string(spec.Type)+"'"))
			}
		}
	}
	if spec.Type != corev1.ServiceTypeLoadBalancer {
		if spec.AllocateLoadBalancerNodePorts != nil {
			errs = append(errs, field.Forbidden(path.Child("allocateLoadBalancerNodePorts"), "may only be used when `type` is 'LoadBalancer'"))
		}
		if spec.LoadBalancerClass != nil {
			errs = append(errs, field.Forbidden(path.Child("loadBalancerClass"), "may only be used when `type` is 'LoadBalancer'"))
		}
	} else if c := spec.LoadBalancerClass; c != nil {
		errs = append(errs, invalidEach(path.Child("loadBalancerClass"), *c, validation.IsQualifiedName(*c))...)
	}
	return errs
}

func validateServicePorts(ports []corev1.ServicePort, headless bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := map[string]bool{}
	type key struct {
		protocol corev1.Protocol
		port     int32
	}
	seen, nodePorts := map[key]bool{}, map[key]bool{}
	for i, p := range ports {
		at := path.Index(i)
		switch {
		case p.Name == "" && len(ports) > 1:
			errs = append(errs, field.Required(at.Child("name"), ""))
		case p.Name != "":
			errs = append(errs, invalidEach(at.Child("name"), p.Name, validation.IsDNS1123Label(p.Name))...)
			if names[p.Name] {
				errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
			}
			names[p.Name] = true
		}
		errs = append(errs, invalidEach(at.Child("port"), p.Port, validation.IsValidPortNum(int(p.Port)))...)
		errs = append(errs, validateProtocol(p.Protocol, at.Child("protocol"))...)
		errs = append(errs, validatePortRef(p.TargetPort, at.Child("targetPort"))...)
		if p.AppProtocol != nil {
			errs = append(errs, invalidEach(at.Child("appProtocol"), *p.AppProtocol, validation.IsQualifiedName(*p.AppProtocol))...)
		}
		if k := (key{p.Protocol, p.Port}); seen[k] {
			errs = append(errs, field.Duplicate(at, corev1.ServicePort{Protocol: p.Protocol, Port: p.Port}))
		} else {
			seen[k] = true
		}
		if k := (key{p.Protocol, p.NodePort}); p.NodePort != 0 {
			if nodePorts[k] {
				errs = append(errs, field.Duplicate(at.Child("nodePort"), p.NodePort))
			}
			nodePorts[k] = true
		}
	}
	return errs
}

func validateAffinityConfig(spec *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	at := path.Child("sessionAffinityConfig")
	c := spec.SessionAffinityConfig
	if spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		if spec.SessionAffinity == corev1.ServiceAffinityNone && c != nil {
			return field.ErrorList{field.Forbidden(at, "must not be set when session affinity is None")}
		}
		return nil
	}
	if c == nil {
		return field.ErrorList{field.Required(at, "when session affinity type is ClientIP")}
	}
	if c.ClientIP == nil {
		return field.ErrorList{field.Required(at.Child("clientIP"), "when session affinity type is ClientIP")}
	}
	if c.ClientIP.TimeoutSeconds == nil {
		return field.ErrorList{field.Required(at.Child("clientIP", "timeoutSeconds"), "when session affinity type is ClientIP")}
	}
	if t := *c.ClientIP.TimeoutSeconds; t <= 0 || t > maxAffinitySeconds {
		return field.ErrorList{field.Invalid(at.Child("clientIP", "timeoutSeconds"), t, fmt.Sprintf("must be greater than 0 and less than %d", maxAffinitySeconds))}
	}
	return nil
}

// validateClusterIPs checks addresses and families against each other.
func validateClusterIPs(s *corev1.Service, path *field.Path) field.ErrorList {
	spec := &s.Spec
	var errs field.ErrorList
	if spec.Type == corev1.ServiceTypeExternalName {
		for name, set := range map[string]bool{
			"clusterIPs": len(spec.ClusterIPs) > 0 || spec.ClusterIP != "", "ipFamilies": len(spec.IPFamilies) > 0, "ipFamilyPolicy": spec.IPFamilyPolicy != nil,
		} {
			if set {
				errs = append(errs, field.Forbidden(path.Child(name), "may not be set for ExternalName services"))
			}
		}
		return errs
	}
	if spec.ClusterIP != "" && len(spec.ClusterIPs) == 0 {
		errs = append(errs, field.Required(path.Child("clusterIPs"), ""))
	}
	if len(spec.ClusterIPs) > 0 && spec.ClusterIP != spec.ClusterIPs[0] {
		errs = append(errs, field.Invalid(path.Child("clusterIPs"), spec.ClusterIPs, "first value must match `clusterIP`"))
	}
	if p := spec.IPFamilyPolicy; p != nil {
		errs = append(errs, oneOf(*p, path.Child("ipFamilyPolicy"), corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack)...)
	}
	for i, f := range spec.IPFamilies {
		at := path.Child("ipFamilies").Index(i)
		errs = append(errs, oneOf(f, at, corev1.IPv4Protocol, corev1.IPv6Protocol)...)
		if slices.Contains(spec.IPFamilies[:i], f) {
			errs = append(errs, field.Duplicate(at, f))
		}
	}
	for i, ip := range spec.ClusterIPs {
		at := path.Child("clusterIPs").Index(i)
		switch {
		case ip == corev1.ClusterIPNone:
			if len(spec.ClusterIPs) > 1 {
				errs = append(errs, field.Invalid(path.Child("clusterIPs"), spec.ClusterIPs, "'None' must be the first and only value"))
			}
		case ip == "":
			errs = append(errs, field.Required(at, "must be empty, 'None', or a valid IP address"))
		default:
			if invalid := validation.IsValidIPForLegacyField(at, ip, false, nil); len(invalid) > 0 {
				errs = append(errs, invalid...)
			} else if i < len(spec.IPFamilies) && netutils.IsIPv6String(ip) != (spec.IPFamilies[i] == corev1.IPv6Protocol) {
				errs = append(errs, field.Invalid(at, ip, fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%d]`", spec.IPFamilies[i], i)))
			}
		}
	}
	if len(spec.ClusterIPs) > 2 {
		errs = append(errs, field.Invalid(path.Child("clusterIPs"), spec.ClusterIPs, "may only hold up to 2 values"))
	}
	return errs
}

func validateTrafficPolicies(s *corev1.Service, path *field.Path) field.ErrorList {
	spec := &s.Spec
	var errs field.ErrorList
	at := path.Child("externalTrafficPolicy")
	switch {
	case !externallyAccessible(s):
		if spec.ExternalTrafficPolicy != "" {
			errs = append(errs, field.Invalid(at, spec.ExternalTrafficPolicy, "may only be set for externally-accessible services"))
		}
	default:
		errs = append(errs, oneOf(spec.ExternalTrafficPolicy, at, corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)...)
	}
	if WantsHealthCheckNodePort(s) {
		if spec.HealthCheckNodePort < 0 {
			errs = append(errs, field.Invalid(path.Child("healthCheckNodePort"), spec.HealthCheckNodePort, "HealthCheckNodePort must be greater than or equal to 0"))
		}
	} else if spec.HealthCheckNodePort != 0 {
		errs = append(errs, field.Invalid(path.Child("healthCheckNodePort"), spec.HealthCheckNodePort,
			"may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"))
	}
	at = path.Child("internalTrafficPolicy")
	switch p := spec.InternalTrafficPolicy; {
	case HasClusterIP(s) && p == nil:
		errs = append(errs, field.Required(at, ""))
	case p != nil:
		errs = append(errs, oneOf(*p, at, corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)...)
	}
	return errs
}

func validateServiceUpdate(s, old *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	// an address that was given out stays, as long as both have one
	if HasClusterIP(s) && HasClusterIP(old) && old.Spec.ClusterIP != "" {
		at := servicePath.Child("clusterIPs")
		if len(s.Spec.ClusterIPs) == 0 {
			errs = append(errs, field.Invalid(at, s.Spec.ClusterIPs, "primary clusterIP can not be unset"))
		} else if len(old.Spec.ClusterIPs) > 0 && s.Spec.ClusterIPs[0] != old.Spec.ClusterIPs[0] {
			errs = append(errs, field.Invalid(at, s.Spec.ClusterIPs, "may not change once set"))
		}
		if len(s.Spec.IPFamilies) > 0 && len(old.Spec.IPFamilies) > 0 && s.Spec.IPFamilies[0] != old.Spec.IPFamilies[0] {
			errs = append(errs, field.Invalid(servicePath.Child("ipFamilies").Index(0), s.Spec.IPFamilies, "may not change once set"))
		}
	}
	if WantsHealthCheckNodePort(s) && WantsHealthCheckNodePort(old) && s.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
		errs = append(errs, field.Forbidden(servicePath.Child("healthCheckNodePort"), "field is immutable"))
	}
	both := s.Spec.Type == corev1.ServiceTypeLoadBalancer && old.Spec.Type == corev1.ServiceTypeLoadBalancer
	if both && old.Spec.LoadBalancerClass != nil {
		errs = append(errs, immutable(s.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass, servicePath.Child("loadBalancerClass"))...)
	}
	return errs
}

func validateLoadBalancerStatus(ingress []corev1.LoadBalancerIngress, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, in := range ingress {
		at := path.Index(i)
		if in.IP != "" {
			errs = append(errs, validation.IsValidIPForLegacyField(at.Child("ip"), in.IP, false, nil)...)
		}
		if in.IPMode != nil && in.IP == "" {
			errs = append(errs, field.Forbidden(at.Child("ipMode"), "may not be specified when `ip` is not set"))
		}
		if in.IPMode != nil {
			errs = append(errs, oneOf(*in.IPMode, at.Child("ipMode"), corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP)...)
		}
		if in.Hostname != "" {
			errs = append(errs, invalidEach(at.Child("hostname"), in.Hostname, validation.IsDNS1123Subdomain(in.Hostname))...)
			if netutils.ParseIPSloppy(in.Hostname) != nil {
				errs = append(errs, field.Invalid(at.Child("hostname"), in.Hostname, "must be a DNS name, not an IP address"))
			}
		}
	}
	return errs
}
