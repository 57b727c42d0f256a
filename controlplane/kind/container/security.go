package container

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/unversioned"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

func validateSecurityContext(sc *corev1.SecurityContext, scope *Scope, path *field.Path) field.ErrorList {
	if sc == nil {
		return nil
	}
	errs := ValidateIDs(sc.RunAsUser, sc.RunAsGroup, path)
	if sc.ProcMount != nil {
		errs = append(errs, validate.Supported(*sc.ProcMount, path.Child("procMount"), corev1.DefaultProcMount, corev1.UnmaskedProcMount)...)
		if *sc.ProcMount == corev1.UnmaskedProcMount && scope.HostUsers {
			errs = append(errs, field.Invalid(path.Child("procMount"), sc.ProcMount, "`hostUsers` must be false to use `Unmasked`"))
		}
	}
	errs = append(errs, ValidateSeccomp(sc.SeccompProfile, path.Child("seccompProfile"))...)
	if !ptr.Deref(sc.AllowPrivilegeEscalation, true) {
		if ptr.Deref(sc.Privileged, false) {
			errs = append(errs, field.Invalid(path, sc, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
		}
		for range adminCapabilities(sc) {
			if !scope.Exempt.sysAdmin {
				errs = append(errs, field.Invalid(path, sc, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"))
			}
		}
	}
	errs = append(errs, ValidateWindowsOptions(sc.WindowsOptions, path.Child("windowsOptions"))...)
	return append(errs, ValidateAppArmor(sc.AppArmorProfile, path.Child("appArmorProfile"))...)
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

// ValidateIDs checks as which user and group processes run, in a security context whose path it is given.
func ValidateIDs(user, group *int64, path *field.Path) field.ErrorList {
	errs := validateUser(user, path.Child("runAsUser"))
	if group != nil {
		errs = append(errs, validate.Each(path.Child("runAsGroup"), *group, validation.IsValidGroupID(*group))...)
	}
	return errs
}

func validateUser(user *int64, path *field.Path) field.ErrorList {
	if user == nil {
		return nil
	}
	return validate.Each(path, *user, validation.IsValidUserID(*user))
}

// ValidateSeccomp checks which system calls are allowed.
func ValidateSeccomp(p *corev1.SeccompProfile, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	var errs field.ErrorList
	if p.Type == "" {
		errs = append(errs, field.Required(path.Child("type"), "type is required when seccompProfile is set"))
	} else {
		errs = append(errs, validate.Supported(p.Type, path.Child("type"), corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)...)
	}
	local := p.Type == corev1.SeccompProfileTypeLocalhost
	switch {
	case local && p.LocalhostProfile == nil:
		errs = append(errs, field.Required(path.Child("localhostProfile"), "must be set when seccomp type is Localhost"))
	case local:
		errs = append(errs, validate.LocalPath(*p.LocalhostProfile, path.Child("localhostProfile"))...)
	case p.LocalhostProfile != nil:
		errs = append(errs, field.Invalid(path.Child("localhostProfile"), unversioned.Form(p), "can only be set when seccomp type is Localhost"))
	}
	return errs
}

// maxProfileName is the longest path that Linux takes, without the zero byte behind it.
const maxProfileName = 4095

// ValidateAppArmor checks the profile of AppArmor.
func ValidateAppArmor(p *corev1.AppArmorProfile, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	at := path.Child("localhostProfile")
	switch p.Type {
	case "":
		return field.ErrorList{field.Required(path.Child("type"), "type is required when appArmorProfile is set")}
	case corev1.AppArmorProfileTypeLocalhost:
		name := ptr.Deref(p.LocalhostProfile, "")
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
	return validate.Supported(p.Type, path.Child("type"), corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined)
}
