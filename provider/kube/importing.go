package kube

import (
	"bytes"
	"fmt"

	"github.com/hashicorp/terraform-plugin-go/tftypes"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// ownedFields returns what the provider's field manager owns of an object; nil when it owns nothing.
func ownedFields(live *unstructured.Unstructured) (*fieldpath.Set, error) {
	for _, entry := range live.GetManagedFields() {
		if entry.Manager != fieldManager || entry.Operation != metav1.ManagedFieldsOperationApply || entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		set := &fieldpath.Set{}
		if err := set.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())); err != nil {
			return nil, fmt.Errorf("cannot read the managed fields of %s: %w", live.GetName(), err)
		}
		return set, nil
	}
	return nil, nil
}

// imported returns the state of an object that Terraform did not know: what the provider's field manager owns, when
// the object was applied by it once; else all that the server would not have set by itself.
func (k *engine) imported(state tftypes.Value, id identity, live *unstructured.Unstructured) (tftypes.Value, error) {
	content, err := k.configuredPart(live)
	if err != nil {
		return tftypes.Value{}, err
	}
	part, err := k.root.decode(content)
	if err != nil {
		return tftypes.Value{}, fmt.Errorf("cannot read %s %s: %w", k.kindName(), id.local(), err)
	}
	if part, err = k.root.refresh(k.withIdentity(part, id), live.Object, false); err != nil {
		return tftypes.Value{}, fmt.Errorf("cannot read %s %s: %w", k.kindName(), id.local(), err)
	}
	state = k.join(state, part)
	if k.desc.Wait != nil {
		state = withMember(state, attrWait, tftypes.NewValue(tftypes.Bool, true))
	}
	return state, nil
}

// configuredPart returns a copy of the object with what a configuration would hold.
func (k *engine) configuredPart(live *unstructured.Unstructured) (map[string]any, error) {
	owned, err := ownedFields(live)
	if err != nil {
		return nil, err
	}
	content := live.DeepCopy().Object
	if owned != nil {
		typed, err := converter().ObjectToTyped(live.DeepCopy())
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", live.GetName(), err)
		}
		content, _ = typed.ExtractItems(owned.Leaves()).AsValue().Unstructured().(map[string]any)
	} else {
		k.root.strip(content)
		if k.desc.StripDefaults != nil {
			k.desc.StripDefaults(content)
		}
	}
	object := &unstructured.Unstructured{Object: content}
	k.dropOwnAnnotations(object)
	return object.Object, nil
}

// dropOwnAnnotations removes what controllers and this provider write into annotations and labels for themselves.
func (k *engine) dropOwnAnnotations(object *unstructured.Unstructured) {
	drop := []string{"kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision"}
	for _, w := range k.desc.WriteOnly {
		drop = append(drop, w.annotation())
	}
	for _, name := range drop {
		unstructured.RemoveNestedField(object.Object, "metadata", "annotations", name)
	}
	if len(object.GetAnnotations()) == 0 {
		unstructured.RemoveNestedField(object.Object, "metadata", "annotations")
	}
	if labels := object.GetLabels(); k.kind.Kind == "Namespace" && labels["kubernetes.io/metadata.name"] != "" {
		unstructured.RemoveNestedField(object.Object, "metadata", "labels", "kubernetes.io/metadata.name")
		if len(labels) == 1 {
			unstructured.RemoveNestedField(object.Object, "metadata", "labels")
		}
	}
}

// withIdentity sets the name and namespace, which no manager need own.
func (k *engine) withIdentity(part tftypes.Value, id identity) tftypes.Value {
	meta := member(part, "metadata")
	if absent(meta) {
		empty, err := k.root.field("metadata").node.decode(map[string]any{})
		if err != nil {
			return part
		}
		meta = empty
	}
	meta = withMember(meta, "name", tftypes.NewValue(tftypes.String, id.name))
	if k.desc.Namespaced {
		meta = withMember(meta, "namespace", tftypes.NewValue(tftypes.String, id.namespace))
	}
	return withMember(part, "metadata", meta)
}
