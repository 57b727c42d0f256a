package podspec

import (
	"regexp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/node/util/sysctl"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/container"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// sysctlName has segments of lower case letters, digits, - and _, separated by dots or slashes.
var sysctlName = regexp.MustCompile(`^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`)

const maxSysctlName = 253

func validatePodSecurity(s *corev1.PodSpec, e Exempt, path *field.Path) field.ErrorList {
	sc := s.SecurityContext
	if sc == nil {
		return nil
	}
	var errs field.ErrorList
	if sc.FSGroup != nil {
		errs = append(errs, validate.Each(path.Child("fsGroup"), *sc.FSGroup, validation.IsValidGroupID(*sc.FSGroup))...)
	}
	errs = append(errs, container.ValidateIDs(sc.RunAsUser, sc.RunAsGroup, path)...)
	for i, g := range sc.SupplementalGroups {
		errs = append(errs, validate.Each(path.Child("supplementalGroups").Index(i), g, validation.IsValidGroupID(g))...)
	}
	errs = append(errs, validateSysctls(s, e, path.Child("sysctls"))...)
	if p := sc.FSGroupChangePolicy; p != nil {
		errs = append(errs, validate.Supported(*p, path.Child("fsGroupChangePolicy"), corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)...)
	}
	errs = append(errs, container.ValidateSeccomp(sc.SeccompProfile, path.Child("seccompProfile"))...)
	errs = append(errs, container.ValidateWindowsOptions(sc.WindowsOptions, path.Child("windowsOptions"))...)
	errs = append(errs, container.ValidateAppArmor(sc.AppArmorProfile, path.Child("appArmorProfile"))...)
	if p := sc.SupplementalGroupsPolicy; p != nil {
		errs = append(errs, validate.Supported(*p, path.Child("supplementalGroupsPolicy"), corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)...)
	}
	if p := sc.SELinuxChangePolicy; p != nil {
		errs = append(errs, validate.Supported(*p, path.Child("seLinuxChangePolicy"), corev1.SELinuxChangePolicyMountOption, corev1.SELinuxChangePolicyRecursive)...)
	}
	return errs
}

func validateSysctls(s *corev1.PodSpec, e Exempt, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, c := range s.SecurityContext.Sysctls {
		at := path.Index(i).Child("name")
		switch {
		case c.Name == "":
			errs = append(errs, field.Required(at, ""))
		case len(c.Name) > maxSysctlName || !sysctlName.MatchString(c.Name):
			errs = append(errs, field.Invalid(at, c.Name, "must have at most 253 characters and match regex "+sysctlName.String()))
		case seen[c.Name]:
			errs = append(errs, field.Duplicate(at, c.Name))
		}
		seen[c.Name] = true
		if why := hostSysctl(c.Name, s); why != "" && !e.hostSysctls {
			errs = append(errs, field.Invalid(at, c.Name, why))
		}
	}
	return errs
}

// hostSysctl says why a pod may not set a parameter of the kernel that it shares with the host; "" when it may.
func hostSysctl(name string, s *corev1.PodSpec) string {
	switch ns, _, _ := sysctl.GetNamespace(name); {
	case s.HostNetwork && ns == sysctl.NetNamespace:
		return "may not be specified when 'hostNetwork' is true"
	case s.HostIPC && ns == sysctl.IPCNamespace:
		return "may not be specified when 'hostIPC' is true"
	}
	return ""
}
