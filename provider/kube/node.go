package kube

import (
	"reflect"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// kind is how a value is written in Terraform and in JSON.
type kind int

const (
	kindObject      kind = iota // nested attribute; JSON object
	kindList                    // list
	kindSet                     // set of scalars
	kindMap                     // map
	kindString                  // string
	kindInt                     // number without fraction
	kindFloat                   // number
	kindBool                    // bool
	kindBytes                   // string of base64
	kindQuantity                // string such as "500m"
	kindIntOrString             // string; JSON number when it is one
	kindDuration                // string such as "1h30m"
	kindTime                    // RFC 3339 string
	kindJSON                    // string of JSON, for types that contain themselves
)

// node is one value of an API type. Nodes form a tree that is not changed after it was derived.
type node struct {
	kind   kind
	typ    reflect.Type
	fields []*field // of an object
	elem   *node    // of a list, set or map
	bits   int      // of an int: 32 or 64

	// keys are the JSON names that identify an element of a list; empty for a list that is one value.
	keys []key
	// ordered is whether the order of a list with keys means something.
	ordered bool
	// atomic is whether server-side apply treats the value as one: it is owned whole.
	atomic bool
	// keepsZero is whether the API tells a zero from an absent value (a pointer, or a field without omitempty).
	keepsZero bool

	tf      tftypes.Type
	members map[string]attr.Type // of an object, for the framework
}

// key is a field by which elements of a list are told apart.
type key struct {
	json  string
	attr  string
	value any // what the server assumes when it is absent; nil for nothing
}

// field is a member of an object.
type field struct {
	json, attr, path string
	doc              string
	node             *node

	required  bool
	readOnly  bool // the server alone sets it
	sensitive bool
	immutable bool
	filled    *Filled
	def       *Default
}

// computed reports whether a value may come from elsewhere than the configuration.
func (f *field) computed() bool { return f.readOnly || f.filled != nil || f.def != nil }

// field returns the member with the Terraform name attr, or nil.
func (n *node) field(attr string) *field {
	for _, f := range n.fields {
		if f.attr == attr {
			return f
		}
	}
	return nil
}

// member returns the member with the JSON name, or nil.
func (n *node) member(json string) *field {
	for _, f := range n.fields {
		if f.json == json {
			return f
		}
	}
	return nil
}

// null returns the node's null.
func (n *node) null() tftypes.Value { return tftypes.NewValue(n.tf, nil) }

// unknown returns the node's unknown.
func (n *node) unknown() tftypes.Value { return tftypes.NewValue(n.tf, tftypes.UnknownValue) }

// seal computes the types of the tree, leaves first.
func (n *node) seal() {
	switch n.kind {
	case kindObject:
		types := make(map[string]tftypes.Type, len(n.fields))
		n.members = make(map[string]attr.Type, len(n.fields))
		for _, f := range n.fields {
			f.node.seal()
			types[f.attr] = f.node.tf
			n.members[f.attr] = elementType(f.node)
		}
		n.tf = tftypes.Object{AttributeTypes: types}
	case kindList:
		n.elem.seal()
		n.tf = tftypes.List{ElementType: n.elem.tf}
	case kindSet:
		n.elem.seal()
		n.tf = tftypes.Set{ElementType: n.elem.tf}
	case kindMap:
		n.elem.seal()
		n.tf = tftypes.Map{ElementType: n.elem.tf}
	case kindInt, kindFloat:
		n.tf = tftypes.Number
	case kindBool:
		n.tf = tftypes.Bool
	default:
		n.tf = tftypes.String
	}
}
