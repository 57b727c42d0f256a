// Package quantity knows the resources that pods ask for, nodes have and quotas limit: which names there are, which amounts
// make sense for each, and how finely amounts are kept.
package quantity

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// IsHugePages says whether a resource is memory in pages of one size.
func IsHugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// IsNative says whether Kubernetes itself gives the resource its meaning.
func IsNative(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// isExtended says whether the resource is one that a device plug-in or an administrator made up. A quota must be able to name it too.
func isExtended(name corev1.ResourceName) bool {
	return !IsNative(name) && !strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) &&
		len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(name))) == 0
}

// Overcommits says whether more of a resource may be promised by limits than there is.
func Overcommits(name corev1.ResourceName) bool { return IsNative(name) && !IsHugePages(name) }

// counted are numbers of objects.
var counted = map[corev1.ResourceName]bool{
	corev1.ResourcePods: true, corev1.ResourceQuotas: true, corev1.ResourceServices: true, corev1.ResourceReplicationControllers: true,
	corev1.ResourceSecrets: true, corev1.ResourceConfigMaps: true, corev1.ResourcePersistentVolumeClaims: true,
	corev1.ResourceServicesNodePorts: true, corev1.ResourceServicesLoadBalancers: true,
}

// measured are the other resources that have a name without a domain.
var measured = map[corev1.ResourceName]bool{
	corev1.ResourceCPU: true, corev1.ResourceMemory: true, corev1.ResourceEphemeralStorage: true, corev1.ResourceStorage: true,
	corev1.ResourceRequestsCPU: true, corev1.ResourceRequestsMemory: true, corev1.ResourceRequestsEphemeralStorage: true, corev1.ResourceRequestsStorage: true,
	corev1.ResourceLimitsCPU: true, corev1.ResourceLimitsMemory: true, corev1.ResourceLimitsEphemeralStorage: true,
}

// IsStandard says whether a name without a domain is one that Kubernetes knows.
func IsStandard(name corev1.ResourceName) bool {
	return counted[name] || measured[name] || IsHugePages(name) || strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix)
}

// ValidateName checks the name of a resource of any use.
func ValidateName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	errs := validate.Each(path, name, validation.IsQualifiedName(string(name)))
	if len(errs) > 0 || strings.Contains(string(name), "/") || IsStandard(name) {
		return errs
	}
	return field.ErrorList{field.Invalid(path, name, "must be a standard resource type or fully qualified")}
}

// ValidateContainerName checks the name of what a container can ask for.
func ValidateContainerName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	errs := ValidateName(name, path)
	switch {
	case !strings.Contains(string(name), "/"):
		if name != corev1.ResourceCPU && name != corev1.ResourceMemory && name != corev1.ResourceEphemeralStorage && !IsHugePages(name) {
			errs = append(errs, field.Invalid(path, name, "must be a standard resource for containers"))
		}
	case !IsNative(name) && !isExtended(name):
		errs = append(errs, field.Invalid(path, name, "doesn't follow extended resource name standard"))
	}
	return errs
}
