package kind

import (
	"time"

	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
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
			if !apiequality.Semantic.DeepEqual(a.Spec, old.Spec) {
				return field.ErrorList{field.Invalid(field.NewPath("spec"), a.Spec, "field is immutable")}
			}
			return nil
		},
		status: &statusRules[*storagev1.VolumeAttachment]{
			prepareUpdate: func(a, old *storagev1.VolumeAttachment) { a.Spec = old.Spec },
			validate:      func(a, _ *storagev1.VolumeAttachment) field.ErrorList { return validateAttachmentStatus(a) },
		},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Attacher", "string", spec["attacher"]), column("PV", "string", source["persistentVolumeName"]),
			column("Node", "string", spec["nodeName"]), column("Attached", "boolean", status["attached"]), ageColumn(),
		},
		row: func(a *storagev1.VolumeAttachment, now time.Time) []any {
			return []any{a.Name, a.Spec.Attacher, deref(a.Spec.Source.PersistentVolumeName, ""), a.Spec.NodeName, a.Status.Attached, age(a, now)}
		},
	}.build()
}

func validateAttachment(a *storagev1.VolumeAttachment) field.ErrorList {
	path := field.NewPath("spec")
	errs := validateDriverName(a.Spec.Attacher, path.Child("attacher"))
	source, at := a.Spec.Source, path.Child("source")
	switch {
	case source.InlineVolumeSpec == nil && source.PersistentVolumeName == nil:
		errs = append(errs, field.Required(at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
	case source.InlineVolumeSpec != nil && source.PersistentVolumeName != nil:
		errs = append(errs, field.Forbidden(at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
	case source.PersistentVolumeName != nil && *source.PersistentVolumeName == "":
		errs = append(errs, field.Required(at.Child("persistentVolumeName"), "must specify non empty persistentVolumeName"))
	}
	errs = append(errs, invalidEach(path.Child("nodeName"), a.Spec.NodeName, apivalidation.NameIsDNSSubdomain(a.Spec.NodeName, false))...)
	return append(errs, validateAttachmentStatus(a)...)
}

func validateAttachmentStatus(a *storagev1.VolumeAttachment) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("status")
	size := 0
	for key, value := range a.Status.AttachmentMetadata {
		if key == "" {
			errs = append(errs, field.Required(path.Child("attachmentMetadata").Key(key), ""))
		}
		size += len(key) + len(value)
	}
	if size > maxAttachMetadata {
		errs = append(errs, field.TooLong(path.Child("attachmentMetadata"), "" /* too long to be shown */, maxAttachMetadata))
	}
	for name, e := range map[string]*storagev1.VolumeError{"attachError": a.Status.AttachError, "detachError": a.Status.DetachError} {
		if e == nil {
			continue
		}
		if len(e.Message) > maxVolumeMessage {
			errs = append(errs, field.TooLong(path.Child(name, "message"), "" /* too long to be shown */, maxVolumeMessage))
		}
		if e.ErrorCode != nil && *e.ErrorCode <= 0 {
			errs = append(errs, field.Invalid(path.Child(name, "errorCode"), *e.ErrorCode, "must be greater than 0"))
		}
	}
	return errs
}
