package kube

import (
	"strings"
	"testing"
)

// pod returns a deployment with a pod spec, and service one with a service spec.
func podOf(spec string) string {
	return `{"metadata": {"name": "web"}, "spec": {"template": {"metadata": {"labels": {"app": "web"}}, "spec": ` + spec + `}}}`
}

func serviceOf(spec string) string { return `{"metadata": {"name": "web"}, "spec": ` + spec + `}` }

func TestValidate(t *testing.T) {
	container := func(extra string) string {
		return podOf(`{"containers": [{"name": "a", "image": "i", ` + extra + `}]}`)
	}
	for _, test := range []struct{ name, kind, config, want string }{
		{"valid", "Deployment", container(`"env": [{"name": "A", "value": "1"}], "ports": [{"container_port": 53}, {"container_port": 53, "protocol": "UDP"}]`), ""},
		{"unknown values pass", "Deployment", podOf(`{"containers": [{"name": "<unknown>", "image": "<unknown>", "ports": "<unknown>", "volume_mounts": [{"name": "v", "mount_path": "/"}],
			"resources": {"limits": {"cpu": "<unknown>"}}}], "volumes": "<unknown>"}`), ""},
		{"an unknown object passes", "Deployment", `{"metadata": "<unknown>", "spec": {"selector": "<unknown>", "template": "<unknown>"}}`, ""},
		{"name", "ConfigMap", `{"metadata": {"name": "Web"}}`, `metadata.name: a lowercase RFC 1123 subdomain`},
		{"namespace", "ConfigMap", `{"metadata": {"name": "web", "namespace": "a.b"}}`, `metadata.namespace: must not contain dots`},
		{"label", "ConfigMap", `{"metadata": {"name": "web", "labels": {"a b": "c"}}}`, `metadata.labels["a b"]: name part must consist`},
		{"annotation", "ConfigMap", `{"metadata": {"name": "web", "annotations": {"Team/ A": "c"}}}`, `metadata.annotations["Team/ A"]:`},
		{"data key", "ConfigMap", `{"metadata": {"name": "web"}, "data": {"..": "c"}}`, `data[".."]:`},
		{"base64", "ConfigMap", `{"metadata": {"name": "web"}, "binary_data": {"a": "%"}}`, `binary_data["a"]: The value is not base64`},
		{"null value", "ConfigMap", `{"metadata": {"name": "web"}, "data": {"a": null}}`, `data["a"]: A value can not be null`},
		{"quantity", "Deployment", container(`"resources": {"limits": {"cpu": "1 core"}}`), `resources.limits["cpu"]: "1 core" is not a quantity`},
		{"port", "Deployment", container(`"ports": [{"container_port": 70000}]`), `ports[0].container_port: 70000 is not between 1 and 65535`},
		{"fraction", "Deployment", container(`"ports": [{"container_port": 80.5}]`), `ports[0].container_port: The value is not a whole number`},
		{"32 bits", "Deployment", container(`"readiness_probe": {"exec": {}, "period_seconds": 4294967296}`), `period_seconds: The value does not fit 32 bits`},
		{"duplicate port", "Deployment", container(`"ports": [{"container_port": 80}, {"container_port": 80, "protocol": "TCP"}]`), `ports[1]: Element 1 has the same container_port and protocol as element 0`},
		{"duplicate container", "Deployment", podOf(`{"containers": [{"name": "a", "image": "i"}, {"name": "a", "image": "j"}]}`), `containers[1]: Element 1 has the same name`},
		{"init container of the same name", "Deployment", podOf(`{"init_containers": [{"name": "a", "image": "i"}], "containers": [{"name": "a", "image": "j"}]}`), `containers[0].name: There is an init container with the name "a" too`},
		{"no container", "Deployment", podOf(`{"containers": []}`), `containers: A pod needs at least one container`},
		{"enum", "Deployment", podOf(`{"restart_policy": "Sometimes", "containers": [{"name": "a", "image": "i"}]}`), `restart_policy: "Sometimes" is not one of Always, OnFailure, Never`},
		{"image", "Deployment", podOf(`{"containers": [{"name": "a", "image": " i"}]}`), `image: an image has a name without spaces`},
		{"two sources", "Deployment", podOf(`{"containers": [{"name": "a", "image": "i"}], "volumes": [{"name": "v", "empty_dir": {}, "secret": {"secret_name": "s"}}]}`), `volumes[0]: Only one of empty_dir, secret can be set`},
		{"no source", "Deployment", podOf(`{"containers": [{"name": "a", "image": "i"}], "volumes": [{"name": "v"}]}`), `volumes[0]: The volume has no source`},
		{"probe without action", "Deployment", container(`"liveness_probe": {"period_seconds": 1}`), `liveness_probe: The probe does nothing`},
		{"value and source", "Deployment", container(`"env": [{"name": "A", "value": "1", "value_from": {"field_ref": {"field_path": "x"}}}]`), `env[0]: Only one of value and value_from`},
		{"mount", "Deployment", container(`"volume_mounts": [{"name": "v", "mount_path": "/v"}]`), `volume_mounts[0].name: The pod has no volume "v"`},
		{"target port", "Deployment", container(`"liveness_probe": {"tcp_socket": {"port": "no_port"}}`), `tcp_socket.port:`},
		{"path", "Deployment", podOf(`{"containers": [{"name": "a", "image": "i"}], "volumes": [{"name": "v", "config_map": {"name": "c", "items": [{"key": "k", "path": "../x"}]}}]}`), `items[0].path: a path inside the volume can not contain '..'`},
		{"strategy", "Deployment", `{"metadata": {"name": "web"}, "spec": {"strategy": {"type": "Recreate", "rolling_update": {}}, "template": {"metadata": {"labels": {"a": "b"}}}}}`, `rolling_update: Strategy Recreate has no rolling update`},
		{"standstill", "Deployment", `{"metadata": {"name": "web"}, "spec": {"strategy": {"rolling_update": {"max_surge": "0", "max_unavailable": "0%"}}, "template": {"metadata": {"labels": {"a": "b"}}}}}`, `max_surge and max_unavailable can not both be 0`},
		{"percent", "Deployment", `{"metadata": {"name": "web"}, "spec": {"strategy": {"rolling_update": {"max_surge": "a%"}}, "template": {"metadata": {"labels": {"a": "b"}}}}}`, `max_surge:`},
		{"selector", "Deployment", `{"metadata": {"name": "web"}, "spec": {"selector": {"match_labels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": "y"}}}}}`, `spec.selector.match_labels["app"]: The selector does not match`},
		{"no labels", "Deployment", `{"metadata": {"name": "web"}, "spec": {"template": {"metadata": {}}}}`, `spec.template.metadata: The template needs labels`},
		{"no port", "Service", serviceOf(`{"selector": {"a": "b"}}`), `spec.ports: A service needs at least one port`},
		{"headless", "Service", serviceOf(`{"cluster_ip": "None"}`), ``},
		{"headless node port", "Service", serviceOf(`{"cluster_ip": "None", "type": "NodePort", "ports": [{"port": 1}]}`), `cluster_ip: A service of type NodePort can not be headless`},
		{"address", "Service", serviceOf(`{"cluster_ip": "10.0.0", "ports": [{"port": 1}]}`), `cluster_ip: "10.0.0" is neither an address nor None`},
		{"external", "Service", serviceOf(`{"type": "ExternalName"}`), `external_name: A service of type ExternalName needs`},
		{"unnamed ports", "Service", serviceOf(`{"ports": [{"port": 1}, {"port": 2}]}`), `ports[0]: Every port needs a name`},
		{"equal names", "Service", serviceOf(`{"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}`), `ports[1].name: There is another port with the name "a"`},
		{"node port without type", "Service", serviceOf(`{"ports": [{"port": 1, "node_port": 30000}]}`), `node_port: A service of type ClusterIP has no node ports`},
		{"empty selector", "Deployment", `{"metadata": {"name": "web"}, "spec": {"selector": {"match_labels": {}}, "template": {"metadata": {"labels": {"a": "b"}}}}}`, `spec.selector: The selector is empty`},
		{"selector by expressions", "Deployment", `{"metadata": {"name": "web"}, "spec": {"selector": {"match_expressions": [{"key": "a", "operator": "Exists"}]}, "template": {"metadata": {"labels": {"a": "b"}}}}}`, ``},
		{"restart policy", "Deployment", podOf(`{"restart_policy": "Never", "containers": [{"name": "a", "image": "i"}]}`), `restart_policy: The pods run always: "Never" is for jobs`},
		{"request above limit", "Deployment", container(`"resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1001m", "memory": "1024Mi"}}`), `resources.requests["cpu"]: The request of 1001m is more than the limit of 1.`},
		{"value of Exists", "Deployment", podOf(`{"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}], "containers": [{"name": "a", "image": "i"}]}`), `tolerations[0].value: A toleration with operator Exists`},
		{"toleration without key", "Deployment", podOf(`{"tolerations": [{"effect": "NoSchedule"}], "containers": [{"name": "a", "image": "i"}]}`), `tolerations[0].operator: A toleration without a key`},
		{"tolerations", "Deployment", podOf(`{"tolerations": [{"operator": "Exists"}, {"key": "a", "value": "b"}], "containers": [{"name": "a", "image": "i"}]}`), ``},
		{"external traffic", "Service", serviceOf(`{"external_traffic_policy": "Local", "ports": [{"port": 1}]}`), `external_traffic_policy: A service of type ClusterIP gets no traffic from outside`},
		{"external traffic of node ports", "Service", serviceOf(`{"type": "NodePort", "external_traffic_policy": "Local", "ports": [{"port": 1}]}`), ``},
		{"restart policy of a job", "CronJob", `{"metadata": {"name": "c"}, "spec": {"schedule": "* * * * *", "job_template": {"spec": {"template": {"spec": {"restart_policy": "Always", "containers": [{"name": "a", "image": "i"}]}}}}}}`, `restart_policy: The pods of a job end`},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := testEngine(t, test.kind)
			diags := k.desc.validate(k.root, build(t, k.typ, test.config))
			var all []string
			for _, d := range diags {
				all = append(all, d.Detail())
			}
			got := strings.Join(all, "\n")
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestValidateWriteOnly(t *testing.T) {
	desc := Descriptor{Object: testKinds["Secret"].Object, Namespaced: true, WriteOnly: []WriteOnly{{Field: "data", Text: "data_wo", Base64: "binary_data_wo", Version: "data_wo_version"}}}
	k, err := newEngine(&desc)
	if err != nil {
		t.Fatal(err)
	}
	for config, want := range map[string]string{
		`{"metadata": {"name": "s"}, "data_wo": {"a": "1"}, "data_wo_version": 1}`:                                                    `[]`,
		`{"metadata": {"name": "s"}, "data_wo": {"a": "1"}}`:                                                                          `data_wo_version is needed`,
		`{"metadata": {"name": "s"}, "data_wo": {"a": "1"}, "binary_data_wo": {"a": "YQ=="}, "data_wo_version": 1}`:                   `is in data_wo too`,
		`{"metadata": {"name": "s"}, "binary_data_wo": {"a": "hunter2!"}, "data_wo_version": 1}`:                                      `not base64`,
		`{"metadata": {"name": "s"}, "data_wo": {"a b": "1", "c": "<unknown>"}, "binary_data_wo": "<unknown>", "data_wo_version": 1}`: `data_wo["a b"]:`,
	} {
		diags := desc.validate(k.root, build(t, k.typ, config))
		text := "[]"
		for _, d := range diags {
			text += d.Detail()
		}
		if !strings.Contains(text, want) || strings.Contains(text, "hunter2") {
			t.Errorf("%s: %s", config, text)
		}
	}
}
