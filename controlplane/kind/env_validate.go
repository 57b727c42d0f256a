package kind

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
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
	knownFields = slices.Concat(envFields, volumeFields, []string{"spec.restartPolicy", "spec.schedulerName", "status.phase"})
)

func validateEnv(env []corev1.EnvVar, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range env {
		e, at := &env[i], path.Index(i)
		if e.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, invalidEach(at.Child("name"), e.Name, validation.IsRelaxedEnvVarName(e.Name))...)
		}
		if e.ValueFrom != nil {
			errs = append(errs, validateEnvSource(e, at.Child("valueFrom"))...)
		}
	}
	return errs
}

func validateEnvSource(e *corev1.EnvVar, path *field.Path) field.ErrorList {
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
		errs = append(errs, validateFileKeyRef(f, path.Child("fileKeyRef"))...)
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

func validateFileKeyRef(f *corev1.FileKeySelector, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if f.Key == "" {
		errs = append(errs, field.Required(path.Child("key"), ""))
	} else {
		errs = append(errs, invalidEach(path.Child("key"), f.Key, validation.IsRelaxedEnvVarName(f.Key))...)
	}
	if f.VolumeName == "" {
		errs = append(errs, field.Required(path.Child("volumeName"), ""))
	} else {
		errs = append(errs, dnsLabel(f.VolumeName, path.Child("volumeName"))...)
	}
	if f.Path == "" {
		return append(errs, field.Required(path.Child("path"), ""))
	}
	return append(errs, noBacksteps(f.Path, path.Child("path"))...)
}

// validateFileKeyVolumes checks that files of variables are in volumes that the pod's containers can write them to.
func validateFileKeyVolumes(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	eachContainer(s, path, func(c *corev1.Container, at *field.Path) {
		for i := range c.Env {
			from := c.Env[i].ValueFrom
			if from == nil || from.FileKeyRef == nil {
				continue
			}
			name, at := from.FileKeyRef.VolumeName, at.Child("env").Index(i).Child("valueFrom", "fileKeyRef", "volumeName")
			switch v := volumeNamed(s.Volumes, name); {
			case v == nil:
				errs = append(errs, field.NotFound(at, name))
			case v.EmptyDir == nil:
				errs = append(errs, field.Invalid(at, name, "referenced volume must be of type emptyDir"))
			}
		}
	})
	return errs
}

func volumeNamed(volumes []corev1.Volume, name string) *corev1.Volume {
	for i := range volumes {
		if volumes[i].Name == name {
			return &volumes[i]
		}
	}
	return nil
}

func validateKeyRef(name, key string, path *field.Path) field.ErrorList {
	errs := subdomain(name, path.Child("name"))
	if key == "" {
		return append(errs, field.Required(path.Child("key"), ""))
	}
	return append(errs, invalidEach(path.Child("key"), key, validation.IsConfigMapKey(key))...)
}

func validateFieldRef(f *corev1.ObjectFieldSelector, allowed []string, path *field.Path) field.ErrorList {
	if f.APIVersion == "" {
		return field.ErrorList{field.Required(path.Child("apiVersion"), "")}
	}
	at := path.Child("fieldPath")
	if f.FieldPath == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	unknown := func(why string) field.ErrorList {
		return field.ErrorList{field.Invalid(at, f.FieldPath, "error converting fieldPath: "+why)}
	}
	if f.APIVersion != "v1" {
		return unknown("unsupported pod version: " + f.APIVersion)
	}
	if base, key, ok := subscripted(f.FieldPath); ok {
		switch base {
		case "metadata.annotations":
			return qualifiedName(strings.ToLower(key), path)
		case "metadata.labels":
			return qualifiedName(key, path)
		}
		return unknown("field label does not support subscript: " + f.FieldPath)
	}
	name := f.FieldPath
	if name == "spec.host" { // as the first version named it
		name = "spec.nodeName"
	}
	if !slices.Contains(knownFields, name) {
		return unknown("field label not supported: " + name)
	}
	return supported(name, at, allowed...)
}

// subscripted splits metadata.labels['KEY'].
func subscripted(path string) (base, key string, ok bool) {
	rest, ok := strings.CutSuffix(path, "']")
	if !ok {
		return "", "", false
	}
	base, key, ok = strings.Cut(rest, "['")
	return base, key, ok && base != ""
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
	var errs field.ErrorList
	switch {
	case volume && f.ContainerName == "":
		errs = append(errs, field.Required(path.Child("containerName"), ""))
	case f.Resource == "":
		errs = append(errs, field.Required(path.Child("resource"), ""))
	case !readsHugePages(f.Resource):
		errs = append(errs, supported(f.Resource, path.Child("resource"), resourceFields...)...)
	}
	return append(errs, validateDivisor(f, path.Child("divisor"))...)
}

func readsHugePages(name string) bool {
	return strings.HasPrefix(name, "limits."+corev1.ResourceHugePagesPrefix) || strings.HasPrefix(name, "requests."+corev1.ResourceHugePagesPrefix)
}

func validateDivisor(f *corev1.ResourceFieldSelector, path *field.Path) field.ErrorList {
	if f.Divisor.IsZero() {
		return nil
	}
	divisors, of := memoryDivisors, ""
	switch f.Resource {
	case "limits.cpu", "requests.cpu":
		if slices.Contains(cpuDivisors, f.Divisor.String()) {
			return nil
		}
		return field.ErrorList{field.Invalid(path, f.Resource, "only divisor's values 1m and 1 are supported with the cpu resource")}
	case "limits.memory", "requests.memory":
		of = "memory"
	case "limits.ephemeral-storage", "requests.ephemeral-storage":
		of = "local ephemeral storage"
	default:
		if !readsHugePages(f.Resource) {
			return nil
		}
		of = "hugepages"
	}
	if slices.Contains(divisors, f.Divisor.String()) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, f.Resource,
		fmt.Sprintf("only divisor's values %s are supported with the %s resource", strings.Join(divisors, ", "), of))}
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
			errs = append(errs, requiredName(s.ConfigMapRef.Name, at.Child("configMapRef", "name"))...)
		}
		if s.SecretRef != nil {
			n++
			errs = append(errs, requiredName(s.SecretRef.Name, at.Child("secretRef", "name"))...)
		}
		// the path is that of the list
		if n == 0 {
			errs = append(errs, field.Invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
		} else if n > 1 {
			errs = append(errs, field.Invalid(path, "", "may not have more than one field specified at a time"))
		}
	}
	return errs
}

// requiredName checks a name as one that more is written behind, which may end in a dash.
func requiredName(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return invalidEach(path, name, apivalidation.NameIsDNSSubdomain(name, true))
}
