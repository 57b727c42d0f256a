package kube

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"

	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// decode turns the JSON of the API, as encoding/json reads it, into a Terraform value. All fields that the node has
// are in it; those that live lacks are null.
func (n *node) decode(live any) (tftypes.Value, error) {
	if live == nil {
		return n.null(), nil
	}
	switch n.kind {
	case kindObject:
		object, ok := live.(map[string]any)
		if !ok {
			return n.misfit(live)
		}
		values := make(map[string]tftypes.Value, len(n.fields))
		for _, f := range n.fields {
			value, err := f.node.decode(object[f.json])
			if err != nil {
				return tftypes.Value{}, fmt.Errorf("%s: %w", f.json, err)
			}
			values[f.attr] = value
		}
		return tftypes.NewValue(n.tf, values), nil
	case kindList, kindSet:
		list, ok := live.([]any)
		if !ok {
			return n.misfit(live)
		}
		values := make([]tftypes.Value, len(list))
		for i := range list {
			value, err := n.elem.decode(list[i])
			if err != nil {
				return tftypes.Value{}, fmt.Errorf("%d: %w", i, err)
			}
			values[i] = value
		}
		return tftypes.NewValue(n.tf, values), nil
	case kindMap:
		object, ok := live.(map[string]any)
		if !ok {
			return n.misfit(live)
		}
		values := make(map[string]tftypes.Value, len(object))
		for name := range object {
			value, err := n.elem.decode(object[name])
			if err != nil {
				return tftypes.Value{}, fmt.Errorf("%s: %w", name, err)
			}
			values[name] = value
		}
		return tftypes.NewValue(n.tf, values), nil
	default:
		return n.decodeScalar(live)
	}
}

func (n *node) decodeScalar(live any) (tftypes.Value, error) {
	switch n.kind {
	case kindBool:
		if b, ok := live.(bool); ok {
			return tftypes.NewValue(tftypes.Bool, b), nil
		}
	case kindInt, kindFloat:
		switch number := live.(type) {
		case int64:
			return tftypes.NewValue(tftypes.Number, new(big.Float).SetInt64(number)), nil
		case float64:
			return tftypes.NewValue(tftypes.Number, big.NewFloat(number)), nil
		}
	case kindJSON:
		document, err := json.Marshal(live)
		if err != nil {
			return tftypes.Value{}, fmt.Errorf("cannot decode a document: %w", err)
		}
		return tftypes.NewValue(tftypes.String, string(document)), nil
	default:
		switch text := live.(type) {
		case string:
			return tftypes.NewValue(tftypes.String, text), nil
		case int64: // an IntOrString, or a quantity that a client wrote as a number
			return tftypes.NewValue(tftypes.String, strconv.FormatInt(text, 10)), nil
		case float64:
			return tftypes.NewValue(tftypes.String, strconv.FormatFloat(text, 'f', -1, 64)), nil
		}
	}
	return n.misfit(live)
}

func (n *node) misfit(live any) (tftypes.Value, error) {
	return tftypes.Value{}, fmt.Errorf("cannot decode %T as %s", live, n.typ)
}
