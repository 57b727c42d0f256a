package kube

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// textType is a string that has a meaning of its own: two texts are equal when they mean the same.
type textType struct {
	basetypes.StringType
	kind kind
}

// textValue is a value of a textType.
type textValue struct {
	basetypes.StringValue
	kind kind
}

var (
	_ basetypes.StringTypable                    = textType{}
	_ basetypes.StringValuableWithSemanticEquals = textValue{}
)

var textNames = map[kind]string{
	kindBytes: "Base64", kindQuantity: "Quantity", kindIntOrString: "IntOrString",
	kindDuration: "Duration", kindTime: "Time", kindJSON: "JSON",
}

// String names the type in diagnostics.
func (t textType) String() string { return "kube." + textNames[t.kind] + "Type" }

// Equal reports whether o is the same type.
func (t textType) Equal(o attr.Type) bool {
	other, ok := o.(textType)
	return ok && other.kind == t.kind
}

// ValueType returns a value of the type, for the framework's reflection.
func (t textType) ValueType(context.Context) attr.Value { return textValue{kind: t.kind} }

// ValueFromString makes a value of a framework string.
func (t textType) ValueFromString(_ context.Context, s basetypes.StringValue) (basetypes.StringValuable, diag.Diagnostics) {
	return textValue{StringValue: s, kind: t.kind}, nil
}

// ValueFromTerraform makes a value of a wire value.
func (t textType) ValueFromTerraform(ctx context.Context, in tftypes.Value) (attr.Value, error) {
	value, err := t.StringType.ValueFromTerraform(ctx, in)
	if err != nil {
		return nil, err
	}
	s, ok := value.(basetypes.StringValue)
	if !ok {
		return nil, fmt.Errorf("cannot read a string: got %T", value)
	}
	return textValue{StringValue: s, kind: t.kind}, nil
}

// Type returns the value's type.
func (v textValue) Type(context.Context) attr.Type { return textType{kind: v.kind} }

// Equal reports whether o is the same text of the same type.
func (v textValue) Equal(o attr.Value) bool {
	other, ok := o.(textValue)
	return ok && other.kind == v.kind && other.StringValue.Equal(v.StringValue)
}

// StringSemanticEquals reports whether both texts mean the same.
func (v textValue) StringSemanticEquals(_ context.Context, o basetypes.StringValuable) (bool, diag.Diagnostics) {
	other, ok := o.(textValue)
	return ok && sameText(v.kind, v.ValueString(), other.ValueString()), nil
}
