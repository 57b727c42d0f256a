package validate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Fields of a pod that its containers can read.
var (
	EnvFields = []string{
		"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
	}
	VolumeFields = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
	// knownFields are those that exist at all; others are a mistake of writing.
	knownFields = slices.Concat(EnvFields, VolumeFields, []string{"spec.restartPolicy", "spec.schedulerName", "status.phase"})
)

// FieldRef checks which of its own fields a pod is to be told, which are among those allowed where it asks, or one label or annotation.
func FieldRef(f *corev1.ObjectFieldSelector, allowed []string, path *field.Path) field.ErrorList {
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
			return QualifiedName(strings.ToLower(key), path)
		case "metadata.labels":
			return QualifiedName(key, path)
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
	return Supported(name, at, allowed...)
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

// ResourceFieldRef checks which of its resources a container is to be told. In a volume, it has to say which container.
func ResourceFieldRef(f *corev1.ResourceFieldSelector, volume bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case volume && f.ContainerName == "":
		errs = append(errs, field.Required(path.Child("containerName"), ""))
	case f.Resource == "":
		errs = append(errs, field.Required(path.Child("resource"), ""))
	case !readsHugePages(f.Resource):
		errs = append(errs, Supported(f.Resource, path.Child("resource"), resourceFields...)...)
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
