package api

import (
	"net/http"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/authz"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/credential"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

func typeMetaOf(gvk schema.GroupVersionKind) metav1.TypeMeta {
	return metav1.TypeMeta{Kind: gvk.Kind, APIVersion: gvk.GroupVersion().String()}
}

// tokenReview says who a bearer token stands for.
func (s *Server) tokenReview(w http.ResponseWriter, r *request) error {
	gvk := authenticationv1.SchemeGroupVersion.WithKind("TokenReview")
	review := &authenticationv1.TokenReview{}
	if err := s.readReview(r, review, gvk); err != nil {
		return err
	}
	if review.Spec.Token == "" {
		return apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	id, err := s.bearerIdentity(r.Context(), review.Spec.Token, review.Spec.Audiences)
	review.Status = authenticationv1.TokenReviewStatus{}
	switch {
	case err != nil && issuerOf(review.Spec.Token) == "" && !credential.Is(review.Spec.Token):
		review.Status.Error = "invalid bearer token" // nobody here ever gave out such a one
	case err != nil:
		review.Status.Error = err.Error()
	default:
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
	if _, err := readVirtual(r, review, gvk, false); err != nil {
		return err
	}
	review.ObjectMeta = metav1.ObjectMeta{CreationTimestamp: metav1.Now()}
	review.Status.UserInfo = userInfo(r.user)
	s.answer(w, r, http.StatusCreated, review)
	return nil
}

// readReview reads a review whose answer is the review itself.
func (s *Server) readReview(r *request, review kind.Object, gvk schema.GroupVersionKind) error {
	o, err := readVirtual(r, review, gvk, false)
	if err != nil {
		return err
	}
	return s.own(review, "", o.FieldManager)
}

// checkReview holds the parts of an access review against each other, and says of what is wrong further after it. An access
// review has no name.
func checkReview(meta *metav1.ObjectMeta, res *authorizationv1.ResourceAttributes, non *authorizationv1.NonResourceAttributes, subject, more field.ErrorList) error {
	path := field.NewPath("spec")
	var errs field.ErrorList
	if (res == nil) == (non == nil) {
		errs = append(errs, field.Invalid(path, shownPath(non), "exactly one of nonResourceAttributes or resourceAttributes must be specified"))
	}
	errs = append(errs, subject...)
	if res != nil {
		errs = append(errs, checkSelectors(res, path.Child("resourceAttributes"))...)
	}
	bare := meta.DeepCopy()
	bare.Namespace, bare.ManagedFields = "", nil
	if !apiequality.Semantic.DeepEqual(bare, &metav1.ObjectMeta{}) {
		text := "must be empty"
		if meta.Namespace != "" {
			text = "must be empty except for namespace"
		}
		errs = append(errs, field.Invalid(field.NewPath("metadata"), meta, text))
	}
	if errs = append(errs, more...); len(errs) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Group: authorizationv1.GroupName}, "", errs) // Kubernetes names no kind
	}
	return nil
}

// shownPath is a path as Kubernetes' errors show it.
func shownPath(non *authorizationv1.NonResourceAttributes) any {
	if non == nil {
		return (*struct{})(nil)
	}
	return &struct{ Path, Verb string }{non.Path, non.Verb}
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
		if term, ok := fieldTerm(&r); ok {
			all = append(all, term)
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

// decide answers a review. What could not be read of its selectors was left out, and is told.
func (s *Server) decide(r *request, u *kind.User, res *authorizationv1.ResourceAttributes, non *authorizationv1.NonResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
	status := authorizationv1.SubjectAccessReviewStatus{Allowed: true, EvaluationError: unreadable(res)}
	if !s.config.AllowAll {
		status.Allowed, status.Reason = s.authz.Allowed(r.Context(), attributesOf(u, res, non))
	}
	return status
}

// unreadable says in Kubernetes' words which selectors of a review could not be read, wholly or in part.
func unreadable(res *authorizationv1.ResourceAttributes) string {
	var parts []string
	note := func(name, raw string, parse func(string) error, known []bool) {
		path := "spec.resourceAttributes." + name
		switch {
		case raw != "" && parse(raw) != nil, len(known) > 0 && !slices.Contains(known, true):
			parts = append(parts, path+" ignored due to parse error")
		case slices.Contains(known, false):
			parts = append(parts, path+" partially ignored due to parse error")
		}
	}
	if res != nil && res.FieldSelector != nil {
		var known []bool
		for _, r := range res.FieldSelector.Requirements {
			_, ok := fieldTerm(&r)
			known = append(known, ok)
		}
		note("fieldSelector", res.FieldSelector.RawSelector, func(raw string) error { _, err := fields.ParseSelector(raw); return err }, known)
	}
	if res != nil && res.LabelSelector != nil {
		var known []bool
		for _, r := range res.LabelSelector.Requirements {
			_, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{r}})
			known = append(known, err == nil)
		}
		note("labelSelector", res.LabelSelector.RawSelector, func(raw string) error { _, err := labels.Parse(raw); return err }, known)
	}
	return strings.Join(parts, "; ")
}

// fieldTerm is a requirement as a term of a selector.
func fieldTerm(r *metav1.FieldSelectorRequirement) (fields.Selector, bool) {
	switch {
	case r.Operator == metav1.FieldSelectorOpIn && len(r.Values) == 1:
		return fields.OneTermEqualSelector(r.Key, r.Values[0]), true
	case r.Operator == metav1.FieldSelectorOpNotIn && len(r.Values) == 1:
		return fields.OneTermNotEqualSelector(r.Key, r.Values[0]), true
	}
	return nil, false
}

func (s *Server) selfAccessReview(w http.ResponseWriter, r *request) error {
	gvk := authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectAccessReview")
	review := &authorizationv1.SelfSubjectAccessReview{}
	if err := s.readReview(r, review, gvk); err != nil {
		return err
	}
	if err := checkReview(&review.ObjectMeta, review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes, nil, nil); err != nil {
		return err
	}
	review.Status = s.decide(r, r.user, review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes)
	s.answer(w, r, http.StatusCreated, review)
	return nil
}

func (s *Server) accessReview(w http.ResponseWriter, r *request) error {
	gvk := authorizationv1.SchemeGroupVersion.WithKind("SubjectAccessReview")
	review := &authorizationv1.SubjectAccessReview{}
	if err := s.readReview(r, review, gvk); err != nil {
		return err
	}
	status, err := s.reviewSubject(r, &review.ObjectMeta, &review.Spec, nil)
	if err != nil {
		return err
	}
	review.Status = status
	s.answer(w, r, http.StatusCreated, review)
	return nil
}

func (s *Server) localAccessReview(w http.ResponseWriter, r *request) error {
	gvk := authorizationv1.SchemeGroupVersion.WithKind("LocalSubjectAccessReview")
	review := &authorizationv1.LocalSubjectAccessReview{}
	if err := s.readReview(r, review, gvk); err != nil {
		return err
	}
	var errs field.ErrorList
	if res := review.Spec.ResourceAttributes; res != nil && res.Namespace != r.namespace {
		errs = append(errs, field.Invalid(field.NewPath("spec", "resourceAttributes", "namespace"), res.Namespace, "must match metadata.namespace"))
	}
	if non := review.Spec.NonResourceAttributes; non != nil {
		errs = append(errs, field.Invalid(field.NewPath("spec", "nonResourceAttributes"), shownPath(non), "disallowed on this kind of request"))
	}
	status, err := s.reviewSubject(r, &review.ObjectMeta, &review.Spec, errs)
	if err != nil {
		return err
	}
	review.Status = status
	s.answer(w, r, http.StatusCreated, review)
	return nil
}

func (s *Server) reviewSubject(r *request, meta *metav1.ObjectMeta, spec *authorizationv1.SubjectAccessReviewSpec, more field.ErrorList) (authorizationv1.SubjectAccessReviewStatus, error) {
	var subject field.ErrorList
	if spec.User == "" && len(spec.Groups) == 0 {
		subject = append(subject, field.Invalid(field.NewPath("spec", "user"), spec.User, "at least one of user or group must be specified"))
	}
	if err := checkReview(meta, spec.ResourceAttributes, spec.NonResourceAttributes, subject, more); err != nil {
		return authorizationv1.SubjectAccessReviewStatus{}, err
	}
	u := &kind.User{Name: spec.User, UID: spec.UID, Groups: spec.Groups, Extra: map[string][]string{}}
	for key, values := range spec.Extra {
		u.Extra[strings.ToLower(key)] = values
	}
	return s.decide(r, u, spec.ResourceAttributes, spec.NonResourceAttributes), nil
}

// rulesReview lists what the client may do in a namespace.
func (s *Server) rulesReview(w http.ResponseWriter, r *request) error {
	gvk := authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectRulesReview")
	review := &authorizationv1.SelfSubjectRulesReview{}
	if _, err := readVirtual(r, review, gvk, false); err != nil {
		return err
	}
	namespace := review.Spec.Namespace
	if namespace == "" {
		return apierrors.NewBadRequest("no namespace on request")
	}
	review = &authorizationv1.SelfSubjectRulesReview{TypeMeta: typeMetaOf(gvk)} // what was asked is not said again
	review.Status = authorizationv1.SubjectRulesReviewStatus{ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}}
	rules, incomplete := s.authz.Rules(r.user, namespace)
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
