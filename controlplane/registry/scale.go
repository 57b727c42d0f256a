package registry

import (
	"context"
	"errors"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// GetScale reads the scale subresource.
func (r *Registry) GetScale(ctx context.Context, k *kind.Kind, namespace, name string) (*autoscalingv1.Scale, error) {
	item, err := r.Get(ctx, k, namespace, name, "")
	if err != nil {
		return nil, err
	}
	return scaleOf(k, item.Object), nil
}

// UpdateScale replaces the scale subresource: it sets the replicas.
func (r *Registry) UpdateScale(ctx context.Context, k *kind.Kind, namespace, name string, scale *autoscalingv1.Scale, w Write) (*autoscalingv1.Scale, error) {
	return r.changeScale(ctx, k, namespace, name, w, func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error) { return scale, nil })
}

// PatchScale patches the scale subresource.
func (r *Registry) PatchScale(ctx context.Context, k *kind.Kind, namespace, name string, t types.PatchType, data []byte, w Write) (*autoscalingv1.Scale, error) {
	if t == types.ApplyPatchType {
		t = types.MergePatchType
	}
	return r.changeScale(ctx, k, namespace, name, w, func(cur *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		obj, err := patchObject(t, data, cur, func() runtime.Object { return &autoscalingv1.Scale{} }, w)
		if err != nil {
			return nil, err
		}
		return obj.(*autoscalingv1.Scale), nil
	})
}

func (r *Registry) changeScale(ctx context.Context, k *kind.Kind, namespace, name string, w Write, f func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error)) (*autoscalingv1.Scale, error) {
	res, err := r.change(ctx, k, namespace, name, "scale", w, func(cur kind.Object) (kind.Object, error) {
		was := scaleOf(k, cur)
		scale, err := f(was)
		if err != nil {
			return nil, err
		}
		if err := r.AdmitBody(ctx, kind.Update, k, namespace, name, "scale", &admission.Body{Kind: scaleKind, Object: scale, Old: was}, w); err != nil {
			return nil, err
		}
		if scale.ResourceVersion != "" && scale.ResourceVersion != cur.GetResourceVersion() {
			return nil, apierrors.NewConflict(k.GroupResource(), name, errors.New(modifiedMessage))
		}
		if scale.UID != "" && scale.UID != cur.GetUID() {
			return nil, uidConflict(k, cur, string(scale.UID))
		}
		if scale.Spec.Replicas < 0 {
			return nil, apierrors.NewInvalid(scaleKind.GroupKind(), name, field.ErrorList{
				field.Invalid(field.NewPath("spec", "replicas"), scale.Spec.Replicas, "must be greater than or equal to 0").WithOrigin("minimum")})
		}
		obj := cur.DeepCopyObject().(kind.Object)
		k.Scale.Set(obj, scale.Spec.Replicas)
		return obj, nil
	})
	if err != nil {
		return nil, err
	}
	return scaleOf(k, res.item.Object), nil
}

var scaleKind = autoscalingv1.SchemeGroupVersion.WithKind("Scale")

func scaleOf(k *kind.Kind, obj kind.Object) *autoscalingv1.Scale {
	spec, status, selector := k.Scale.Get(obj)
	return &autoscalingv1.Scale{
		TypeMeta: metav1.TypeMeta{Kind: "Scale", APIVersion: "autoscaling/v1"},
		ObjectMeta: metav1.ObjectMeta{
			Name: obj.GetName(), Namespace: obj.GetNamespace(), UID: obj.GetUID(),
			ResourceVersion: obj.GetResourceVersion(), CreationTimestamp: obj.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: spec},
		Status: autoscalingv1.ScaleStatus{Replicas: status, Selector: selector},
	}
}
