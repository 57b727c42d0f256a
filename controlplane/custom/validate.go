package custom

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

func (s *schemaOf) validateCreate(obj kind.Object) field.ErrorList {
	m := s.whole(obj)
	errs := validation.ValidateCustomResource(nil, m, s.validator)
	errs = append(errs, s.validateScale(m, true)...)
	errs = append(errs, objectmeta.Validate(context.Background(), nil, m, s.structural, false)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, s.structural, m)...)
	return append(errs, s.validateRules(errs, m, nil)...)
}

// validateUpdate lets what was wrong already and did not change pass: ratcheting, KEP-4008.
func (s *schemaOf) validateUpdate(obj, old kind.Object) field.ErrorList {
	m, before := s.whole(obj), s.whole(old)
	same := common.NewCorrelatedObject(m, before, &model.Structural{Structural: s.structural})
	errs := validation.ValidateCustomResourceUpdate(nil, m, before, s.validator, validation.WithRatcheting(same))
	errs = append(errs, s.validateScale(m, true)...)
	errs = append(errs, objectmeta.Validate(context.Background(), nil, m, s.structural, false)...)
	errs = append(errs, s.validateLists(m, before)...)
	return append(errs, s.validateRules(errs, m, before, cel.WithRatcheting(same))...)
}

func (s *schemaOf) validateStatus(obj, old kind.Object) field.ErrorList {
	m, before := s.whole(obj), s.whole(old)
	same := common.NewCorrelatedObject(m, before, &model.Structural{Structural: s.structural})
	var errs field.ErrorList
	if status, ok := m["status"]; ok && s.status != nil {
		errs = validation.ValidateCustomResourceUpdate(field.NewPath("status"), status, before["status"], s.status, validation.WithRatcheting(same.Key("status")))
	}
	errs = append(errs, s.validateScale(m, false)...)
	errs = append(errs, s.validateLists(m, before)...)
	return append(errs, s.validateRules(errs, m, before, cel.WithRatcheting(same))...)
}

// validateLists holds sets and maps in lists to their keys, unless the old object broke them already.
func (s *schemaOf) validateLists(m, before map[string]any) field.ErrorList {
	errs := listtype.ValidateListSetsAndMaps(nil, s.structural, m)
	if len(errs) > 0 && len(listtype.ValidateListSetsAndMaps(nil, s.structural, before)) > 0 {
		return nil
	}
	return errs
}

// validateRules evaluates the schema's rules, which count on an object that is of the schema's form.
func (s *schemaOf) validateRules(found field.ErrorList, m, before map[string]any, options ...cel.Option) field.ErrorList {
	if s.rules == nil {
		return nil
	}
	if slices.ContainsFunc(found, blocksRules) {
		return field.ErrorList{field.Invalid(nil, nil, "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation")}
	}
	var old any // an interface that holds nil is not nil
	if before != nil {
		old = before
	}
	errs, _ := s.rules.Validate(context.Background(), nil, s.structural, m, old, celconfig.RuntimeCELCostBudget, options...)
	return errs
}

func blocksRules(err *field.Error) bool {
	switch err.Type {
	case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
		return true
	}
	return false
}

// validateScale checks the fields that the scale subresource is made of; spec says that those of the spec count too.
func (s *schemaOf) validateScale(m map[string]any, spec bool) field.ErrorList {
	if !s.hasScale() {
		return nil
	}
	scale := s.spec.Subresources.Scale
	var errs field.ErrorList
	if spec {
		errs = append(errs, validateReplicas(m, scale.SpecReplicasPath)...)
	}
	errs = append(errs, validateReplicas(m, scale.StatusReplicasPath)...)
	if path := scale.LabelSelectorPath; path != nil {
		if selector, _, err := unstructured.NestedString(m, pathOf(*path)...); err != nil {
			errs = append(errs, field.Invalid(field.NewPath(*path), selector, err.Error()))
		}
	}
	return errs
}

func validateReplicas(m map[string]any, path string) field.ErrorList {
	n, _, err := unstructured.NestedInt64(m, pathOf(path)...)
	switch {
	case err != nil:
		return field.ErrorList{field.Invalid(field.NewPath(path), n, err.Error())}
	case n < 0:
		return field.ErrorList{field.Invalid(field.NewPath(path), n, "should be a non-negative integer")}
	case n > math.MaxInt32:
		return field.ErrorList{field.Invalid(field.NewPath(path), n, fmt.Sprintf("should be less than or equal to %v", math.MaxInt32))}
	}
	return nil
}

var standardFinalizers = []string{metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents, string(corev1.FinalizerKubernetes)}

// finalizerWarnings tells of new finalizers whose names may be those of others.
func finalizerWarnings(obj, old kind.Object) []string {
	var out []string
	for _, name := range obj.GetFinalizers() {
		if old != nil && slices.Contains(old.GetFinalizers(), name) {
			continue
		}
		for _, text := range utilvalidation.IsQualifiedName(name) {
			out = append(out, fmt.Sprintf("metadata.finalizers: %q: %s", name, text))
		}
		if strings.Contains(name, "/") || slices.Contains(standardFinalizers, name) {
			continue
		}
		how := "prefer a domain-qualified finalizer name"
		if strings.Contains(name, ".") {
			how += " including a path (/)"
		}
		out = append(out, fmt.Sprintf("metadata.finalizers: %q: %s to avoid accidental conflicts with other finalizer writers", name, how))
	}
	return out
}
