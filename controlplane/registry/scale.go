package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
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
	switch {
	case scale.Name != name:
		return nil, OtherName(scale.Name, name)
	case scale.Namespace != "" && scale.Namespace != namespace:
		return nil, apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return r.changeScale(ctx, k, namespace, name, w, func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error) { return scale, nil })
}

// PatchScale patches the scale subresource.
func (r *Registry) PatchScale(ctx context.Context, k *kind.Kind, namespace, name string, t types.PatchType, data []byte, w Write) (*autoscalingv1.Scale, error) {
	if t == types.ApplyPatchType {
		return r.applyScale(ctx, k, namespace, name, data, w)
	}
	return r.changeScale(ctx, k, namespace, name, w, func(cur *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		obj, err := patchObject(t, data, cur, func() runtime.Object { return &autoscalingv1.Scale{} }, w)
		if err != nil {
			return nil, err
		}
		if gvk := obj.GetObjectKind().GroupVersionKind(); gvk != scaleKind {
			return nil, unprocessable(fmt.Sprintf("%T", obj), fmt.Errorf("it is %s and not %s", gvk, scaleKind))
		}
		return obj.(*autoscalingv1.Scale), nil
	})
}

// applyScale applies the replicas of a scale as the field of the object that they are, so that whoever manages that field is
// asked, and the manager is noted where the others are.
func (r *Registry) applyScale(ctx context.Context, k *kind.Kind, namespace, name string, data []byte, w Write) (*autoscalingv1.Scale, error) {
	as := &kind.Kind{GroupVersionKind: scaleKind, Namespaced: k.Namespaced, New: func() kind.Object { return &autoscalingv1.Scale{} }}
	patch, err := decodeApplied(as, namespace, name, data, w)
	if err != nil {
		return nil, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(patch.Object, &autoscalingv1.Scale{}, true); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("failed to create typed patch object (%s/%s; %s): %v", namespace, name, scaleKind, err))
	}
	parent := &unstructured.Unstructured{Object: map[string]any{}}
	parent.SetGroupVersionKind(k.GroupVersionKind)
	parent.SetNamespace(namespace)
	parent.SetName(name)
	if replicas, found, err := unstructured.NestedInt64(patch.Object, "spec", "replicas"); err == nil && found {
		if err := unstructured.SetNestedField(parent.Object, replicas, k.Scale.Path...); err != nil {
			return nil, apierrors.NewInternalError(err)
		}
	}
	w.applied = true
	return r.writeScale(ctx, k, namespace, name, w, func(cur kind.Object, _ *autoscalingv1.Scale) (kind.Object, *autoscalingv1.Scale, error) {
		obj, err := r.managed.apply(k, cur, parent.DeepCopy(), "scale", w.FieldManager, w.Force)
		if err != nil {
			return nil, nil, asScaleConflict(k, err)
		}
		scale := scaleOf(k, obj)
		scale.UID, scale.ResourceVersion = patch.GetUID(), patch.GetResourceVersion()
		return obj, scale, nil
	})
}

// asScaleConflict names the version of the scale in a conflict, as Kubernetes does, and not that of the object.
func asScaleConflict(k *kind.Kind, err error) error {
	var status *apierrors.StatusError
	if !errors.As(err, &status) || status.ErrStatus.Details == nil {
		return err
	}
	renamed := func(text string) string {
		return strings.ReplaceAll(text, " using "+k.GroupVersion().String(), " using "+scaleKind.GroupVersion().String())
	}
	status.ErrStatus.Message = renamed(status.ErrStatus.Message)
	for i := range status.ErrStatus.Details.Causes {
		status.ErrStatus.Details.Causes[i].Message = renamed(status.ErrStatus.Details.Causes[i].Message)
	}
	return status
}

// changeScale sets the replicas that f makes of the scale.
func (r *Registry) changeScale(ctx context.Context, k *kind.Kind, namespace, name string, w Write, f func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error)) (*autoscalingv1.Scale, error) {
	return r.writeScale(ctx, k, namespace, name, w, func(cur kind.Object, was *autoscalingv1.Scale) (kind.Object, *autoscalingv1.Scale, error) {
		scale, err := f(was)
		if err != nil {
			return nil, nil, err
		}
		if scale.Name != "" && scale.Name != name {
			return nil, nil, OtherName(scale.Name, name)
		}
		return cur.DeepCopyObject().(kind.Object), scale, nil
	})
}

// writeScale writes an object that f makes, with the replicas of the scale that f makes as far as admission leaves them.
func (r *Registry) writeScale(ctx context.Context, k *kind.Kind, namespace, name string, w Write, f func(cur kind.Object, was *autoscalingv1.Scale) (kind.Object, *autoscalingv1.Scale, error)) (*autoscalingv1.Scale, error) {
	res, err := r.change(ctx, k, namespace, name, "scale", w, func(cur kind.Object) (kind.Object, error) {
		was := scaleOf(k, cur)
		obj, scale, err := f(cur, was)
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
			return nil, apierrors.NewConflict(schema.GroupResource{Group: k.Group, Resource: k.Plural + "/scale"}, name,
				fmt.Errorf("Precondition failed: UID in precondition: %s, UID in object meta: %s", scale.UID, cur.GetUID()))
		}
		if scale.Spec.Replicas < 0 {
			return nil, negativeReplicas(k, name, scale.Spec.Replicas)
		}
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

// negativeReplicas is the error of too few replicas. A custom resource's is of itself, and of the field that its definition names.
func negativeReplicas(k *kind.Kind, name string, replicas int32) error {
	if k.Custom {
		return apierrors.NewInvalid(k.GroupKind(), name, field.ErrorList{
			field.Invalid(field.NewPath("."+strings.Join(k.Scale.Path, ".")), replicas, "should be a non-negative integer")})
	}
	return apierrors.NewInvalid(scaleKind.GroupKind(), name, field.ErrorList{
		field.Invalid(field.NewPath("spec", "replicas"), replicas, "must be greater than or equal to 0").WithOrigin("minimum")})
}
