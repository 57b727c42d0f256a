package loop

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// Owned returns T's objects in namespace that name uid among their owners.
func Owned[T kind.Object](ctx context.Context, c client.Client, namespace string, uid types.UID) ([]T, error) {
	return client.List[T](ctx, c, client.Query{Namespace: namespace, Index: kind.OwnerIndex, Value: string(uid)})
}

// Claims is what an owner has to do about objects that its selector or a controller reference names.
type Claims[T kind.Object] struct {
	Keep    []T // controlled by the owner, and selected
	Adopt   []T // selected, controlled by nobody
	Release []T // controlled by the owner, no longer selected
}

// Claim sorts objects by whom they belong to. An owner that is being deleted adopts nothing.
func Claim[T kind.Object](owner metav1.Object, selector labels.Selector, objects []T) Claims[T] {
	var out Claims[T]
	seen := make(map[types.UID]bool, len(objects))
	for _, o := range objects {
		if seen[o.GetUID()] {
			continue
		}
		seen[o.GetUID()] = true
		selected := selector.Matches(labels.Set(o.GetLabels()))
		ref := metav1.GetControllerOfNoCopy(o)
		switch {
		case ref != nil && ref.UID != owner.GetUID():
		case ref != nil && selected:
			out.Keep = append(out.Keep, o)
		case owner.GetDeletionTimestamp() != nil:
		case ref != nil:
			out.Release = append(out.Release, o)
		case selected && o.GetDeletionTimestamp() == nil:
			out.Adopt = append(out.Adopt, o)
		}
	}
	return out
}

// Adopt makes owner the controller of obj. It fails with a conflict when obj has changed hands meanwhile.
func Adopt(ctx context.Context, c client.Client, k *kind.Kind, owner metav1.OwnerReference, obj kind.Object) (kind.Object, error) {
	next := obj.DeepCopyObject().(kind.Object)
	next.SetOwnerReferences(append(next.GetOwnerReferences(), owner))
	got, err := c.Update(ctx, k, next, "")
	if err != nil {
		return nil, fmt.Errorf("cannot adopt %s %s/%s: %w", k.Singular, obj.GetNamespace(), obj.GetName(), err)
	}
	return got, nil
}

// Release takes owner off obj's owners.
func Release(ctx context.Context, c client.Client, k *kind.Kind, owner types.UID, obj kind.Object) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid":             obj.GetUID(),
		"resourceVersion": obj.GetResourceVersion(),
		"ownerReferences": without(obj.GetOwnerReferences(), owner),
	}})
	if err != nil {
		return fmt.Errorf("cannot encode patch: %w", err)
	}
	if _, err := c.Patch(ctx, k, obj.GetNamespace(), obj.GetName(), types.MergePatchType, patch, ""); err != nil {
		return fmt.Errorf("cannot release %s %s/%s: %w", k.Singular, obj.GetNamespace(), obj.GetName(), err)
	}
	return nil
}

func without(refs []metav1.OwnerReference, owner types.UID) []metav1.OwnerReference {
	out := []metav1.OwnerReference{}
	for _, r := range refs {
		if r.UID != owner {
			out = append(out, r)
		}
	}
	return out
}

// ControllerRef returns the reference that marks owner as the controller of what it makes.
func ControllerRef(k *kind.Kind, owner metav1.Object) metav1.OwnerReference {
	return *metav1.NewControllerRef(owner, k.GroupVersionKind)
}
