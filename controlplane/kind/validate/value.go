// Package validate has the checks of single fields that several kinds share: texts, numbers, names, selectors, addresses,
// paths and references to a pod's own fields. A check returns the errors that Kubernetes gives, with its words; the path is
// that of the field, nil where only the number of errors matters.
package validate

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/unversioned"
)

// Each makes an error of each message about one value.
func Each(path *field.Path, value any, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, m := range messages {
		errs = append(errs, field.Invalid(path, value, m))
	}
	return errs
}

// Required refuses an empty text.
func Required(text string, path *field.Path) field.ErrorList {
	if text == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return nil
}

// RequiredAs refuses an empty text, and one with which check finds a fault.
func RequiredAs(text string, check func(string) []string, path *field.Path) field.ErrorList {
	if text == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return Each(path, text, check(text))
}

// RequiredList refuses a list that is empty.
func RequiredList[T any](list []T, at *field.Path) field.ErrorList {
	if len(list) == 0 {
		return field.ErrorList{field.Required(at, "")}
	}
	return nil
}

// Immutable refuses any change of a value.
func Immutable(value, old any, path *field.Path) field.ErrorList {
	if apiequality.Semantic.DeepEqual(value, old) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, unversioned.Form(value), "field is immutable").WithOrigin("immutable")}
}

// Unchanged refuses any change of a value like Immutable, and does not quote the new one: so do the rules that Kubernetes
// generates from its types.
func Unchanged(value, old any, path *field.Path) field.ErrorList {
	if apiequality.Semantic.DeepEqual(value, old) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, nil, "field is immutable").WithOrigin("immutable")}
}

// NonNegative refuses values below zero.
func NonNegative[N int32 | int64](value N, path *field.Path) field.ErrorList {
	if value >= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value, "must be greater than or equal to 0").WithOrigin("minimum")}
}

// Optional checks a number that may be absent and may not be negative.
func Optional[N int32 | int64](n *N, path *field.Path) field.ErrorList {
	if n == nil {
		return nil
	}
	return NonNegative(*n, path)
}

// Positive refuses zero and less.
func Positive[N int32 | int64](value N, path *field.Path) field.ErrorList {
	if value > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value, "must be greater than zero")}
}

// AtMost refuses a value beyond its limit.
func AtMost(value, limit int32, path *field.Path, why string) field.ErrorList {
	if value <= limit {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value, why)}
}

// OneOf refuses what is not among the values; the empty value is required unless it is one of them.
func OneOf[S ~string](value S, path *field.Path, values ...S) field.ErrorList {
	for _, v := range values {
		if value == v {
			return nil
		}
	}
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return field.ErrorList{field.NotSupported(path, value, values)}
}

// OneOfListed is OneOf with an error that lists the values when there is none.
func OneOfListed[S ~string](value S, path *field.Path, values ...S) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, fmt.Sprintf("valid values: %q", values))}
	}
	return OneOf(value, path, values...)
}

// Supported refuses what is not among the values, the empty one too.
func Supported[S ~string](value S, path *field.Path, values ...S) field.ErrorList {
	for _, v := range values {
		if value == v {
			return nil
		}
	}
	return field.ErrorList{field.NotSupported(path, value, values)}
}

// PullPolicy checks when an image is pulled.
func PullPolicy(p corev1.PullPolicy, path *field.Path) field.ErrorList {
	return OneOf(p, path, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
}

// PreemptionPolicy checks whether a pod may take the place of others.
func PreemptionPolicy(p corev1.PreemptionPolicy, path *field.Path) field.ErrorList {
	return OneOf(p, path, corev1.PreemptLowerPriority, corev1.PreemptNever)
}
