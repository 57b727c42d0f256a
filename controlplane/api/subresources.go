package api

import (
	"net/http"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/store"
)

// scale serves the scale subresource of any kind that has one.
func (s *Server) scale(w http.ResponseWriter, r *request) error {
	var scale *autoscalingv1.Scale
	var err error
	switch r.verb {
	case "get":
		scale, err = s.registry.GetScale(r.Context(), r.kind, r.namespace, r.name)
	case "update":
		scale, err = s.updateScale(r)
	case "patch":
		scale, err = s.patchScale(r)
	}
	if err != nil {
		return err
	}
	if r.kind.Custom {
		s.answer(w, r, http.StatusOK, scale)
		return nil
	}
	scale.TypeMeta = metav1.TypeMeta{}
	s.writeItem(w, r, http.StatusOK, scaleKind, &store.Item{Object: scale})
	return nil
}

// scaleKind is how the scales of Kubernetes' own kinds are shown.
var scaleKind = &kind.Kind{
	GroupVersionKind: autoscalingv1.SchemeGroupVersion.WithKind("Scale"),
	Columns: []metav1.TableColumnDefinition{
		{Name: "Name", Type: "string", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]},
		{Name: "Desired", Type: "integer", Description: autoscalingv1.ScaleSpec{}.SwaggerDoc()["replicas"]},
		{Name: "Available", Type: "integer", Description: autoscalingv1.ScaleStatus{}.SwaggerDoc()["replicas"]},
		{Name: "Age", Type: "string", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]},
	},
	Row: func(obj kind.Object, now time.Time) []any {
		scale := obj.(*autoscalingv1.Scale)
		return []any{scale.Name, scale.Spec.Replicas, scale.Status.Replicas, duration.HumanDuration(now.Sub(scale.CreationTimestamp.Time))}
	},
}

func (s *Server) updateScale(r *request) (*autoscalingv1.Scale, error) {
	o, err := r.write()
	if err != nil {
		return nil, err
	}
	scale := &autoscalingv1.Scale{}
	if err := decodeBody(r, scale, autoscalingv1.SchemeGroupVersion.WithKind("Scale")); err != nil {
		return nil, err
	}
	return s.registry.UpdateScale(r.Context(), r.kind, r.namespace, r.name, scale, o)
}

func (s *Server) patchScale(r *request) (*autoscalingv1.Scale, error) {
	t, data, o, err := r.readPatch()
	if err != nil {
		return nil, err
	}
	return s.registry.PatchScale(r.Context(), r.kind, r.namespace, r.name, t, data, o)
}

// decodeBody reads a body that is no object of the store.
func decodeBody(r *request, obj runtime.Object, gvk schema.GroupVersionKind) error {
	data, err := readBody(r)
	if err != nil {
		return err
	}
	r.audit.requestRaw("", data)
	return decodeInto(r, data, obj, gvk)
}

func success(code int32) *metav1.Status {
	return &metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess, Code: code}
}

var bindingKind = corev1.SchemeGroupVersion.WithKind("Binding")

// bind serves pods/NAME/binding.
func (s *Server) bind(w http.ResponseWriter, r *request) error {
	b := &corev1.Binding{}
	o, err := readVirtual(r, b, bindingKind, true)
	if err != nil {
		return err
	}
	if b.Name != r.name {
		return apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	if err := s.registry.Bind(r.Context(), b, o); err != nil {
		return err
	}
	s.answer(w, r, http.StatusCreated, success(http.StatusCreated))
	return nil
}

// bindOld serves bindings, by which pods were bound before pods/NAME/binding.
func (s *Server) bindOld(w http.ResponseWriter, r *request) error {
	b := &corev1.Binding{}
	o, err := readVirtual(r, b, bindingKind, false)
	if err != nil {
		return err
	}
	if b.Name == "" {
		return apierrors.NewBadRequest("Name parameter required.")
	}
	if err := s.registry.BindOld(r.Context(), b, o); err != nil {
		return err
	}
	s.answer(w, r, http.StatusCreated, success(http.StatusCreated))
	return nil
}

// evict serves pods/NAME/eviction.
func (s *Server) evict(w http.ResponseWriter, r *request) error {
	e := &policyv1.Eviction{}
	// clients of before policy/v1 say v1beta1, whose Eviction is the same
	o, err := readVirtual(r, e, policyv1.SchemeGroupVersion.WithKind("Eviction"), false, schema.GroupVersion{Group: policyv1.GroupName, Version: "v1beta1"})
	if err != nil {
		return err
	}
	if e.Name != r.name {
		return apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	if e.DeleteOptions != nil {
		if err := checkDeleteOptions(e.DeleteOptions); err != nil {
			return err
		}
	}
	if err := s.registry.Evict(r.Context(), r.namespace, r.name, e.DeleteOptions, o); err != nil {
		return err
	}
	s.answer(w, r, http.StatusCreated, success(http.StatusCreated))
	return nil
}
