package kube

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// Names of the attributes that every resource has beside its API type's.
const (
	attrID      = "id"
	attrCluster = "cluster"
	attrForce   = "force_conflicts"
	attrWait    = "wait_for_rollout"
	attrTimeout = "timeouts"
)

// terraformSchema makes the schema of a kind.
func terraformSchema(ctx context.Context, desc *Descriptor, root *node) schema.Schema {
	attributes := nestedAttributes(root)
	attributes[attrID] = schema.StringAttribute{
		Computed:    true,
		Description: "`[CLUSTER/]NAMESPACE/NAME`, what `terraform import` takes.",
	}
	attributes[attrCluster] = schema.StringAttribute{
		Optional:    true,
		Description: "Id of the `fairlead_cluster` that the object is in. Without it, the cluster of the provider's kubeconfig.",
	}
	attributes[attrForce] = schema.BoolAttribute{
		Optional:    true,
		Description: "Take over fields that another field manager owns, instead of failing with a conflict.",
	}
	attributes[attrTimeout] = timeouts.Attributes(ctx, timeouts.Opts{
		Create: true, Update: true, Delete: true,
		CreateDescription: "How long the creation may take, such as `10m`.",
		UpdateDescription: "How long a change may take, such as `10m`.",
		DeleteDescription: "How long the deletion may take, such as `10m`.",
	})
	if desc.Wait != nil {
		attributes[attrWait] = schema.BoolAttribute{
			Optional: true, Computed: true, Default: booldefault.StaticBool(true),
			Description: "Wait until the object does what it is for, and fail with the reason when it can not. " +
				"The state holds false after a failure, so that the next apply waits again.",
		}
	}
	for _, w := range desc.WriteOnly {
		attributes[w.Text] = schema.MapAttribute{
			ElementType: types.StringType, Optional: true, WriteOnly: true, Sensitive: true,
			Description: fmt.Sprintf("Values as plain text. Never stored; sent again when `%s` changes.", w.Version),
		}
		attributes[w.Base64] = schema.MapAttribute{
			ElementType: types.StringType, Optional: true, WriteOnly: true, Sensitive: true,
			Description: fmt.Sprintf("Values as base64. Never stored; sent again when `%s` changes.", w.Version),
		}
		attributes[w.Version] = schema.Int64Attribute{
			Optional:    true,
			Description: fmt.Sprintf("Version of `%s` and `%s`: change it when they change.", w.Text, w.Base64),
		}
	}
	return schema.Schema{Description: desc.Description, MarkdownDescription: desc.Description, Attributes: attributes}
}

// nestedAttributes makes the attributes of an object's members.
func nestedAttributes(n *node) map[string]schema.Attribute {
	attributes := make(map[string]schema.Attribute, len(n.fields)+8)
	for _, f := range n.fields {
		attributes[f.attr] = attribute(f)
	}
	return attributes
}

// attribute makes the attribute of a field.
func attribute(f *field) schema.Attribute {
	required, computed := f.required, f.computed()
	optional := !required && !f.readOnly
	n := f.node
	switch n.kind {
	case kindObject:
		return schema.SingleNestedAttribute{
			CustomType: n.objectType(), Attributes: nestedAttributes(n), Description: f.doc,
			Required: required, Optional: optional, Computed: computed, Sensitive: f.sensitive,
		}
	case kindList:
		if n.elem.kind == kindObject {
			return schema.ListNestedAttribute{
				CustomType:   types.ListType{ElemType: n.elem.objectType()},
				NestedObject: schema.NestedAttributeObject{CustomType: n.elem.objectType(), Attributes: nestedAttributes(n.elem)}, Description: f.doc,
				Required: required, Optional: optional, Computed: computed, Sensitive: f.sensitive,
			}
		}
		return schema.ListAttribute{
			ElementType: elementType(n.elem), Description: f.doc,
			Required: required, Optional: optional, Computed: computed, Sensitive: f.sensitive,
		}
	case kindSet:
		return schema.SetAttribute{
			ElementType: elementType(n.elem), Description: f.doc,
			Required: required, Optional: optional, Computed: computed, Sensitive: f.sensitive,
		}
	case kindMap:
		if n.elem.kind == kindObject {
			return schema.MapNestedAttribute{
				CustomType:   types.MapType{ElemType: n.elem.objectType()},
				NestedObject: schema.NestedAttributeObject{CustomType: n.elem.objectType(), Attributes: nestedAttributes(n.elem)}, Description: f.doc,
				Required: required, Optional: optional, Computed: computed, Sensitive: f.sensitive,
			}
		}
		return schema.MapAttribute{
			ElementType: elementType(n.elem), Description: f.doc,
			Required: required, Optional: optional, Computed: computed, Sensitive: f.sensitive,
		}
	case kindInt:
		return schema.Int64Attribute{Description: f.doc, Required: required, Optional: optional, Computed: computed, Sensitive: f.sensitive}
	case kindFloat:
		return schema.Float64Attribute{Description: f.doc, Required: required, Optional: optional, Computed: computed, Sensitive: f.sensitive}
	case kindBool:
		return schema.BoolAttribute{Description: f.doc, Required: required, Optional: optional, Computed: computed, Sensitive: f.sensitive}
	case kindString:
		return schema.StringAttribute{Description: f.doc, Required: required, Optional: optional, Computed: computed, Sensitive: f.sensitive}
	default:
		return schema.StringAttribute{
			CustomType: textType{kind: n.kind}, Description: f.doc,
			Required: required, Optional: optional, Computed: computed, Sensitive: f.sensitive,
		}
	}
}

// objectType returns the framework's type of an object. It is what the framework would compute by itself of the nested
// attributes, and does so anew for every value that it looks at: given here, once, a plan takes a quarter of the time.
func (n *node) objectType() types.ObjectType { return types.ObjectType{AttrTypes: n.members} }

// elementType returns the framework's type of a value.
func elementType(n *node) attr.Type {
	switch n.kind {
	case kindObject:
		return n.objectType()
	case kindList:
		return types.ListType{ElemType: elementType(n.elem)}
	case kindSet:
		return types.SetType{ElemType: elementType(n.elem)}
	case kindMap:
		return types.MapType{ElemType: elementType(n.elem)}
	case kindInt:
		return types.Int64Type
	case kindFloat:
		return types.Float64Type
	case kindBool:
		return types.BoolType
	case kindString:
		return types.StringType
	default:
		return textType{kind: n.kind}
	}
}
