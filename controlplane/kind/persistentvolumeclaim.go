package kind

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/quantity"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/unversioned"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/volume"
)

func persistentVolumeClaimKind() *Kind {
	spec, status := corev1.PersistentVolumeClaimSpec{}.SwaggerDoc(), corev1.PersistentVolumeClaimStatus{}.SwaggerDoc()
	return definition[*corev1.PersistentVolumeClaim]{
		gv: corev1.SchemeGroupVersion, kind: "PersistentVolumeClaim", plural: "persistentvolumeclaims", singular: "persistentvolumeclaim",
		short: []string{"pvc"}, namespaced: true,
		new:      func() *corev1.PersistentVolumeClaim { return &corev1.PersistentVolumeClaim{} },
		list:     func() runtime.Object { return &corev1.PersistentVolumeClaimList{} },
		defaults: defaultClaim,
		prepareCreate: func(c *corev1.PersistentVolumeClaim) {
			c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
			prepareDataSource(&c.Spec, nil)
		},
		prepareUpdate: func(c, old *corev1.PersistentVolumeClaim) {
			c.Status = old.Status
			prepareDataSource(&c.Spec, &old.Spec)
		},
		validateCreate: func(c *corev1.PersistentVolumeClaim) field.ErrorList {
			return volume.ValidateClaim(&c.Spec, field.NewPath("spec"))
		},
		validateUpdate: validateClaimUpdate,
		warnings:       func(c, _ *corev1.PersistentVolumeClaim) []string { return claimWarnings(c) },
		status: &statusRules[*corev1.PersistentVolumeClaim]{
			prepareUpdate: func(c, old *corev1.PersistentVolumeClaim) {
				c.Spec = old.Spec
				if old.Status.HealthStatus == nil { // of a gate that is off
					c.Status.HealthStatus = nil
				}
			},
			validate: func(c, _ *corev1.PersistentVolumeClaim) field.ErrorList {
				return validateClaimStatus(&c.Status, field.NewPath("status"))
			},
		},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Status", "string", status["phase"]), column("Volume", "string", spec["volumeName"]),
			column("Capacity", "string", status["capacity"]), column("Access Modes", "string", status["accessModes"]),
			column("StorageClass", "string", "StorageClass of the pvc"), column("VolumeAttributesClass", "string", "VolumeAttributesClass of the pvc"), ageColumn(),
			wide("VolumeMode", "string", spec["volumeMode"]),
		},
		row: claimRow,
	}.build()
}

func claimRow(c *corev1.PersistentVolumeClaim, now time.Time) []any {
	phase, capacity, modes := string(c.Status.Phase), "", ""
	if c.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	if c.Spec.VolumeName != "" {
		capacity, modes = quantityText(c.Status.Capacity), accessModesText(c.Status.AccessModes)
	}
	return []any{
		c.Name, phase, c.Spec.VolumeName, capacity, modes, ptr.Deref(c.Spec.StorageClassName, ""),
		orUnset(ptr.Deref(c.Spec.VolumeAttributesClassName, "")), age(c, now), modeText(c.Spec.VolumeMode),
	}
}

func defaultClaim(c *corev1.PersistentVolumeClaim) {
	defaults.Value(&c.Status.Phase, corev1.ClaimPending)
	defaultClaimSpec(&c.Spec)
	quantity.Round(c.Status.Capacity)
	quantity.Round(c.Status.AllocatedResources)
}

func defaultClaimSpec(s *corev1.PersistentVolumeClaimSpec) {
	defaults.Pointer(&s.VolumeMode, corev1.PersistentVolumeFilesystem)
	quantity.Round(s.Resources.Limits)
	quantity.Round(s.Resources.Requests)
}

// prepareDataSource keeps dataSource and dataSourceRef, which are two names of one thing, the same. Of what is only in
// the older one, anything but a claim or a snapshot is dropped. References to other namespaces are behind a gate that
// is off.
func prepareDataSource(s, old *corev1.PersistentVolumeClaimSpec) {
	if ref := s.DataSourceRef; ref != nil && ptr.Deref(ref.Namespace, "") != "" && (old == nil || old.DataSourceRef == nil) {
		s.DataSourceRef = nil
	}
	had := old != nil && (old.DataSource != nil || old.DataSourceRef != nil)
	if from := s.DataSource; from != nil && s.DataSourceRef == nil && !had {
		group := ptr.Deref(from.APIGroup, "")
		if (from.Kind != volume.ClaimKind || group != "") && (from.Kind != "VolumeSnapshot" || group != "snapshot.storage.k8s.io") {
			s.DataSource = nil
		}
	}
	switch from, ref := s.DataSource, s.DataSourceRef; {
	case from != nil && ref == nil:
		s.DataSourceRef = &corev1.TypedObjectReference{APIGroup: from.APIGroup, Kind: from.Kind, Name: from.Name}
	case from == nil && ref != nil && ptr.Deref(ref.Namespace, "") == "":
		s.DataSource = &corev1.TypedLocalObjectReference{APIGroup: ref.APIGroup, Kind: ref.Kind, Name: ref.Name}
	}
}

func validateClaimUpdate(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	// what was accepted once stays acceptable
	lax := len(volume.ValidateClaim(&old.Spec, nil)) > 0
	errs := volume.ValidateStoredClaim(&c.Spec, lax, field.NewPath("spec"))
	was, now := old.Spec.DeepCopy(), c.Spec.DeepCopy()
	if was.VolumeName == "" { // binding sets it once
		was.VolumeName = now.VolumeName
	}
	prepareDataSource(was, was)
	annotated, hadAnnotation := old.Annotations[corev1.BetaStorageClassAnnotation]
	annotation := c.Annotations[corev1.BetaStorageClassAnnotation]
	set := was.StorageClassName == nil && now.StorageClassName != nil
	switch matches := set && *now.StorageClassName == annotated; {
	case hadAnnotation && matches && (annotation == "" || annotation == annotated): // the annotation becomes the field
		now.StorageClassName = nil
	default:
		if annotation != annotated {
			errs = append(errs, immutableAnnotation(annotation, corev1.BetaStorageClassAnnotation))
		}
		if set && (!hadAnnotation || matches) { // the default class may be filled in later
			now.StorageClassName = nil
		}
	}
	size, had := c.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage]
	if c.Status.Phase == corev1.ClaimBound {
		if now.Resources.Requests != nil {
			now.Resources.Requests[corev1.ResourceStorage] = had
		}
		now.VolumeAttributesClassName = was.VolumeAttributesClassName
	}
	if !apiequality.Semantic.DeepEqual(now, was) {
		errs = append(errs, field.Forbidden(field.NewPath("spec"),
			fmt.Sprintf("spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n%v", diff.Diff(unversioned.Form(was), unversioned.Form(now)))))
	}
	if capacity := old.Status.Capacity[corev1.ResourceStorage]; size.Cmp(had) < 0 && size.Cmp(capacity) <= 0 {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "resources", "requests", "storage"), "field can not be less than status.capacity"))
	}
	errs = append(errs, validate.Immutable(c.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
	if old.Status.CurrentVolumeAttributesClassName != nil && !apiequality.Semantic.DeepEqual(c.Spec.VolumeAttributesClassName, old.Spec.VolumeAttributesClassName) {
		at := field.NewPath("spec", "volumeAttributesClassName")
		switch class := c.Spec.VolumeAttributesClassName; {
		case class == nil:
			errs = append(errs, field.Forbidden(at, "update to nil is forbidden when status.currentVolumeAttributesClassName is not nil"))
		case *class == "":
			errs = append(errs, field.Forbidden(at, "update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil"))
		}
	}
	return errs
}

func immutableAnnotation(value, key string) *field.Error {
	return field.Invalid(field.NewPath("metadata", "annotations", key), value, "field is immutable")
}

var resizeStatuses = []corev1.ClaimResourceStatus{
	corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimControllerResizeInfeasible,
	corev1.PersistentVolumeClaimNodeResizeInProgress, corev1.PersistentVolumeClaimNodeResizeInfeasible, corev1.PersistentVolumeClaimNodeResizePending,
}

func validateClaimStatus(s *corev1.PersistentVolumeClaimStatus, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for name, q := range s.Capacity {
		if q.Sign() < 0 {
			errs = append(errs, field.Invalid(path.Child("capacity").Key(string(name)), q.Value(), "must be a valid resource quantity"))
		}
	}
	at := path.Child("allocatedResourceStatuses")
	for name, status := range s.AllocatedResourceStatuses {
		errs = append(errs, validateClaimResource(name, at)...)
		if len(validate.Supported(status, at, resizeStatuses...)) > 0 {
			errs = append(errs, field.NotSupported(at, name, resizeStatuses))
		}
	}
	at = path.Child("allocatedResources")
	for name, q := range s.AllocatedResources {
		if bad := validateClaimResource(name, at); len(bad) > 0 {
			errs = append(errs, bad...)
		} else if q.Sign() < 0 {
			errs = append(errs, field.Invalid(at.Key(string(name)), q.Value(), "must be a valid resource quantity"))
		}
	}
	return errs
}

// validateClaimResource checks the name of a resource that a claim has grown: storage, or one of a driver's making.
func validateClaimResource(name corev1.ResourceName, path *field.Path) field.ErrorList {
	errs := validate.QualifiedName(string(name), path)
	if len(errs) == 0 && quantity.IsNative(name) && name != corev1.ResourceStorage {
		errs = append(errs, field.NotSupported(path, string(name), []corev1.ResourceName{corev1.ResourceStorage}))
	}
	return errs
}

func claimWarnings(c *corev1.PersistentVolumeClaim) []string {
	var out []string
	if _, ok := c.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		out = append(out, fmt.Sprintf(`metadata.annotations[%s]: deprecated since v1.8; use "storageClassName" attribute instead`, corev1.BetaStorageClassAnnotation))
	}
	return append(out, claimSpecWarnings(&c.Spec, field.NewPath("spec"))...)
}

// claimSpecWarnings tells of sizes that are no whole number of bytes.
func claimSpecWarnings(s *corev1.PersistentVolumeClaimSpec, path *field.Path) []string {
	var out []string
	for _, part := range []struct {
		name string
		list corev1.ResourceList
	}{{"requests", s.Resources.Requests}, {"limits", s.Resources.Limits}} {
		if q := part.list[corev1.ResourceStorage]; quantity.IsFractional(q) {
			at := path.Child("resources", part.name).Key(string(corev1.ResourceStorage))
			out = append(out, fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer", at, q.String()))
		}
	}
	return out
}
