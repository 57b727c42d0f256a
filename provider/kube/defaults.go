package kube

import (
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// defaultNamespace is the namespace of an object that does not name one.
func defaultNamespace(tftypes.Type, View, View) tftypes.Value {
	return tftypes.NewValue(tftypes.String, "default")
}

// SelectorFromTemplate is the Default of spec.selector of a workload: the selector that it has, for as long as that
// selects the template's pods, since a selector can not be changed; else all labels of the template.
func SelectorFromTemplate(typ tftypes.Type, config, prior View) tftypes.Value {
	labels := config.At("spec.template.metadata.labels")
	before := prior.At("spec.selector")
	if !before.Null() && (labels.Unknown() || selects(before, labels)) {
		return before.Value()
	}
	object, ok := typ.(tftypes.Object)
	if labels.Unknown() || !ok {
		return tftypes.NewValue(typ, tftypes.UnknownValue)
	}
	if labels.Null() {
		return tftypes.NewValue(typ, nil)
	}
	values := make(map[string]tftypes.Value, len(object.AttributeTypes))
	for name, t := range object.AttributeTypes {
		values[name] = tftypes.NewValue(t, nil)
	}
	values["match_labels"] = labels.Value()
	return tftypes.NewValue(typ, values)
}

// selects reports whether a selector in a state selects labels; a label that is not known yet may well be the same.
func selects(selector, labels View) bool {
	if len(selector.At("match_expressions").Elements()) > 0 {
		return true // written by hand once and imported; the server checks it
	}
	have := labels.Members()
	for name, want := range selector.At("match_labels").Members() {
		got, ok := have[name]
		wanted, _ := want.Text()
		has, known := got.Text()
		if !ok || known && wanted != has {
			return false
		}
	}
	return true
}
