package kind

import (
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateVolumes(volumes []corev1.Volume, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := map[string]bool{}
	for i := range volumes {
		v, at := &volumes[i], path.Index(i)
		switch {
		case v.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case names[v.Name]:
			errs = append(errs, field.Duplicate(at.Child("name"), v.Name))
		default:
			errs = append(errs, invalidEach(at.Child("name"), v.Name, validation.IsDNS1123Label(v.Name))...)
		}
		names[v.Name] = true
		errs = append(errs, validateVolumeSource(&v.VolumeSource, at)...)
	}
	return errs
}

// validateVolumeSource checks that there is one source, and the fields of those that nodes here can mount.
func validateVolumeSource(s *corev1.VolumeSource, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	sources := 0
	value := reflect.ValueOf(*s)
	for i := range value.NumField() {
		if value.Field(i).IsNil() {
			continue
		}
		if sources++; sources > 1 {
			name, _, _ := strings.Cut(value.Type().Field(i).Tag.Get("json"), ",")
			errs = append(errs, field.Forbidden(path.Child(name), "may not specify more than 1 volume type"))
		}
	}
	if sources == 0 {
		return append(errs, field.Required(path, "must specify a volume type"))
	}
	if sources > 1 {
		return errs
	}
	switch {
	case s.EmptyDir != nil:
		if s.EmptyDir.SizeLimit != nil && s.EmptyDir.SizeLimit.Sign() < 0 {
			errs = append(errs, field.Forbidden(path.Child("emptyDir", "sizeLimit"), "SizeLimit field must be a valid resource quantity"))
		}
	case s.HostPath != nil:
		errs = append(errs, validateHostPath(s.HostPath, path.Child("hostPath"))...)
	case s.Secret != nil:
		at := path.Child("secret")
		if s.Secret.SecretName == "" {
			errs = append(errs, field.Required(at.Child("secretName"), ""))
		}
		errs = append(errs, validateMode(s.Secret.DefaultMode, at.Child("defaultMode"))...)
		errs = append(errs, validateKeyPaths(s.Secret.Items, at.Child("items"))...)
	case s.ConfigMap != nil:
		at := path.Child("configMap")
		if s.ConfigMap.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		errs = append(errs, validateMode(s.ConfigMap.DefaultMode, at.Child("defaultMode"))...)
		errs = append(errs, validateKeyPaths(s.ConfigMap.Items, at.Child("items"))...)
	case s.DownwardAPI != nil:
		at := path.Child("downwardAPI")
		errs = append(errs, validateMode(s.DownwardAPI.DefaultMode, at.Child("defaultMode"))...)
		errs = append(errs, validateDownwardFiles(s.DownwardAPI.Items, at)...)
	case s.Projected != nil:
		errs = append(errs, validateProjected(s.Projected, path.Child("projected"))...)
	case s.NFS != nil:
		errs = append(errs, validateNFS(s.NFS, path.Child("nfs"))...)
	case s.PersistentVolumeClaim != nil:
		if s.PersistentVolumeClaim.ClaimName == "" {
			errs = append(errs, field.Required(path.Child("persistentVolumeClaim", "claimName"), ""))
		}
	case s.CSI != nil:
		if s.CSI.Driver == "" {
			errs = append(errs, field.Required(path.Child("csi", "driver"), ""))
		}
	case s.Ephemeral != nil:
		if s.Ephemeral.VolumeClaimTemplate == nil {
			errs = append(errs, field.Required(path.Child("ephemeral", "volumeClaimTemplate"), ""))
		}
	case s.Image != nil:
		at := path.Child("image")
		if s.Image.Reference == "" {
			errs = append(errs, field.Required(at.Child("reference"), ""))
		}
		errs = append(errs, oneOf(s.Image.PullPolicy, at.Child("pullPolicy"), corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	}
	return errs
}

func validateHostPath(h *corev1.HostPathVolumeSource, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if h.Path == "" {
		errs = append(errs, field.Required(path.Child("path"), ""))
	} else {
		errs = append(errs, noBacksteps(h.Path, path.Child("path"))...)
	}
	if h.Type != nil && *h.Type != corev1.HostPathUnset {
		errs = append(errs, oneOf(*h.Type, path.Child("type"), corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory,
			corev1.HostPathFileOrCreate, corev1.HostPathFile, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev)...)
	}
	return errs
}

func noBacksteps(p string, path *field.Path) field.ErrorList {
	for _, part := range strings.Split(p, "/") {
		if part == ".." {
			return field.ErrorList{field.Invalid(path, p, "must not contain '..'")}
		}
	}
	return nil
}

func validateNFS(n *corev1.NFSVolumeSource, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if n.Server == "" {
		errs = append(errs, field.Required(path.Child("server"), ""))
	}
	if n.Path == "" {
		errs = append(errs, field.Required(path.Child("path"), ""))
	} else if !isAbsolute(n.Path) {
		errs = append(errs, field.Invalid(path.Child("path"), n.Path, "must be an absolute path"))
	}
	return errs
}

const maxFileMode = 0o777

func validateMode(mode *int32, path *field.Path) field.ErrorList {
	if mode != nil && (*mode < 0 || *mode > maxFileMode) {
		return field.ErrorList{field.Invalid(path, *mode, "must be a number between 0 and 0777 (octal), both inclusive")}
	}
	return nil
}

func validateKeyPaths(items []corev1.KeyToPath, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, item := range items {
		at := path.Index(i)
		if item.Key == "" {
			errs = append(errs, field.Required(at.Child("key"), ""))
		}
		errs = append(errs, localFile(item.Path, at.Child("path"))...)
		errs = append(errs, validateMode(item.Mode, at.Child("mode"))...)
	}
	return errs
}

// localFile accepts the relative path of a file that a volume makes; ".." is how its versions are told apart.
func localFile(p string, path *field.Path) field.ErrorList {
	if p == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	errs := localPath(p, path)
	if strings.HasPrefix(p, "..") && !strings.HasPrefix(p, "../") && p != ".." {
		errs = append(errs, field.Invalid(path, p, "must not start with '..'"))
	}
	return errs
}

func validateDownwardFiles(items []corev1.DownwardAPIVolumeFile, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, item := range items {
		errs = append(errs, localFile(item.Path, path.Child("path"))...)
		switch {
		case item.FieldRef != nil:
			errs = append(errs, validateFieldRef(item.FieldRef, volumeFields, path.Child("fieldRef"))...)
			if item.ResourceFieldRef != nil {
				errs = append(errs, field.Invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
			}
		case item.ResourceFieldRef != nil:
			errs = append(errs, validateResourceFieldRef(item.ResourceFieldRef, true, path.Child("resourceFieldRef"))...)
		default:
			errs = append(errs, field.Required(path, "one of fieldRef and resourceFieldRef is required"))
		}
		errs = append(errs, validateMode(item.Mode, path.Child("mode"))...)
	}
	return errs
}

// Bounds of the life of a projected token.
const (
	minTokenSeconds = 10 * 60
	maxTokenSeconds = 1 << 32
)

func validateProjected(p *corev1.ProjectedVolumeSource, path *field.Path) field.ErrorList {
	errs := validateMode(p.DefaultMode, path.Child("defaultMode"))
	paths := map[string]bool{}
	claim := func(file string, at *field.Path) {
		if paths[file] && file != "" {
			errs = append(errs, field.Invalid(at, file, "conflicting duplicate paths"))
		}
		paths[file] = true
	}
	for i := range p.Sources {
		s, at := &p.Sources[i], path.Child("sources").Index(i)
		n := 0
		if s.Secret != nil {
			n++
			sub := at.Child("secret")
			if s.Secret.Name == "" {
				errs = append(errs, field.Required(sub.Child("name"), ""))
			}
			errs = append(errs, validateKeyPaths(s.Secret.Items, sub.Child("items"))...)
			for j := range s.Secret.Items {
				claim(s.Secret.Items[j].Path, sub)
			}
		}
		if s.ConfigMap != nil {
			n++
			sub := at.Child("configMap")
			if s.ConfigMap.Name == "" {
				errs = append(errs, field.Required(sub.Child("name"), ""))
			}
			errs = append(errs, validateKeyPaths(s.ConfigMap.Items, sub.Child("items"))...)
			for j := range s.ConfigMap.Items {
				claim(s.ConfigMap.Items[j].Path, sub)
			}
		}
		if s.DownwardAPI != nil {
			n++
			sub := at.Child("downwardAPI")
			errs = append(errs, validateDownwardFiles(s.DownwardAPI.Items, sub)...)
			for j := range s.DownwardAPI.Items {
				claim(s.DownwardAPI.Items[j].Path, sub)
			}
		}
		if t := s.ServiceAccountToken; t != nil {
			n++
			errs = append(errs, validateTokenProjection(t, at.Child("serviceAccountToken"))...)
			claim(t.Path, at.Child("serviceAccountToken"))
		}
		if s.ClusterTrustBundle != nil {
			n++
		}
		if s.PodCertificate != nil {
			n++
		}
		if n > 1 {
			errs = append(errs, field.Forbidden(at, "may not specify more than 1 volume type"))
		} else if n == 0 {
			errs = append(errs, field.Required(at, "must specify a projected volume source"))
		}
	}
	return errs
}

func validateTokenProjection(t *corev1.ServiceAccountTokenProjection, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seconds := deref(t.ExpirationSeconds, serviceAccountTokenSeconds)
	if seconds < minTokenSeconds {
		errs = append(errs, field.Invalid(path.Child("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes"))
	}
	if seconds > maxTokenSeconds {
		errs = append(errs, field.Invalid(path.Child("expirationSeconds"), seconds, "may not specify a duration larger than 2^32 seconds"))
	}
	if t.Path == "" {
		return append(errs, field.Required(path.Child("path"), ""))
	}
	return append(errs, localFile(t.Path, path.Child("path"))...)
}

func validateMounts(c *corev1.Container, scope *podScope, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	places := map[string]bool{}
	for i := range c.VolumeMounts {
		m, at := &c.VolumeMounts[i], path.Index(i)
		if m.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		v := scope.volumes[m.Name]
		if v == nil {
			errs = append(errs, field.NotFound(at.Child("name"), m.Name))
		}
		if m.MountPath == "" {
			errs = append(errs, field.Required(at.Child("mountPath"), ""))
		}
		if places[m.MountPath] {
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must be unique"))
		}
		places[m.MountPath] = true
		if m.SubPath != "" {
			errs = append(errs, localPath(m.SubPath, at.Child("subPath"))...)
		}
		if m.SubPathExpr != "" {
			if m.SubPath != "" {
				errs = append(errs, field.Invalid(at.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive"))
			}
			errs = append(errs, localPath(m.SubPathExpr, at.Child("subPathExpr"))...)
		}
		errs = append(errs, validatePropagation(m, c, at)...)
	}
	return errs
}

func validatePropagation(m *corev1.VolumeMount, c *corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p := m.MountPropagation; p != nil {
		at := path.Child("mountPropagation")
		errs = append(errs, oneOf(*p, at, corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)...)
		privileged := c.SecurityContext != nil && deref(c.SecurityContext.Privileged, false)
		if *p == corev1.MountPropagationBidirectional && !privileged {
			errs = append(errs, field.Forbidden(at, "Bidirectional mount propagation is available only to privileged containers"))
		}
	}
	if r := m.RecursiveReadOnly; r != nil {
		at := path.Child("recursiveReadOnly")
		errs = append(errs, oneOf(*r, at, corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyIfPossible, corev1.RecursiveReadOnlyEnabled)...)
		if *r != corev1.RecursiveReadOnlyDisabled && !m.ReadOnly {
			errs = append(errs, field.Forbidden(at, "may only be specified when readOnly is true"))
		}
		if *r != corev1.RecursiveReadOnlyDisabled && deref(m.MountPropagation, corev1.MountPropagationNone) != corev1.MountPropagationNone {
			errs = append(errs, field.Forbidden(at, "may only be specified when mountPropagation is None or not specified"))
		}
	}
	return errs
}

func validateDevices(c *corev1.Container, scope *podScope, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	places, mounted := map[string]bool{}, map[string]bool{}
	for _, m := range c.VolumeMounts {
		mounted[m.Name] = true
	}
	for i, d := range c.VolumeDevices {
		at := path.Index(i)
		v := scope.volumes[d.Name]
		switch {
		case d.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case v == nil:
			errs = append(errs, field.NotFound(at.Child("name"), d.Name))
		case v.PersistentVolumeClaim == nil && v.Ephemeral == nil:
			errs = append(errs, field.Invalid(at.Child("name"), d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"))
		case mounted[d.Name]:
			errs = append(errs, field.Invalid(at.Child("name"), d.Name, "must not already exist in volumeMounts"))
		}
		if d.DevicePath == "" {
			errs = append(errs, field.Required(at.Child("devicePath"), ""))
		} else {
			errs = append(errs, noBacksteps(d.DevicePath, at.Child("devicePath"))...)
		}
		if places[d.DevicePath] {
			errs = append(errs, field.Invalid(at.Child("devicePath"), d.DevicePath, "must be unique"))
		}
		places[d.DevicePath] = true
	}
	return errs
}
