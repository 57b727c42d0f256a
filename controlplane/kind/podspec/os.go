package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/container"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// validateOS checks the system that a pod is for, and refuses what only the other one knows.
func validateOS(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	switch {
	case s.OS == nil:
		return nil
	case s.OS.Name == "":
		return field.ErrorList{field.Required(path.Child("os", "name"), "")}
	case s.OS.Name == corev1.Linux:
		return forbidWindowsOptions(s, path)
	case s.OS.Name == corev1.Windows:
		return forbidLinuxOptions(s, path)
	}
	return validate.Supported(s.OS.Name, path.Child("os"), corev1.Linux, corev1.Windows)
}

func forbidWindowsOptions(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	const why = "windows options cannot be set for a linux pod"
	var errs field.ErrorList
	if sc := s.SecurityContext; sc != nil && sc.WindowsOptions != nil {
		errs = append(errs, field.Forbidden(path.Child("securityContext", "windowsOptions"), why))
	}
	container.Each(s, path, func(c *corev1.Container, at *field.Path) {
		if c.SecurityContext != nil && c.SecurityContext.WindowsOptions != nil {
			errs = append(errs, field.Forbidden(at.Child("securityContext", "windowsOptions"), why))
		}
	})
	return errs
}

func forbidLinuxOptions(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	forbid := func(at *field.Path, name string, set bool) {
		if set {
			errs = append(errs, field.Forbidden(at.Child(name), "cannot be set for a windows pod"))
		}
	}
	if sc := s.SecurityContext; sc != nil {
		at := path.Child("securityContext")
		forbid(at, "appArmorProfile", sc.AppArmorProfile != nil)
		forbid(at, "seLinuxOptions", sc.SELinuxOptions != nil)
		forbid(at, "seccompProfile", sc.SeccompProfile != nil)
		forbid(at, "fsGroup", sc.FSGroup != nil)
		forbid(at, "fsGroupChangePolicy", sc.FSGroupChangePolicy != nil)
		forbid(at, "sysctls", len(sc.Sysctls) > 0)
		forbid(at, "runAsUser", sc.RunAsUser != nil)
		forbid(at, "runAsGroup", sc.RunAsGroup != nil)
		forbid(at, "supplementalGroups", sc.SupplementalGroups != nil)
		forbid(at, "supplementalGroupsPolicy", sc.SupplementalGroupsPolicy != nil)
		forbid(at, "seLinuxChangePolicy", sc.SELinuxChangePolicy != nil)
	}
	forbid(path, "hostUsers", s.HostUsers != nil)
	forbid(path, "hostPID", s.HostPID)
	forbid(path, "hostIPC", s.HostIPC)
	forbid(path, "shareProcessNamespace", s.ShareProcessNamespace != nil)
	container.Each(s, path, func(c *corev1.Container, at *field.Path) {
		sc := c.SecurityContext
		if sc == nil {
			return
		}
		at = at.Child("securityContext")
		forbid(at, "appArmorProfile", sc.AppArmorProfile != nil)
		forbid(at, "seLinuxOptions", sc.SELinuxOptions != nil)
		forbid(at, "seccompProfile", sc.SeccompProfile != nil)
		forbid(at, "capabilities", sc.Capabilities != nil)
		forbid(at, "readOnlyRootFilesystem", sc.ReadOnlyRootFilesystem != nil)
		forbid(at, "privileged", sc.Privileged != nil)
		forbid(at, "allowPrivilegeEscalation", sc.AllowPrivilegeEscalation != nil)
		forbid(at, "procMount", sc.ProcMount != nil)
		forbid(at, "runAsUser", sc.RunAsUser != nil)
		forbid(at, "runAsGroup", sc.RunAsGroup != nil)
	})
	return errs
}

// validateHostProcess checks that containers of Windows that run as processes of the host are all or none, and on its network.
func validateHostProcess(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	of := func(o *corev1.WindowsSecurityContextOptions) *bool {
		if o == nil {
			return nil
		}
		return o.HostProcess
	}
	var pod *bool
	if s.SecurityContext != nil {
		pod = of(s.SecurityContext.WindowsOptions)
	}
	all, hosts := 0, 0
	container.Each(s, path, func(c *corev1.Container, at *field.Path) {
		all++
		var own *bool
		if c.SecurityContext != nil {
			own = of(c.SecurityContext.WindowsOptions)
		}
		if pod != nil && own != nil && *pod != *own {
			errs = append(errs, field.Invalid(at.Child("securityContext", "windowsOptions", "hostProcess"), *own,
				fmt.Sprintf("pod hostProcess value must be identical if both are specified, was %v", *pod)))
		}
		if ptr.Deref(own, ptr.Deref(pod, false)) {
			hosts++
		}
	})
	if hosts == 0 {
		return errs
	}
	if hosts != all {
		errs = append(errs, field.Invalid(path, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers"))
	}
	if !s.HostNetwork {
		errs = append(errs, field.Invalid(path.Child("hostNetwork"), s.HostNetwork, "hostNetwork must be true if pod contains any hostProcess containers"))
	}
	return errs
}
