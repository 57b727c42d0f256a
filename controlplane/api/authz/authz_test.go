package authz

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

func TestRulesCover(t *testing.T) {
	res := func(verb, group, resource, sub, name string) Attributes {
		return Attributes{Verb: verb, Group: group, Resource: resource, Subresource: sub, Name: name, IsResource: true}
	}
	pods := on("get", core, "pods")
	named := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}, ResourceNames: []string{"a"}}
	for name, tc := range map[string]struct {
		rule rbacv1.PolicyRule
		ask  Attributes
		want bool
	}{
		"exact":                     {pods, res("get", "", "pods", "", "x"), true},
		"another verb":              {pods, res("list", "", "pods", "", ""), false},
		"another group":             {pods, res("get", "apps", "pods", "", "x"), false},
		"a subresource":             {pods, res("get", "", "pods", "log", "x"), false},
		"named subresource":         {on("get", core, "pods/log"), res("get", "", "pods", "log", "x"), true},
		"any resource of it":        {on("get", core, "*/log"), res("get", "", "pods", "log", "x"), true},
		"everything":                {on("*", "*", "*"), res("delete", "apps", "deployments", "scale", ""), true},
		"everything but paths":      {on("*", "*", "*"), Attributes{Verb: "get", Path: "/metrics"}, false},
		"its name":                  {named, res("get", "", "pods", "", "a"), true},
		"another name":              {named, res("get", "", "pods", "", "b"), false},
		"no name":                   {named, res("get", "", "pods", "", ""), false},
		"path":                      {urls("/healthz"), Attributes{Verb: "get", Path: "/healthz"}, true},
		"path below":                {urls("/healthz"), Attributes{Verb: "get", Path: "/healthz/x"}, false},
		"path by its beginning":     {urls("/api/*"), Attributes{Verb: "get", Path: "/api/v1"}, true},
		"resource by a path's rule": {rbacv1.PolicyRule{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}, res("get", "", "pods", "", ""), false},
	} {
		if got := covers(&tc.rule, &tc.ask); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestIncludesIsCovers holds escalation to the same answer as authorization: what includes says of a part of a
// default role, covers says of a request for it.
func TestIncludesIsCovers(t *testing.T) {
	admin := on("*", "*", "*")
	for _, r := range defaultRoles() {
		for _, ru := range r.Rules {
			for _, part := range parts(ru) {
				if len(part.NonResourceURLs) > 0 {
					continue
				}
				if !includes(ru, part) {
					t.Errorf("%s: rule %s lacks its own part %s", r.Name, ruleText(ru), ruleText(part))
				}
				if !includes(admin, part) {
					t.Errorf("%s: everything lacks %s", r.Name, ruleText(part))
				}
			}
		}
	}
}

func TestNodeOf(t *testing.T) {
	for _, tc := range []struct {
		name   string
		groups []string
		want   string
		ok     bool
	}{{"system:node:a", []string{nodesGroup}, "a", true}, {"system:node:a", nil, "a", false}, {"system:node:", []string{nodesGroup}, "", false}, {"a", []string{nodesGroup}, "a", false}} {
		if got, ok := nodeOf(&kind.User{Name: tc.name, Groups: tc.groups}); ok != tc.ok || ok && got != tc.want {
			t.Errorf("%s in %v: %q %v", tc.name, tc.groups, got, ok)
		}
	}
}
