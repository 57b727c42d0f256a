package kube

import (
	"fmt"

	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// refresh lays what the server has now over the fields that prior holds. Fields that prior lacks stay null, except
// those that the server fills in. Inside a value that is owned whole (atomic), a collection shows what was added too.
func (n *node) refresh(prior tftypes.Value, live any, whole bool) (tftypes.Value, error) {
	if absent(prior) || unknown(prior) {
		return n.null(), nil
	}
	if live == nil {
		if n.keepsZero || !n.isZero(prior) {
			return n.null(), nil
		}
		return prior, nil // the API does not tell this zero from nothing
	}
	whole = whole || n.atomic
	switch n.kind {
	case kindObject:
		return n.refreshObject(prior, live, whole)
	case kindMap:
		return n.refreshMap(prior, live, whole)
	case kindList, kindSet:
		return n.refreshList(prior, live, whole)
	default:
		value, err := n.decodeScalar(live)
		if err != nil || n.sameScalar(prior, value) {
			return prior, err
		}
		return value, nil
	}
}

func (n *node) refreshObject(prior tftypes.Value, live any, whole bool) (tftypes.Value, error) {
	object, ok := live.(map[string]any)
	if !ok {
		return n.misfit(live)
	}
	before := members(prior)
	values := make(map[string]tftypes.Value, len(n.fields))
	for _, f := range n.fields {
		var value tftypes.Value
		var err error
		if (f.readOnly || f.filled != nil) && absent(before[f.attr]) {
			value, err = f.node.decode(object[f.json])
		} else {
			value, err = f.node.refresh(before[f.attr], object[f.json], whole)
		}
		if err != nil {
			return tftypes.Value{}, fmt.Errorf("%s: %w", f.json, err)
		}
		values[f.attr] = value
	}
	return tftypes.NewValue(n.tf, values), nil
}

func (n *node) refreshMap(prior tftypes.Value, live any, whole bool) (tftypes.Value, error) {
	object, ok := live.(map[string]any)
	if !ok {
		return n.misfit(live)
	}
	before := members(prior)
	values := map[string]tftypes.Value{}
	for name, was := range before {
		now, ok := object[name]
		if !ok {
			continue
		}
		value, err := n.elem.refresh(was, now, whole)
		if err != nil {
			return tftypes.Value{}, fmt.Errorf("%s: %w", name, err)
		}
		values[name] = value
	}
	for name, now := range object {
		if _, ok := before[name]; ok || !whole {
			continue
		}
		value, err := n.elem.decode(now)
		if err != nil {
			return tftypes.Value{}, fmt.Errorf("%s: %w", name, err)
		}
		values[name] = value
	}
	return tftypes.NewValue(n.tf, values), nil
}

// refreshList pairs the elements of an associative list by key and leaves out those that others added. A list that is
// one value is paired by position and shown whole.
func (n *node) refreshList(prior tftypes.Value, live any, whole bool) (tftypes.Value, error) {
	list, ok := live.([]any)
	if !ok {
		return n.misfit(live)
	}
	before := elements(prior)
	var pairs []pair
	switch {
	case n.kind == kindSet:
		pairs = n.pairSet(before, list, whole)
	case len(n.keys) > 0:
		pairs = n.pairByKey(before, list, whole)
	default:
		pairs = pairByPosition(before, list)
	}
	values := make([]tftypes.Value, 0, len(pairs))
	for _, p := range pairs {
		value, err := n.elem.decode(p.live)
		if !absent(p.before) {
			value, err = n.elem.refresh(p.before, p.live, whole)
		}
		if err != nil {
			return tftypes.Value{}, err
		}
		values = append(values, value)
	}
	return tftypes.NewValue(n.tf, values), nil
}

// fill replaces what is unknown in a plan by what the server has now; what the plan knows stays, so that
// Terraform sees what it planned, and a server that changed it shows up as drift at the next plan.
func (n *node) fill(plan tftypes.Value, live any) (tftypes.Value, error) {
	if absent(plan) || plan.IsFullyKnown() {
		return plan, nil
	}
	if unknown(plan) {
		return n.decode(live)
	}
	switch n.kind {
	case kindObject:
		object, _ := live.(map[string]any)
		values := members(plan)
		for _, f := range n.fields {
			value, err := f.node.fill(values[f.attr], object[f.json])
			if err != nil {
				return tftypes.Value{}, fmt.Errorf("%s: %w", f.json, err)
			}
			values[f.attr] = value
		}
		return tftypes.NewValue(n.tf, values), nil
	case kindMap:
		object, _ := live.(map[string]any)
		values := members(plan)
		for name := range values {
			value, err := n.elem.fill(values[name], object[name])
			if err != nil {
				return tftypes.Value{}, fmt.Errorf("%s: %w", name, err)
			}
			values[name] = value
		}
		return tftypes.NewValue(n.tf, values), nil
	case kindList, kindSet:
		list, _ := live.([]any)
		values := elements(plan)
		for i, now := range n.partners(values, list) {
			value, err := n.elem.fill(values[i], now)
			if err != nil {
				return tftypes.Value{}, err
			}
			values[i] = value
		}
		return tftypes.NewValue(n.tf, values), nil
	default:
		return plan, nil
	}
}

// isZero reports whether a known value is what the API writes as nothing: "", 0, false, an empty collection,
// an object of such members.
func (n *node) isZero(v tftypes.Value) bool {
	if absent(v) {
		return true
	}
	switch n.kind {
	case kindObject:
		values := members(v)
		for _, f := range n.fields {
			if !absent(values[f.attr]) && (f.node.keepsZero || !f.node.isZero(values[f.attr])) {
				return false
			}
		}
		return true
	case kindList, kindSet:
		return len(elements(v)) == 0
	case kindMap:
		return len(members(v)) == 0
	case kindBool:
		return !boolOf(v)
	case kindInt, kindFloat:
		return numberOf(v).Sign() == 0
	default:
		return textOf(v) == ""
	}
}

// sameScalar reports whether two known scalars mean the same.
func (n *node) sameScalar(a, b tftypes.Value) bool {
	switch n.kind {
	case kindBool, kindInt, kindFloat:
		return a.Equal(b)
	default:
		return sameText(n.kind, textOf(a), textOf(b))
	}
}
