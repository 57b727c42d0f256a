package kind

import (
	"math"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/volume"
)

const (
	// maxAttachMetadata bounds what an attacher may tell of an attachment, keys and values together, in bytes.
	maxAttachMetadata = 256 << 10
	// maxVolumeMessage bounds the message of an error, in bytes.
	maxVolumeMessage = 1024
)

func volumeAttachmentKind() *Kind {
	spec, source := storagev1.VolumeAttachmentSpec{}.SwaggerDoc(), storagev1.VolumeAttachmentSource{}.SwaggerDoc()
	status := storagev1.VolumeAttachmentStatus{}.SwaggerDoc()
	return definition[*storagev1.VolumeAttachment]{
		gv: storagev1.SchemeGroupVersion, kind: "VolumeAttachment", plural: "volumeattachments", singular: "volumeattachment",
		new:           func() *storagev1.VolumeAttachment { return &storagev1.VolumeAttachment{} },
		list:          func() runtime.Object { return &storagev1.VolumeAttachmentList{} },
		prepareCreate: func(a *storagev1.VolumeAttachment) { a.Status = storagev1.VolumeAttachmentStatus{} },
		prepareUpdate: func(a, old *storagev1.VolumeAttachment) { a.Status = old.Status },
		validate:      validateAttachment,
		validateUpdate: func(a, old *storagev1.VolumeAttachment) field.ErrorList {
			return validate.Unchanged(a.Spec, old.Spec, field.NewPath("spec"))
		},
		status: &statusRules[*storagev1.VolumeAttachment]{
			prepareUpdate: func(a, old *storagev1.VolumeAttachment) {
				a.Spec = old.Spec
				metav1.ResetObjectMetaForStatus(&a.ObjectMeta, &old.ObjectMeta)
			},
			unowned:  Paths("spec", "metadata"),
			validate: func(a, _ *storagev1.VolumeAttachment) field.ErrorList { return validateAttachmentStatus(a) },
		},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), {Name: "Attacher", Type: "string", Format: "name", Description: spec["attacher"]}, column("PV", "string", source["persistentVolumeName"]),
			column("Node", "string", spec["nodeName"]), column("Attached", "boolean", status["attached"]), ageColumn(),
		},
		row: func(a *storagev1.VolumeAttachment, now time.Time) []any {
			return []any{a.Name, a.Spec.Attacher, ptr.Deref(a.Spec.Source.PersistentVolumeName, ""), a.Spec.NodeName, a.Status.Attached, age(a, now)}
		},
	}.build()
}

func validateAttachment(a *storagev1.VolumeAttachment) field.ErrorList {
	path := field.NewPath("spec")
	var errs field.ErrorList
	source, at := a.Spec.Source, path.Child("source")
	switch {
	case source.InlineVolumeSpec == nil && source.PersistentVolumeName == nil:
		errs = append(errs, field.Required(at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
	case source.InlineVolumeSpec != nil && source.PersistentVolumeName != nil:
		errs = append(errs, field.Forbidden(at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
	case source.PersistentVolumeName != nil && *source.PersistentVolumeName == "":
		errs = append(errs, field.Required(at.Child("persistentVolumeName"), "must specify non empty persistentVolumeName"))
	case source.InlineVolumeSpec != nil:
		errs = append(errs, validateInlineVolume(source.InlineVolumeSpec, at.Child("inlineVolumeSpec"))...)
	}
	errs = append(errs, validate.Each(path.Child("nodeName"), a.Spec.NodeName, apivalidation.NameIsDNSSubdomain(a.Spec.NodeName, false))...)
	errs = append(errs, validateAttachmentStatus(a)...)
	if name := source.PersistentVolumeName; name != nil {
		errs = append(errs, validate.Each(field.NewPath("spec.source.persistentVolumeName"), *name, apivalidation.NameIsDNSSubdomain(*name, false))...)
	}
	at = path.Child("attacher")
	if a.Spec.Attacher == "" {
		return append(errs, field.Required(at, ""))
	}
	errs = append(errs, validate.Each(at, a.Spec.Attacher, content.IsDNS1123SubdomainCaseless(a.Spec.Attacher))...)
	if utf8.RuneCountInString(a.Spec.Attacher) > volume.MaxDriverName {
		errs = append(errs, field.TooLongCharacters(at, "" /* not shown */, volume.MaxDriverName))
	}
	return errs
}

// validateInlineVolume checks a volume that a pod has for itself, of a driver that took the place of a built-in one.
func validateInlineVolume(s *corev1.PersistentVolumeSpec, path *field.Path) field.ErrorList {
	const inline = "in the context of inline volumes"
	var errs field.ErrorList
	forbid := func(is bool, name, what string) {
		if is {
			errs = append(errs, field.Forbidden(path.Child(name), what+" "+inline))
		}
	}
	const unspecified = "may not be specified"
	forbid(s.ClaimRef != nil, "claimRef", unspecified)
	forbid(len(s.Capacity) > 0, "capacity", unspecified)
	if s.CSI == nil {
		errs = append(errs, field.Required(path.Child("csi"), "has to be specified "+inline))
	}
	errs = append(errs, validate.RequiredList(s.AccessModes, path.Child("accessModes"))...)
	errs = append(errs, volume.ValidateAccessModes(s.AccessModes, path.Child("accessModes"))...)
	policy := s.PersistentVolumeReclaimPolicy
	forbid(policy != "" && policy != corev1.PersistentVolumeReclaimRetain, "persistentVolumeReclaimPolicy", "may only be Retain")
	forbid(s.NodeAffinity != nil, "nodeAffinity", unspecified)
	unbound := *s
	unbound.NodeAffinity = nil
	errs = append(errs, volume.ValidatePersistent(&unbound, "", path)...)
	forbid(s.StorageClassName != "", "storageClassName", unspecified)
	forbid(ptr.Deref(s.VolumeMode, corev1.PersistentVolumeFilesystem) != corev1.PersistentVolumeFilesystem, "volumeMode", "may not specify volumeMode other than Filesystem")
	return errs
}

func validateAttachmentStatus(a *storagev1.VolumeAttachment) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("status")
	size := 0
	for key, value := range a.Status.AttachmentMetadata {
		size += len(key) + len(value)
	}
	if size > maxAttachMetadata {
		errs = append(errs, field.TooLong(path.Child("attachmentMetadata"), "" /* too long to be shown */, maxAttachMetadata))
	}
	for _, part := range []struct {
		name string
		err  *storagev1.VolumeError
	}{{"attachError", a.Status.AttachError}, {"detachError", a.Status.DetachError}} {
		name, e := part.name, part.err
		if e == nil {
			continue
		}
		if len(e.Message) > maxVolumeMessage {
			errs = append(errs, field.TooLong(path.Child(name, "message"), "" /* too long to be shown */, maxVolumeMessage))
		}
		if e.ErrorCode != nil && *e.ErrorCode < 0 {
			errs = append(errs, field.Invalid(path.Child(name, "errorCode"), *e.ErrorCode, validation.InclusiveRangeError(0, math.MaxInt32)))
		}
	}
	return errs
}
