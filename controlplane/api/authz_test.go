package api_test

import (
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
)

// may asks the server whether the client may do something.
func may(t *testing.T, c kubernetes.Interface, verb, group, resource, namespace, name string) bool {
	t.Helper()
	r, err := c.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Group: group, Resource: resource, Namespace: namespace, Name: name}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status.Allowed
}

func bindRole(t *testing.T, c kubernetes.Interface, namespace, role, user string) {
	t.Helper()
	_, err := c.RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user + "-" + role}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRoles(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	admin := e.Kube(e.Admin())
	e.Eventually("the default roles are aggregated", func() bool {
		r, err := admin.RbacV1().ClusterRoles().Get(t.Context(), "admin", metav1.GetOptions{})
		return err == nil && len(r.Rules) > 20
	})
	u := e.Kube(e.As("jane"))
	_, err := u.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) || err.Error() != `pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"` {
		t.Fatalf("list without a role: %v", err)
	}
	bindRole(t, admin, "default", "edit", "jane")
	e.Eventually("the role is bound", func() bool { return may(t, u, "list", "", "pods", "default", "") })
	for _, tc := range []struct {
		verb, group, resource, namespace string
		want                             bool
	}{
		{"create", "apps", "deployments", "default", true},
		{"get", "", "pods", "default", true},
		{"get", "", "pods", "kube-system", false},
		{"get", "", "secrets", "default", true},
		{"create", "rbac.authorization.k8s.io", "roles", "default", false},
		{"list", "", "nodes", "", false},
		{"get", "", "pods", "", false},
	} {
		if got := may(t, u, tc.verb, tc.group, tc.resource, tc.namespace, ""); got != tc.want {
			t.Errorf("%s %s in %q: %v", tc.verb, tc.resource, tc.namespace, got)
		}
	}
	if err := admin.RbacV1().RoleBindings("default").Delete(t.Context(), "jane-edit", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	e.Eventually("the role is taken away", func() bool { return !may(t, u, "list", "", "pods", "default", "") })
}

func TestNoEscalation(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	admin := e.Kube(e.Admin())
	bindRole(t, admin, "default", "admin", "jane")
	u := e.Kube(e.As("jane"))
	e.Eventually("the role is bound", func() bool {
		return may(t, u, "create", "rbac.authorization.k8s.io", "roles", "default", "") && may(t, u, "get", "", "pods", "default", "")
	})
	role := func(name, verb, resource string) *rbacv1.Role {
		return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{{Verbs: []string{verb}, APIGroups: []string{""}, Resources: []string{resource}}}}
	}
	roles := u.RbacV1().Roles("default")
	if _, err := roles.Create(t.Context(), role("have", "get", "pods"), metav1.CreateOptions{}); err != nil {
		t.Fatalf("role of what jane has: %v", err)
	}
	if _, err := roles.Create(t.Context(), role("lack", "get", "nodes"), metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Fatalf("role of what jane lacks: %v", err)
	}
	if _, err := roles.Patch(t.Context(), "have", "application/merge-patch+json", []byte(`{"rules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}]}`), metav1.PatchOptions{}); !apierrors.IsForbidden(err) {
		t.Fatalf("patch of a role to what jane lacks: %v", err)
	}
	_, err := u.RbacV1().RoleBindings("default").Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "b"},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"}, Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "jane"}}}, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) {
		t.Fatalf("binding of cluster-admin: %v", err)
	}
}

func TestImpersonation(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	c := e.Admin()
	c.Impersonate = rest.ImpersonationConfig{UserName: "jane", Groups: []string{"devs"}}
	if _, err := e.Kube(c).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Fatalf("list as jane: %v", err)
	}
	u := e.As("jane")
	u.Impersonate = rest.ImpersonationConfig{UserName: "admin", Groups: []string{"system:masters"}}
	if _, err := e.Kube(u).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Fatalf("list by jane as admin: %v", err)
	}
}

// TestRoleOfOneName holds a role with resourceNames to lists and watches of that name alone.
func TestRoleOfOneName(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	admin := e.Kube(e.Admin())
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "one"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"list", "watch"}, APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{"one"}}}}
	if _, err := admin.RbacV1().Roles("default").Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.RbacV1().RoleBindings("default").Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "one"},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "one"}, Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "jane"}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	maps := e.Kube(e.As("jane")).CoreV1().ConfigMaps("default")
	e.Eventually("jane may list the one name", func() bool {
		_, err := maps.List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=one"})
		return err == nil
	})
	for _, selector := range []string{"", "metadata.name=two", "metadata.name!=one"} {
		if _, err := maps.List(t.Context(), metav1.ListOptions{FieldSelector: selector}); !apierrors.IsForbidden(err) {
			t.Errorf("list by %q: %v", selector, err)
		}
	}
}
