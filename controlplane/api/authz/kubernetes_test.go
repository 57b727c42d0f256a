package authz

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
)

// TestDefaultsAreKubernetes compares the default roles and bindings with those that a kube-apiserver of 1.37.2 had: who is
// granted what, however the rules are cut.
func TestDefaultsAreKubernetes(t *testing.T) {
	data, err := os.ReadFile("testdata/kubernetes.json")
	if err != nil {
		t.Fatal(err)
	}
	type object struct {
		Namespace, Name string
		Labels          map[string]string
		Rules           []rbacv1.PolicyRule
		Subjects        []rbacv1.Subject
		RoleRef         rbacv1.RoleRef
		AggregationRule *rbacv1.AggregationRule
	}
	want := map[string][]object{}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	got := map[string][]object{}
	for _, r := range defaultRoles() {
		got["clusterroles"] = append(got["clusterroles"], object{Name: r.Name, Labels: r.Labels, Rules: r.Rules, AggregationRule: r.AggregationRule})
	}
	for _, b := range defaultBindings() {
		got["clusterrolebindings"] = append(got["clusterrolebindings"], object{Name: b.Name, Labels: b.Labels, Subjects: b.Subjects, RoleRef: b.RoleRef})
	}
	for _, r := range namespaceRoles() {
		meta := defaultMeta(r.namespace, r.name)
		got["roles"] = append(got["roles"], object{Namespace: r.namespace, Name: r.name, Labels: meta.Labels, Rules: r.rules})
	}
	for _, kind := range []string{"clusterroles", "clusterrolebindings", "roles"} {
		index := func(list []object) map[string]object {
			out := map[string]object{}
			for _, o := range list {
				out[o.Namespace+"/"+o.Name] = o
			}
			return out
		}
		w, g := index(want[kind]), index(got[kind])
		if a, b := slices.Sorted(maps.Keys(w)), slices.Sorted(maps.Keys(g)); !slices.Equal(a, b) {
			t.Errorf("%s: want %q, got %q", kind, a, b)
		}
		for name, o := range g {
			k := w[name]
			if a, b := grants(k.Rules), grants(o.Rules); !slices.Equal(a, b) {
				t.Errorf("%s %s: want %q, got %q", kind, name, a, b)
			}
			if !reflect.DeepEqual(k.Subjects, o.Subjects) || k.RoleRef != o.RoleRef || !maps.Equal(k.Labels, o.Labels) || !reflect.DeepEqual(k.AggregationRule, o.AggregationRule) {
				t.Errorf("%s %s: want %+v, got %+v", kind, name, k, o)
			}
		}
	}
}

// grants are what rules allow, each by itself.
func grants(rules []rbacv1.PolicyRule) []string {
	set := map[string]bool{}
	for _, r := range rules {
		for _, verb := range r.Verbs {
			for _, url := range r.NonResourceURLs {
				set[verb+" "+url] = true
			}
			names := r.ResourceNames
			if len(names) == 0 {
				names = []string{"*"}
			}
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					for _, name := range names {
						set[fmt.Sprintf("%s %s.%s %s", verb, resource, group, name)] = true
					}
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}
