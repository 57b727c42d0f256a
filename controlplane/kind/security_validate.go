package kind

import (
	"path"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/node/util/sysctl"
)

func validateSecurityContext(sc *corev1.SecurityContext, scope *containerScope, path *field.Path) field.ErrorList {
	if sc == nil {
		return nil
	}
	errs := validateIDs(sc.RunAsUser, sc.RunAsGroup, path)
	if sc.ProcMount != nil {
		errs = append(errs, supported(*sc.ProcMount, path.Child("procMount"), corev1.DefaultProcMount, corev1.UnmaskedProcMount)...)
		if *sc.ProcMount == corev1.UnmaskedProcMount && scope.hostUsers {
			errs = append(errs, field.Invalid(path.Child("procMount"), sc.ProcMount, "`hostUsers` must be false to use `Unmasked`"))
		}
	}
	errs = append(errs, validateSeccomp(sc.SeccompProfile, path.Child("seccompProfile"))...)
	if !deref(sc.AllowPrivilegeEscalation, true) {
		if deref(sc.Privileged, false) {
			errs = append(errs, field.Invalid(path, sc, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
		}
		for range adminCapabilities(sc) {
			if !scope.exempt.sysAdmin {
				errs = append(errs, field.Invalid(path, sc, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"))
			}
		}
	}
	errs = append(errs, validateWindowsOptions(sc.WindowsOptions, path.Child("windowsOptions"))...)
	return append(errs, validateAppArmor(sc.AppArmorProfile, path.Child("appArmorProfile"))...)
}

// adminCapabilities counts how often the capability is added that allows nearly everything.
func adminCapabilities(sc *corev1.SecurityContext) (n int) {
	if sc.Capabilities != nil {
		for _, c := range sc.Capabilities.Add {
			if c == "CAP_SYS_ADMIN" {
				n++
			}
		}
	}
	return n
}

func validateIDs(user, group *int64, path *field.Path) field.ErrorList {
	errs := validateUser(user, path.Child("runAsUser"))
	if group != nil {
		errs = append(errs, invalidEach(path.Child("runAsGroup"), *group, validation.IsValidGroupID(*group))...)
	}
	return errs
}

func validateUser(user *int64, path *field.Path) field.ErrorList {
	if user == nil {
		return nil
	}
	return invalidEach(path, *user, validation.IsValidUserID(*user))
}

func validateSeccomp(p *corev1.SeccompProfile, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	var errs field.ErrorList
	if p.Type == "" {
		errs = append(errs, field.Required(path.Child("type"), "type is required when seccompProfile is set"))
	} else {
		errs = append(errs, supported(p.Type, path.Child("type"), corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)...)
	}
	local := p.Type == corev1.SeccompProfileTypeLocalhost
	switch {
	case local && p.LocalhostProfile == nil:
		errs = append(errs, field.Required(path.Child("localhostProfile"), "must be set when seccomp type is Localhost"))
	case local:
		errs = append(errs, localPath(*p.LocalhostProfile, path.Child("localhostProfile"))...)
	case p.LocalhostProfile != nil:
		// as kube-apiserver writes it, whose own type has no names for JSON
		plain := struct {
			Type             corev1.SeccompProfileType
			LocalhostProfile *string
		}(*p)
		errs = append(errs, field.Invalid(path.Child("localhostProfile"), plain, "can only be set when seccomp type is Localhost"))
	}
	return errs
}

// maxProfileName is the longest path that Linux takes, without the zero byte behind it.
const maxProfileName = 4095

func validateAppArmor(p *corev1.AppArmorProfile, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	at := path.Child("localhostProfile")
	switch p.Type {
	case "":
		return field.ErrorList{field.Required(path.Child("type"), "type is required when appArmorProfile is set")}
	case corev1.AppArmorProfileTypeLocalhost:
		name := deref(p.LocalhostProfile, "")
		var errs field.ErrorList
		if trimmed := strings.TrimSpace(name); trimmed != name {
			errs = append(errs, field.Invalid(at, name, "must not be padded with whitespace"))
		} else if trimmed == "" {
			errs = append(errs, field.Required(at, "must be set when AppArmor type is Localhost"))
		}
		if len(name) > maxProfileName {
			errs = append(errs, field.TooLong(at, "", maxProfileName))
		}
		return errs
	case corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined:
		if p.LocalhostProfile != nil {
			return field.ErrorList{field.Invalid(at, p.LocalhostProfile, "can only be set when AppArmor type is Localhost")}
		}
		return nil
	}
	return supported(p.Type, path.Child("type"), corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined)
}

// sysctlName has segments of lower case letters, digits, - and _, separated by dots or slashes.
var sysctlName = regexp.MustCompile(`^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`)

const maxSysctlName = 253

func validatePodSecurity(s *corev1.PodSpec, e exempt, path *field.Path) field.ErrorList {
	sc := s.SecurityContext
	if sc == nil {
		return nil
	}
	var errs field.ErrorList
	if sc.FSGroup != nil {
		errs = append(errs, invalidEach(path.Child("fsGroup"), *sc.FSGroup, validation.IsValidGroupID(*sc.FSGroup))...)
	}
	errs = append(errs, validateIDs(sc.RunAsUser, sc.RunAsGroup, path)...)
	for i, g := range sc.SupplementalGroups {
		errs = append(errs, invalidEach(path.Child("supplementalGroups").Index(i), g, validation.IsValidGroupID(g))...)
	}
	errs = append(errs, validateSysctls(s, e, path.Child("sysctls"))...)
	if p := sc.FSGroupChangePolicy; p != nil {
		errs = append(errs, supported(*p, path.Child("fsGroupChangePolicy"), corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)...)
	}
	errs = append(errs, validateSeccomp(sc.SeccompProfile, path.Child("seccompProfile"))...)
	errs = append(errs, validateWindowsOptions(sc.WindowsOptions, path.Child("windowsOptions"))...)
	errs = append(errs, validateAppArmor(sc.AppArmorProfile, path.Child("appArmorProfile"))...)
	if p := sc.SupplementalGroupsPolicy; p != nil {
		errs = append(errs, supported(*p, path.Child("supplementalGroupsPolicy"), corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)...)
	}
	if p := sc.SELinuxChangePolicy; p != nil {
		errs = append(errs, supported(*p, path.Child("seLinuxChangePolicy"), corev1.SELinuxChangePolicyMountOption, corev1.SELinuxChangePolicyRecursive)...)
	}
	return errs
}

func validateSysctls(s *corev1.PodSpec, e exempt, path *field.Path) field.ErrorList {
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

// localPath accepts a relative path that stays below where it begins.
func localPath(p string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if path.IsAbs(p) {
		errs = append(errs, field.Invalid(at, p, "must be a relative path"))
	}
	return append(errs, noBacksteps(p, at)...)
}
