// Package podspec has the rules that pods and pod templates share, whatever kind a template is in: defaults, what is dropped
// or completed before an object is stored, validation, and warnings. Containers, volumes and scheduling have packages of their
// own beneath it. What may change of a pod that exists, and its status, is the business of the kind.
package podspec

import (
	"fmt"
	"math"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/container"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/quantity"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/scheduling"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/unversioned"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/volume"
)

var (
	annotationsPath = field.NewPath("metadata", "annotations")
	specPath        = field.NewPath("spec")
)

// ValidateNew checks a new pod: what holds for every pod, and what only later requests may set.
func ValidateNew(p *corev1.Pod) field.ErrorList {
	errs := Validate(p, Exempt{})
	if len(p.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(specPath.Child("ephemeralContainers"), "cannot be set on create"))
	}
	if p.Spec.NodeName != "" && len(p.Spec.SchedulingGates) > 0 {
		errs = append(errs, field.Forbidden(specPath.Child("nodeName"), "cannot be set until all schedulingGates have been cleared"))
	}
	return append(errs, validateProfilesMatch(p.Annotations, &p.Spec, specPath)...)
}

// Validate checks what holds for a pod at any time.
func Validate(p *corev1.Pod, e Exempt) field.ErrorList {
	errs := ValidateAnnotations(p.Annotations, &p.Spec, e, annotationsPath)
	errs = append(errs, validateSpec(&p.Spec, &p.ObjectMeta, e, specPath)...)
	if p.Spec.ServiceAccountName == "" {
		errs = append(errs, volume.ForbidTokens(p.Spec.Volumes, specPath.Child("volumes"))...)
	}
	if g := p.Spec.TerminationGracePeriodSeconds; g != nil {
		errs = append(errs, validate.NonNegative(*g, specPath.Child("terminationGracePeriodSeconds"))...)
	}
	for i := range p.Spec.Containers {
		errs = append(errs, container.ValidateTrimmed(p.Spec.Containers[i].Image, specPath.Child("containers").Index(i))...)
	}
	for i := range p.Spec.InitContainers {
		errs = append(errs, container.ValidateTrimmed(p.Spec.InitContainers[i].Image, specPath.Child("initContainers").Index(i))...)
	}
	return errs
}

// ValidateTemplate checks a pod template: what a pod made from it would be checked for, and its metadata.
func ValidateTemplate(t *corev1.PodTemplateSpec, e Exempt, path *field.Path) field.ErrorList {
	errs := metavalidation.ValidateLabels(t.Labels, path.Child("labels"))
	errs = append(errs, apivalidation.ValidateAnnotations(t.Annotations, path.Child("annotations"))...)
	errs = append(errs, ValidateAnnotations(t.Annotations, &t.Spec, e, path.Child("annotations"))...)
	if e.Template {
		return errs
	}
	errs = append(errs, validateSpec(&t.Spec, nil, e, path.Child("spec"))...)
	errs = append(errs, validateProfilesMatch(t.Annotations, &t.Spec, path.Child("spec"))...)
	if len(t.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(path.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template"))
	}
	return errs
}

// scopeOf returns what a pod's containers are checked against, but for its volumes.
func scopeOf(s *corev1.PodSpec, e container.Exempt) *container.Scope {
	scope := &container.Scope{
		Exempt: e, GracePeriod: s.TerminationGracePeriodSeconds, HostUsers: ptr.Deref(s.HostUsers, true), Restart: s.RestartPolicy,
	}
	if len(s.ResourceClaims) > 0 {
		scope.Claims = make(map[string]bool, len(s.ResourceClaims))
	}
	for i := range s.ResourceClaims {
		if name := s.ResourceClaims[i].Name; name != "" {
			scope.Claims[name] = true
		}
	}
	return scope
}

// validateSpec reports in the order of kube-apiserver, which the message of the whole shows.
// meta is nil for a template.
func validateSpec(s *corev1.PodSpec, meta *metav1.ObjectMeta, e Exempt, path *field.Path) field.ErrorList {
	scope := scopeOf(s, e.Containers)
	var errs field.ErrorList
	if s.TerminationGracePeriodSeconds == nil {
		errs = append(errs, field.Required(path.Child("terminationGracePeriodSeconds"), ""))
	}
	known, faults := volume.ValidateAll(s.Volumes, meta, e.Volumes, path.Child("volumes"))
	errs, scope.Volumes = append(errs, faults...), known
	errs = append(errs, validateResourceClaims(s.ResourceClaims, meta, path.Child("resourceClaims"))...)
	errs = append(errs, container.ValidateAll(s, scope, path)...)
	errs = append(errs, validatePodResources(s, scope, path.Child("resources"))...)
	errs = append(errs, validateHostPorts(s, meta != nil, path.Child("containers"))...)
	errs = append(errs, validate.OneOf(s.RestartPolicy, path.Child("restartPolicy"), corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)...)
	errs = append(errs, validate.OneOf(s.DNSPolicy, path.Child("dnsPolicy"), corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)...)
	errs = append(errs, metavalidation.ValidateLabels(s.NodeSelector, path.Child("nodeSelector"))...)
	errs = append(errs, validatePodSecurity(s, e, path.Child("securityContext"))...)
	if s.HostPID && ptr.Deref(s.ShareProcessNamespace, false) {
		errs = append(errs, field.Invalid(path.Child("shareProcessNamespace"), *s.ShareProcessNamespace, "ShareProcessNamespace and HostPID cannot both be enabled"))
	}
	errs = append(errs, scheduling.ValidateAffinity(s.Affinity, e.Scheduling, path.Child("affinity"))...)
	errs = append(errs, validateDNS(s, path.Child("dnsConfig"))...)
	errs = append(errs, validateGates(s, path)...)
	errs = append(errs, scheduling.ValidateSpread(s.TopologySpreadConstraints, e.Scheduling, path.Child("topologySpreadConstraints"))...)
	errs = append(errs, validateHostProcess(s, path)...)
	errs = append(errs, validateHostUsers(s, e, path)...)
	errs = append(errs, validateHostnameOverride(s, path.Child("hostnameOverride"))...)
	errs = append(errs, validatePodReferences(s, path)...)
	errs = append(errs, scheduling.ValidateTolerations(s.Tolerations, path.Child("tolerations"))...)
	errs = append(errs, validateHostAliases(s.HostAliases, path.Child("hostAliases"))...)
	errs = append(errs, validatePodClasses(s, path)...)
	errs = append(errs, container.ValidateResources(&corev1.ResourceRequirements{Limits: s.Overhead}, scope, quantity.ValidateContainerName, path.Child("overhead"))...)
	errs = append(errs, validateOS(s, path)...)
	errs = append(errs, validateFileKeyVolumes(s, path)...)
	return errs.Filter() // names what is wrong once
}

// validatePodReferences checks the names of what a pod belongs to, its own names, and its deadline.
func validatePodReferences(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.ServiceAccountName != "" {
		errs = append(errs, validate.Subdomain(s.ServiceAccountName, path.Child("serviceAccountName"))...)
	}
	if s.DeprecatedServiceAccount != s.ServiceAccountName {
		errs = append(errs, field.Invalid(path.Child("deprecatedServiceAccount"), s.DeprecatedServiceAccount,
			fmt.Sprintf("must be the same as serviceAccountName: %q", s.ServiceAccountName)))
	}
	if s.NodeName != "" {
		errs = append(errs, validate.Subdomain(s.NodeName, path.Child("nodeName"))...)
	}
	if d := s.ActiveDeadlineSeconds; d != nil && (*d < 1 || *d > math.MaxInt32) {
		errs = append(errs, field.Invalid(path.Child("activeDeadlineSeconds"), *d, validation.InclusiveRangeError(1, math.MaxInt32)))
	}
	if s.Hostname != "" {
		errs = append(errs, validate.DNSLabel(s.Hostname, path.Child("hostname"))...)
	}
	if s.Subdomain != "" {
		errs = append(errs, validate.DNSLabel(s.Subdomain, path.Child("subdomain"))...)
	}
	return errs
}

func validatePodClasses(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.PriorityClassName != "" {
		errs = append(errs, validate.Subdomain(s.PriorityClassName, path.Child("priorityClassName"))...)
	}
	if s.RuntimeClassName != nil {
		errs = append(errs, validate.Subdomain(*s.RuntimeClassName, path.Child("runtimeClassName"))...)
	}
	if s.PreemptionPolicy != nil {
		errs = append(errs, validate.PreemptionPolicy(*s.PreemptionPolicy, path.Child("preemptionPolicy"))...)
	}
	return errs
}

func validateResourceClaims(claims []corev1.PodResourceClaim, meta *metav1.ObjectMeta, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i := range claims {
		c, at := &claims[i], path.Index(i)
		if IsMirror(meta) {
			errs = append(errs, field.Forbidden(field.NewPath(""), "static pods do not support resource claims"))
			continue
		}
		switch {
		case c.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case seen[c.Name]:
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		default:
			errs = append(errs, validate.DNSLabel(c.Name, at.Child("name"))...)
			seen[c.Name] = true
		}
		if c.ResourceClaimName != nil && c.ResourceClaimTemplateName != nil {
			errs = append(errs, field.Invalid(at, unversioned.Form(c), "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"))
		}
		if c.ResourceClaimName == nil && c.ResourceClaimTemplateName == nil {
			errs = append(errs, field.Invalid(at, unversioned.Form(c), "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"))
		}
		if c.ResourceClaimName != nil {
			errs = append(errs, validate.Subdomain(*c.ResourceClaimName, at.Child("resourceClaimName"))...)
		}
		if c.ResourceClaimTemplateName != nil {
			errs = append(errs, validate.Subdomain(*c.ResourceClaimTemplateName, at.Child("resourceClaimTemplateName"))...)
		}
	}
	return errs
}

func validateGates(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, g := range s.ReadinessGates {
		errs = append(errs, validate.QualifiedName(string(g.ConditionType), path.Child("readinessGates").Index(i).Child("conditionType"))...)
	}
	seen := map[string]bool{}
	for i, g := range s.SchedulingGates {
		at := path.Child("schedulingGates").Index(i)
		errs = append(errs, validate.QualifiedName(g.Name, at)...)
		if seen[g.Name] {
			errs = append(errs, field.Duplicate(at, g.Name))
		}
		seen[g.Name] = true
	}
	return errs
}

// IsMirror says whether the metadata is of a static pod, which a node runs by itself.
func IsMirror(meta *metav1.ObjectMeta) bool {
	return meta != nil && metav1.HasAnnotation(*meta, corev1.MirrorPodAnnotationKey)
}
