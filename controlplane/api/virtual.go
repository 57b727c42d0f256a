package api

import (
	"fmt"
	"net/http"
	"reflect"

	authenticationv1 "k8s.io/api/authentication/v1"
	authenticationv1beta1 "k8s.io/api/authentication/v1beta1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/registry"
)

// virtual is a resource that is asked and never stored: it has the verb create alone.
type virtual struct {
	kind       schema.GroupVersionKind
	body       reflect.Type
	namespaced bool
	handle     func(*Server, http.ResponseWriter, *request) error
}

// virtuals are kind.Virtual with who answers. Filled by init, since handlers refer to it.
var virtuals = map[schema.GroupVersionResource]*virtual{}

func init() {
	authn, beta, authz := authenticationv1.SchemeGroupVersion, authenticationv1beta1.SchemeGroupVersion, authorizationv1.SchemeGroupVersion
	for gvr, v := range map[schema.GroupVersionResource]*virtual{
		authn.WithResource("tokenreviews"):              {body: reflect.TypeFor[authenticationv1.TokenReview](), handle: (*Server).tokenReview},
		authn.WithResource("selfsubjectreviews"):        {body: reflect.TypeFor[authenticationv1.SelfSubjectReview](), handle: (*Server).selfReview},
		beta.WithResource("selfsubjectreviews"):         {body: reflect.TypeFor[authenticationv1beta1.SelfSubjectReview](), handle: (*Server).selfReview},
		authz.WithResource("subjectaccessreviews"):      {body: reflect.TypeFor[authorizationv1.SubjectAccessReview](), handle: (*Server).accessReview},
		authz.WithResource("selfsubjectaccessreviews"):  {body: reflect.TypeFor[authorizationv1.SelfSubjectAccessReview](), handle: (*Server).selfAccessReview},
		authz.WithResource("localsubjectaccessreviews"): {body: reflect.TypeFor[authorizationv1.LocalSubjectAccessReview](), namespaced: true, handle: (*Server).localAccessReview},
		authz.WithResource("selfsubjectrulesreviews"):   {body: reflect.TypeFor[authorizationv1.SelfSubjectRulesReview](), handle: (*Server).rulesReview},

		corev1.SchemeGroupVersion.WithResource("bindings"): {body: reflect.TypeFor[corev1.Binding](), namespaced: true, handle: (*Server).bindOld},
	} {
		v.kind = kind.Virtual[gvr]
		virtuals[gvr] = v
	}
}

// virtualOf returns the resource that is asked with a kind, or nil.
func virtualOf(gvk schema.GroupVersionKind) *virtual {
	for _, v := range virtuals {
		if v.kind == gvk {
			return v
		}
	}
	return nil
}

// readVirtual reads what is created and not stored, as the create of an object is read: with its options, and in the namespace
// of the path. What only the server sets of metadata is dropped, but for the uid where it is a precondition.
func readVirtual(r *request, obj kind.Object, gvk schema.GroupVersionKind, keepUID bool, also ...schema.GroupVersion) (registry.Write, error) {
	o, err := r.write()
	if err != nil {
		return o, err
	}
	data, err := readBody(r)
	if err != nil {
		return o, err
	}
	r.audit.requestRaw("", data)
	if err := decodeInto(r, data, obj, gvk, also...); err != nil {
		return o, err
	}
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	if !keepUID {
		obj.SetUID("")
		obj.SetCreationTimestamp(metav1.Time{})
		obj.SetDeletionTimestamp(nil)
		obj.SetDeletionGracePeriodSeconds(nil)
		obj.SetSelfLink("")
	}
	switch namespace := obj.GetNamespace(); {
	case r.namespace == "" || namespace == "":
		obj.SetNamespace(r.namespace)
	case namespace != r.namespace:
		return o, apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return o, nil
}

// virtualTypes are the merge types of what is asked, by which its fields are managed.
func virtualTypes(o *openAPI) (managedfields.TypeConverter, error) {
	d := newDocument(o.merge(), schemaPrefix, true)
	types := map[schema.GroupVersionKind]reflect.Type{tokenRequestKind: reflect.TypeFor[authenticationv1.TokenRequest]()}
	for _, v := range virtuals {
		types[v.kind] = v.body
	}
	for gvk, t := range types {
		d.gvks[modelName(t)] = []schema.GroupVersionKind{gvk}
	}
	for _, t := range types {
		d.ref(t)
	}
	specs := map[string]*spec.Schema{}
	for name, definition := range d.definitions {
		s, err := readSchema(definition)
		if err != nil {
			return nil, fmt.Errorf("cannot read schema of %s: %w", name, err)
		}
		specs[name] = s
	}
	return managedfields.NewTypeConverter(specs, false)
}

// own notes who asks in what is asked, as in an object that is created.
func (s *Server) own(obj kind.Object, subresource, manager string) error {
	types, err := s.virtualTypes()
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	return registry.Own(types, obj, subresource, manager, s.now())
}
