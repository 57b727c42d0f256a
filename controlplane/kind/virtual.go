package kind

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	authenticationv1beta1 "k8s.io/api/authentication/v1beta1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Virtual are the resources that only answer, with the kinds of what they are asked: nothing of them is stored, so they are
// in no table.
var Virtual = map[schema.GroupVersionResource]schema.GroupVersionKind{
	authenticationv1.SchemeGroupVersion.WithResource("tokenreviews"):       authenticationv1.SchemeGroupVersion.WithKind("TokenReview"),
	authenticationv1.SchemeGroupVersion.WithResource("selfsubjectreviews"): authenticationv1.SchemeGroupVersion.WithKind("SelfSubjectReview"),
	// kubectl 1.27 asks for the beta, which has the same fields
	authenticationv1beta1.SchemeGroupVersion.WithResource("selfsubjectreviews"):  authenticationv1beta1.SchemeGroupVersion.WithKind("SelfSubjectReview"),
	authorizationv1.SchemeGroupVersion.WithResource("subjectaccessreviews"):      authorizationv1.SchemeGroupVersion.WithKind("SubjectAccessReview"),
	authorizationv1.SchemeGroupVersion.WithResource("selfsubjectaccessreviews"):  authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectAccessReview"),
	authorizationv1.SchemeGroupVersion.WithResource("localsubjectaccessreviews"): authorizationv1.SchemeGroupVersion.WithKind("LocalSubjectAccessReview"),
	authorizationv1.SchemeGroupVersion.WithResource("selfsubjectrulesreviews"):   authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectRulesReview"),
	corev1.SchemeGroupVersion.WithResource("bindings"):                           corev1.SchemeGroupVersion.WithKind("Binding"),
}
