package kind

import (
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// maxControllerName is how long the name of an ingress controller may be.
const maxControllerName = 250

func ingressClassKind() *Kind {
	spec := networkingv1.IngressClassSpec{}.SwaggerDoc()
	return definition[*networkingv1.IngressClass]{
		gv: networkingv1.SchemeGroupVersion, kind: "IngressClass", plural: "ingressclasses", singular: "ingressclass", generation: true,
		new:  func() *networkingv1.IngressClass { return &networkingv1.IngressClass{} },
		list: func() runtime.Object { return &networkingv1.IngressClassList{} },
		defaults: func(c *networkingv1.IngressClass) {
			if p := c.Spec.Parameters; p != nil {
				defaults.Pointer(&p.Scope, networkingv1.IngressClassParametersReferenceScopeCluster)
			}
		},
		validate: func(c *networkingv1.IngressClass) field.ErrorList {
			path := field.NewPath("spec", "controller")
			var errs field.ErrorList
			if len(c.Spec.Controller) > maxControllerName {
				errs = append(errs, field.TooLong(path, "" /* not shown */, maxControllerName))
			}
			errs = append(errs, validation.IsDomainPrefixedPath(path, c.Spec.Controller)...)
			return append(errs, validateClassReference(c.Spec.Parameters, field.NewPath("spec", "parameters"))...)
		},
		validateUpdate: func(c, old *networkingv1.IngressClass) field.ErrorList {
			return validate.Immutable(c.Spec.Controller, old.Spec.Controller, field.NewPath("spec", "controller"))
		},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Controller", "string", spec["controller"]), column("Parameters", "string", spec["parameters"]), ageColumn(),
		},
		row: func(c *networkingv1.IngressClass, now time.Time) []any {
			parameters := noneText
			if p := c.Spec.Parameters; p != nil {
				parameters = p.Kind + "/" + p.Name
				if g := ptr.Deref(p.APIGroup, ""); g != "" {
					parameters = p.Kind + "." + g + "/" + p.Name
				}
			}
			name := c.Name
			if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
				name += " (default)"
			}
			return []any{name, c.Spec.Controller, parameters, age(c, now)}
		},
	}.build()
}

// validateClassReference checks where a controller finds the parameters of a class.
func validateClassReference(p *networkingv1.IngressClassParametersReference, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := validateTypedReference(p.APIGroup, p.Kind, p.Name, path)
	const cluster, namespace = networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace
	at := path.Child("namespace")
	switch scope := ptr.Deref(p.Scope, ""); {
	case p.Scope == nil:
		errs = append(errs, field.Required(path.Child("scope"), ""))
	case scope == namespace && p.Namespace == nil:
		errs = append(errs, field.Required(at, "`parameters.scope` is set to 'Namespace'"))
	case scope == namespace:
		errs = append(errs, validate.Each(at, *p.Namespace, apivalidation.ValidateNamespaceName(*p.Namespace, false))...)
	case scope == cluster && p.Namespace != nil:
		errs = append(errs, field.Forbidden(at, "`parameters.scope` is set to 'Cluster'"))
	case scope != cluster:
		errs = append(errs, field.NotSupported(path.Child("scope"), scope, []string{cluster, namespace}))
	}
	return errs
}
