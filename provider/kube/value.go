package kube

import (
	"math/big"

	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// members returns the members of a known object or map, elements those of a known list or set. The caller has made
// sure of the type by walking the node that the value was made by, so As can not fail; a failure yields nothing.

func members(v tftypes.Value) map[string]tftypes.Value {
	var m map[string]tftypes.Value
	if v.Type() == nil || v.IsNull() || !v.IsKnown() || v.As(&m) != nil {
		return nil
	}
	return m
}

func elements(v tftypes.Value) []tftypes.Value {
	var l []tftypes.Value
	if v.Type() == nil || v.IsNull() || !v.IsKnown() || v.As(&l) != nil {
		return nil
	}
	return l
}

func textOf(v tftypes.Value) string {
	var s string
	if v.As(&s) != nil {
		return ""
	}
	return s
}

func boolOf(v tftypes.Value) bool {
	var b bool
	return v.As(&b) == nil && b
}

func numberOf(v tftypes.Value) *big.Float {
	n := new(big.Float)
	if v.As(&n) != nil {
		return new(big.Float)
	}
	return n
}

// absent reports whether there is no value: the zero Value or null.
func absent(v tftypes.Value) bool { return v.Type() == nil || v.IsNull() }

// unknown reports whether the value itself is not known.
func unknown(v tftypes.Value) bool { return v.Type() != nil && !v.IsKnown() }

// member returns a member of an object value, or the zero Value.
func member(v tftypes.Value, name string) tftypes.Value { return members(v)[name] }

// withMember returns a copy of an object value with one member replaced.
func withMember(v tftypes.Value, name string, value tftypes.Value) tftypes.Value {
	m := members(v)
	m[name] = value
	return tftypes.NewValue(v.Type(), m)
}

// withoutUnknown returns a copy of v with null in place of what is unknown.
func withoutUnknown(v tftypes.Value) tftypes.Value {
	known, err := tftypes.Transform(v, func(_ *tftypes.AttributePath, part tftypes.Value) (tftypes.Value, error) {
		if !part.IsKnown() {
			return tftypes.NewValue(part.Type(), nil), nil
		}
		return part, nil
	})
	if err != nil { // the function above returns none
		return v
	}
	return known
}
