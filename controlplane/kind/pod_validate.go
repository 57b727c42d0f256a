package kind

import (
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validatePod(p *corev1.Pod) field.ErrorList {
	errs := validatePodSpec(&p.Spec, field.NewPath("spec"))
	if p.Spec.NodeName != "" && len(p.Spec.SchedulingGates) > 0 {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "nodeName"), "cannot be set until all schedulingGates have been cleared"))
	}
	return errs
}

// validateTemplate checks a pod template: what a pod made from it would be checked for, and its metadata.
func validateTemplate(t *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	errs := metavalidation.ValidateLabels(t.Labels, path.Child("labels"))
	errs = append(errs, apivalidation.ValidateAnnotations(t.Annotations, path.Child("annotations"))...)
	errs = append(errs, validatePodSpec(&t.Spec, path.Child("spec"))...)
	if len(t.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(path.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template"))
	}
	return errs
}

func validatePodSpec(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	scope := newPodScope(s)
	errs := validateVolumes(s.Volumes, path.Child("volumes"))
	errs = append(errs, validateContainers(s, scope, path)...)
	errs = append(errs, oneOf(s.RestartPolicy, path.Child("restartPolicy"), corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)...)
	errs = append(errs, validateDNS(s, path)...)
	errs = append(errs, metavalidation.ValidateLabels(s.NodeSelector, path.Child("nodeSelector"))...)
	errs = append(errs, validatePodSecurity(s, path.Child("securityContext"))...)
	errs = append(errs, validateNamespaces(s, path)...)
	errs = append(errs, validateHostnames(s, path)...)
	errs = append(errs, validateAffinity(s.Affinity, path.Child("affinity"))...)
	errs = append(errs, validateTolerations(s.Tolerations, path.Child("tolerations"))...)
	errs = append(errs, validateSpread(s.TopologySpreadConstraints, path.Child("topologySpreadConstraints"))...)
	errs = append(errs, validateGates(s, path)...)
	errs = append(errs, validatePodReferences(s, path)...)
	if d := s.ActiveDeadlineSeconds; d != nil && (*d < 1 || *d > math.MaxInt32) {
		errs = append(errs, field.Invalid(path.Child("activeDeadlineSeconds"), *d, validation.InclusiveRangeError(1, math.MaxInt32)))
	}
	if g := s.TerminationGracePeriodSeconds; g == nil {
		errs = append(errs, field.Required(path.Child("terminationGracePeriodSeconds"), ""))
	}
	for name, q := range s.Overhead {
		at := path.Child("overhead").Key(string(name))
		errs = append(errs, validateContainerResource(name, at)...)
		errs = append(errs, validateQuantity(name, q, at)...)
	}
	if s.Resources != nil {
		errs = append(errs, validatePodResources(s, path.Child("resources"))...)
	}
	if s.OS != nil {
		errs = append(errs, oneOf(s.OS.Name, path.Child("os", "name"), corev1.Linux, corev1.Windows)...)
	}
	return errs
}

// validatePodReferences checks names of other objects.
func validatePodReferences(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	name := func(value, at string) {
		if value != "" {
			errs = append(errs, invalidEach(path.Child(at), value, validation.IsDNS1123Subdomain(value))...)
		}
	}
	name(s.ServiceAccountName, "serviceAccountName")
	name(s.NodeName, "nodeName")
	name(s.PriorityClassName, "priorityClassName")
	name(deref(s.RuntimeClassName, ""), "runtimeClassName")
	if s.PreemptionPolicy != nil {
		errs = append(errs, validatePreemption(*s.PreemptionPolicy, path.Child("preemptionPolicy"))...)
	}
	seen := map[string]bool{}
	for i, c := range s.ResourceClaims {
		at := path.Child("resourceClaims").Index(i)
		switch {
		case c.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case seen[c.Name]:
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		default:
			errs = append(errs, invalidEach(at.Child("name"), c.Name, validation.IsDNS1123Label(c.Name))...)
		}
		seen[c.Name] = true
		if (c.ResourceClaimName == nil) == (c.ResourceClaimTemplateName == nil) {
			errs = append(errs, field.Invalid(at, c, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"))
		}
	}
	return errs
}

func validateGates(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, g := range s.ReadinessGates {
		errs = append(errs, invalidEach(path.Child("readinessGates").Index(i).Child("conditionType"), string(g.ConditionType), validation.IsQualifiedName(string(g.ConditionType)))...)
	}
	seen := map[string]bool{}
	for i, g := range s.SchedulingGates {
		at := path.Child("schedulingGates").Index(i)
		errs = append(errs, invalidEach(at, g.Name, validation.IsQualifiedName(g.Name))...)
		if seen[g.Name] {
			errs = append(errs, field.Duplicate(at, g.Name))
		}
		seen[g.Name] = true
	}
	return errs
}

// validateNamespaces checks which of the host's namespaces a pod shares.
func validateNamespaces(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.HostPID && deref(s.ShareProcessNamespace, false) {
		errs = append(errs, field.Invalid(path.Child("securityContext", "shareProcessNamespace"), *s.ShareProcessNamespace,
			"ShareProcessNamespace and HostPID cannot both be enabled"))
	}
	if !deref(s.HostUsers, true) {
		for name, set := range map[string]bool{"hostNetwork": s.HostNetwork, "hostPID": s.HostPID, "hostIPC": s.HostIPC} {
			if set {
				errs = append(errs, field.Forbidden(path.Child(name), "when `hostUsers` is false"))
			}
		}
	}
	if s.HostNetwork {
		for part, containers := range map[string][]corev1.Container{"containers": s.Containers, "initContainers": s.InitContainers} {
			for i := range containers {
				for j, p := range containers[i].Ports {
					if p.HostPort != 0 && p.HostPort != p.ContainerPort {
						errs = append(errs, field.Invalid(path.Child(part).Index(i).Child("ports").Index(j).Child("containerPort"), p.ContainerPort,
							"must match `hostPort` when `hostNetwork` is true"))
					}
				}
			}
		}
	}
	return errs
}

func validateHostnames(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Hostname != "" {
		errs = append(errs, invalidEach(path.Child("hostname"), s.Hostname, validation.IsDNS1123Label(s.Hostname))...)
	}
	if s.Subdomain != "" {
		errs = append(errs, invalidEach(path.Child("subdomain"), s.Subdomain, validation.IsDNS1123Label(s.Subdomain))...)
	}
	if h := deref(s.HostnameOverride, ""); h != "" {
		at := path.Child("hostnameOverride")
		errs = append(errs, invalidEach(at, h, validation.IsDNS1123Subdomain(h))...)
		if len(h) > 64 {
			errs = append(errs, field.TooLongMaxLength(at, h, 64))
		}
		if deref(s.SetHostnameAsFQDN, false) {
			errs = append(errs, field.Invalid(at, h, "cannot be set when setHostnameAsFQDN is true"))
		}
		if s.HostNetwork {
			errs = append(errs, field.Invalid(at, h, "cannot be set when hostNetwork is true"))
		}
	}
	for i, alias := range s.HostAliases {
		at := path.Child("hostAliases").Index(i)
		errs = append(errs, validation.IsValidIPForLegacyField(at.Child("ip"), alias.IP, false, nil)...)
		for j, name := range alias.Hostnames {
			errs = append(errs, invalidEach(at.Child("hostnames").Index(j), name, validation.IsDNS1123Subdomain(name))...)
		}
	}
	return errs
}

// Limits of a pod's resolver configuration.
const (
	maxNameservers    = 3
	maxSearches       = 32
	maxSearchesLength = 2048
)

func validateDNS(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	errs := oneOf(s.DNSPolicy, path.Child("dnsPolicy"), corev1.DNSClusterFirst, corev1.DNSClusterFirstWithHostNet, corev1.DNSDefault, corev1.DNSNone)
	at := path.Child("dnsConfig")
	if s.DNSPolicy == corev1.DNSNone {
		if s.DNSConfig == nil {
			return append(errs, field.Required(at, "must provide `dnsConfig` when `dnsPolicy` is None"))
		}
		if len(s.DNSConfig.Nameservers) == 0 {
			return append(errs, field.Required(at.Child("nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None"))
		}
	}
	c := s.DNSConfig
	if c == nil {
		return errs
	}
	if len(c.Nameservers) > maxNameservers {
		errs = append(errs, field.Invalid(at.Child("nameservers"), c.Nameservers, "must not have more than 3 nameservers"))
	}
	for i, ns := range c.Nameservers {
		errs = append(errs, validation.IsValidIPForLegacyField(at.Child("nameservers").Index(i), ns, false, nil)...)
	}
	if len(c.Searches) > maxSearches {
		errs = append(errs, field.Invalid(at.Child("searches"), c.Searches, "must not have more than 32 search paths"))
	}
	if len(strings.Join(c.Searches, " ")) > maxSearchesLength {
		errs = append(errs, field.Invalid(at.Child("searches"), c.Searches, "must not have more than 2048 characters (including spaces) in the search list"))
	}
	for i, search := range c.Searches {
		if search != "." {
			errs = append(errs, invalidEach(at.Child("searches").Index(i), search, validation.IsDNS1123SubdomainWithUnderscore(strings.TrimSuffix(search, ".")))...)
		}
	}
	for i, o := range c.Options {
		if o.Name == "" {
			errs = append(errs, field.Required(at.Child("options").Index(i), "must not be empty"))
		}
	}
	return errs
}
