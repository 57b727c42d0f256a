package kube

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Validation is one pass over a configuration. Unknown values pass: they are checked when they are known.
type Validation struct {
	// Config is the whole configuration.
	Config View
	diags  *diag.Diagnostics
}

// Error reports what is wrong with the attribute at a path. Terraform shows the line of the attribute at the top
// only, so the path is part of the detail.
func (v *Validation) Error(at path.Path, detail string) {
	v.diags.AddAttributeError(at, "Invalid "+lastStep(at), fmt.Sprintf("%s: %s", at, detail))
}

// PathOf returns the path of attribute names such as "spec.selector".
func PathOf(names string) path.Path {
	first, rest, more := strings.Cut(names, ".")
	at := path.Root(first)
	for more {
		first, rest, more = strings.Cut(rest, ".")
		at = at.AtName(first)
	}
	return at
}

// lastStep names the attribute at the end of a path.
func lastStep(at path.Path) string {
	steps := at.Steps()
	for i := len(steps) - 1; i >= 0; i-- {
		if name, ok := steps[i].(path.PathStepAttributeName); ok {
			return string(name)
		}
	}
	return "value"
}

// validate checks what the API would refuse in a configuration.
func (desc *Descriptor) validate(root *node, config tftypes.Value) diag.Diagnostics {
	var diags diag.Diagnostics
	v := &Validation{Config: ViewOf(config), diags: &diags}
	root.validate(v, config, rootPath)

	if id, ok := v.Config.At(attrCluster).Text(); ok && desc.ClusterRule != nil {
		v.check(path.Root(attrCluster), desc.ClusterRule(id))
	}
	rule := desc.NameRule
	if rule == nil {
		rule = validation.IsDNS1123Subdomain
	}
	if name, ok := v.Config.At("metadata.name").Text(); ok {
		v.check(PathOf("metadata.name"), rule(name))
	}
	if namespace, ok := v.Config.At("metadata.namespace").Text(); ok && desc.Namespaced {
		v.check(PathOf("metadata.namespace"), validation.IsDNS1123Label(namespace))
	}
	desc.validateWriteOnly(v)
	if desc.Validate != nil {
		desc.Validate(v)
	}
	return diags
}

// check reports the messages of the API's own rules, if there are any.
func (v *Validation) check(at path.Path, messages []string) {
	if len(messages) > 0 {
		v.Error(at, strings.Join(messages, "; ")+".")
	}
}

func (desc *Descriptor) validateWriteOnly(v *Validation) {
	for _, w := range desc.WriteOnly {
		text, encoded := v.Config.At(w.Text), v.Config.At(w.Base64)
		if (!text.Null() || !encoded.Null()) && v.Config.At(w.Version).Null() {
			v.Error(path.Root(w.Version), fmt.Sprintf("%s is needed with %s and %s: they are not stored, and a new version says that they changed.", w.Version, w.Text, w.Base64))
		}
		texts := text.Members()
		for name := range texts {
			v.check(path.Root(w.Text).AtMapKey(name), validation.IsConfigMapKey(name))
		}
		for name, value := range encoded.Members() {
			at := path.Root(w.Base64).AtMapKey(name)
			v.check(at, validation.IsConfigMapKey(name))
			if _, twice := texts[name]; twice {
				v.Error(at, fmt.Sprintf("The key %q is in %s too.", name, w.Text))
			}
			if content, ok := value.Text(); ok && checkText(kindBytes, content) != nil {
				v.Error(at, "The value is not base64; use base64encode or filebase64.") // the error would show the secret
			}
		}
	}
}

func (n *node) validate(v *Validation, value tftypes.Value, at path.Path) {
	if absent(value) || unknown(value) {
		return
	}
	switch n.kind {
	case kindObject:
		values := members(value)
		for _, f := range n.fields {
			child := values[f.attr]
			if absent(child) || unknown(child) {
				continue
			}
			below := at.AtName(f.attr)
			f.node.validate(v, child, below)
			if rule, ok := fieldRules[ruleKey{n.typ, f.json}]; ok {
				rule(v, ViewOf(child), below)
			}
		}
		n.validateOneOf(v, values, at)
		if rule, ok := structRules[n.typ]; ok {
			rule(v, ViewOf(value), at)
		}
	case kindList:
		for i, element := range elements(value) {
			if absent(element) {
				v.Error(at.AtListIndex(i), "An element can not be null.")
			}
			n.elem.validate(v, element, at.AtListIndex(i))
		}
		n.validateKeys(v, value, at)
	case kindSet:
		for _, element := range elements(value) {
			n.elem.validate(v, element, at)
		}
	case kindMap:
		for name, element := range members(value) {
			if absent(element) {
				v.Error(at.AtMapKey(name), "A value can not be null.")
			}
			n.elem.validate(v, element, at.AtMapKey(name))
		}
	default:
		n.validateScalar(v, value, at)
	}
}

// validateKeys finds elements that a list may hold only once.
func (n *node) validateKeys(v *Validation, list tftypes.Value, at path.Path) {
	if len(n.keys) == 0 {
		return
	}
	seen := map[string]int{}
	for i, element := range elements(list) {
		id, ok := n.elementKey(element)
		if !ok {
			continue
		}
		if first, twice := seen[id]; twice {
			names := make([]string, len(n.keys))
			for i, k := range n.keys {
				names[i] = k.attr
			}
			v.Error(at.AtListIndex(i), fmt.Sprintf("Element %d has the same %s as element %d.", i, strings.Join(names, " and "), first))
			continue
		}
		seen[id] = i
	}
}

// validateOneOf checks the members of a struct of which only one may be set.
func (n *node) validateOneOf(v *Validation, values map[string]tftypes.Value, at path.Path) {
	union, ok := unions[n.typ]
	if !ok {
		return
	}
	var set []string
	maybe := false
	for _, f := range n.fields {
		if slices.Contains(union.besides, f.json) || f.node.kind != kindObject {
			continue
		}
		switch value := values[f.attr]; {
		case unknown(value):
			maybe = true
		case !absent(value):
			set = append(set, f.attr)
		}
	}
	if len(set) > 1 {
		v.Error(at, fmt.Sprintf("Only one of %s can be set.", strings.Join(set, ", ")))
	}
	if len(set) == 0 && !maybe && union.required {
		v.Error(at, union.missing)
	}
}

func (n *node) validateScalar(v *Validation, value tftypes.Value, at path.Path) {
	switch n.kind {
	case kindBool:
	case kindInt:
		number, accuracy := numberOf(value).Int64()
		if accuracy != big.Exact {
			v.Error(at, "The value is not a whole number.")
		} else if n.bits == 32 && (number > math.MaxInt32 || number < math.MinInt32) {
			v.Error(at, "The value does not fit 32 bits.")
		}
	case kindFloat:
	default:
		if err := checkText(n.kind, textOf(value)); err != nil {
			v.Error(at, upperFirst(err.Error())+".")
		}
		if allowed := enums[n.typ]; allowed != nil && !slices.Contains(allowed, textOf(value)) {
			v.Error(at, fmt.Sprintf("%q is not one of %s.", textOf(value), strings.Join(allowed, ", ")))
		}
	}
}

// checkText checks that a text can be read as a value of its kind.
func checkText(k kind, text string) error {
	switch k {
	case kindQuantity:
		if _, err := resource.ParseQuantity(text); err != nil {
			return fmt.Errorf("%q is not a quantity such as 500m, 0.5 or 128Mi", text)
		}
	case kindDuration:
		if _, err := time.ParseDuration(text); err != nil {
			return fmt.Errorf("%q is not a duration such as 30s or 1h30m", text)
		}
	case kindTime:
		if _, err := time.Parse(time.RFC3339Nano, text); err != nil {
			return fmt.Errorf("%q is not a time such as 2026-01-02T15:04:05Z", text)
		}
	case kindBytes:
		if _, err := base64.StdEncoding.DecodeString(trimLines(text)); err != nil {
			return fmt.Errorf("the value is not base64: %w", err)
		}
	case kindJSON:
		var document any
		if err := json.Unmarshal([]byte(text), &document); err != nil {
			return fmt.Errorf("the value is not JSON: %w", err)
		}
	}
	return nil
}

func upperFirst(text string) string {
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
