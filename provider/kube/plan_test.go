package kube

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// complete plans a configuration over a prior state, as Terraform proposes it: what is computed and not configured is
// the prior value.
func complete(t *testing.T, k *engine, config, prior string) (tftypes.Value, *planner) {
	t.Helper()
	p := &planner{desc: k.desc, config: ViewOf(build(t, k.typ, config)), prior: ViewOf(tftypes.NewValue(k.typ, nil))}
	if prior != "" {
		p.prior = ViewOf(build(t, k.typ, prior))
	}
	return p.complete(k.root, p.config.value), p
}

func TestPlan(t *testing.T) {
	const (
		meta  = `"metadata": {"name": "web", "namespace": "default"}`
		prior = `"id": "default/web", "metadata": {"name": "web", "namespace": "default", "uid": "u"}`
		know  = `"id": "default/web", "metadata": {"name": "web", "namespace": "default", "uid": "u"}`
	)
	for _, test := range []struct {
		name, kind, config, prior, want string
		replace                         []string
	}{
		{name: "a new object", kind: "Service", config: `{` + meta + `, "spec": {"ports": [{"port": 80}]}}`,
			want: `{"id": "default/web", ` + meta + `, "spec": {"cluster_ip": "<unknown>", "ports": [{"port": 80, "node_port": "<unknown>"}]}}`},
		{name: "namespace by default", kind: "ConfigMap", config: `{"metadata": {"name": "web"}}`, want: `{"id": "default/web", ` + meta + `}`},
		{name: "unknown cluster", kind: "ConfigMap", config: `{"cluster": "<unknown>", ` + meta + `}`, want: `{"cluster": "<unknown>", "id": "<unknown>", ` + meta + `}`},
		{name: "unknown name", kind: "ConfigMap", config: `{"metadata": {"name": "<unknown>"}}`, want: `{"id": "<unknown>", "metadata": {"name": "<unknown>", "namespace": "default"}}`},
		{name: "unknown spec", kind: "Service", config: `{` + meta + `, "spec": "<unknown>"}`, want: `{"id": "default/web", ` + meta + `, "spec": "<unknown>"}`},
		{name: "what the server chose stays", kind: "Service",
			config: `{` + meta + `, "spec": {"ports": [{"name": "b", "port": 81}, {"name": "a", "port": 80}]}}`,
			prior:  `{` + prior + `, "spec": {"cluster_ip": "10.96.0.2", "ports": [{"name": "a", "port": 80, "node_port": 30080}]}}`,
			want: `{` + know + `, "spec": {"cluster_ip": "10.96.0.2", "ports": [
				{"name": "b", "port": 81, "node_port": "<unknown>"}, {"name": "a", "port": 80, "node_port": 30080}]}}`},
		{name: "its choice depends on the type", kind: "Service",
			config: `{` + meta + `, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}`,
			prior:  `{` + prior + `, "spec": {"type": "ClusterIP", "cluster_ip": "10.96.0.2", "ports": [{"port": 80}]}}`,
			want:   `{` + know + `, "spec": {"type": "NodePort", "cluster_ip": "10.96.0.2", "ports": [{"port": 80, "node_port": "<unknown>"}]}}`},
		{name: "equal meaning keeps the prior text", kind: "Deployment",
			config: `{` + meta + `, "spec": {"selector": {}, "template": {"spec": {"overhead": {"cpu": "1000m"}, "containers": [{"name": "a", "image": "i"}]}}}}`,
			prior:  `{` + prior + `, "spec": {"selector": {}, "template": {"spec": {"overhead": {"cpu": "1"}, "containers": [{"name": "a", "image": "i"}]}}}}`,
			want:   `{` + know + `, "spec": {"selector": {}, "template": {"spec": {"overhead": {"cpu": "1"}, "containers": [{"name": "a", "image": "i"}]}}}}`},
		{name: "a collection is kept whole or not at all", kind: "Deployment",
			config: `{` + meta + `, "spec": {"selector": {}, "template": {"spec": {"overhead": {"cpu": "1000m", "memory": "2Gi"}, "containers": []}}}}`,
			prior:  `{` + prior + `, "spec": {"selector": {}, "template": {"spec": {"overhead": {"cpu": "1", "memory": "1Gi"}, "containers": []}}}}`,
			want:   `{` + know + `, "spec": {"selector": {}, "template": {"spec": {"overhead": {"cpu": "1000m", "memory": "2Gi"}, "containers": []}}}}`},
		{name: "an element that moved keeps its own text", kind: "Deployment",
			config: `{` + meta + `, "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "b", "image": "i"}, {"name": "a", "image": "i", "resources": {"limits": {"cpu": "1000m"}}}]}}}}`,
			prior:  `{` + prior + `, "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "a", "image": "i", "resources": {"limits": {"cpu": "1"}}}]}}}}`,
			want:   `{` + know + `, "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "b", "image": "i"}, {"name": "a", "image": "i", "resources": {"limits": {"cpu": "1000m"}}}]}}}}`},
		{name: "the selector is the template's labels", kind: "Deployment",
			config: `{` + meta + `, "spec": {"template": {"metadata": {"labels": {"a": "1", "b": "<unknown>"}}}}}`,
			want:   `{"id": "default/web", ` + meta + `, "spec": {"selector": {"match_labels": {"a": "1", "b": "<unknown>"}}, "template": {"metadata": {"labels": {"a": "1", "b": "<unknown>"}}}}}`},
		{name: "a new name replaces", kind: "ConfigMap", config: `{` + meta + `}`, prior: `{"id": "default/old", "metadata": {"name": "old", "namespace": "default", "uid": "u"}}`,
			want: `{` + know + `}`, replace: []string{"metadata.name"}},
		{name: "another cluster replaces", kind: "ConfigMap", config: `{"cluster": "b", ` + meta + `}`, prior: `{"cluster": "a", ` + prior + `}`,
			want: `{"cluster": "b", "id": "b/default/web", "metadata": {"name": "web", "namespace": "default", "uid": "u"}}`, replace: []string{"cluster"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := testEngine(t, test.kind)
			plan, p := complete(t, k, test.config, test.prior)
			want := plain(build(t, k.typ, test.want))
			got := plain(plan)
			if test.prior == "" { // a uid is unknown to Terraform, null to this test, which skips the framework
				delete(got.(map[string]any)["metadata"].(map[string]any), "uid")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			var replace []string
			for _, at := range p.replace {
				replace = append(replace, at.String())
			}
			if diff := cmp.Diff(test.replace, replace); diff != "" {
				t.Errorf("replaced by -want +got:\n%s", diff)
			}
		})
	}
}
