package validate

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// IntOrPercent accepts a number that is not negative or a percentage.
func IntOrPercent(v intstr.IntOrString, path *field.Path) field.ErrorList {
	if v.Type == intstr.String {
		return Each(path, v, validation.IsValidPercent(v.StrVal))
	}
	return NonNegative(v.IntVal, path)
}

func percentOf(v intstr.IntOrString) (int, bool) {
	if v.Type != intstr.String || len(validation.IsValidPercent(v.StrVal)) > 0 {
		return 0, false
	}
	n := 0
	for _, c := range strings.TrimSuffix(v.StrVal, "%") {
		if n = n*10 + int(c-'0'); n > 1000 {
			break // enough to know that it is too much
		}
	}
	return n, true
}

// AtMost100Percent refuses a percentage of more than all. Numbers it lets pass.
func AtMost100Percent(v intstr.IntOrString, path *field.Path) field.ErrorList {
	if n, ok := percentOf(v); ok && n > 100 {
		return field.ErrorList{field.Invalid(path, v, "must not be greater than 100%")}
	}
	return nil
}

// IsZero says whether a number or percentage is zero, as what can not be read as one is.
func IsZero(v intstr.IntOrString) bool {
	if n, ok := percentOf(v); ok {
		return n == 0
	}
	return v.IntValue() == 0
}
