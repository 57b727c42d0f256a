package kube

import (
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// View reads a Terraform value by path without caring what on the way is null or unknown: below a null everything is
// null, below an unknown everything is unknown. The zero View is null.
type View struct {
	value tftypes.Value
}

// ViewOf returns a view of a value.
func ViewOf(value tftypes.Value) View { return View{value} }

// At returns the member with the path of attribute names, such as "spec.template.metadata".
func (v View) At(path string) View {
	for name := range strings.SplitSeq(path, ".") {
		if v.Null() || v.Unknown() {
			return v
		}
		v = View{members(v.value)[name]}
	}
	return v
}

// Value returns the value; the zero Value when there is none.
func (v View) Value() tftypes.Value { return v.value }

// Null reports whether there is no value.
func (v View) Null() bool { return v.value.Type() == nil || v.value.IsNull() }

// Unknown reports whether the value is not known yet. A collection is known when its elements are not.
func (v View) Unknown() bool { return v.value.Type() != nil && !v.value.IsKnown() }

// Text returns a string, and whether there is a known one.
func (v View) Text() (string, bool) {
	var text string
	if v.Null() || v.Unknown() || !v.value.Type().Is(tftypes.String) || v.value.As(&text) != nil {
		return "", false
	}
	return text, true
}

// Number returns an integer, and whether there is a known one.
func (v View) Number() (int64, bool) {
	if v.Null() || v.Unknown() || !v.value.Type().Is(tftypes.Number) {
		return 0, false
	}
	number, _ := numberOf(v.value).Int64()
	return number, true
}

// Bool returns a bool; what is null or unknown is false.
func (v View) Bool() bool {
	var b bool
	return !v.Null() && !v.Unknown() && v.value.Type().Is(tftypes.Bool) && v.value.As(&b) == nil && b
}

// Members returns the members of a map or object by name; nil when null or unknown.
func (v View) Members() map[string]View {
	if v.Null() || v.Unknown() {
		return nil
	}
	views := map[string]View{}
	for name, member := range members(v.value) {
		views[name] = View{member}
	}
	return views
}

// Elements returns the elements of a list; nil when null or unknown.
func (v View) Elements() []View {
	if v.Null() || v.Unknown() {
		return nil
	}
	list := elements(v.value)
	views := make([]View, len(list))
	for i := range list {
		views[i] = View{list[i]}
	}
	return views
}

// same reports whether two views have the same value, or both none.
func (v View) same(o View) bool {
	if v.Null() || o.Null() {
		return v.Null() && o.Null()
	}
	return v.value.Equal(o.value)
}
