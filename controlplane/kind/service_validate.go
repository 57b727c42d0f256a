package kind

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/unversioned"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

const (
	// maxAffinitySeconds is a day.
	maxAffinitySeconds = 86400
	// betaSourceRanges is the annotation from before spec.loadBalancerSourceRanges.
	betaSourceRanges = "service.beta.kubernetes.io/load-balancer-source-ranges"
)

var specPath = field.NewPath("spec")

// validateService checks a service. old is nil on create: addresses that it has may stay as they are.
func validateService(s, old *corev1.Service) field.ErrorList {
	path := specPath
	spec := &s.Spec
	errs := validateTopologyHints(s)
	if len(spec.Ports) == 0 && !isHeadless(s) && spec.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(path.Child("ports"), ""))
	}
	errs = append(errs, validateByType(s, path)...)
	names := map[string]bool{}
	for i := range spec.Ports {
		errs = append(errs, validateServicePort(&spec.Ports[i], len(spec.Ports) > 1, names, path.Child("ports").Index(i))...)
	}
	errs = append(errs, metavalidation.ValidateLabels(spec.Selector, path.Child("selector"))...)
	errs = append(errs, validate.OneOf(spec.SessionAffinity, path.Child("sessionAffinity"), corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)...)
	errs = append(errs, validateAffinityConfig(spec, path.Child("sessionAffinityConfig"))...)
	errs = append(errs, ValidateClusterIPs(s, old)...)
	var kept []string
	if old != nil {
		kept = old.Spec.ExternalIPs
	}
	for i, ip := range spec.ExternalIPs {
		at := path.Child("externalIPs").Index(i)
		if invalid := validate.IP(ip, kept, at); len(invalid) > 0 {
			errs = append(errs, invalid...)
		} else {
			errs = append(errs, validateEndpointIP(ip, at)...)
		}
	}
	errs = append(errs, validate.OneOf(spec.Type, path.Child("type"), corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort)...)
	errs = append(errs, validateUniquePorts(spec, path.Child("ports"))...)
	errs = append(errs, validateSourceRanges(s, old)...)
	balanced := spec.Type == corev1.ServiceTypeLoadBalancer
	if spec.AllocateLoadBalancerNodePorts != nil && !balanced {
		errs = append(errs, field.Forbidden(path.Child("allocateLoadBalancerNodePorts"), onlyLoadBalancers))
	}
	errs = append(errs, validateBalancerClass(spec, path.Child("loadBalancerClass"))...)
	errs = append(errs, validateTrafficPolicies(s, path)...)
	if d := spec.TrafficDistribution; d != nil {
		errs = append(errs, validate.Supported(*d, path.Child("trafficDistribution"),
			corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode)...)
	}
	return errs
}

const onlyLoadBalancers = "may only be used when `type` is 'LoadBalancer'"

func isHeadless(s *corev1.Service) bool {
	return len(s.Spec.ClusterIPs) == 1 && s.Spec.ClusterIPs[0] == corev1.ClusterIPNone
}

// validateTopologyHints holds an annotation and the one that took its place to the same value.
func validateTopologyHints(s *corev1.Service) field.ErrorList {
	hints, deprecated := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	mode, current := s.Annotations[corev1.AnnotationTopologyMode]
	if !deprecated || !current || hints == mode {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata", "annotations").Key(corev1.AnnotationTopologyMode), mode,
		fmt.Sprintf("must match annotations[%s] when both are specified", corev1.DeprecatedAnnotationTopologyAwareHints))}
}

func validateByType(s *corev1.Service, path *field.Path) field.ErrorList {
	spec := &s.Spec
	var errs field.ErrorList
	switch spec.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		if isHeadless(s) {
			errs = append(errs, field.Invalid(path.Child("clusterIPs").Index(0), corev1.ClusterIPNone, fmt.Sprintf("may not be set to 'None' for %s services", spec.Type)))
		}
	case corev1.ServiceTypeExternalName:
		for _, f := range []struct {
			name string
			set  bool
		}{{"clusterIPs", len(spec.ClusterIPs) > 0}, {"ipFamilies", len(spec.IPFamilies) > 0}, {"ipFamilyPolicy", spec.IPFamilyPolicy != nil}} {
			if f.set {
				errs = append(errs, field.Forbidden(path.Child(f.name), "may not be set for ExternalName services"))
			}
		}
		if name := strings.TrimSuffix(spec.ExternalName, "."); name == "" {
			errs = append(errs, field.Required(path.Child("externalName"), ""))
		} else {
			errs = append(errs, validate.Subdomain(name, path.Child("externalName"))...)
		}
	}
	return errs
}

func validateServicePort(p *corev1.ServicePort, named bool, names map[string]bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case p.Name != "":
		errs = append(errs, validate.DNSLabel(p.Name, path.Child("name"))...)
		if names[p.Name] {
			errs = append(errs, field.Duplicate(path.Child("name"), p.Name))
		}
		names[p.Name] = true
	case named:
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	errs = append(errs, validate.Each(path.Child("port"), p.Port, validation.IsValidPortNum(int(p.Port)))...)
	errs = append(errs, validate.Protocol(p.Protocol, path.Child("protocol"))...)
	errs = append(errs, validate.PortRef(p.TargetPort, path.Child("targetPort"))...)
	if p.AppProtocol != nil {
		errs = append(errs, validate.QualifiedName(*p.AppProtocol, path.Child("appProtocol"))...)
	}
	return errs
}

// validateUniquePorts refuses a port, or one of the nodes, that two of the service's have in the same protocol.
func validateUniquePorts(spec *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if spec.Type == corev1.ServiceTypeClusterIP {
		for i, p := range spec.Ports {
			if p.NodePort != 0 {
				errs = append(errs, field.Forbidden(path.Index(i).Child("nodePort"), "may not be used when `type` is 'ClusterIP'"))
			}
		}
	}
	type key struct {
		protocol corev1.Protocol
		port     int32
	}
	seen := map[key]bool{}
	for i, p := range spec.Ports {
		k := key{p.Protocol, p.NodePort}
		if p.NodePort != 0 && seen[k] {
			errs = append(errs, field.Duplicate(path.Index(i).Child("nodePort"), p.NodePort))
		}
		seen[k] = true
	}
	clear(seen)
	for i, p := range spec.Ports {
		k := key{p.Protocol, p.Port}
		if seen[k] {
			errs = append(errs, field.Duplicate(path.Index(i), unversioned.Form(corev1.ServicePort{Protocol: p.Protocol, Port: p.Port})))
		}
		seen[k] = true
	}
	return errs
}

func validateAffinityConfig(spec *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	c := spec.SessionAffinityConfig
	if spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		if spec.SessionAffinity == corev1.ServiceAffinityNone && c != nil {
			return field.ErrorList{field.Forbidden(path, "must not be set when session affinity is None")}
		}
		return nil
	}
	const missing = "when session affinity type is ClientIP"
	if c == nil {
		return field.ErrorList{field.Required(path, missing)}
	}
	if c.ClientIP == nil {
		return field.ErrorList{field.Required(path.Child("clientIP"), missing)}
	}
	at := path.Child("clientIP", "timeoutSeconds")
	if c.ClientIP.TimeoutSeconds == nil {
		return field.ErrorList{field.Required(at, missing)}
	}
	if t := *c.ClientIP.TimeoutSeconds; t <= 0 || t > maxAffinitySeconds {
		return field.ErrorList{field.Invalid(at, t, fmt.Sprintf("must be greater than 0 and less than %d", maxAffinitySeconds))}
	}
	return nil
}

// validateSourceRanges checks the field, or the annotation of it where there is none. Spaces around ranges are let pass.
func validateSourceRanges(s, old *corev1.Service) field.ErrorList {
	const name = "LoadBalancerSourceRanges" // as Kubernetes writes it
	balanced := s.Spec.Type == corev1.ServiceTypeLoadBalancer
	path := specPath.Child(name)
	var errs field.ErrorList
	if ranges := s.Spec.LoadBalancerSourceRanges; len(ranges) > 0 {
		if !balanced {
			errs = append(errs, field.Forbidden(path, onlyLoadBalancers))
		}
		var kept []string
		if old != nil {
			for _, r := range old.Spec.LoadBalancerSourceRanges {
				kept = append(kept, strings.TrimSpace(r))
			}
		}
		for i, r := range ranges {
			errs = append(errs, validation.IsValidCIDRForLegacyField(path.Index(i), strings.TrimSpace(r), true, kept)...)
		}
		return errs
	}
	value, ok := s.Annotations[betaSourceRanges]
	if !ok {
		return nil
	}
	path = field.NewPath("metadata", "annotations").Key(betaSourceRanges)
	if !balanced {
		errs = append(errs, field.Forbidden(path, onlyLoadBalancers))
	}
	if old != nil && old.Annotations[betaSourceRanges] == value || strings.TrimSpace(value) == "" {
		return errs
	}
	for r := range strings.SplitSeq(value, ",") {
		errs = append(errs, validation.IsValidCIDRForLegacyField(path, strings.TrimSpace(r), true, nil)...)
	}
	return errs
}

func validateBalancerClass(spec *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	switch c := spec.LoadBalancerClass; {
	case c == nil:
		return nil
	case spec.Type != corev1.ServiceTypeLoadBalancer:
		return field.ErrorList{field.Forbidden(path, onlyLoadBalancers)}
	default:
		return validate.QualifiedName(*c, path)
	}
}

func validateTrafficPolicies(s *corev1.Service, path *field.Path) field.ErrorList {
	spec := &s.Spec
	var errs field.ErrorList
	at := path.Child("externalTrafficPolicy")
	switch {
	case externallyAccessible(s):
		errs = append(errs, validate.OneOf(spec.ExternalTrafficPolicy, at, corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)...)
	case spec.ExternalTrafficPolicy != "":
		errs = append(errs, field.Invalid(at, spec.ExternalTrafficPolicy, "may only be set for externally-accessible services"))
	}
	at = path.Child("healthCheckNodePort")
	switch port := spec.HealthCheckNodePort; {
	case WantsHealthCheckNodePort(s) && port == 0:
		errs = append(errs, field.Required(at, ""))
	case WantsHealthCheckNodePort(s):
		errs = append(errs, validate.Each(at, port, validation.IsValidPortNum(int(port)))...)
	case port != 0:
		errs = append(errs, field.Invalid(at, port, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"))
	}
	at = path.Child("internalTrafficPolicy")
	switch p := spec.InternalTrafficPolicy; {
	case p != nil:
		errs = append(errs, validate.Supported(*p, at, corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)...)
	case HasClusterIP(s):
		errs = append(errs, field.Required(at, ""))
	}
	return errs
}

// serviceWarnings tells of fields that do nothing, are deprecated or are written oddly.
func serviceWarnings(s *corev1.Service) []string {
	spec := &s.Spec
	var out []string
	if _, ok := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]; ok {
		out = append(out, fmt.Sprintf("annotation %s is deprecated, please use %s instead", corev1.DeprecatedAnnotationTopologyAwareHints, corev1.AnnotationTopologyMode))
	}
	if spec.ClusterIP != "" && spec.ClusterIP != corev1.ClusterIPNone {
		for i, ip := range spec.ClusterIPs {
			out = append(out, ipWarnings(specPath.Child("clusterIPs").Index(i), ip)...)
		}
	}
	headless, external := spec.Type == corev1.ServiceTypeClusterIP && spec.ClusterIP == corev1.ClusterIPNone, spec.Type == corev1.ServiceTypeExternalName
	warn := func(is bool, text string) {
		if is {
			out = append(out, text)
		}
	}
	exposed := len(spec.ExternalIPs) > 0
	warn(headless && spec.LoadBalancerIP != "", "spec.loadBalancerIP is ignored for headless services")
	warn(headless && exposed, "spec.externalIPs is ignored for headless services")
	warn(headless && spec.SessionAffinity != corev1.ServiceAffinityNone, "spec.SessionAffinity is ignored for headless services")
	for i, ip := range spec.ExternalIPs {
		out = append(out, ipWarnings(specPath.Child("externalIPs").Index(i), ip)...)
	}
	warn(exposed && !headless && !external, "spec.externalIPs is deprecated and may no longer be implemented in some clusters")
	if spec.LoadBalancerIP != "" {
		out = append(out, ipWarnings(specPath.Child("loadBalancerIP"), spec.LoadBalancerIP)...)
	}
	for i, cidr := range spec.LoadBalancerSourceRanges {
		out = append(out, cidrWarnings(specPath.Child("loadBalancerSourceRanges").Index(i), cidr)...)
	}
	warn(external && exposed, `spec.externalIPs is ignored when spec.type is "ExternalName"`)
	warn(!external && spec.ExternalName != "", `spec.externalName is ignored when spec.type is not "ExternalName"`)
	warn(ptr.Deref(spec.TrafficDistribution, "") == corev1.ServiceTrafficDistributionPreferClose, `spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"`)
	return slices.Clip(out)
}
