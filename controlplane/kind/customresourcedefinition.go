package kind

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	apiservervalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiextensions-apiserver/pkg/client/applyconfiguration"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// definitionKind is that of CustomResourceDefinitions. What they define is the business of package custom.
func definitionKind() *Kind {
	k := definition[*apiextensionsv1.CustomResourceDefinition]{
		gv: apiextensionsv1.SchemeGroupVersion, kind: "CustomResourceDefinition", plural: "customresourcedefinitions", singular: "customresourcedefinition",
		short: []string{"crd", "crds"}, categories: []string{"api-extensions"}, generation: true,
		new:           func() *apiextensionsv1.CustomResourceDefinition { return &apiextensionsv1.CustomResourceDefinition{} },
		list:          func() runtime.Object { return &apiextensionsv1.CustomResourceDefinitionList{} },
		defaults:      defaultDefinition,
		prepareCreate: prepareDefinition,
		prepareUpdate: func(d, old *apiextensionsv1.CustomResourceDefinition) {
			d.Status = *old.Status.DeepCopy()
			noteStored(d)
		},
		validate:       func(*apiextensionsv1.CustomResourceDefinition) field.ErrorList { return nil },
		validateCreate: validateDefinition,
		validateUpdate: validateDefinitionUpdate,
		warnings:       definitionWarnings,
		markDeleted:    markDefinitionDeleted,
		status: &statusRules[*apiextensionsv1.CustomResourceDefinition]{
			prepareUpdate: func(d, old *apiextensionsv1.CustomResourceDefinition) {
				d.Spec = old.Spec
			},
			validate: validateDefinitionStatus,
		},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Scope", "string", "Cluster/Namespaced"), column("Versions", "string", "Served versions"), createdColumn(),
			wide("Group", "string", "API group"), wide("Kind", "string", "CustomResource kind"), wide("ShortNames", "string", "Short names"),
			wide("Established", "boolean", "Established status"),
		},
		row: func(d *apiextensionsv1.CustomResourceDefinition, _ time.Time) []any {
			return []any{
				d.Name, string(d.Spec.Scope), servedVersions(d), createdAt(d),
				d.Spec.Group, d.Spec.Names.Kind, strings.Join(d.Spec.Names.ShortNames, ","), apihelpers.IsCRDConditionTrue(d, apiextensionsv1.Established),
			}
		},
	}.build()
	k.Merge = definitionMerge
	return k
}

// servedVersions names the versions of a definition that are served, and marks the stored one.
func servedVersions(d *apiextensionsv1.CustomResourceDefinition) string {
	var names []string
	for i := range d.Spec.Versions {
		v := &d.Spec.Versions[i]
		switch {
		case v.Served && v.Storage:
			names = append(names, v.Name+"(storage)")
		case v.Served:
			names = append(names, v.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

// CleanupFinalizer holds a definition until the objects that it defines are gone.
const CleanupFinalizer = apiextensionsv1.CustomResourceCleanupFinalizer

// markDefinitionDeleted sees to it that the objects go first.
func markDefinitionDeleted(d *apiextensionsv1.CustomResourceDefinition) {
	if !slices.Contains(d.Finalizers, CleanupFinalizer) {
		d.Finalizers = append(d.Finalizers, CleanupFinalizer)
	}
	apihelpers.SetCRDCondition(d, apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionTrue, Reason: "InstanceDeletionPending",
		Message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
	})
}

// definitionMerge returns the merge type of definitions, which is not in client-go's schema.
var definitionMerge = sync.OnceValues(func() (typed.ParseableType, error) {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(apiextensionsv1.SchemeGroupVersion, &apiextensionsv1.CustomResourceDefinition{})
	d := &apiextensionsv1.CustomResourceDefinition{}
	d.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	v, err := applyconfiguration.NewTypeConverter(scheme).ObjectToTyped(d)
	if err != nil {
		return typed.ParseableType{}, err
	}
	return typed.ParseableType{Schema: v.Schema(), TypeRef: v.TypeRef()}, nil
})

func defaultDefinition(d *apiextensionsv1.CustomResourceDefinition) {
	apiextensionsv1.SetObjectDefaults_CustomResourceDefinition(d)
}

// prepareDefinition clears the status, but for the version that is stored from the start.
func prepareDefinition(d *apiextensionsv1.CustomResourceDefinition) {
	d.Status = apiextensionsv1.CustomResourceDefinitionStatus{}
	noteStored(d)
}

// noteStored adds the storage version to those that objects may be stored in.
func noteStored(d *apiextensionsv1.CustomResourceDefinition) {
	for _, v := range d.Spec.Versions {
		if v.Storage && !slices.Contains(d.Status.StoredVersions, v.Name) {
			d.Status.StoredVersions = append(d.Status.StoredVersions, v.Name)
		}
	}
}

// internalDefinition is the form that Kubernetes' own validation takes.
func internalDefinition(d *apiextensionsv1.CustomResourceDefinition) (*apiextensions.CustomResourceDefinition, field.ErrorList) {
	out := &apiextensions.CustomResourceDefinition{}
	// the conversion moves parts of what it is given
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(d.DeepCopy(), out, nil); err != nil {
		return nil, field.ErrorList{field.Invalid(field.NewPath("spec"), d.Name, err.Error())}
	}
	return out, nil
}

func validateDefinition(d *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
	in, errs := internalDefinition(d)
	if errs == nil {
		errs = validation.ValidateCustomResourceDefinition(context.Background(), in)
	}
	return notOfMeta(errs)
}

func validateDefinitionUpdate(d, old *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
	in, errs := internalDefinition(d)
	before, oldErrs := internalDefinition(old)
	if errs = append(errs, oldErrs...); len(errs) == 0 {
		errs = validation.ValidateCustomResourceDefinitionUpdate(context.Background(), in, before)
	}
	return notOfMeta(errs)
}

func validateDefinitionStatus(d, old *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
	in, errs := internalDefinition(d)
	before, oldErrs := internalDefinition(old)
	if errs = append(errs, oldErrs...); len(errs) == 0 {
		errs = validation.ValidateUpdateCustomResourceDefinitionStatus(context.Background(), in, before)
	}
	return notOfMeta(errs)
}

// notOfMeta leaves out errors of metadata that the generic path finds too. How a definition must be called is not among
// those, and that a definition of a group of Kubernetes' own needs an annotation.
func notOfMeta(errs field.ErrorList) field.ErrorList {
	return slices.DeleteFunc(errs, func(e *field.Error) bool {
		switch {
		case e.Field == "metadata.name":
			return !strings.Contains(e.Detail, "spec.names.plural")
		case strings.HasPrefix(e.Field, "metadata.annotations["):
			return false
		}
		return strings.HasPrefix(e.Field, "metadata.")
	})
}

// definitionWarnings tells of what is new in a definition and will not work as it looks.
func definitionWarnings(d, old *apiextensionsv1.CustomResourceDefinition) []string {
	had := map[string]bool{}
	if old != nil {
		for _, w := range schemaWarnings(old) {
			had[w] = true
		}
	}
	return slices.DeleteFunc(schemaWarnings(d), func(w string) bool { return had[w] })
}

// schemaWarnings tells of formats that nothing checks, and of sets whose items are not scalars, which nothing merges.
func schemaWarnings(d *apiextensionsv1.CustomResourceDefinition) []string {
	in, errs := internalDefinition(d)
	if errs != nil {
		return nil
	}
	var formats, sets []string
	check := func(s *apiextensions.JSONSchemaProps) bool {
		if s.Format != "" {
			of := &spec.Schema{SchemaProps: spec.SchemaProps{Format: s.Format, Type: []string{s.Type}}}
			for _, f := range apiservervalidation.GetUnrecognizedFormats(of, environment.DefaultCompatibilityVersion()) {
				formats = append(formats, fmt.Sprintf("unrecognized format %q", f))
			}
		}
		if s.XListType == nil || *s.XListType != "set" || s.Items == nil || s.Items.Schema == nil {
			return false
		}
		if t := s.Items.Schema.Type; t == "object" || t == "array" {
			sets = append(sets, `x-kubernetes-list-type: set for items of type "`+t+`" is not supported by server-side apply or CEL validation rules`)
		}
		return false
	}
	if in.Spec.Validation != nil && in.Spec.Validation.OpenAPIV3Schema != nil {
		validation.SchemaHas(in.Spec.Validation.OpenAPIV3Schema, check)
	}
	for _, v := range in.Spec.Versions {
		if v.Schema != nil && v.Schema.OpenAPIV3Schema != nil {
			validation.SchemaHas(v.Schema.OpenAPIV3Schema, check)
		}
	}
	slices.Sort(sets)
	return append(formats, slices.Compact(sets)...)
}

// Established says whether what a definition defines is served.
func Established(d *apiextensionsv1.CustomResourceDefinition) bool {
	return apihelpers.IsCRDConditionTrue(d, apiextensionsv1.Established)
}
