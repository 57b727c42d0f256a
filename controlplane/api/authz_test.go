package api_test

import (
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
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

// TestNode holds a node to what its own pods need.
func TestNode(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	ctx, admin := t.Context(), e.Kube(e.Admin())
	n1, n2 := e.Kube(e.As("system:node:n1", "system:nodes")), e.Kube(e.As("system:node:n2", "system:nodes"))
	for name, c := range map[string]kubernetes.Interface{"n1": n1, "n2": n2} {
		if _, err := c.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatalf("node %s registers: %v", name, err)
		}
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if _, err := c.CoordinationV1().Leases("kube-node-lease").Create(ctx, lease, metav1.CreateOptions{}); err != nil {
			t.Fatalf("node %s makes its lease: %v", name, err)
		}
	}
	for _, name := range []string{"used", "unused"} {
		if _, err := admin.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{NodeName: "n1",
		Containers: []corev1.Container{{Name: "c", Image: "registry.example/a:1", EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "used"}}}}}}}}
	if _, err := admin.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.Eventually("n1 may read its pod's secret", func() bool {
		_, err := n1.CoreV1().Secrets("default").Get(ctx, "used", metav1.GetOptions{})
		return err == nil
	})
	for name, call := range map[string]func() error{
		"another secret": func() error {
			_, err := n1.CoreV1().Secrets("default").Get(ctx, "unused", metav1.GetOptions{})
			return err
		},
		"all secrets": func() error { _, err := n1.CoreV1().Secrets("default").List(ctx, metav1.ListOptions{}); return err },
		"a secret of n1": func() error {
			_, err := n2.CoreV1().Secrets("default").Get(ctx, "used", metav1.GetOptions{})
			return err
		},
		"write a secret": func() error { return n1.CoreV1().Secrets("default").Delete(ctx, "used", metav1.DeleteOptions{}) },
		"all pods":       func() error { _, err := n1.CoreV1().Pods("").List(ctx, metav1.ListOptions{}); return err },
		"pods of n1": func() error {
			_, err := n2.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=n1"})
			return err
		},
		"status of a pod of n1": func() error {
			_, err := n2.CoreV1().Pods("default").Patch(ctx, "p", "application/merge-patch+json", []byte(`{}`), metav1.PatchOptions{}, "status")
			return err
		},
		"another node": func() error {
			_, err := n2.CoreV1().Nodes().Patch(ctx, "n1", "application/merge-patch+json", []byte(`{}`), metav1.PatchOptions{})
			return err
		},
		"create another node": func() error {
			_, err := n2.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n3"}}, metav1.CreateOptions{})
			return err
		},
		"another lease": func() error {
			_, err := n2.CoordinationV1().Leases("kube-node-lease").Get(ctx, "n1", metav1.GetOptions{})
			return err
		},
		"a token for no pod": func() error {
			_, err := n1.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
			return err
		},
		"a token for a pod of n1": func() error {
			ref := &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "p"}
			_, err := n2.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: ref}}, metav1.CreateOptions{})
			return err
		},
		"create a pod": func() error {
			_, err := n1.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{})
			return err
		},
	} {
		if err := call(); !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if l, err := n1.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=n1"}); err != nil || len(l.Items) != 1 {
		t.Errorf("own pods: %v", err)
	}
	if _, err := n1.CoreV1().Pods("default").Patch(ctx, "p", "application/merge-patch+json", []byte(`{"status":{"phase":"Running"}}`), metav1.PatchOptions{}, "status"); err != nil {
		t.Errorf("status of an own pod: %v", err)
	}
	zero := int64(0)
	if err := n1.CoreV1().Pods("default").Delete(ctx, "p", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Errorf("delete of an own pod: %v", err)
	}
	e.Eventually("the secret is none of n1's any more", func() bool {
		_, err := n1.CoreV1().Secrets("default").Get(ctx, "used", metav1.GetOptions{})
		return apierrors.IsForbidden(err)
	})
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
