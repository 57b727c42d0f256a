package api

import (
	"net/http"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/authz"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// virtual is a resource that is asked and never stored: it has the verb create alone.
type virtual struct {
	kind       schema.GroupVersionKind
	namespaced bool
	handle     func(*Server, http.ResponseWriter, *request) error
}

// virtuals are the resources that only answer. Filled by init, since handlers refer to it.
var virtuals map[schema.GroupVersionResource]*virtual

func init() {
	authn, authz := authenticationv1.SchemeGroupVersion, authorizationv1.SchemeGroupVersion
	beta := schema.GroupVersion{Group: authn.Group, Version: "v1beta1"}
	virtuals = map[schema.GroupVersionResource]*virtual{
		authn.WithResource("tokenreviews"):       {kind: authn.WithKind("TokenReview"), handle: (*Server).tokenReview},
		authn.WithResource("selfsubjectreviews"): {kind: authn.WithKind("SelfSubjectReview"), handle: (*Server).selfReview},
		// kubectl 1.27 asks for the beta, which has the same fields
		beta.WithResource("selfsubjectreviews"):         {kind: beta.WithKind("SelfSubjectReview"), handle: (*Server).selfReview},
		authz.WithResource("subjectaccessreviews"):      {kind: authz.WithKind("SubjectAccessReview"), handle: (*Server).accessReview},
		authz.WithResource("selfsubjectaccessreviews"):  {kind: authz.WithKind("SelfSubjectAccessReview"), handle: (*Server).selfAccessReview},
		authz.WithResource("localsubjectaccessreviews"): {kind: authz.WithKind("LocalSubjectAccessReview"), namespaced: true, handle: (*Server).localAccessReview},
		authz.WithResource("selfsubjectrulesreviews"):   {kind: authz.WithKind("SelfSubjectRulesReview"), handle: (*Server).rulesReview},

		corev1.SchemeGroupVersion.WithResource("bindings"): {kind: corev1.SchemeGroupVersion.WithKind("Binding"), namespaced: true, handle: (*Server).bind},
	}
}

func typeMetaOf(gvk schema.GroupVersionKind) metav1.TypeMeta {
	return metav1.TypeMeta{Kind: gvk.Kind, APIVersion: gvk.GroupVersion().String()}
}

// tokenReview says who a bearer token stands for.
func (s *Server) tokenReview(w http.ResponseWriter, r *request) error {
	gvk := authenticationv1.SchemeGroupVersion.WithKind("TokenReview")
	review := &authenticationv1.TokenReview{}
	if err := decodeBody(r, review, gvk); err != nil {
		return err
	}
	if review.Spec.Token == "" {
		return apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	review.TypeMeta = typeMetaOf(gvk)
	id, err := s.bearerIdentity(r.Context(), review.Spec.Token, review.Spec.Audiences)
	review.Status = authenticationv1.TokenReviewStatus{}
	if err != nil {
		review.Status.Error = err.Error()
	} else {
		review.Status.Authenticated = true
		review.Status.User = userInfo(id.User)
		review.Status.Audiences = id.audiences
	}
	s.answer(w, r, http.StatusCreated, review)
	return nil
}

func userInfo(u *kind.User) authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: u.Name, UID: u.UID, Groups: u.Groups}
	for k, v := range u.Extra {
		if info.Extra == nil {
			info.Extra = map[string]authenticationv1.ExtraValue{}
		}
		info.Extra[k] = v
	}
	return info
}

// selfReview says who the client is.
func (s *Server) selfReview(w http.ResponseWriter, r *request) error {
	gvk := schema.GroupVersionKind{Group: r.group, Version: r.version, Kind: "SelfSubjectReview"}
	review := &authenticationv1.SelfSubjectReview{}
	if err := decodeBody(r, review, gvk); err != nil {
		return err
	}
	review.TypeMeta = typeMetaOf(gvk)
	review.CreationTimestamp = metav1.Now()
	review.Status.UserInfo = userInfo(r.user)
	s.answer(w, r, http.StatusCreated, review)
	return nil
}

// checkReview holds the parts of an access review against each other. An access review has no name.
func checkReview(kindName string, meta *metav1.ObjectMeta, res *authorizationv1.ResourceAttributes, non *authorizationv1.NonResourceAttributes, more field.ErrorList) error {
	path := field.NewPath("spec")
	errs := more
	if (res == nil) == (non == nil) {
		errs = append(errs, field.Invalid(path, non, "exactly one of nonResourceAttributes or resourceAttributes must be specified"))
	}
	if res != nil {
		errs = append(errs, checkSelectors(res, path.Child("resourceAttributes"))...)
	}
	bare := meta.DeepCopy()
	bare.Namespace, bare.ManagedFields = "", nil
	if !apiequality.Semantic.DeepEqual(bare, &metav1.ObjectMeta{}) {
		errs = append(errs, field.Invalid(field.NewPath("metadata"), meta, "must be empty"))
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(authorizationv1.SchemeGroupVersion.WithKind(kindName).GroupKind(), "", errs)
	}
	return nil
}

func checkSelectors(res *authorizationv1.ResourceAttributes, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	one := func(path *field.Path, raw string, requirements int) {
		switch {
		case raw != "" && requirements > 0:
			errs = append(errs, field.Invalid(path.Child("rawSelector"), raw, "may not specified at the same time as requirements"))
		case raw == "" && requirements == 0:
			errs = append(errs, field.Required(path.Child("requirements"), "when "+path.String()+" is specified, requirements or rawSelector is required"))
		}
	}
	if s := res.FieldSelector; s != nil {
		one(path.Child("fieldSelector"), s.RawSelector, len(s.Requirements))
		for i := range s.Requirements {
			errs = append(errs, metav1validation.ValidateFieldSelectorRequirement(s.Requirements[i], metav1validation.FieldSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}, path.Child("fieldSelector", "requirements").Index(i))...)
		}
	}
	if s := res.LabelSelector; s != nil {
		one(path.Child("labelSelector"), s.RawSelector, len(s.Requirements))
		for i := range s.Requirements {
			errs = append(errs, metav1validation.ValidateLabelSelectorRequirement(s.Requirements[i], metav1validation.LabelSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}, path.Child("labelSelector", "requirements").Index(i))...)
		}
	}
	return errs
}

// attributesOf reads what an access review asks about.
func attributesOf(u *kind.User, res *authorizationv1.ResourceAttributes, non *authorizationv1.NonResourceAttributes) authz.Attributes {
	if non != nil {
		return authz.Attributes{User: u, Verb: non.Verb, Path: non.Path}
	}
	return authz.Attributes{User: u, Verb: res.Verb, Group: res.Group, Version: res.Version, Resource: res.Resource,
		Subresource: res.Subresource, Namespace: res.Namespace, Name: res.Name, Fields: fieldsOf(res.FieldSelector), Labels: labelsOf(res.LabelSelector), IsResource: true}
}

// fieldsOf writes a field selector as a list would send it. What can not be written so is left out: the question
// is then about more objects, and is answered no rather than yes.
func fieldsOf(s *authorizationv1.FieldSelectorAttributes) string {
	if s == nil || s.RawSelector != "" {
		if s == nil {
			return ""
		}
		return s.RawSelector
	}
	var all []fields.Selector
	for _, r := range s.Requirements {
		switch {
		case r.Operator == metav1.FieldSelectorOpIn && len(r.Values) == 1:
			all = append(all, fields.OneTermEqualSelector(r.Key, r.Values[0]))
		case r.Operator == metav1.FieldSelectorOpNotIn && len(r.Values) == 1:
			all = append(all, fields.OneTermNotEqualSelector(r.Key, r.Values[0]))
		}
	}
	return fields.AndSelectors(all...).String()
}

func labelsOf(s *authorizationv1.LabelSelectorAttributes) string {
	if s == nil || s.RawSelector != "" {
		if s == nil {
			return ""
		}
		return s.RawSelector
	}
	sel, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchExpressions: s.Requirements})
	if err != nil {
		return ""
	}
	return sel.String()
}

func (s *Server) decide(r *request, a authz.Attributes) authorizationv1.SubjectAccessReviewStatus {
	if s.config.AllowAll {
		return authorizationv1.SubjectAccessReviewStatus{Allowed: true}
	}
	ok, reason := s.authz.Allowed(r.Context(), a)
	return authorizationv1.SubjectAccessReviewStatus{Allowed: ok, Reason: reason}
}

func (s *Server) selfAccessReview(w http.ResponseWriter, r *request) error {
	gvk := authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectAccessReview")
	review := &authorizationv1.SelfSubjectAccessReview{}
	if err := decodeBody(r, review, gvk); err != nil {
		return err
	}
	if err := checkReview(gvk.Kind, &review.ObjectMeta, review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes, nil); err != nil {
		return err
	}
	review.TypeMeta = typeMetaOf(gvk)
	review.Status = s.decide(r, attributesOf(r.user, review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes))
	s.answer(w, r, http.StatusCreated, review)
	return nil
}

func (s *Server) accessReview(w http.ResponseWriter, r *request) error {
	gvk := authorizationv1.SchemeGroupVersion.WithKind("SubjectAccessReview")
	review := &authorizationv1.SubjectAccessReview{}
	if err := decodeBody(r, review, gvk); err != nil {
		return err
	}
	status, err := s.reviewSubject(r, gvk.Kind, &review.ObjectMeta, &review.Spec, nil)
	if err != nil {
		return err
	}
	review.TypeMeta, review.Status = typeMetaOf(gvk), status
	s.answer(w, r, http.StatusCreated, review)
	return nil
}

func (s *Server) localAccessReview(w http.ResponseWriter, r *request) error {
	gvk := authorizationv1.SchemeGroupVersion.WithKind("LocalSubjectAccessReview")
	review := &authorizationv1.LocalSubjectAccessReview{}
	if err := decodeBody(r, review, gvk); err != nil {
		return err
	}
	var errs field.ErrorList
	if res := review.Spec.ResourceAttributes; res != nil && res.Namespace != r.namespace {
		errs = append(errs, field.Invalid(field.NewPath("spec", "resourceAttributes", "namespace"), res.Namespace, "must match metadata.namespace"))
	}
	if non := review.Spec.NonResourceAttributes; non != nil {
		errs = append(errs, field.Invalid(field.NewPath("spec", "nonResourceAttributes"), non, "disallowed on this kind of request"))
	}
	status, err := s.reviewSubject(r, gvk.Kind, &review.ObjectMeta, &review.Spec, errs)
	if err != nil {
		return err
	}
	review.TypeMeta, review.Namespace, review.Status = typeMetaOf(gvk), r.namespace, status
	s.answer(w, r, http.StatusCreated, review)
	return nil
}

func (s *Server) reviewSubject(r *request, kindName string, meta *metav1.ObjectMeta, spec *authorizationv1.SubjectAccessReviewSpec, errs field.ErrorList) (authorizationv1.SubjectAccessReviewStatus, error) {
	if spec.User == "" && len(spec.Groups) == 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "user"), spec.User, "at least one of user or group must be specified"))
	}
	if err := checkReview(kindName, meta, spec.ResourceAttributes, spec.NonResourceAttributes, errs); err != nil {
		return authorizationv1.SubjectAccessReviewStatus{}, err
	}
	u := &kind.User{Name: spec.User, UID: spec.UID, Groups: spec.Groups, Extra: map[string][]string{}}
	for key, values := range spec.Extra {
		u.Extra[strings.ToLower(key)] = values
	}
	return s.decide(r, attributesOf(u, spec.ResourceAttributes, spec.NonResourceAttributes)), nil
}

// rulesReview lists what the client may do in a namespace.
func (s *Server) rulesReview(w http.ResponseWriter, r *request) error {
	gvk := authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectRulesReview")
	review := &authorizationv1.SelfSubjectRulesReview{}
	if err := decodeBody(r, review, gvk); err != nil {
		return err
	}
	if review.Spec.Namespace == "" {
		return apierrors.NewBadRequest("no namespace on request")
	}
	review.TypeMeta = typeMetaOf(gvk)
	review.Status = authorizationv1.SubjectRulesReviewStatus{ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}}
	rules, incomplete := s.authz.Rules(r.user, review.Spec.Namespace)
	review.Status.Incomplete, review.Status.EvaluationError = incomplete != "", incomplete
	for _, rule := range rules {
		if len(rule.NonResourceURLs) > 0 {
			review.Status.NonResourceRules = append(review.Status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
			continue
		}
		review.Status.ResourceRules = append(review.Status.ResourceRules, authorizationv1.ResourceRule{Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames})
	}
	s.answer(w, r, http.StatusCreated, review)
	return nil
}
