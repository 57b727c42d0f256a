package kube

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// pair is an element as the state has it, and as the server has it.
type pair struct {
	before tftypes.Value
	live   any
}

// pairByKey pairs the elements of an associative list. They stay in the order of the state, unless the list's order
// means something and the server's differs. Elements that only the server has come last, and only when all are wanted.
func (n *node) pairByKey(before []tftypes.Value, live []any, whole bool) []pair {
	partner := n.partnerIndexes(before, live)
	var pairs []pair
	var indexes []int
	for i, at := range partner {
		if at >= 0 {
			pairs = append(pairs, pair{before[i], live[at]})
			indexes = append(indexes, at)
		}
	}
	if n.ordered && !slices.IsSorted(indexes) {
		byIndex := map[int]pair{}
		for i, at := range indexes {
			byIndex[at] = pairs[i]
		}
		slices.Sort(indexes)
		for i, at := range indexes {
			pairs[i] = byIndex[at]
		}
	}
	if whole {
		for at := range live {
			if !slices.Contains(indexes, at) {
				pairs = append(pairs, pair{live: live[at]})
			}
		}
	}
	return pairs
}

// pairSet keeps the elements of a set of scalars that the server still has.
func (n *node) pairSet(before []tftypes.Value, live []any, whole bool) []pair {
	var pairs []pair
	seen := make([]bool, len(live))
	for _, was := range before {
		for i, now := range live {
			value, err := n.elem.decodeScalar(now)
			if err == nil && !seen[i] && n.elem.sameScalar(was, value) {
				seen[i] = true
				pairs = append(pairs, pair{was, now})
				break
			}
		}
	}
	for i, now := range live {
		if whole && !seen[i] {
			pairs = append(pairs, pair{live: now})
		}
	}
	return pairs
}

func pairByPosition(before []tftypes.Value, live []any) []pair {
	pairs := make([]pair, len(live))
	for i, now := range live {
		pairs[i].live = now
		if i < len(before) {
			pairs[i].before = before[i]
		}
	}
	return pairs
}

// partners returns for each element the one of the server that belongs to it, or nil.
func (n *node) partners(values []tftypes.Value, live []any) []any {
	found := make([]any, len(values))
	if len(n.keys) == 0 {
		copy(found, live)
		return found
	}
	for i, at := range n.partnerIndexes(values, live) {
		if at >= 0 {
			found[i] = live[at]
		}
	}
	return found
}

// partnerIndexes returns for each element the index of the live element with the same key, or -1. The API lets
// some lists hold a key twice: the first belongs to the first.
func (n *node) partnerIndexes(values []tftypes.Value, live []any) []int {
	byKey := map[string][]int{}
	for i, element := range live {
		object, _ := element.(map[string]any)
		id := n.liveKey(object)
		byKey[id] = append(byKey[id], i)
	}
	found := make([]int, len(values))
	for i, value := range values {
		found[i] = -1
		id, ok := n.elementKey(value)
		if at := byKey[id]; ok && len(at) > 0 {
			found[i], byKey[id] = at[0], at[1:]
		}
	}
	return found
}

// liveKey identifies an element of an associative list among its siblings.
func (n *node) liveKey(object map[string]any) string {
	var id strings.Builder
	for _, k := range n.keys {
		value, ok := object[k.json]
		if !ok {
			value = k.value
		}
		fmt.Fprintf(&id, "%v\x00", value)
	}
	return id.String()
}

// elementKey is liveKey of a Terraform value; false when the key is not known yet.
func (n *node) elementKey(element tftypes.Value) (string, bool) {
	if absent(element) || unknown(element) {
		return "", false
	}
	values := members(element)
	var id strings.Builder
	for _, k := range n.keys {
		var value any
		v := values[k.attr]
		f := n.elem.field(k.attr)
		switch {
		case unknown(v) || f == nil:
			return "", false
		case absent(v):
			value = k.value
		default:
			var err error
			if value, err = f.node.encodeScalar(v, rootPath); err != nil {
				return "", false
			}
		}
		fmt.Fprintf(&id, "%v\x00", value)
	}
	return id.String(), true
}
