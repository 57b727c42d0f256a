package kube

import (
	"encoding/json"
	"fmt"
	"math/big"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// rootPath is where encoding starts.
var rootPath = path.Empty()

// object encodes what the configuration owns of plan: what is configured, and what the provider defaults. Values
// that are in the plan only because the server chose them are left to the server.
func (n *node) object(config, plan tftypes.Value) (map[string]any, error) {
	value, err := n.encode(config, plan, rootPath)
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("cannot encode the object: it is null")
	}
	return object, nil
}

// encode returns the JSON value of plan, nil for null.
func (n *node) encode(config, plan tftypes.Value, at path.Path) (any, error) {
	if absent(plan) {
		return nil, nil
	}
	if unknown(plan) {
		return nil, fmt.Errorf("cannot encode %s: its value is not known", at)
	}
	switch n.kind {
	case kindObject:
		return n.encodeObject(config, plan, at)
	case kindList, kindSet:
		values := elements(plan)
		configs := elements(config)
		list := make([]any, len(values))
		for i, v := range values {
			var c tftypes.Value
			if i < len(configs) {
				c = configs[i]
			}
			value, err := n.elem.encode(c, v, at.AtListIndex(i))
			if err != nil {
				return nil, err
			}
			list[i] = value
		}
		return list, nil
	case kindMap:
		configs := members(config)
		object := map[string]any{}
		for name, v := range members(plan) {
			value, err := n.elem.encode(configs[name], v, at.AtMapKey(name))
			if err != nil {
				return nil, err
			}
			object[name] = value
		}
		return object, nil
	default:
		return n.encodeScalar(plan, at)
	}
}

func (n *node) encodeObject(config, plan tftypes.Value, at path.Path) (any, error) {
	planned, configured := members(plan), members(config)
	object := map[string]any{}
	for _, f := range n.fields {
		c := configured[f.attr]
		if f.readOnly || f.filled != nil && f.def == nil && absent(c) {
			continue
		}
		if f.def != nil && absent(c) {
			c = planned[f.attr] // the provider's own value counts as configured, with all that is in it
		}
		value, err := f.node.encode(c, planned[f.attr], at.AtName(f.attr))
		if err != nil {
			return nil, err
		}
		if value != nil {
			object[f.json] = value
		}
	}
	return object, nil
}

func (n *node) encodeScalar(v tftypes.Value, at path.Path) (any, error) {
	switch n.kind {
	case kindBool:
		return boolOf(v), nil
	case kindInt:
		number, accuracy := numberOf(v).Int64()
		if accuracy != big.Exact {
			return nil, fmt.Errorf("cannot encode %s: it is not a whole number", at)
		}
		return number, nil
	case kindFloat:
		number, _ := numberOf(v).Float64()
		return number, nil
	case kindIntOrString:
		if number, err := parsePlainInt(textOf(v)); err == nil {
			return number, nil
		}
		return textOf(v), nil
	case kindBytes:
		return trimLines(textOf(v)), nil
	case kindJSON:
		var document any
		if err := json.Unmarshal([]byte(textOf(v)), &document); err != nil {
			return nil, fmt.Errorf("cannot encode %s: it is not JSON: %w", at, err)
		}
		return document, nil
	default:
		return textOf(v), nil
	}
}
