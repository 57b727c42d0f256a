package authz

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// reconcilers is how many default objects are written at once: a new cluster waits for all of them.
const reconcilers = 32

// reconcileDefaults creates what is missing and adds the rules and subjects that a default role or binding has
// lost; what was added to it stays. The roles of controllers can wait: see reconcileRest.
func (a *Authorizer) reconcileDefaults(ctx context.Context) error {
	return a.reconcileCluster(ctx, func(name string) bool { return !strings.HasPrefix(name, controllerPrefix) })
}

// reconcileRest does the same for what no server needs to be ready: the roles of controllers, which are programs of
// their own elsewhere, and those within the system's namespaces, which may not be there yet.
func (a *Authorizer) reconcileRest(ctx context.Context) error {
	if err := a.reconcileCluster(ctx, func(name string) bool { return strings.HasPrefix(name, controllerPrefix) }); err != nil {
		return err
	}
	return a.reconcileNamespaces(ctx)
}

// reconcileCluster reconciles the cluster roles and bindings whose names are wanted.
func (a *Authorizer) reconcileCluster(ctx context.Context, wanted func(name string) bool) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(reconcilers)
	for _, r := range defaultRoles() {
		if wanted(r.Name) {
			g.Go(func() error { return reconcile(ctx, a.client, r, mergeClusterRole) })
		}
	}
	for _, b := range defaultBindings() {
		if wanted(b.Name) {
			g.Go(func() error { return reconcile(ctx, a.client, b, mergeClusterBinding) })
		}
	}
	return g.Wait()
}

func (a *Authorizer) reconcileNamespaces(ctx context.Context) error {
	for _, r := range namespaceRoles() {
		if err := ensureNamespace(ctx, a.client, r.namespace); err != nil {
			return err
		}
		binding := r.binding
		if binding == "" {
			binding = r.name
		}
		if err := reconcile(ctx, a.client, &rbacv1.Role{ObjectMeta: defaultMeta(r.namespace, r.name), Rules: r.rules}, mergeRole); err != nil {
			return err
		}
		if err := reconcile(ctx, a.client, &rbacv1.RoleBinding{ObjectMeta: defaultMeta(r.namespace, binding), Subjects: r.subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: r.name}}, mergeBinding); err != nil {
			return err
		}
	}
	return nil
}

func ensureNamespace(ctx context.Context, c client.Client, name string) error {
	_, err := client.Get[*corev1.Namespace](ctx, c, "", name)
	if apierrors.IsNotFound(err) {
		_, err = client.Create(ctx, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// reconcile creates want, or writes what merge makes of the one that is there. merge returns nil for what cannot
// be merged: the object is made anew.
func reconcile[T kind.Object](ctx context.Context, c client.Client, want T, merge func(have, want T) (merged T, ok bool)) error {
	have, err := client.Get[T](ctx, c, want.GetNamespace(), want.GetName())
	switch {
	case apierrors.IsNotFound(err):
		_, err = client.Create(ctx, c, want)
		if apierrors.IsAlreadyExists(err) {
			err = nil
		}
	case err == nil && have.GetAnnotations()[autoUpdate] != "false":
		err = bring(ctx, c, have, want, merge)
	}
	if err != nil {
		return fmt.Errorf("cannot reconcile %T %s: %w", want, want.GetName(), err)
	}
	return nil
}

func bring[T kind.Object](ctx context.Context, c client.Client, have, want T, merge func(have, want T) (T, bool)) error {
	merged, ok := merge(have.DeepCopyObject().(T), want)
	if !ok {
		uid := have.GetUID()
		if err := client.Delete[T](ctx, c, have.GetNamespace(), have.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}); err != nil {
			return err
		}
		_, err := client.Create(ctx, c, want)
		return err
	}
	merged.SetLabels(joined(merged.GetLabels(), want.GetLabels()))
	merged.SetAnnotations(joined(merged.GetAnnotations(), want.GetAnnotations()))
	if apiequality.Semantic.DeepEqual(merged, have) {
		return nil
	}
	_, err := client.Update(ctx, c, merged)
	return err
}

// joined adds what is missing.
func joined(have, want map[string]string) map[string]string {
	out := maps.Clone(want)
	maps.Copy(out, have)
	return out
}

func mergeClusterRole(have, want *rbacv1.ClusterRole) (*rbacv1.ClusterRole, bool) {
	have.Rules = joinRules(have.Rules, want.Rules)
	if want.AggregationRule == nil {
		return have, true
	}
	if have.AggregationRule == nil {
		have.AggregationRule = &rbacv1.AggregationRule{}
	}
	for _, s := range want.AggregationRule.ClusterRoleSelectors {
		if !slices.ContainsFunc(have.AggregationRule.ClusterRoleSelectors, func(o metav1.LabelSelector) bool { return apiequality.Semantic.DeepEqual(o, s) }) {
			have.AggregationRule.ClusterRoleSelectors = append(have.AggregationRule.ClusterRoleSelectors, s)
		}
	}
	return have, true
}

func mergeRole(have, want *rbacv1.Role) (*rbacv1.Role, bool) {
	have.Rules = joinRules(have.Rules, want.Rules)
	return have, true
}

func mergeClusterBinding(have, want *rbacv1.ClusterRoleBinding) (*rbacv1.ClusterRoleBinding, bool) {
	have.Subjects = joinSubjects(have.Subjects, want.Subjects)
	if have.Name == nodeRole {
		// Early clusters gave nodes a part of this role by it. The whole role reads every secret, and nodes have what
		// they may from the node authorizer.
		have.Subjects = slices.DeleteFunc(have.Subjects, func(s rbacv1.Subject) bool { return s.Kind == rbacv1.GroupKind && s.Name == nodesGroup })
	}
	return have, have.RoleRef == want.RoleRef
}

func mergeBinding(have, want *rbacv1.RoleBinding) (*rbacv1.RoleBinding, bool) {
	have.Subjects = joinSubjects(have.Subjects, want.Subjects)
	return have, have.RoleRef == want.RoleRef
}

// joinRules adds the parts of rules that are not held yet.
func joinRules(have, want []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	out := have
	for _, r := range want {
		for _, part := range parts(r) {
			if !slices.ContainsFunc(have, func(o rbacv1.PolicyRule) bool { return includes(o, part) }) {
				out = append(out, part)
			}
		}
	}
	return out
}

func joinSubjects(have, want []rbacv1.Subject) []rbacv1.Subject {
	for _, s := range want {
		if !slices.Contains(have, s) {
			have = append(have, s)
		}
	}
	return have
}
