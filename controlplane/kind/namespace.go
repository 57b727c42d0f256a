package kind

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
)

func namespaceKind() *Kind {
	return definition[*corev1.Namespace]{
		gv: corev1.SchemeGroupVersion, kind: "Namespace", plural: "namespaces", singular: "namespace", short: []string{"ns"},
		new:  func() *corev1.Namespace { return &corev1.Namespace{} },
		list: func() runtime.Object { return &corev1.NamespaceList{} },
		defaults: func(ns *corev1.Namespace) {
			if ns.Name != "" {
				if ns.Labels == nil {
					ns.Labels = map[string]string{}
				}
				ns.Labels[corev1.LabelMetadataName] = ns.Name
			}
			defaults.Value(&ns.Status.Phase, corev1.NamespaceActive)
		},
		prepareCreate: func(ns *corev1.Namespace) {
			ns.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
			if !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
				ns.Spec.Finalizers = append(ns.Spec.Finalizers, corev1.FinalizerKubernetes)
			}
		},
		prepareUpdate: func(ns, old *corev1.Namespace) {
			ns.Spec.Finalizers = old.Spec.Finalizers
			ns.Status = old.Status
		},
		validate: func(ns *corev1.Namespace) field.ErrorList {
			var errs field.ErrorList
			for _, f := range ns.Spec.Finalizers {
				errs = append(errs, validateSpecFinalizer(string(f), field.NewPath("spec", "finalizers"))...)
			}
			return errs
		},
		validName: apivalidation.ValidateNamespaceName,
		status: &statusRules[*corev1.Namespace]{
			prepareUpdate: func(ns, old *corev1.Namespace) { ns.Spec = old.Spec },
			validate: func(ns, _ *corev1.Namespace) field.ErrorList {
				path := field.NewPath("status", "Phase")
				if ns.DeletionTimestamp.IsZero() && ns.Status.Phase != corev1.NamespaceActive {
					return field.ErrorList{field.Invalid(path, ns.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty")}
				}
				if !ns.DeletionTimestamp.IsZero() && ns.Status.Phase != corev1.NamespaceTerminating {
					return field.ErrorList{field.Invalid(path, ns.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")}
				}
				return nil
			},
		},
		fields: func(ns *corev1.Namespace) fields.Set {
			return fields.Set{"status.phase": string(ns.Status.Phase)}
		},
		columns: []metav1.TableColumnDefinition{nameColumn(), column("Status", "string", "The status of the namespace"), ageColumn()},
		row: func(ns *corev1.Namespace, now time.Time) []any {
			return []any{ns.Name, string(ns.Status.Phase), age(ns, now)}
		},
	}.build()
}

// validateSpecFinalizer takes the finalizers that Kubernetes knows, and others by a name with a domain.
func validateSpecFinalizer(name string, path *field.Path) field.ErrorList {
	errs := apivalidation.ValidateFinalizerName(name, path)
	switch name {
	case string(corev1.FinalizerKubernetes), metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents:
	default:
		if !strings.Contains(name, "/") {
			errs = append(errs, field.Invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified"))
		}
	}
	return errs
}
