package registry

import (
	"reflect"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

var metaPath = field.NewPath("metadata")

func nameRule(k *kind.Kind) apivalidation.ValidateNameFunc {
	if k.ValidName != nil {
		return k.ValidName
	}
	return apivalidation.NameIsDNSSubdomain
}

// validateMeta returns what is wrong with an object's metadata in itself. Finalizers of Kubernetes' own kinds are named with
// a domain, but for those of Kubernetes itself; the kinds of extensions leave that to their users.
func validateMeta(k *kind.Kind, obj kind.Object) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaAccessor(obj, k.Namespaced, nameRule(k), metaPath)
	if k.Custom || k.Group == admissionregistrationv1.GroupName || k.Group == apiextensionsv1.GroupName {
		return errs
	}
	for i, name := range obj.GetFinalizers() {
		if !strings.Contains(name, "/") && name != string(corev1.FinalizerKubernetes) && name != metav1.FinalizerOrphanDependents && name != metav1.FinalizerDeleteDependents {
			errs = append(errs, field.Invalid(metaPath.Child("finalizers").Index(i), name, "name is neither a standard finalizer name nor is it fully qualified"))
		}
	}
	return errs
}

func validateNew(k *kind.Kind, obj kind.Object) field.ErrorList {
	errs := validateMeta(k, obj)
	if k.Validate != nil {
		errs = append(errs, k.Validate(obj)...)
	}
	if k.ValidateCreate != nil {
		errs = append(errs, k.ValidateCreate(obj)...)
	}
	return errs
}

// validateMetaChange returns what is wrong with the metadata of a change.
func validateMetaChange(k *kind.Kind, obj, old kind.Object) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaAccessorUpdate(obj, old, metaPath)
	return append(errs, validateMeta(k, obj)...)
}

func validateChange(k *kind.Kind, obj, old kind.Object) field.ErrorList {
	errs := validateMetaChange(k, obj, old)
	if k.Validate != nil {
		errs = append(errs, k.Validate(obj)...)
	}
	if k.ValidateUpdate != nil {
		errs = append(errs, k.ValidateUpdate(obj, old)...)
	}
	return errs
}

// keepMeta carries over from old the metadata that an update may leave out but not change.
func keepMeta(obj, old kind.Object) {
	if obj.GetUID() == "" {
		obj.SetUID(old.GetUID())
	}
	if obj.GetName() == "" {
		obj.SetName(old.GetName())
	}
	created := obj.GetCreationTimestamp()
	if created.IsZero() {
		obj.SetCreationTimestamp(old.GetCreationTimestamp())
	}
	obj.SetGeneration(old.GetGeneration())
	obj.SetSelfLink("")
	if obj.GetDeletionTimestamp() == nil {
		obj.SetDeletionTimestamp(old.GetDeletionTimestamp())
	}
	if obj.GetDeletionGracePeriodSeconds() == nil {
		obj.SetDeletionGracePeriodSeconds(old.GetDeletionGracePeriodSeconds())
	}
	clearType(obj)
}

// clearType empties an object's TypeMeta. Objects in the store have none: it would be the same for all.
func clearType(obj runtime.Object) {
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
}

func equalValues(a, b reflect.Value) bool {
	return apiequality.Semantic.DeepEqual(a.Interface(), b.Interface())
}

// equalObjects compares what a client sees of two versions, whatever their resourceVersions.
func equalObjects(a, b kind.Object) bool {
	version := a.GetResourceVersion()
	a.SetResourceVersion(b.GetResourceVersion())
	equal := apiequality.Semantic.DeepEqual(a, b)
	a.SetResourceVersion(version)
	return equal
}

// contentChanged says whether anything but metadata and status differs: what makes a new generation.
func contentChanged(obj, old kind.Object) bool {
	a, b := reflect.ValueOf(obj).Elem(), reflect.ValueOf(old).Elem()
	for i := range a.NumField() {
		switch a.Type().Field(i).Name {
		case "TypeMeta", "ObjectMeta", "Status":
			continue
		}
		if !equalValues(a.Field(i), b.Field(i)) {
			return true
		}
	}
	return false
}

// dedupOwners drops repeated owner references, which Kubernetes accepts with a warning.
func dedupOwners(obj metav1.Object, warn func(string)) {
	refs := obj.GetOwnerReferences()
	if len(refs) < 2 {
		return
	}
	kept := refs[:0:0]
	for _, ref := range refs {
		seen := false
		for _, k := range kept {
			seen = seen || reflect.DeepEqual(k, ref)
		}
		if seen {
			warn(".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: " + string(ref.UID))
			continue
		}
		kept = append(kept, ref)
	}
	if len(kept) != len(refs) {
		obj.SetOwnerReferences(kept)
	}
}
