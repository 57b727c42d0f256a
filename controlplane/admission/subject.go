package admission

import (
	"context"
	"slices"
	"strings"
	"sync"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	k8sadmission "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// serverUser is how webhooks and policies see what the server's own loops write.
var serverUser = &kind.User{Name: "system:apiserver", Groups: []string{"system:masters", "system:authenticated"}}

// subject is a request as webhooks and policies see it: objects carry their kind and may be kept.
type subject struct {
	request *Request
	user    *kind.User
	kind    schema.GroupVersionKind
	object  runtime.Object // nil on delete
	old     runtime.Object // nil on create

	once  sync.Once
	attrs *k8sadmission.VersionedAttributes
}

// unseen says whether a request is one that webhooks and policies are not asked about: those about themselves, which
// could lock everybody out, and the second half of a request that they have seen by its body.
func unseen(r *Request) bool {
	if r.Kind.Group == admissionregistrationv1.GroupName {
		return true
	}
	return r.Body == nil && (r.Subresource == "binding" || r.Subresource == "scale" || r.Subresource == "eviction")
}

func subjectOf(r *Request) *subject {
	s := &subject{request: r, user: r.User, kind: r.Kind.GroupVersionKind}
	if s.user == nil {
		s.user = serverUser
	}
	if r.Body != nil {
		s.kind, s.object = r.Body.Kind, r.Body.Object.DeepCopyObject()
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

func (s *subject) resource() schema.GroupVersionResource {
	return s.request.Kind.GroupVersionResource()
}

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
			Attributes: k8sadmission.NewAttributesRecord(s.object, s.old, s.kind, r.Namespace, r.Name, s.resource(), r.Subresource,
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
	gvk := metav1.GroupVersionKind(s.kind)
	gvr := metav1.GroupVersionResource(s.resource())
	dry := r.DryRun
	return &admissionv1.AdmissionRequest{
		Kind: gvk, Resource: gvr, SubResource: r.Subresource, RequestKind: &gvk, RequestResource: &gvr, RequestSubResource: r.Subresource,
		Name: r.Name, Namespace: r.Namespace, Operation: admissionv1.Operation(r.Verb), UserInfo: s.userInfo(), DryRun: &dry,
		Object: runtime.RawExtension{Object: s.object}, OldObject: runtime.RawExtension{Object: s.old}, Options: runtime.RawExtension{Object: s.options()},
	}
}

// matchRules says whether one of the rules names the request. It is asked first, since it needs no subject.
func matchRules(r *Request, rules []admissionregistrationv1.RuleWithOperations) bool {
	return slices.ContainsFunc(rules, func(rule admissionregistrationv1.RuleWithOperations) bool { return matchRule(r, rule) })
}

func matchRule(r *Request, rule admissionregistrationv1.RuleWithOperations) bool {
	if rule.Scope != nil && *rule.Scope != admissionregistrationv1.AllScopes {
		// a namespace is not in itself
		if namespaced := r.Kind.Namespaced && r.Namespace != ""; namespaced != (*rule.Scope == admissionregistrationv1.NamespacedScope) {
			return false
		}
	}
	names := func(list []string, name string) bool {
		return slices.ContainsFunc(list, func(v string) bool { return v == "*" || v == name })
	}
	verb := slices.ContainsFunc(rule.Operations, func(op admissionregistrationv1.OperationType) bool {
		return op == admissionregistrationv1.OperationAll || string(op) == string(r.Verb)
	})
	if !verb || !names(rule.APIGroups, r.Kind.Group) || !names(rule.APIVersions, r.Kind.Version) {
		return false
	}
	return slices.ContainsFunc(rule.Resources, func(v string) bool {
		res, sub, _ := strings.Cut(v, "/")
		return (res == "*" || res == r.Kind.Plural) && (sub == "*" || sub == r.Subresource)
	})
}

// matchNamespace says whether the request's namespace has the labels. What is in no namespace always does; a
// namespace is judged by its own labels.
func (s *subject) matchNamespace(ctx context.Context, c client.Client, selector labels.Selector) (bool, error) {
	if selector.Empty() {
		return true, nil
	}
	r := s.request
	if _, ok := r.Kind.New().(*corev1.Namespace); ok {
		for _, obj := range []runtime.Object{s.object, s.old} {
			if ns, ok := obj.(*corev1.Namespace); ok {
				return selector.Matches(labels.Set(ns.Labels)), nil
			}
		}
	}
	if !r.Kind.Namespaced {
		return true, nil
	}
	ns, err := client.Get[*corev1.Namespace](ctx, c, "", r.Namespace)
	if err != nil {
		return false, err
	}
	return selector.Matches(labels.Set(ns.Labels)), nil
}

// matchObject says whether the object has the labels, now or before.
func (s *subject) matchObject(selector labels.Selector) bool {
	if selector.Empty() {
		return true
	}
	for _, obj := range []runtime.Object{s.object, s.old} {
		if meta, ok := obj.(metav1.Object); ok && selector.Matches(labels.Set(meta.GetLabels())) {
			return true
		}
	}
	return false
}
