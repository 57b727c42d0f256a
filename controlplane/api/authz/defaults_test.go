package authz

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/clienttest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// TestReconcileKeepsAdditions has an administrator change default roles and bindings in each way that they may.
func TestReconcileKeepsAdditions(t *testing.T) {
	c := clienttest.NewFake()
	a := New(c, kind.Builtin(), nil)
	ctx := t.Context()
	mine := on("get", core, "widgets")
	for _, r := range []*rbacv1.ClusterRole{
		{ObjectMeta: metav1.ObjectMeta{Name: "system:kube-dns"}, Rules: []rbacv1.PolicyRule{mine}},
		{ObjectMeta: metav1.ObjectMeta{Name: "system:heapster", Annotations: map[string]string{autoUpdate: "false"}}, Rules: []rbacv1.PolicyRule{mine}},
		{ObjectMeta: metav1.ObjectMeta{Name: "view", Labels: map[string]string{"a": "b"}}},
	} {
		if _, err := client.Create(ctx, c, r); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range []*rbacv1.ClusterRoleBinding{
		{ObjectMeta: metav1.ObjectMeta{Name: "system:discovery"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:discovery"}, Subjects: []rbacv1.Subject{user("jane")}},
		{ObjectMeta: metav1.ObjectMeta{Name: "system:basic-user"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "other"}},
		{ObjectMeta: metav1.ObjectMeta{Name: nodeRole}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: nodeRole}, Subjects: []rbacv1.Subject{group(nodesGroup), user("jane")}},
	} {
		if _, err := client.Create(ctx, c, b); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second finds nothing to do
		if err := a.reconcileDefaults(ctx); err != nil {
			t.Fatal(err)
		}
		if err := a.reconcileRest(ctx); err != nil {
			t.Fatal(err)
		}
	}
	role := func(name string) *rbacv1.ClusterRole {
		t.Helper()
		r, err := client.Get[*rbacv1.ClusterRole](ctx, c, "", name)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := role("system:kube-dns"); len(r.Rules) != 5 || r.Labels[bootstrapLabel] == "" || r.Annotations[autoUpdate] != "true" {
		t.Errorf("a role with an addition: %+v", r)
	}
	if r := role("system:heapster"); len(r.Rules) != 1 {
		t.Errorf("a role that is not to be updated: %+v", r.Rules)
	}
	if r := role("view"); r.AggregationRule == nil || r.Labels["a"] != "b" || r.Labels[aggregatePre+"edit"] != "true" {
		t.Errorf("view: %+v", r)
	}
	b, err := client.Get[*rbacv1.ClusterRoleBinding](ctx, c, "", "system:discovery")
	if err != nil || len(b.Subjects) != 2 {
		t.Errorf("a binding with an addition: %+v, %v", b, err)
	}
	if b, err = client.Get[*rbacv1.ClusterRoleBinding](ctx, c, "", "system:basic-user"); err != nil || b.RoleRef.Name != "system:basic-user" {
		t.Errorf("a binding of another role: %+v, %v", b, err)
	}
	if b, err = client.Get[*rbacv1.ClusterRoleBinding](ctx, c, "", nodeRole); err != nil || len(b.Subjects) != 1 || b.Subjects[0].Name != "jane" {
		t.Errorf("the binding of all nodes: %+v, %v", b, err)
	}
}

// TestDefaultsAreWhole fails when a binding names a role that is not there.
func TestDefaultsAreWhole(t *testing.T) {
	roles := map[string]bool{}
	for _, r := range defaultRoles() {
		if roles[r.Name] {
			t.Errorf("role %s is there twice", r.Name)
		}
		roles[r.Name] = true
		for _, rule := range r.Rules {
			for _, v := range append(append(rule.APIGroups, rule.Resources...), rule.Verbs...) {
				if strings.ContainsAny(v, " ,") || v == core {
					t.Errorf("role %s: %q", r.Name, v)
				}
			}
		}
	}
	for _, b := range defaultBindings() {
		if !roles[b.RoleRef.Name] {
			t.Errorf("binding %s is of the role %s, which is not there", b.Name, b.RoleRef.Name)
		}
	}
}
