package kube

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRefresh(t *testing.T) {
	for _, test := range []struct{ name, kind, prior, live, want string }{
		{"what is not configured is not seen", "Deployment",
			`{"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "i"}]}}}}`,
			`{"spec": {"replicas": 3, "template": {"spec": {"restartPolicy": "Always", "containers": [{"name": "x", "image": "x"}, {"name": "a", "image": "j", "tty": true}]}}}}`,
			`{"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "j"}]}}}}`},
		{"what is gone is null", "ConfigMap", `{"data": {"a": "1", "b": "2"}}`, `{"data": {"b": "3", "c": "4"}}`, `{"data": {"b": "3"}}`},
		{"everything is gone", "ConfigMap", `{"data": {"a": "1"}}`, `{}`, `{}`},
		{"nothing and absent are the same", "ConfigMap", `{"data": {}}`, `{}`, `{"data": {}}`},
		{"so are zeros that the API drops", "Deployment",
			`{"spec": {"paused": false, "min_ready_seconds": 0, "template": {"spec": {"hostname": "", "node_selector": {}, "containers": []}}}}`,
			`{"spec": {"template": {"spec": {"containers": []}}}}`,
			`{"spec": {"paused": false, "min_ready_seconds": 0, "template": {"spec": {"hostname": "", "node_selector": {}, "containers": []}}}}`},
		{"a zero that the API keeps is gone when it is", "Deployment", `{"spec": {"replicas": 0}}`, `{"spec": {}}`, `{"spec": {}}`},
		{"the text of the configuration stays while it means the same", "Deployment",
			`{"spec": {"strategy": {"rolling_update": {"max_surge": "1"}}, "template": {"spec": {"overhead": {"cpu": "1000m", "memory": "1Gi"}, "containers": []}}}}`,
			`{"spec": {"strategy": {"rollingUpdate": {"maxSurge": 1}}, "template": {"spec": {"overhead": {"cpu": "1", "memory": "2Gi"}, "containers": []}}}}`,
			`{"spec": {"strategy": {"rolling_update": {"max_surge": "1"}}, "template": {"spec": {"overhead": {"cpu": "1000m", "memory": "2Gi"}, "containers": []}}}}`},
		{"ports are told apart by key, with its default", "Deployment",
			`{"spec": {"template": {"spec": {"containers": [{"name": "a", "ports": [{"container_port": 53, "protocol": "UDP"}, {"container_port": 53}]}]}}}}`,
			`{"spec": {"template": {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 53, "protocol": "TCP", "name": "x"}, {"containerPort": 53, "protocol": "UDP"}]}]}}}}`,
			`{"spec": {"template": {"spec": {"containers": [{"name": "a", "ports": [{"container_port": 53, "protocol": "UDP"}, {"container_port": 53}]}]}}}}`},
		{"the order of env means something", "Deployment",
			`{"spec": {"template": {"spec": {"containers": [{"name": "a", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)"}]}]}}}}`,
			`{"spec": {"template": {"spec": {"containers": [{"name": "a", "env": [{"name": "B", "value": "$(A)"}, {"name": "X"}, {"name": "A", "value": "1"}]}]}}}}`,
			`{"spec": {"template": {"spec": {"containers": [{"name": "a", "env": [{"name": "B", "value": "$(A)"}, {"name": "A", "value": "1"}]}]}}}}`},
		{"a list that is one value is seen whole", "Deployment",
			`{"spec": {"template": {"spec": {"containers": [{"name": "a", "args": ["-x"]}], "tolerations": [{"key": "k"}]}}}}`,
			`{"spec": {"template": {"spec": {"containers": [{"name": "a", "args": ["-x", "-y"]}], "tolerations": [{"key": "k", "operator": "Equal"}, {"key": "l"}]}}}}`,
			`{"spec": {"template": {"spec": {"containers": [{"name": "a", "args": ["-x", "-y"]}], "tolerations": [{"key": "k"}, {"key": "l"}]}}}}`},
		{"so is a map that is one value", "Service", `{"spec": {"selector": {"a": "1"}}}`, `{"spec": {"selector": {"a": "1", "b": "2"}, "clusterIP": "10.0.0.1"}}`,
			`{"spec": {"selector": {"a": "1", "b": "2"}, "cluster_ip": "10.0.0.1"}}`},
		{"and what is inside of one", "Deployment", `{"spec": {"selector": {"match_labels": {"a": "1"}}}}`, `{"spec": {"selector": {"matchLabels": {"a": "1", "b": "2"}}}}`,
			`{"spec": {"selector": {"match_labels": {"a": "1", "b": "2"}}}}`},
		{"an empty volume is there or not", "Deployment",
			`{"spec": {"template": {"spec": {"containers": [], "volumes": [{"name": "a", "empty_dir": {}}, {"name": "b", "empty_dir": {}}]}}}}`,
			`{"spec": {"template": {"spec": {"containers": [], "volumes": [{"name": "b", "emptyDir": {}}]}}}}`,
			`{"spec": {"template": {"spec": {"containers": [], "volumes": [{"name": "b", "empty_dir": {}}]}}}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := testEngine(t, test.kind)
			state, err := k.root.refresh(build(t, k.root.tf, test.prior), liveObject(t, test.live), false)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(document(t, test.want), plain(state)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestFill(t *testing.T) {
	k := testEngine(t, "Service")
	plan := build(t, k.root.tf, `{"spec": {"cluster_ip": "<unknown>", "external_name": "<unknown>", "ports": [
		{"name": "b", "port": 81, "node_port": "<unknown>"}, {"name": "a", "port": 80, "target_port": "80", "node_port": "<unknown>"}]}}`)
	live := liveObject(t, `{"spec": {"clusterIP": "10.96.0.9", "type": "NodePort", "ports": [
		{"name": "a", "port": 80, "protocol": "TCP", "targetPort": 8080, "nodePort": 30080}, {"name": "b", "port": 81, "protocol": "TCP", "nodePort": 30081}]}}`)
	state, err := k.root.fill(plan, live)
	if err != nil {
		t.Fatal(err)
	}
	want := document(t, `{"spec": {"cluster_ip": "10.96.0.9", "ports": [{"name": "b", "port": 81, "node_port": 30081}, {"name": "a", "port": 80, "target_port": "80", "node_port": 30080}]}}`)
	if diff := cmp.Diff(want, plain(state)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestOnlyConfiguredFieldsAreApplied(t *testing.T) {
	k := testEngine(t, "Service")
	config := build(t, k.root.tf, `{"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80, "target_port": "http"}, {"port": 81, "target_port": "8081", "node_port": 30081}]}}`)
	plan := build(t, k.root.tf, `{"metadata": {"name": "web", "namespace": "default", "uid": "u"}, "spec": {"cluster_ip": "10.96.0.9",
		"ports": [{"port": 80, "target_port": "http", "node_port": 30080}, {"port": 81, "target_port": "8081", "node_port": 30081}]}}`)
	object, err := k.root.object(config, plan)
	if err != nil {
		t.Fatal(err)
	}
	want := liveObject(t, `{"metadata": {"name": "web", "namespace": "default"}, "spec": {"ports": [{"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 8081, "nodePort": 30081}]}}`)
	if diff := cmp.Diff(want, object); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := k.root.object(config, build(t, k.root.tf, `{"metadata": {"name": "<unknown>"}}`)); err == nil {
		t.Error("an unknown value was encoded")
	}
}

func FuzzRefresh(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `{"spec": {"ports": [{"port": 80, "nodePort": 1}], "clusterIP": ""}}`, `{"spec": []}`, `{"metadata": {"labels": {"a": 1}}}`, `{"spec": {"ports": [1, null]}}`,
	} {
		f.Add(seed)
	}
	k := testEngine(f, "Service")
	prior := build(f, k.root.tf, `{"metadata": {"name": "web", "labels": {"a": "b"}, "finalizers": ["x"]}, "spec": {"selector": {"a": "b"}, "external_ips": ["1.2.3.4"],
		"ports": [{"port": 80, "target_port": "8080"}], "session_affinity_config": {"client_ip": {"timeout_seconds": 1}}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var live any
		if json.Unmarshal([]byte(text), &live) != nil {
			return
		}
		live = integers(live)
		state, err := k.root.refresh(prior, live, false)
		if err != nil {
			return // it says that the server's answer does not fit
		}
		again, err := k.root.refresh(state, live, false)
		if err != nil || !again.Equal(state) {
			t.Errorf("a second look differs: %v: %v, %v", err, plain(state), plain(again))
		}
	})
}
