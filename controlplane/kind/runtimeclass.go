package kind

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/container"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/quantity"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/scheduling"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/unversioned"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

func runtimeClassKind() *Kind {
	docs := nodev1.RuntimeClass{}.SwaggerDoc()
	return definition[*nodev1.RuntimeClass]{
		gv: nodev1.SchemeGroupVersion, kind: "RuntimeClass", plural: "runtimeclasses", singular: "runtimeclass",
		new:      func() *nodev1.RuntimeClass { return &nodev1.RuntimeClass{} },
		list:     func() runtime.Object { return &nodev1.RuntimeClassList{} },
		validate: validateRuntimeClass,
		validateUpdate: func(r, old *nodev1.RuntimeClass) field.ErrorList {
			return validate.Unchanged(r.Handler, old.Handler, field.NewPath("handler"))
		},
		warnings: func(r, _ *nodev1.RuntimeClass) []string { return runtimeClassWarnings(r) },
		columns:  []metav1.TableColumnDefinition{nameColumn(), column("Handler", "string", docs["handler"]), ageColumn()},
		row:      func(r *nodev1.RuntimeClass, now time.Time) []any { return []any{r.Name, r.Handler, age(r, now)} },
	}.build()
}

func validateRuntimeClass(r *nodev1.RuntimeClass) field.ErrorList {
	var errs field.ErrorList
	if r.Overhead != nil {
		errs = append(errs, container.ValidateResources(&corev1.ResourceRequirements{Limits: r.Overhead.PodFixed}, &container.Scope{}, quantity.ValidateContainerName, field.NewPath("overhead"))...)
	}
	if s := r.Scheduling; s != nil {
		at := field.NewPath("scheduling")
		errs = append(errs, metavalidation.ValidateLabels(s.NodeSelector, at.Child("nodeSelector"))...)
		errs = append(errs, validateUniqueTolerations(s.Tolerations, at.Child("tolerations"))...)
	}
	handler := field.NewPath("handler")
	if r.Handler == "" {
		return append(errs, field.Required(handler, ""))
	}
	return append(errs, validate.Each(handler, r.Handler, content.IsDNS1123Label(r.Handler))...)
}

// validateUniqueTolerations refuses tolerations that differ in their seconds only.
func validateUniqueTolerations(tolerations []corev1.Toleration, path *field.Path) field.ErrorList {
	errs := scheduling.ValidateTolerations(tolerations, path)
	seen := map[corev1.Toleration]bool{}
	for i, t := range tolerations {
		key := corev1.Toleration{Key: t.Key, Operator: t.Operator, Value: t.Value, Effect: t.Effect}
		if seen[key] {
			errs = append(errs, field.Duplicate(path.Index(i), unversioned.Form(t)))
		}
		seen[key] = true
	}
	return errs
}

func runtimeClassWarnings(r *nodev1.RuntimeClass) []string {
	if r.Scheduling == nil {
		return nil
	}
	var out []string
	for label := range r.Scheduling.NodeSelector {
		if text, ok := scheduling.OldNodeLabels[label]; ok {
			out = append(out, fmt.Sprintf("%s: %s", field.NewPath("scheduling", "nodeSelector"), text))
		}
	}
	return out
}
