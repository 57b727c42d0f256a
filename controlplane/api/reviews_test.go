package api_test

import (
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
)

// TestAccessReviews asks on behalf of others: with selectors, with reasons, and wrongly.
func TestAccessReviews(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	ctx, admin := t.Context(), e.Kube(e.Admin())
	bindRole(t, admin, "default", "missing", "jane")
	bindRole(t, admin, "default", "view", "jane") // last, so that the server knows of both when it knows of this
	e.Eventually("jane's roles are bound", func() bool { return may(t, e.Kube(e.As("jane")), "list", "", "pods", "default", "") })
	node := authorizationv1.SubjectAccessReviewSpec{User: "system:node:a", Groups: []string{"system:nodes"}}
	pods := func(s *authorizationv1.FieldSelectorAttributes) *authorizationv1.ResourceAttributes {
		return &authorizationv1.ResourceAttributes{Verb: "list", Version: "v1", Resource: "pods", FieldSelector: s}
	}
	ofNode := []metav1.FieldSelectorRequirement{{Key: "spec.nodeName", Operator: "In", Values: []string{"a"}}}
	ask := func(spec authorizationv1.SubjectAccessReviewSpec, r *authorizationv1.ResourceAttributes) (*authorizationv1.SubjectAccessReview, error) {
		spec.ResourceAttributes = r
		return admin.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	}
	for name, tc := range map[string]struct {
		spec authorizationv1.SubjectAccessReviewSpec
		res  *authorizationv1.ResourceAttributes
		want authorizationv1.SubjectAccessReviewStatus
	}{
		"a node's own pods": {node, pods(&authorizationv1.FieldSelectorAttributes{Requirements: ofNode}), authorizationv1.SubjectAccessReviewStatus{Allowed: true}},
		"as it is sent":     {node, pods(&authorizationv1.FieldSelectorAttributes{RawSelector: "spec.nodeName=a"}), authorizationv1.SubjectAccessReviewStatus{Allowed: true}},
		"all pods":          {node, pods(nil), authorizationv1.SubjectAccessReviewStatus{Reason: "node: can only list/watch pods with spec.nodeName field selector"}},
		"by a role": {authorizationv1.SubjectAccessReviewSpec{User: "jane"}, &authorizationv1.ResourceAttributes{Namespace: "default", Verb: "get", Resource: "pods"},
			authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: `RBAC: allowed by RoleBinding "jane-view/default" of ClusterRole "view" to User "jane"`}},
		"role that is missing": {authorizationv1.SubjectAccessReviewSpec{User: "jane"}, &authorizationv1.ResourceAttributes{Namespace: "default", Verb: "get", Resource: "secrets"},
			authorizationv1.SubjectAccessReviewStatus{Reason: `rbac: RBAC: clusterrole.rbac.authorization.k8s.io "missing" not found`}},
	} {
		got, err := ask(tc.spec, tc.res)
		if err != nil || got.Status != tc.want {
			t.Errorf("%s: %+v, %v", name, got.Status, err)
		}
	}
	for name, tc := range map[string]struct {
		spec authorizationv1.SubjectAccessReviewSpec
		res  *authorizationv1.ResourceAttributes
		path string
	}{
		"nobody":         {authorizationv1.SubjectAccessReviewSpec{}, pods(nil), "spec.user"},
		"nothing":        {node, nil, "spec"},
		"two selectors":  {node, pods(&authorizationv1.FieldSelectorAttributes{RawSelector: "a=b", Requirements: ofNode}), "spec.resourceAttributes.fieldSelector.rawSelector"},
		"empty selector": {node, pods(&authorizationv1.FieldSelectorAttributes{}), "spec.resourceAttributes.fieldSelector.requirements"},
	} {
		_, err := ask(tc.spec, tc.res)
		if causes, ok := apierrors.StatusCause(err, metav1.CauseTypeFieldValueInvalid); (!ok || causes.Field != tc.path) && !hasCause(err, tc.path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for namespace, allowed := range map[string]bool{"default": true, "kube-system": false} {
		spec := authorizationv1.SubjectAccessReviewSpec{User: "jane", ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "get", Resource: "pods"}}
		local, err := admin.AuthorizationV1().LocalSubjectAccessReviews(namespace).Create(ctx, &authorizationv1.LocalSubjectAccessReview{ObjectMeta: metav1.ObjectMeta{Namespace: namespace}, Spec: spec}, metav1.CreateOptions{})
		if err != nil || local.Status.Allowed != allowed {
			t.Errorf("in namespace %s: %+v, %v", namespace, local.Status, err)
		}
		_, err = admin.AuthorizationV1().LocalSubjectAccessReviews("kube-public").Create(ctx, &authorizationv1.LocalSubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
		if !hasCause(err, "spec.resourceAttributes.namespace") {
			t.Errorf("of %s in another namespace: %v", namespace, err)
		}
	}
	rules, err := e.Kube(e.As("system:node:a", "system:nodes")).AuthorizationV1().SelfSubjectRulesReviews().Create(ctx,
		&authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"}}, metav1.CreateOptions{})
	if err != nil || !rules.Status.Incomplete || rules.Status.EvaluationError == "" {
		t.Errorf("a node's rules: %+v, %v", rules, err)
	}
}

func hasCause(err error, path string) bool {
	status, ok := err.(apierrors.APIStatus)
	if !ok || status.Status().Details == nil {
		return false
	}
	for _, c := range status.Status().Details.Causes {
		if c.Field == path {
			return true
		}
	}
	return false
}

// TestVirtual asks what is never stored as objects are created: with options, in a namespace, and with fields that somebody
// manages.
func TestVirtual(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	c := e.HTTP()
	const authn, authz, account = "/apis/authentication.k8s.io/v1/", "/apis/authorization.k8s.io/v1/", "/api/v1/namespaces/default/serviceaccounts/default/token"
	managed := `"managedFields":[{"manager":"me","operation":"Update","apiVersion":"`
	for name, tc := range map[string]struct {
		path, body string
		code       int
		want       []string
	}{
		"fields":      {authz + "subjectaccessreviews?fieldManager=me", `{"spec":{"user":"a","nonResourceAttributes":{"path":"/x"}}}`, 201, []string{managed, `"f:spec":{"f:nonResourceAttributes":{".":{},"f:path":{}},"f:user":{}}`}},
		"token":       {account + "?fieldManager=me", `{}`, 201, []string{managed, `"f:spec":{"f:expirationSeconds":{}}`, `"subresource":"token"`, `"uid":"`}},
		"who":         {authn + "selfsubjectreviews", `{"metadata":{"labels":{"a":"b"}}}`, 201, []string{`"metadata":{"creationTimestamp":"`}},
		"rules":       {authz + "selfsubjectrulesreviews", `{"metadata":{"name":"x"},"spec":{"namespace":"default"}}`, 201, []string{`"metadata":{},"spec":{},`}},
		"stranger":    {authn + "tokenreviews", `{"spec":{"token":"x"}}`, 201, []string{`"error":"invalid bearer token"`}},
		"unread":      {authz + "selfsubjectaccessreviews", `{"spec":{"resourceAttributes":{"verb":"get","labelSelector":{"rawSelector":"a in ("}}}}`, 201, []string{`"evaluationError":"spec.resourceAttributes.labelSelector ignored due to parse error"`}},
		"partly":      {authz + "selfsubjectaccessreviews", `{"spec":{"resourceAttributes":{"verb":"get","fieldSelector":{"requirements":[{"key":"a","operator":"In","values":["b"]},{"key":"a","operator":"Odd"}]}}}}`, 201, []string{`fieldSelector partially ignored`}},
		"dry run":     {authz + "selfsubjectrulesreviews?dryRun=x", `{}`, 422, []string{`"field":"dryRun"`}},
		"strict":      {authn + "tokenreviews?fieldValidation=Strict", `{"nope":1}`, 400, []string{`TokenReview in version \"v1\" cannot be handled as a TokenReview: strict decoding error: unknown field \"nope\"`}},
		"namespace":   {authz + "namespaces/default/localsubjectaccessreviews", `{"metadata":{"namespace":"other"}}`, 400, []string{"the namespace of the provided object does not match"}},
		"version":     {authn + "tokenreviews", `{"apiVersion":"a/b/c"}`, 400, []string{"unexpected GroupVersion string: a/b/c"}},
		"account":     {account, `{"metadata":{"uid":"x"}}`, 409, []string{"the UID in the token request (x) does not match the UID of the service account"}},
		"bound":       {account, `{"spec":{"boundObjectRef":{"apiVersion":"v1","kind":"ConfigMap","name":"x"}}}`, 400, []string{"cannot bind token to object of type /v1, Kind=ConfigMap"}},
		"no account":  {"/api/v1/namespaces/default/serviceaccounts/none/token", `{"spec":{"expirationSeconds":1}}`, 404, nil},
		"no name":     {"/api/v1/namespaces/default/bindings", `{"target":{"name":"n"}}`, 400, []string{"Name parameter required."}},
		"target":      {"/api/v1/namespaces/default/bindings", `{"metadata":{"name":"p"},"target":{"name":"Bad_Name"}}`, 422, []string{`"field":"target.name"`}},
		"other's pod": {"/api/v1/namespaces/default/pods/p/eviction", `{}`, 400, []string{"name in URL does not match name in Eviction object"}},
	} {
		code, _, data := do(t, c, "POST", e.Address+tc.path, jsonType, "", tc.body)
		if code != tc.code {
			t.Errorf("%s: %d %s", name, code, data)
		}
		for _, want := range tc.want {
			if !strings.Contains(string(data), want) {
				t.Errorf("%s has no %s: %s", name, want, data)
			}
		}
	}
}

// TestNodeVolumes lets a node read the volumes that its pods' claims are bound to, and no other.
func TestNodeVolumes(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	ctx, admin, node := t.Context(), e.Kube(e.Admin()), e.Kube(e.As("system:node:a", "system:nodes"))
	for name, claim := range map[string]string{"used": "mine", "other": "theirs"} {
		v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/x"}}, ClaimRef: &corev1.ObjectReference{Namespace: "default", Name: claim}}}
		if _, err := admin.CoreV1().PersistentVolumes().Create(ctx, v, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{NodeName: "a", Containers: []corev1.Container{{Name: "c", Image: "registry.example/a:1"}},
		Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "mine"}}}}}}
	if _, err := admin.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.Eventually("the node may read its volume", func() bool {
		_, err := node.CoreV1().PersistentVolumes().Get(ctx, "used", metav1.GetOptions{})
		return err == nil
	})
	if _, err := node.CoreV1().PersistentVolumes().Get(ctx, "other", metav1.GetOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("another volume: %v", err)
	}
	// what a person gives to nodes by a role is theirs, as on Kubernetes
	if _, err := admin.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "nodes"},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:persistent-volume-provisioner"}, Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "system:nodes"}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.Eventually("the role counts", func() bool {
		_, err := node.CoreV1().PersistentVolumes().Get(ctx, "other", metav1.GetOptions{})
		return err == nil
	})
}
