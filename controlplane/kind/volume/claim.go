package volume

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// ValidateSize refuses nothing and less.
func ValidateSize(q resource.Quantity, path *field.Path) field.ErrorList {
	if q.Sign() > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, q.String(), "must be greater than zero")}
}

// ValidateMode checks whether a volume is a file system or a block device.
func ValidateMode(m *corev1.PersistentVolumeMode, path *field.Path) field.ErrorList {
	if m == nil {
		return nil
	}
	return validate.Supported(*m, path, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
}

var accessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod}

// ValidateAccessModes checks the modes that there are.
func ValidateAccessModes(modes []corev1.PersistentVolumeAccessMode, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	single, other := false, false
	for _, m := range modes {
		bad := validate.Supported(m, path, accessModes...)
		errs = append(errs, bad...)
		single = single || m == corev1.ReadWriteOncePod
		other = other || m != corev1.ReadWriteOncePod && len(bad) == 0
	}
	if single && other {
		errs = append(errs, field.Forbidden(path, "may not use ReadWriteOncePod with other access modes"))
	}
	return errs
}

// ClaimKind is the kind of claims, as sources of data name it.
const ClaimKind = "PersistentVolumeClaim"

// ValidateClaim checks a new claim or a template of claims.
func ValidateClaim(s *corev1.PersistentVolumeClaimSpec, path *field.Path) field.ErrorList {
	return ValidateStoredClaim(s, false, path)
}

// ValidateStoredClaim checks a claim. What an older release stored may be kept: lax leaves out what came later.
func ValidateStoredClaim(s *corev1.PersistentVolumeClaimSpec, lax bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(s.AccessModes) == 0 {
		errs = append(errs, field.Required(path.Child("accessModes"), "at least 1 access mode is required"))
	}
	errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: lax}, path.Child("selector"))...)
	errs = append(errs, ValidateAccessModes(s.AccessModes, path.Child("accessModes"))...)
	at := path.Child("resources").Key(string(corev1.ResourceStorage))
	if storage, ok := s.Resources.Requests[corev1.ResourceStorage]; !ok {
		errs = append(errs, field.Required(at, ""))
	} else {
		errs = append(errs, ValidateSize(storage, at)...)
	}
	if name := ptr.Deref(s.StorageClassName, ""); name != "" {
		errs = append(errs, validate.Subdomain(name, path.Child("storageClassName"))...)
	}
	errs = append(errs, ValidateMode(s.VolumeMode, path.Child("volumeMode"))...)
	errs = append(errs, validateDataSources(s, lax, path)...)
	if name := ptr.Deref(s.VolumeAttributesClassName, ""); name != "" {
		errs = append(errs, validate.Subdomain(name, path.Child("volumeAttributesClassName"))...)
	}
	return errs
}

func validateDataSources(s *corev1.PersistentVolumeClaimSpec, lax bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	from, ref := s.DataSource, s.DataSourceRef
	if from != nil {
		errs = append(errs, validateDataSource(from.APIGroup, from.Kind, from.Name, lax, path.Child("dataSource"))...)
	}
	namespace := ""
	if ref != nil {
		errs = append(errs, validateDataSource(ref.APIGroup, ref.Kind, ref.Name, lax, path.Child("dataSourceRef"))...)
		if namespace = ptr.Deref(ref.Namespace, ""); namespace != "" {
			errs = append(errs, validate.Each(path.Child("dataSourceRef", "namespace"), namespace, apivalidation.ValidateNamespaceName(namespace, false))...)
		}
	}
	switch {
	case from == nil || ref == nil:
	case namespace != "":
		errs = append(errs, field.Invalid(path, path.Child("dataSource"), "may not be specified when dataSourceRef.namespace is specified"))
	case !reflect.DeepEqual(from.APIGroup, ref.APIGroup) || from.Kind != ref.Kind || from.Name != ref.Name:
		errs = append(errs, field.Invalid(path, path.Child("dataSource"), "must match dataSourceRef"))
	}
	return errs
}

func validateDataSource(apiGroup *string, kind, name string, lax bool, path *field.Path) field.ErrorList {
	errs := validate.Required(name, path.Child("name"))
	errs = append(errs, validate.Required(kind, path.Child("kind"))...)
	group := ptr.Deref(apiGroup, "")
	if group == "" && kind != ClaimKind {
		errs = append(errs, field.Invalid(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"))
	}
	if group != "" && !lax {
		errs = append(errs, validate.Subdomain(group, path.Child("apiGroup"))...)
	}
	return errs
}
