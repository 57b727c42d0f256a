package authz

import (
	"context"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
)

// The marks of default roles, as Kubernetes has them: an administrator who sets the annotation to "false" keeps
// their own version.
const (
	bootstrapLabel = "kubernetes.io/bootstrapping"
	autoUpdate     = "rbac.authorization.kubernetes.io/autoupdate"
	aggregatePre   = "rbac.authorization.k8s.io/aggregate-to-"
)

func rule(verbs []string, group string, resources ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: verbs, APIGroups: []string{group}, Resources: resources}
}

func urls(verbs []string, paths ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: verbs, NonResourceURLs: paths}
}

var (
	readVerbs  = []string{"get", "list", "watch"}
	writeVerbs = []string{"create", "delete", "deletecollection", "patch", "update"}
	allVerbs   = append(slices.Clone(writeVerbs), readVerbs...)
	getVerb    = []string{"get"}
	createVerb = []string{"create"}
)

// role makes a default cluster role; to names the role that its rules are aggregated to.
func role(name, to string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	r := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{bootstrapLabel: "rbac-defaults"},
		Annotations: map[string]string{autoUpdate: "true"}}, Rules: rules}
	if to != "" {
		r.Labels[aggregatePre+to] = "true"
	}
	return r
}

func aggregateRole(name, to string) *rbacv1.ClusterRole {
	r := role(name, to)
	r.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{aggregatePre + name: "true"}}}}
	return r
}

// workloads are what edit writes and view reads, by group.
var workloads = map[string][]string{
	"apps":              {"daemonsets", "deployments", "deployments/scale", "replicasets", "replicasets/scale", "statefulsets", "statefulsets/scale"},
	"autoscaling":       {"horizontalpodautoscalers"},
	"batch":             {"cronjobs", "jobs"},
	"policy":            {"poddisruptionbudgets"},
	"networking.k8s.io": {"ingresses", "networkpolicies"},
}

func workloadRules(verbs []string, status bool) []rbacv1.PolicyRule {
	var out []rbacv1.PolicyRule
	for _, group := range []string{"apps", "autoscaling", "batch", "networking.k8s.io", "policy"} {
		resources := slices.Clone(workloads[group])
		if status {
			for _, r := range workloads[group] {
				if !slices.Contains([]string{"deployments/scale", "replicasets/scale", "statefulsets/scale", "networkpolicies"}, r) {
					resources = append(resources, r+"/status")
				}
			}
			slices.Sort(resources)
		}
		out = append(out, rule(verbs, group, resources...))
	}
	return out
}

// defaultRoles are the cluster roles that exist in every cluster.
func defaultRoles() []*rbacv1.ClusterRole {
	edit := append([]rbacv1.PolicyRule{
		rule(readVerbs, "", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"),
		rule([]string{"impersonate"}, "", "serviceaccounts"),
		rule(writeVerbs, "", "pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy"),
		rule(createVerb, "", "pods/eviction"),
		rule(writeVerbs, "", "configmaps", "events", "persistentvolumeclaims", "replicationcontrollers", "replicationcontrollers/scale", "secrets", "serviceaccounts", "services", "services/proxy"),
		rule(createVerb, "", "serviceaccounts/token"),
		rule(allVerbs, "coordination.k8s.io", "leases"),
	}, workloadRules(writeVerbs, false)...)
	view := append([]rbacv1.PolicyRule{
		rule(readVerbs, "", "configmaps", "endpoints", "persistentvolumeclaims", "persistentvolumeclaims/status", "pods", "replicationcontrollers", "replicationcontrollers/scale", "serviceaccounts", "services", "services/status"),
		rule(readVerbs, "", "bindings", "events", "limitranges", "namespaces/status", "pods/log", "pods/status", "replicationcontrollers/status", "resourcequotas", "resourcequotas/status"),
		rule(readVerbs, "", "namespaces"),
		rule(readVerbs, "discovery.k8s.io", "endpointslices"),
		rule(readVerbs, "apps", "controllerrevisions"),
	}, workloadRules(readVerbs, true)...)
	return append([]*rbacv1.ClusterRole{
		role("cluster-admin", "", rule([]string{"*"}, "*", "*"), urls([]string{"*"}, "*")),
		aggregateRole("admin", ""), aggregateRole("edit", "admin"), aggregateRole("view", "edit"),
		role("system:aggregate-to-admin", "admin", rule(createVerb, "authorization.k8s.io", "localsubjectaccessreviews"),
			rule(allVerbs, "rbac.authorization.k8s.io", "rolebindings", "roles")),
		role("system:aggregate-to-edit", "edit", edit...),
		role("system:aggregate-to-view", "view", view...),
	}, systemRoles()...)
}

// systemRoles are those of the parts of a cluster and of every user.
func systemRoles() []*rbacv1.ClusterRole {
	return []*rbacv1.ClusterRole{
		role("system:discovery", "", urls(getVerb, "/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/")),
		role("system:basic-user", "", rule(createVerb, "authorization.k8s.io", "selfsubjectaccessreviews", "selfsubjectrulesreviews"),
			rule(createVerb, "authentication.k8s.io", "selfsubjectreviews")),
		role("system:public-info-viewer", "", urls(getVerb, "/healthz", "/livez", "/readyz", "/version", "/version/")),
		role("system:monitoring", "", urls(getVerb, "/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/slis", "/readyz", "/readyz/*")),
		role("system:service-account-issuer-discovery", "", urls(getVerb, "/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks", "/openid/v1/jwks/")),
		role("system:auth-delegator", "", rule(createVerb, "authentication.k8s.io", "tokenreviews"), rule(createVerb, "authorization.k8s.io", "subjectaccessreviews")),
		role("system:heapster", "", rule(readVerbs, "", "events", "namespaces", "nodes", "pods"), rule(readVerbs, "apps", "deployments")),
		role("system:node-reader", "", rule(readVerbs, "", "nodes")),
		role("system:node",
			"", rule(createVerb, "authentication.k8s.io", "tokenreviews"),
			rule(createVerb, "authorization.k8s.io", "localsubjectaccessreviews", "subjectaccessreviews"),
			rule(readVerbs, "", "services", "endpoints", "namespaces"),
			rule(readVerbs, "discovery.k8s.io", "endpointslices"),
			rule([]string{"create", "patch", "update"}, "", "events"),
			rule([]string{"create", "patch", "update"}, "events.k8s.io", "events"),
			rule(readVerbs, "node.k8s.io", "runtimeclasses"),
			rule(readVerbs, "networking.k8s.io", "networkpolicies"),
			rule(readVerbs, "scheduling.k8s.io", "priorityclasses"),
		),
	}
}

// defaultBindings maps a cluster role to the groups that have it.
var defaultBindings = []struct {
	name, role string
	groups     []string
}{
	{"cluster-admin", "cluster-admin", []string{masters}},
	{"system:monitoring", "system:monitoring", []string{"system:monitoring"}},
	{"system:discovery", "system:discovery", []string{"system:authenticated"}},
	{"system:basic-user", "system:basic-user", []string{"system:authenticated"}},
	{"system:public-info-viewer", "system:public-info-viewer", []string{"system:authenticated", "system:unauthenticated"}},
	{"system:service-account-issuer-discovery", "system:service-account-issuer-discovery", []string{"system:serviceaccounts"}},
	{"system:node", "system:node", []string{nodesGroup}},
}

// reconcileDefaults creates what is missing and adds the rules and subjects that a default role or binding has
// lost; what was added to it stays.
func (a *Authorizer) reconcileDefaults(ctx context.Context) error {
	for _, want := range defaultRoles() {
		if err := a.reconcileRole(ctx, want); err != nil {
			return fmt.Errorf("cannot reconcile cluster role %s: %w", want.Name, err)
		}
	}
	for _, b := range defaultBindings {
		if err := a.reconcileBinding(ctx, b.name, b.role, b.groups); err != nil {
			return fmt.Errorf("cannot reconcile cluster role binding %s: %w", b.name, err)
		}
	}
	return nil
}

func (a *Authorizer) reconcileRole(ctx context.Context, want *rbacv1.ClusterRole) error {
	have, err := client.Get[*rbacv1.ClusterRole](ctx, a.client, "", want.Name)
	if apierrors.IsNotFound(err) {
		_, err = client.Create(ctx, a.client, want)
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	}
	if err != nil || have.Annotations[autoUpdate] == "false" {
		return err
	}
	changed := have.DeepCopy()
	for _, r := range want.Rules {
		for _, part := range parts(r) {
			if !slices.ContainsFunc(have.Rules, func(o rbacv1.PolicyRule) bool { return includes(o, part) }) {
				changed.Rules = append(changed.Rules, part)
			}
		}
	}
	if len(changed.Rules) == len(have.Rules) {
		return nil
	}
	_, err = client.Update(ctx, a.client, changed)
	return err
}

func (a *Authorizer) reconcileBinding(ctx context.Context, name, role string, groups []string) error {
	want := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{bootstrapLabel: "rbac-defaults"}, Annotations: map[string]string{autoUpdate: "true"}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}
	for _, g := range groups {
		want.Subjects = append(want.Subjects, rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: g})
	}
	have, err := client.Get[*rbacv1.ClusterRoleBinding](ctx, a.client, "", name)
	if apierrors.IsNotFound(err) {
		_, err = client.Create(ctx, a.client, want)
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	}
	if err != nil || have.Annotations[autoUpdate] == "false" {
		return err
	}
	changed := have.DeepCopy()
	for _, s := range want.Subjects {
		if !slices.Contains(have.Subjects, s) {
			changed.Subjects = append(changed.Subjects, s)
		}
	}
	if len(changed.Subjects) == len(have.Subjects) {
		return nil
	}
	_, err = client.Update(ctx, a.client, changed)
	return err
}
