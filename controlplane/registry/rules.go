package registry

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// rules of one way to update an object: what may change and what must hold.
type rules struct {
	prepare  func(obj, old kind.Object)
	validate func(obj, old kind.Object) field.ErrorList
}

// rulesOf returns the rules of an update of the object or of one of its parts.
func rulesOf(k *kind.Kind, subresource string) rules {
	switch subresource {
	case "status":
		return statusRules(k, k.Status)
	case "approval":
		return statusRules(k, k.Approval)
	case "finalize":
		return rules{prepare: prepareFinalize, validate: func(obj, old kind.Object) field.ErrorList { return validateChange(k, obj, old) }}
	case "ephemeralcontainers":
		prepare := func(obj, old kind.Object) { kind.PrepareEphemeralContainers(obj.(*corev1.Pod), old.(*corev1.Pod)) }
		return rules{prepare: prepare, validate: func(obj, old kind.Object) field.ErrorList {
			return append(validateMetaChange(k, obj, old), kind.ValidateEphemeralContainers(obj.(*corev1.Pod), old.(*corev1.Pod))...)
		}}
	case "resize":
		prepare := func(obj, old kind.Object) { kind.PrepareResize(obj.(*corev1.Pod), old.(*corev1.Pod)) }
		return rules{prepare: prepare, validate: func(obj, old kind.Object) field.ErrorList {
			return append(validateMetaChange(k, obj, old), kind.ValidateResize(obj.(*corev1.Pod), old.(*corev1.Pod))...)
		}}
	case "binding", "eviction":
		// the binding is the one way to set a node: what forbids to change it must not be asked; an eviction sets a condition
		return rules{
			prepare:  func(kind.Object, kind.Object) {},
			validate: func(obj, old kind.Object) field.ErrorList { return validateMetaChange(k, obj, old) },
		}
	}
	return rules{
		prepare: func(obj, old kind.Object) {
			if k.PrepareUpdate != nil {
				k.PrepareUpdate(obj, old)
			}
			if ns, ok := obj.(*corev1.Namespace); ok {
				ns.Spec.Finalizers = old.(*corev1.Namespace).Spec.Finalizers
			}
		},
		validate: func(obj, old kind.Object) field.ErrorList { return validateChange(k, obj, old) },
	}
}

// statusRules are those of a subresource that is a part of the status.
func statusRules(k *kind.Kind, part *kind.Status) rules {
	return rules{
		prepare: func(obj, old kind.Object) {
			if part != nil && part.PrepareUpdate != nil {
				part.PrepareUpdate(obj, old)
			}
		},
		validate: func(obj, old kind.Object) field.ErrorList {
			errs := validateMetaChange(k, obj, old)
			if part != nil && part.Validate != nil {
				errs = append(errs, part.Validate(obj, old)...)
			}
			return errs
		},
	}
}

// prepareFinalize lets only spec.finalizers of a namespace through.
func prepareFinalize(obj, old kind.Object) {
	ns, ok := obj.(*corev1.Namespace)
	if !ok {
		return
	}
	finalizers := ns.Spec.Finalizers
	meta := ns.ObjectMeta
	old.(*corev1.Namespace).DeepCopyInto(ns)
	ns.Spec.Finalizers = finalizers
	ns.ResourceVersion = meta.ResourceVersion
	ns.ManagedFields = meta.ManagedFields
	clearType(ns)
}

// held says whether something still has to happen before an object that is being deleted may go.
func held(obj kind.Object) bool {
	if len(obj.GetFinalizers()) > 0 {
		return true
	}
	ns, ok := obj.(*corev1.Namespace)
	return ok && len(ns.Spec.Finalizers) > 0
}

// goesNow says whether an object in this state is to be removed: it is being deleted, its grace is over or it
// has none, and nothing holds it.
func goesNow(obj kind.Object) bool {
	if obj.GetDeletionTimestamp() == nil || held(obj) {
		return false
	}
	grace := obj.GetDeletionGracePeriodSeconds()
	return grace == nil || *grace == 0
}

// unconditional says whether an update without a resourceVersion is allowed, as Kubernetes has it: it is for
// all but the kinds whose writers must not overwrite each other.
func unconditional(k *kind.Kind) bool { return !k.Custom && !conditionalOnly[k.GroupResource()] }

var conditionalOnly = map[schema.GroupResource]bool{
	{Group: "coordination.k8s.io", Resource: "leases"}:                                     true,
	{Group: "policy", Resource: "poddisruptionbudgets"}:                                    true,
	{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"}:                 true,
	{Group: "admissionregistration.k8s.io", Resource: "mutatingwebhookconfigurations"}:     true,
	{Group: "admissionregistration.k8s.io", Resource: "validatingwebhookconfigurations"}:   true,
	{Group: "admissionregistration.k8s.io", Resource: "validatingadmissionpolicies"}:       true,
	{Group: "admissionregistration.k8s.io", Resource: "validatingadmissionpolicybindings"}: true,
	{Group: "node.k8s.io", Resource: "runtimeclasses"}:                                     true,
	{Group: "storage.k8s.io", Resource: "csidrivers"}:                                      true,
	{Group: "storage.k8s.io", Resource: "csinodes"}:                                        true,
	{Group: "storage.k8s.io", Resource: "volumeattachments"}:                               true,
}

var mustHaveVersion = field.ErrorList{
	field.Invalid(metaPath.Child("resourceVersion"), 0, "must be specified for an update"),
}

// refusedAs makes an answer of what is wrong with an object. It names the kind in whose form objects are stored, by which
// Kubernetes checks them, and says nothing twice.
func refusedAs(k *kind.Kind, name string, errs field.ErrorList) error {
	seen := map[string]bool{}
	distinct := slices.DeleteFunc(errs, func(e *field.Error) bool {
		text := e.Error()
		again := seen[text]
		seen[text] = true
		return again
	})
	return apierrors.NewInvalid(k.StoredKind().GroupKind(), name, distinct)
}
