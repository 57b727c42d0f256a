package custom

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// names are those that definitions of one group have taken.
type names struct{ resources, kinds map[string]bool }

// taken returns the names of the other definitions of a group.
func taken(crd *apiextensionsv1.CustomResourceDefinition, all []*apiextensionsv1.CustomResourceDefinition) names {
	out := names{map[string]bool{}, map[string]bool{}}
	for _, other := range all {
		if other.Spec.Group != crd.Spec.Group || other.Name == crd.Name {
			continue
		}
		accepted := other.Status.AcceptedNames
		for _, n := range append([]string{accepted.Plural, accepted.Singular}, accepted.ShortNames...) {
			out.resources[n] = true
		}
		out.kinds[accepted.Kind], out.kinds[accepted.ListKind] = true, true
	}
	return out
}

// accept sets the accepted names of a definition and says whether there are conflicts. A name that another has taken
// stays with it; those that are free are accepted one by one.
func accept(crd *apiextensionsv1.CustomResourceDefinition, all []*apiextensionsv1.CustomResourceDefinition) {
	used := taken(crd, all)
	want, have := crd.Spec.Names, &crd.Status.AcceptedNames
	condition := apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.NamesAccepted, Status: apiextensionsv1.ConditionTrue, Reason: "NoConflicts", Message: "no conflicts found",
	}
	try := func(reason, name string, in map[string]bool, into *string) {
		if name != *into && in[name] {
			condition.Status, condition.Reason, condition.Message = apiextensionsv1.ConditionFalse, reason, fmt.Sprintf("%q is already in use", name)
			return
		}
		*into = name
	}
	try("PluralConflict", want.Plural, used.resources, &have.Plural)
	try("SingularConflict", want.Singular, used.resources, &have.Singular)
	var conflicts []string
	for _, short := range want.ShortNames {
		if used.resources[short] && !slices.Contains(have.ShortNames, short) {
			conflicts = append(conflicts, fmt.Sprintf("%q is already in use", short))
		}
	}
	if len(conflicts) > 0 {
		condition.Status, condition.Reason, condition.Message = apiextensionsv1.ConditionFalse, "ShortNamesConflict", strings.Join(conflicts, ", ")
	} else {
		have.ShortNames = want.ShortNames
	}
	try("KindConflict", want.Kind, used.kinds, &have.Kind)
	try("ListKindConflict", want.ListKind, used.kinds, &have.ListKind)
	have.Categories = want.Categories
	setCondition(crd, condition)
	if condition.Status != apiextensionsv1.ConditionTrue && apihelpers.FindCRDCondition(crd, apiextensionsv1.Established) == nil {
		setCondition(crd, apiextensionsv1.CustomResourceDefinitionCondition{
			Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionFalse, Reason: "NotAccepted", Message: "not all names are accepted",
		})
	}
}

// establish says that a definition is served.
func establish(crd *apiextensionsv1.CustomResourceDefinition) {
	if apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established) {
		return
	}
	setCondition(crd, apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue, Reason: "InitialNamesAccepted", Message: "the initial names have been accepted",
	})
}

// approve says what the annotation of approval says, for groups of the Kubernetes community alone.
func approve(crd *apiextensionsv1.CustomResourceDefinition) {
	if !apihelpers.IsProtectedCommunityGroup(crd.Spec.Group) {
		return
	}
	state, reason := apihelpers.GetAPIApprovalState(crd.Annotations)
	condition := apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.KubernetesAPIApprovalPolicyConformant, Message: reason}
	switch state {
	case apihelpers.APIApprovalInvalid:
		condition.Status, condition.Reason = apiextensionsv1.ConditionFalse, "InvalidAnnotation"
	case apihelpers.APIApprovalMissing:
		condition.Status, condition.Reason = apiextensionsv1.ConditionFalse, "MissingAnnotation"
	case apihelpers.APIApproved:
		condition.Status, condition.Reason = apiextensionsv1.ConditionTrue, "ApprovedAnnotation"
	case apihelpers.APIApprovalBypassed:
		condition.Status, condition.Reason = apiextensionsv1.ConditionFalse, "UnapprovedAnnotation"
	default:
		condition.Status, condition.Reason = apiextensionsv1.ConditionUnknown, "UnknownAnnotation"
	}
	setCondition(crd, condition)
}

// setCondition sets a condition whose time is that of its last change of status.
func setCondition(crd *apiextensionsv1.CustomResourceDefinition, c apiextensionsv1.CustomResourceDefinitionCondition) {
	had := apihelpers.FindCRDCondition(crd, c.Type)
	if had != nil && had.Status == c.Status && had.Reason == c.Reason && had.Message == c.Message {
		return
	}
	c.LastTransitionTime = metav1.NewTime(time.Now().Truncate(time.Second))
	if had != nil {
		c.ObservedGeneration = had.ObservedGeneration
	}
	apihelpers.SetCRDCondition(crd, c)
}
