package admission

import (
	"context"
	"slices"
	"sync"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	k8sadmission "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// serverUser is how webhooks and policies see what the server's own loops write.
var serverUser = &kind.User{Name: "system:apiserver", Groups: []string{"system:masters", "system:authenticated"}}

// subject is a request as webhooks and policies see it: objects carry their kind and may be kept.
type subject struct {
	request *Request
	user    *kind.User
	version *kind.Kind              // of the request's resource, in which it is seen
	kind    schema.GroupVersionKind // of the objects
	object  runtime.Object          // nil on delete
	old     runtime.Object          // nil on create
	others  []*subject              // the same in other versions, once they were asked for

	once  sync.Once
	attrs *k8sadmission.VersionedAttributes
}

// seenByBody says whether a request is the second half of one that webhooks and policies have seen by its body.
func seenByBody(r *Request) bool {
	return r.Body == nil && (r.Subresource == "binding" || r.Subresource == "scale" || r.Subresource == "eviction")
}

func subjectOf(r *Request) *subject {
	s := &subject{request: r, user: r.User, version: r.Kind, kind: requestKind(r)}
	if s.user == nil {
		s.user = serverUser
	}
	if r.Body != nil {
		s.object = r.Body.Object.DeepCopyObject()
		if r.Body.Old != nil {
			s.old = r.Body.Old.DeepCopyObject()
		}
	} else {
		if r.Object != nil {
			s.object = r.Object.DeepCopyObject()
		}
		if r.Old != nil {
			s.old = r.Old.DeepCopyObject()
		}
	}
	for _, obj := range []runtime.Object{s.object, s.old} {
		if obj != nil {
			obj.GetObjectKind().SetGroupVersionKind(s.kind)
		}
	}
	return s
}

// requestKind is that of the object that a request carries.
func requestKind(r *Request) schema.GroupVersionKind {
	if r.Body != nil {
		return r.Body.Kind
	}
	return r.Kind.GroupVersionKind
}

// in returns the subject in a version of its resource. The bodies of subresources are the same in all versions. It
// may not be called at once with itself.
func (s *subject) in(ctx context.Context, k *kind.Kind) (*subject, error) {
	if k.GroupVersionKind == s.version.GroupVersionKind {
		return s, nil
	}
	if at := slices.IndexFunc(s.others, func(o *subject) bool { return o.version == k }); at >= 0 {
		return s.others[at], nil
	}
	out := &subject{request: s.request, user: s.user, version: k, kind: s.kind, object: s.object, old: s.old}
	if s.request.Body == nil {
		out.kind = k.GroupVersionKind
		for _, obj := range []*runtime.Object{&out.object, &out.old} {
			if *obj == nil {
				continue
			}
			converted, err := kind.Convert(ctx, (*obj).(kind.Object), s.version, k)
			if err != nil {
				return nil, err
			}
			converted.GetObjectKind().SetGroupVersionKind(out.kind)
			*obj = converted
		}
	}
	s.others = append(s.others, out)
	return out, nil
}

func (s *subject) resource() schema.GroupVersionResource { return s.version.GroupVersionResource() }

// options are the request's, as the API has them.
func (s *subject) options() runtime.Object {
	r := s.request
	var dry []string
	if r.DryRun {
		dry = []string{metav1.DryRunAll}
	}
	meta := func(kind string) metav1.TypeMeta { return metav1.TypeMeta{Kind: kind, APIVersion: "meta.k8s.io/v1"} }
	switch r.Verb {
	case kind.Create:
		return &metav1.CreateOptions{TypeMeta: meta("CreateOptions"), DryRun: dry, FieldManager: r.FieldManager}
	case kind.Update:
		return &metav1.UpdateOptions{TypeMeta: meta("UpdateOptions"), DryRun: dry, FieldManager: r.FieldManager}
	case kind.Delete:
		o := &metav1.DeleteOptions{}
		if r.Delete != nil {
			o = r.Delete.DeepCopy()
		}
		o.TypeMeta, o.DryRun = meta("DeleteOptions"), dry
		return o
	}
	return nil
}

func (s *subject) userInfo() authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: s.user.Name, UID: s.user.UID, Groups: s.user.Groups}
	for key, values := range s.user.Extra {
		if info.Extra == nil {
			info.Extra = map[string]authenticationv1.ExtraValue{}
		}
		info.Extra[key] = values
	}
	return info
}

// attributes are the subject as Kubernetes' expressions take it.
func (s *subject) attributes() *k8sadmission.VersionedAttributes {
	s.once.Do(func() {
		r := s.request
		s.attrs = &k8sadmission.VersionedAttributes{
			Attributes: k8sadmission.NewAttributesRecord(s.object, s.old, requestKind(r), r.Namespace, r.Name, r.Kind.GroupVersionResource(), r.Subresource,
				k8sadmission.Operation(r.Verb), s.options(), r.DryRun,
				&user.DefaultInfo{Name: s.user.Name, UID: s.user.UID, Groups: s.user.Groups, Extra: s.user.Extra}),
			VersionedKind: s.kind,
		}
		if s.object != nil {
			s.attrs.VersionedObject.Set(s.object)
		}
		if s.old != nil {
			s.attrs.VersionedOldObject.Set(s.old)
		}
	})
	return s.attrs
}

// review is the request as webhooks get it.
func (s *subject) review() *admissionv1.AdmissionRequest {
	r := s.request
	gvk := metav1.GroupVersionKind(requestKind(r))
	gvr := metav1.GroupVersionResource(r.Kind.GroupVersionResource())
	dry := r.DryRun
	return &admissionv1.AdmissionRequest{
		Kind: metav1.GroupVersionKind(s.kind), Resource: metav1.GroupVersionResource(s.resource()), SubResource: r.Subresource,
		RequestKind: &gvk, RequestResource: &gvr, RequestSubResource: r.Subresource,
		Name: r.Name, Namespace: r.Namespace, Operation: admissionv1.Operation(r.Verb), UserInfo: s.userInfo(), DryRun: &dry,
		Object: runtime.RawExtension{Object: s.object}, OldObject: runtime.RawExtension{Object: s.old}, Options: runtime.RawExtension{Object: s.options()},
	}
}
