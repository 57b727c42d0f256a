package container

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

func validateEnv(env []corev1.EnvVar, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range env {
		e, at := &env[i], path.Index(i)
		errs = append(errs, validate.RequiredAs(e.Name, validation.IsRelaxedEnvVarName, at.Child("name"))...)
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
		errs = append(errs, validate.FieldRef(from.FieldRef, validate.EnvFields, path.Child("fieldRef"))...)
	}
	if from.ResourceFieldRef != nil {
		sources++
		errs = append(errs, validate.ResourceFieldRef(from.ResourceFieldRef, false, path.Child("resourceFieldRef"))...)
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
	errs = append(errs, validate.RequiredAs(f.Key, validation.IsRelaxedEnvVarName, path.Child("key"))...)
	errs = append(errs, validate.RequiredAs(f.VolumeName, validation.IsDNS1123Label, path.Child("volumeName"))...)
	if f.Path == "" {
		return append(errs, field.Required(path.Child("path"), ""))
	}
	return append(errs, validate.NoBacksteps(f.Path, path.Child("path"))...)
}

func validateKeyRef(name, key string, path *field.Path) field.ErrorList {
	errs := validate.Subdomain(name, path.Child("name"))
	if key == "" {
		return append(errs, field.Required(path.Child("key"), ""))
	}
	return append(errs, validate.Each(path.Child("key"), key, validation.IsConfigMapKey(key))...)
}

func validateEnvFrom(sources []corev1.EnvFromSource, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, s := range sources {
		at := path.Index(i)
		if s.Prefix != "" {
			errs = append(errs, validate.Each(at.Child("prefix"), s.Prefix, validation.IsRelaxedEnvVarName(s.Prefix))...)
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
	return validate.Each(path, name, apivalidation.NameIsDNSSubdomain(name, true))
}
