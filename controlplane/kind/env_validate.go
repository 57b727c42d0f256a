package kind

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Fields of a pod that its containers can read.
var (
	envFields = []string{
		"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
	}
	volumeFields = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
	// knownFields are those that exist at all; others are a mistake of writing.
	knownFields = slices.Concat(envFields, volumeFields, []string{
		"spec.restartPolicy", "spec.schedulerName", "status.phase", "spec.host",
	})
)

func validateEnv(env []corev1.EnvVar, scope *podScope, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, e := range env {
		at := path.Index(i)
		if e.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, invalidEach(at.Child("name"), e.Name, validation.IsRelaxedEnvVarName(e.Name))...)
		}
		if e.ValueFrom != nil {
			errs = append(errs, validateEnvSource(&e, scope, at.Child("valueFrom"))...)
		}
	}
	return errs
}

func validateEnvSource(e *corev1.EnvVar, scope *podScope, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	from := e.ValueFrom
	sources := 0
	if from.FieldRef != nil {
		sources++
		errs = append(errs, validateFieldRef(from.FieldRef, envFields, path.Child("fieldRef"))...)
	}
	if from.ResourceFieldRef != nil {
		sources++
		errs = append(errs, validateResourceFieldRef(from.ResourceFieldRef, false, path.Child("resourceFieldRef"))...)
	}
	if from.ConfigMapKeyRef != nil {
		sources++
		errs = append(errs, validateKeyRef(from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Key, path.Child("configMapKeyRef"))...)
	}
	if from.SecretKeyRef != nil {
		sources++
		errs = append(errs, validateKeyRef(from.SecretKeyRef.Name, from.SecretKeyRef.Key, path.Child("secretKeyRef"))...)
	}
	if f := from.FileKeyRef; f != nil {
		sources++
		errs = append(errs, validateFileKeyRef(f, scope, path.Child("fileKeyRef"))...)
	}
	switch {
	case sources == 0:
		errs = append(errs, field.Invalid(path, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"))
	case e.Value != "":
		errs = append(errs, field.Invalid(path, "", "may not be specified when `value` is not empty"))
	case sources > 1:
		errs = append(errs, field.Invalid(path, "", "may not have more than one field specified at a time"))
	}
	return errs
}

func validateFileKeyRef(f *corev1.FileKeySelector, scope *podScope, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if f.Key == "" {
		errs = append(errs, field.Required(path.Child("key"), ""))
	} else {
		errs = append(errs, invalidEach(path.Child("key"), f.Key, validation.IsRelaxedEnvVarName(f.Key))...)
	}
	switch v := scope.volumes[f.VolumeName]; {
	case f.VolumeName == "":
		errs = append(errs, field.Required(path.Child("volumeName"), ""))
	case v == nil:
		errs = append(errs, field.NotFound(path.Child("volumeName"), f.VolumeName))
	case v.EmptyDir == nil:
		errs = append(errs, field.Invalid(path.Child("volumeName"), f.VolumeName, "must be an emptyDir volume"))
	}
	if f.Path == "" {
		return append(errs, field.Required(path.Child("path"), ""))
	}
	return append(errs, localPath(f.Path, path.Child("path"))...)
}

func validateKeyRef(name, key string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if name != "" { // an empty name was allowed once and refers to nothing
		errs = append(errs, invalidEach(path.Child("name"), name, validation.IsDNS1123Subdomain(name))...)
	}
	if key == "" {
		return append(errs, field.Required(path.Child("key"), ""))
	}
	return append(errs, invalidEach(path.Child("key"), key, validation.IsConfigMapKey(key))...)
}

func validateFieldRef(f *corev1.ObjectFieldSelector, allowed []string, path *field.Path) field.ErrorList {
	if f.APIVersion == "" {
		return field.ErrorList{field.Required(path.Child("apiVersion"), "")}
	}
	if f.FieldPath == "" {
		return field.ErrorList{field.Required(path.Child("fieldPath"), "")}
	}
	at := path.Child("fieldPath")
	if base, key, ok := subscripted(f.FieldPath); ok {
		switch base {
		case "metadata.annotations":
			return invalidEach(at, f.FieldPath, validation.IsQualifiedName(strings.ToLower(key)))
		case "metadata.labels":
			return invalidEach(at, f.FieldPath, validation.IsQualifiedName(key))
		}
		return field.ErrorList{field.Invalid(at, f.FieldPath, "does not support subscript")}
	}
	if f.APIVersion != "v1" {
		return field.ErrorList{field.Invalid(at, f.FieldPath, fmt.Sprintf("error converting fieldPath: unsupported pod version: %s", f.APIVersion))}
	}
	if !slices.Contains(knownFields, f.FieldPath) {
		return field.ErrorList{field.Invalid(at, f.FieldPath, fmt.Sprintf("error converting fieldPath: field label not supported: %s", f.FieldPath))}
	}
	if !slices.Contains(allowed, f.FieldPath) {
		return field.ErrorList{field.NotSupported(at, f.FieldPath, allowed)}
	}
	return nil
}

// subscripted splits metadata.labels['KEY'].
func subscripted(path string) (base, key string, ok bool) {
	rest, ok := strings.CutSuffix(path, "']")
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, "['")
}

// containerFields are the resources that a container can read of itself or another, with the divisors allowed.
var (
	cpuDivisors    = []string{"1m", "1"}
	memoryDivisors = []string{"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}
	resourceFields = []string{
		"limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory",
	}
)

func validateResourceFieldRef(f *corev1.ResourceFieldSelector, volume bool, path *field.Path) field.ErrorList {
	if volume && f.ContainerName == "" {
		return field.ErrorList{field.Required(path.Child("containerName"), "")}
	}
	if f.Resource == "" {
		return field.ErrorList{field.Required(path.Child("resource"), "")}
	}
	huge := strings.HasPrefix(f.Resource, "limits."+corev1.ResourceHugePagesPrefix) || strings.HasPrefix(f.Resource, "requests."+corev1.ResourceHugePagesPrefix)
	if !huge && !slices.Contains(resourceFields, f.Resource) {
		return field.ErrorList{field.NotSupported(path.Child("resource"), f.Resource, resourceFields)}
	}
	if f.Divisor.IsZero() {
		return nil
	}
	divisors := memoryDivisors
	if strings.HasSuffix(f.Resource, ".cpu") {
		divisors = cpuDivisors
	}
	for _, d := range divisors {
		if f.Divisor.Cmp(resource.MustParse(d)) == 0 {
			return nil
		}
	}
	return field.ErrorList{field.Invalid(path.Child("divisor"), f.Resource,
		fmt.Sprintf("only divisor's values %s are supported with the %s resource", strings.Join(divisors, ", "), strings.SplitN(f.Resource, ".", 2)[1]))}
}

func validateEnvFrom(sources []corev1.EnvFromSource, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, s := range sources {
		at := path.Index(i)
		if s.Prefix != "" {
			errs = append(errs, invalidEach(at.Child("prefix"), s.Prefix, validation.IsRelaxedEnvVarName(s.Prefix))...)
		}
		n := 0
		if s.ConfigMapRef != nil {
			n++
			errs = append(errs, requiredSubdomain(s.ConfigMapRef.Name, at.Child("configMapRef", "name"))...)
		}
		if s.SecretRef != nil {
			n++
			errs = append(errs, requiredSubdomain(s.SecretRef.Name, at.Child("secretRef", "name"))...)
		}
		if n == 0 {
			errs = append(errs, field.Invalid(at, "", "must specify one of: `configMapRef` or `secretRef`"))
		} else if n > 1 {
			errs = append(errs, field.Invalid(at, "", "may not have more than one field specified at a time"))
		}
	}
	return errs
}

func requiredSubdomain(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return invalidEach(path, name, validation.IsDNS1123Subdomain(name))
}
