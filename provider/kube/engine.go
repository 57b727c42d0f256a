package kube

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apischema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

// fieldManager is the name that every apply of the provider goes by.
const fieldManager = "terraform"

// engine is what is derived of a descriptor. It is not changed after newEngine.
type engine struct {
	desc     *Descriptor
	kind     apischema.GroupVersionKind
	resource apischema.GroupVersionResource
	root     *node
	schema   schema.Schema
	typ      tftypes.Object // of the whole resource
}

// newEngine derives a kind. It fails on a descriptor that does not fit its type.
func newEngine(desc *Descriptor) (*engine, error) {
	kinds, _, err := scheme.Scheme.ObjectKinds(desc.Object)
	if err != nil {
		return nil, fmt.Errorf("cannot find the kind of %T: %w", desc.Object, err)
	}
	k := &engine{desc: desc, kind: kinds[0]}
	k.resource, _ = meta.UnsafeGuessKindToResource(k.kind)
	typed := desc.Object.DeepCopyObject()
	typed.GetObjectKind().SetGroupVersionKind(k.kind)
	if k.root, err = derive(desc, typed); err != nil {
		return nil, err
	}
	ctx := context.Background()
	k.schema = terraformSchema(ctx, desc, k.root)
	typ, ok := k.schema.Type().TerraformType(ctx).(tftypes.Object)
	if !ok {
		return nil, fmt.Errorf("cannot describe %s: its schema is not an object", k.kind.Kind)
	}
	k.typ = typ
	return k, nil
}

// kindName is the kind as a person writes it: "config map".
func (k *engine) kindName() string { return strings.ReplaceAll(snake(k.kind.Kind), "_", " ") }

// part returns the API's members of a resource value, as the node's type.
func (k *engine) part(value tftypes.Value) tftypes.Value {
	all := members(value)
	values := make(map[string]tftypes.Value, len(k.root.fields))
	for _, f := range k.root.fields {
		values[f.attr] = all[f.attr]
	}
	return tftypes.NewValue(k.root.tf, values)
}

// join returns value with the API's members replaced by those of part.
func (k *engine) join(value, part tftypes.Value) tftypes.Value {
	values := members(value)
	for name, v := range members(part) {
		values[name] = v
	}
	return tftypes.NewValue(k.typ, values)
}

// empty returns a resource value with every attribute null.
func (k *engine) empty() tftypes.Value {
	values := make(map[string]tftypes.Value, len(k.typ.AttributeTypes))
	for name, t := range k.typ.AttributeTypes {
		values[name] = tftypes.NewValue(t, nil)
	}
	return tftypes.NewValue(k.typ, values)
}

// object returns what to apply: the configured fields, and the kind.
func (k *engine) object(id identity, config, plan tftypes.Value) (*unstructured.Unstructured, error) {
	content, err := k.root.object(config, plan)
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{Object: content}
	object.SetGroupVersionKind(k.kind)
	object.SetName(id.name)
	object.SetNamespace(id.namespace)
	return object, k.writeSecrets(object, ViewOf(config))
}

// afterApply returns the state of a plan that was applied.
func (k *engine) afterApply(plan tftypes.Value, id identity, live *unstructured.Unstructured) (tftypes.Value, error) {
	part, err := k.root.fill(k.part(plan), live.Object)
	if err != nil {
		return tftypes.Value{}, fmt.Errorf("cannot read %s %s: %w", k.kindName(), id.local(), err)
	}
	return withMember(k.join(plan, part), attrID, tftypes.NewValue(tftypes.String, id.String())), nil
}

// timeout returns how long an operation may take.
func (k *engine) timeout(value tftypes.Value, operation string) time.Duration {
	if text, ok := ViewOf(value).At(attrTimeout + "." + operation).Text(); ok {
		if d, err := time.ParseDuration(text); err == nil {
			return d
		}
	}
	if k.desc.Timeout > 0 {
		return k.desc.Timeout
	}
	return DefaultTimeout
}
