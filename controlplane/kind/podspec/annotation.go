package podspec

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/container"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/scheduling"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// ValidateAnnotations checks the annotations that mean something for a pod. Most of them became fields long ago.
func ValidateAnnotations(annotations map[string]string, s *corev1.PodSpec, e Exempt, path *field.Path) field.ErrorList {
	if len(annotations) == 0 {
		return nil
	}
	var errs field.ErrorList
	if value, ok := annotations[corev1.MirrorPodAnnotationKey]; ok && s.NodeName == "" {
		errs = append(errs, field.Invalid(path.Key(corev1.MirrorPodAnnotationKey), value, "must set spec.nodeName if mirror pod annotation is set"))
	}
	if text := annotations[corev1.TolerationsAnnotationKey]; text != "" {
		var tolerations []corev1.Toleration
		if err := json.Unmarshal([]byte(text), &tolerations); err != nil {
			errs = append(errs, field.Invalid(path, corev1.TolerationsAnnotationKey, err.Error()))
		} else {
			errs = append(errs, scheduling.ValidateTolerations(tolerations, path.Child(corev1.TolerationsAnnotationKey))...)
		}
	}
	if cost, ok := annotations[corev1.PodDeletionCost]; ok && !e.deletionCost && !isDeletionCost(cost) {
		errs = append(errs, field.Invalid(path.Key(corev1.PodDeletionCost), cost, "must be a 32bit integer"))
	}
	if value, ok := annotations[corev1.SeccompPodAnnotationKey]; ok {
		errs = append(errs, validateSeccompName(value, path.Child(corev1.SeccompPodAnnotationKey))...)
	}
	for key, value := range annotations {
		if strings.HasPrefix(key, corev1.SeccompContainerAnnotationKeyPrefix) {
			errs = append(errs, validateSeccompName(value, path.Child(key))...)
		}
	}
	for key, value := range annotations {
		name, ok := strings.CutPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix)
		if !ok {
			continue
		}
		if !container.Has(s, name) {
			errs = append(errs, field.Invalid(path.Key(key), name, "container not found"))
		}
		switch {
		case value == "", value == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault, value == corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		case !strings.HasPrefix(value, corev1.DeprecatedAppArmorBetaProfileNamePrefix):
			errs = append(errs, field.Invalid(path.Key(key), value, fmt.Sprintf("invalid AppArmor profile name: %q", value)))
		}
	}
	return errs
}

// isDeletionCost says whether a text is an integer of 32 bits as it is written plainly: without a plus or leading zeros.
func isDeletionCost(text string) bool {
	if text == "" || text[0] != '-' && (text[0] < '1' || text[0] > '9') && text != "0" {
		return false
	}
	_, err := strconv.ParseInt(text, 10, 32)
	return err == nil
}

// validateSeccompName checks the name of a profile as annotations have it.
func validateSeccompName(name string, path *field.Path) field.ErrorList {
	switch name {
	case corev1.SeccompProfileRuntimeDefault, corev1.DeprecatedSeccompProfileDockerDefault, corev1.SeccompProfileNameUnconfined:
		return nil
	}
	if file, ok := strings.CutPrefix(name, corev1.SeccompLocalhostProfileNamePrefix); ok {
		return validate.LocalPath(file, path)
	}
	return field.ErrorList{field.Invalid(path, name, "must be a valid seccomp profile")}
}

// validateProfilesMatch refuses profiles of seccomp and AppArmor that are written twice, as annotation and as field, and differ.
func validateProfilesMatch(annotations map[string]string, s *corev1.PodSpec, path *field.Path) field.ErrorList {
	if len(annotations) == 0 {
		return nil
	}
	var errs field.ErrorList
	seccomp := func(key string, p *corev1.SeccompProfile, at *field.Path) {
		if name, ok := annotations[key]; ok && p != nil {
			errs = append(errs, seccompMatches(name, p, at.Child("securityContext", "seccompProfile"))...)
		}
	}
	if s.SecurityContext != nil {
		seccomp(corev1.SeccompPodAnnotationKey, s.SecurityContext.SeccompProfile, path)
	}
	container.Each(s, path, func(c *corev1.Container, at *field.Path) {
		if c.SecurityContext != nil {
			seccomp(corev1.SeccompContainerAnnotationKeyPrefix+c.Name, c.SecurityContext.SeccompProfile, at)
		}
	})
	if s.OS != nil && s.OS.Name == corev1.Windows {
		return errs
	}
	container.Each(s, path, func(c *corev1.Container, at *field.Path) {
		name, ok := annotations[corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+c.Name]
		if p := appArmorOf(s, c); ok && p != nil {
			errs = append(errs, appArmorMatches(name, p, at.Child("securityContext", "appArmorProfile"))...)
		}
	})
	return errs
}

// appArmorOf returns the profile that the fields give a container: its own or the pod's.
func appArmorOf(s *corev1.PodSpec, c *corev1.Container) *corev1.AppArmorProfile {
	if c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
		return c.SecurityContext.AppArmorProfile
	}
	if s.SecurityContext != nil {
		return s.SecurityContext.AppArmorProfile
	}
	return nil
}

func seccompMatches(name string, p *corev1.SeccompProfile, path *field.Path) field.ErrorList {
	matches := true
	switch p.Type {
	case corev1.SeccompProfileTypeUnconfined:
		matches = name == corev1.SeccompProfileNameUnconfined
	case corev1.SeccompProfileTypeRuntimeDefault:
		matches = name == corev1.SeccompProfileRuntimeDefault || name == corev1.DeprecatedSeccompProfileDockerDefault
	case corev1.SeccompProfileTypeLocalhost:
		var file string
		file, matches = strings.CutPrefix(name, corev1.SeccompLocalhostProfileNamePrefix)
		if matches && (p.LocalhostProfile == nil || *p.LocalhostProfile != file) {
			return field.ErrorList{field.Forbidden(path.Child("localhostProfile"), "seccomp profile in annotation and field must match")}
		}
	}
	if !matches {
		return field.ErrorList{field.Forbidden(path.Child("type"), "seccomp type in annotation and field must match")}
	}
	return nil
}

func appArmorMatches(name string, p *corev1.AppArmorProfile, path *field.Path) field.ErrorList {
	matches := true
	switch p.Type {
	case corev1.AppArmorProfileTypeUnconfined:
		matches = name == corev1.DeprecatedAppArmorBetaProfileNameUnconfined
	case corev1.AppArmorProfileTypeRuntimeDefault:
		matches = name == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault
	case corev1.AppArmorProfileTypeLocalhost:
		var profile string
		profile, matches = strings.CutPrefix(name, corev1.DeprecatedAppArmorBetaProfileNamePrefix)
		if matches && (p.LocalhostProfile == nil || *p.LocalhostProfile != profile) {
			return field.ErrorList{field.Forbidden(path.Child("localhostProfile"), "apparmor profile in annotation and field must match")}
		}
	}
	if !matches {
		return field.ErrorList{field.Forbidden(path.Child("type"), "apparmor type in annotation and field must match")}
	}
	return nil
}
