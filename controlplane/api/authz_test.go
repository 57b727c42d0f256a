package api_test

import (
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

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

	// Who may escalate roles, and bind one of them, may do that and no more.
	change := []string{"create", "update", "patch"}
	bindRules(t, admin, "kim", "give",
		rbacv1.PolicyRule{Verbs: append([]string{"escalate"}, change...), APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles"}},
		rbacv1.PolicyRule{Verbs: change, APIGroups: []string{rbacv1.GroupName}, Resources: []string{"clusterroles", "rolebindings"}},
		rbacv1.PolicyRule{Verbs: []string{"bind"}, APIGroups: []string{rbacv1.GroupName}, Resources: []string{"clusterroles"}, ResourceNames: []string{"edit"}})
	kim := e.Kube(e.As("kim"))
	e.Eventually("the role is bound", func() bool { return may(t, kim, "escalate", rbacv1.GroupName, "roles", "default", "") })
	if _, err := kim.RbacV1().Roles("default").Create(t.Context(), role("more", "get", "nodes"), metav1.CreateOptions{}); err != nil {
		t.Errorf("role of what kim lacks, who may escalate: %v", err)
	}
	of := role("cluster", "get", "nodes")
	if _, err := kim.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: of.ObjectMeta, Rules: of.Rules}, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("cluster role by who may escalate roles: %v", err)
	}
	all := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "all"}, AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{}}}}
	if _, err := kim.RbacV1().ClusterRoles().Create(t.Context(), all, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("role that takes in all others: %v", err)
	}
	for name, ok := range map[string]bool{"edit": true, "admin": false} {
		b := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "kim-" + name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "kim"}}}
		if _, err := kim.RbacV1().RoleBindings("default").Create(t.Context(), b, metav1.CreateOptions{}); (err == nil) != ok || !ok && !apierrors.IsForbidden(err) {
			t.Errorf("binding of %s by who may bind edit: %v", name, err)
		}
	}
	changesOfRoles(t, e)
}

// changesOfRoles holds users who may write cluster roles to what Kubernetes lets them change.
func changesOfRoles(t *testing.T, e *apitest.Env) {
	t.Helper()
	ctx, admin, dry := t.Context(), e.Kube(e.Admin()), []string{metav1.DryRunAll}
	roles := func(verbs string, names ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: strings.Fields(verbs), APIGroups: []string{rbacv1.GroupName}, Resources: []string{"clusterroles"}, ResourceNames: names}
	}
	known := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "known"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"nodes"}}}}
	gathers := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "gathers"}, AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"none": "such"}}}}}
	for _, r := range []*rbacv1.ClusterRole{known, gathers} {
		if _, err := admin.RbacV1().ClusterRoles().Create(ctx, r, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	users := map[string]kubernetes.Interface{}
	for user, rules := range map[string][]rbacv1.PolicyRule{
		"writer": {roles("create patch")}, "escalator": {roles("create patch escalate")}, "escalator of two": {roles("create patch"), roles("escalate", "known", "new")},
		"all": {{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}},
	} {
		bindRules(t, admin, user, strings.ReplaceAll(user, " ", "-"), rules...)
		users[user] = e.Kube(e.As(user))
	}
	e.Eventually("the roles are bound", func() bool {
		for user, c := range users {
			verb := "patch"
			if strings.HasPrefix(user, "escalator") {
				verb = "escalate"
			}
			if !may(t, c, verb, rbacv1.GroupName, "clusterroles", "", "known") {
				return false
			}
		}
		return true
	})
	create := func(user string, r *rbacv1.ClusterRole) error {
		r = r.DeepCopy()
		r.Name = "new"
		_, err := users[user].RbacV1().ClusterRoles().Create(ctx, r, metav1.CreateOptions{DryRun: dry})
		return err
	}
	patch := func(user, name, text string) error {
		_, err := users[user].RbacV1().ClusterRoles().Patch(ctx, name, types.MergePatchType, []byte(text), metav1.PatchOptions{DryRun: dry})
		return err
	}
	const (
		lacks     = "attempting to grant RBAC permissions not currently held"
		notAdmin  = "must have cluster-admin privileges to use the aggregationRule"
		more      = `{"rules":[{"verbs":["*"],"apiGroups":[""],"resources":["nodes"]}]}`
		label     = `{"metadata":{"labels":{"rbac.authorization.k8s.io/aggregate-to-view":"true"}}}`
		finalizer = `{"metadata":{"finalizers":["example.com/x"]}}`
		noRule    = `{"aggregationRule":null}`
	)
	for name, tc := range map[string]struct {
		err     error
		refused string // part of the message; empty: it is allowed
	}{
		"more rules":                          {patch("writer", "known", more), lacks},
		"a label by which another gathers it": {patch("writer", "known", label), lacks},
		"what collects garbage":               {patch("writer", "known", finalizer), ""},
		"any change, who may escalate":        {patch("escalator", "known", more), ""},
		"of the name that one may escalate":   {patch("escalator of two", "known", more), ""},
		"new, named like one may escalate":    {create("escalator of two", known), lacks},
		"gathering":                           {create("writer", gathers), notAdmin},
		"gathering no more":                   {patch("writer", "gathers", noRule), notAdmin},
		"gathering, who has everything":       {create("all", gathers), ""},
		"gathering, who may escalate":         {create("escalator", gathers), ""},
	} {
		switch {
		case tc.refused == "" && tc.err != nil:
			t.Errorf("%s: %v", name, tc.err)
		case tc.refused != "" && (!apierrors.IsForbidden(tc.err) || !strings.Contains(tc.err.Error(), tc.refused)):
			t.Errorf("%s: %v, want it refused", name, tc.err)
		}
	}
}

// bindRules gives a user rights of the cluster by a role of its own.
func bindRules(t *testing.T, c kubernetes.Interface, user, role string, rules ...rbacv1.PolicyRule) {
	t.Helper()
	if _, err := c.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: role}, Rules: rules}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: role},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}, Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestAggregation has a role of one's own become part of one that is there by a label, and no more when the label goes.
func TestAggregation(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	admin := e.Kube(e.Admin())
	bindRole(t, admin, "default", "view", "jane")
	u := e.Kube(e.As("jane"))
	roles := admin.RbacV1().ClusterRoles()
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "view-shops", Labels: map[string]string{"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
		Rules:      []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{"example.com"}, Resources: []string{"shops"}}},
	}
	if _, err := roles.Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.Eventually("who may view may view shops", func() bool { return may(t, u, "get", "example.com", "shops", "default", "") })
	if may(t, u, "list", "example.com", "shops", "default", "") || may(t, u, "get", "example.com", "shops", "kube-system", "") {
		t.Error("jane may do more than the role has")
	}
	if _, err := roles.Patch(t.Context(), "view-shops", types.MergePatchType, []byte(`{"metadata":{"labels":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	e.Eventually("the rules are taken out again", func() bool { return !may(t, u, "get", "example.com", "shops", "default", "") })
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
