package kube

import (
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// planner completes one plan.
type planner struct {
	desc          *Descriptor
	config, prior View // prior is null for a new object
	same          func(a, b string) bool
	replace       path.Paths
}

// complete returns the plan with what can be known filled in: defaults of the provider, what the server chose before,
// and the prior text of values that mean the same. It notes which changes replace the object.
func (p *planner) complete(root *node, plan tftypes.Value) tftypes.Value {
	plan = p.walk(root, p.config.value, plan, p.prior.value, rootPath, true)
	cluster, before := ViewOf(member(plan, attrCluster)), p.prior.At(attrCluster)
	if !p.prior.Null() && !p.sameCluster(cluster, before) {
		p.replace = append(p.replace, path.Root(attrCluster))
	}
	if p.prior.At("immutable").Bool() {
		for _, name := range p.desc.Frozen {
			if !ViewOf(plan).At(name).same(p.prior.At(name)) {
				p.replace = append(p.replace, PathOf(name))
			}
		}
	}
	return withMember(plan, attrID, p.id(plan))
}

func (p *planner) sameCluster(a, b View) bool {
	if a.Unknown() {
		return false
	}
	textA, _ := a.Text()
	textB, _ := b.Text()
	return textA == textB || p.same != nil && p.same(textA, textB)
}

// id returns the planned id, unknown as long as a part of it is.
func (p *planner) id(plan tftypes.Value) tftypes.Value {
	v := ViewOf(plan)
	if v.At("metadata.namespace").Unknown() {
		return tftypes.NewValue(tftypes.String, tftypes.UnknownValue)
	}
	id, err := identityOf(v)
	if err != nil {
		return tftypes.NewValue(tftypes.String, tftypes.UnknownValue)
	}
	return tftypes.NewValue(tftypes.String, id.String())
}

// walk completes one value. Config, plan and prior may each be null or the zero Value. It returns a value of plan's type,
// which for the root has attributes that the node does not know. Aligned says that prior stands at the same position of
// the state as plan does of the plan: only there does Terraform accept a prior text for a configured one.
func (p *planner) walk(n *node, config, plan, prior tftypes.Value, at path.Path, aligned bool) tftypes.Value {
	if absent(plan) || unknown(plan) {
		return plan
	}
	switch n.kind {
	case kindObject:
		return p.object(n, config, plan, prior, at, aligned)
	case kindMap:
		if n.elem.kind != kindObject {
			return p.leaf(n, config, plan, prior, aligned)
		}
		configs, values, before := members(config), members(plan), members(prior)
		for name := range values {
			values[name] = p.walk(n.elem, configs[name], values[name], before[name], at.AtMapKey(name), aligned)
		}
		return tftypes.NewValue(n.tf, values)
	case kindList:
		if n.elem.kind != kindObject {
			return p.leaf(n, config, plan, prior, aligned)
		}
		configs, values, before := elements(config), elements(plan), elements(prior)
		for i, was := range n.priors(values, before) {
			var configured tftypes.Value
			if i < len(configs) {
				configured = configs[i]
			}
			inPlace := aligned && i < len(before) && before[i].Equal(was)
			values[i] = p.walk(n.elem, configured, values[i], was, at.AtListIndex(i), inPlace)
		}
		return tftypes.NewValue(n.tf, values)
	default:
		return p.leaf(n, config, plan, prior, aligned)
	}
}

// leaf keeps the prior value of an attribute that Terraform compares as one, when the new one means the same.
func (p *planner) leaf(n *node, config, plan, prior tftypes.Value, aligned bool) tftypes.Value {
	if aligned && !absent(config) && !absent(prior) && n.same(plan, prior) {
		return prior
	}
	return plan
}

// same reports whether two values mean the same.
func (n *node) same(a, b tftypes.Value) bool {
	if absent(a) || absent(b) || unknown(a) || unknown(b) {
		return absent(a) && absent(b)
	}
	switch n.kind {
	case kindObject:
		return a.Equal(b)
	case kindMap:
		left, right := members(a), members(b)
		for name := range left {
			if other, ok := right[name]; !ok || !n.elem.same(left[name], other) {
				return false
			}
		}
		return len(left) == len(right)
	case kindList, kindSet:
		left, right := elements(a), elements(b)
		if len(left) != len(right) {
			return false
		}
		for i := range left {
			if !n.elem.same(left[i], right[i]) {
				return false
			}
		}
		return true
	default:
		return n.sameScalar(a, b)
	}
}

func (p *planner) object(n *node, config, plan, prior tftypes.Value, at path.Path, aligned bool) tftypes.Value {
	configs, values, before := members(config), members(plan), members(prior)
	for _, f := range n.fields {
		planned := values[f.attr]
		switch {
		case f.computed() && absent(configs[f.attr]):
			planned = p.computed(f, values[f.attr], before[f.attr], !absent(prior))
		default:
			planned = p.walk(f.node, configs[f.attr], planned, before[f.attr], at.AtName(f.attr), aligned)
		}
		values[f.attr] = planned
		serversChoice := f.filled != nil && absent(configs[f.attr])
		if f.immutable && !serversChoice && !p.prior.Null() && !planned.Equal(orNull(before[f.attr], f.node)) {
			p.replace = append(p.replace, at.AtName(f.attr))
		}
	}
	return tftypes.NewValue(plan.Type(), values)
}

// computed plans a value that is not configured. Existed says that the object which holds it has a state.
func (p *planner) computed(f *field, planned, prior tftypes.Value, existed bool) tftypes.Value {
	switch {
	case f.def != nil:
		return f.def.Value(f.node.tf, p.config, p.prior)
	case f.readOnly && existed:
		return prior
	case f.readOnly:
		return planned
	case f.filled.Never != nil && f.filled.Never(p.config):
		return f.node.null()
	case existed && !p.changed(f.filled.Depends):
		return orNull(prior, f.node)
	default:
		return f.node.unknown()
	}
}

// changed reports whether the configuration at one of the paths differs from the state.
func (p *planner) changed(paths []string) bool {
	for _, at := range paths {
		if !p.config.At(at).same(p.prior.At(at)) {
			return true
		}
	}
	return false
}

// priors returns for each planned element the one of the state that it continues: by key, else by position.
func (n *node) priors(values, before []tftypes.Value) []tftypes.Value {
	found := make([]tftypes.Value, len(values))
	if len(n.keys) == 0 {
		copy(found, before)
		return found
	}
	byKey := map[string]tftypes.Value{}
	for _, element := range before {
		if id, ok := n.elementKey(element); ok {
			byKey[id] = element
		}
	}
	for i, value := range values {
		if id, ok := n.elementKey(value); ok {
			found[i] = byKey[id]
		}
	}
	return found
}

func orNull(v tftypes.Value, n *node) tftypes.Value {
	if v.Type() == nil {
		return n.null()
	}
	return v
}
