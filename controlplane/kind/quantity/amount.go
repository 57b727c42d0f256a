package quantity

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Round rounds quantities up to thousandths, the finest that the API keeps. It writes only what
// changes: the list may be shared with a stored object, whose quantities are round already.
func Round(list corev1.ResourceList) {
	for name, quantity := range list {
		if !quantity.RoundUp(resource.Milli) {
			list[name] = quantity
		}
	}
}

// Validate checks an amount of a resource: it is not negative, and of what comes in pieces a whole number.
func Validate(name corev1.ResourceName, q resource.Quantity, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if q.Sign() < 0 {
		errs = append(errs, field.Invalid(path, q.String(), "must be greater than or equal to 0").WithOrigin("minimum"))
	}
	if (counted[name] || isExtended(name)) && IsFractional(q) {
		errs = append(errs, field.Invalid(path, q, "must be an integer"))
	}
	return errs
}

// IsFractional says whether an amount is no whole number.
func IsFractional(q resource.Quantity) bool { return q.MilliValue()%1000 != 0 }

// WholePages says whether a quantity is so many pages of the size that the resource's name has.
func WholePages(name corev1.ResourceName, q resource.Quantity) bool {
	size, err := resource.ParseQuantity(strings.TrimPrefix(string(name), corev1.ResourceHugePagesPrefix))
	return err == nil && size.Sign() > 0 && !IsFractional(size) && q.Value()%size.Value() == 0
}
