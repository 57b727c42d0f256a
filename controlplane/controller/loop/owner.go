package loop

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

// Adopt makes owner, of kind k, the controller of objects that Claim says to adopt, and returns them as stored. It looks at
// the owner once more, since objects may have been let go of because the owner is being deleted: those it must not take
// back. The objects have to be read before. It fails with a conflict when one has changed hands meanwhile.
func Adopt[T kind.Object](ctx context.Context, c client.Client, k *kind.Kind, owner metav1.Object, objects []T) ([]T, error) {
	if len(objects) == 0 {
		return nil, nil
	}
	current, err := c.Get(ctx, k, owner.GetNamespace(), owner.GetName())
	if apierrors.IsNotFound(err) || err == nil && (current.GetUID() != owner.GetUID() || current.GetDeletionTimestamp() != nil) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ref := ControllerRef(k, owner)
	var adopted []T
	for _, obj := range objects {
		next := obj.DeepCopyObject().(T)
		next.SetOwnerReferences(append(next.GetOwnerReferences(), ref))
		got, err := client.Update(ctx, c, next)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot adopt %s %s/%s: %w", kind.Of[T]().Singular, obj.GetNamespace(), obj.GetName(), err)
		}
		adopted = append(adopted, got)
	}
	return adopted, nil
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
