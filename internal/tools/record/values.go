package main

import (
	"strings"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/recorded"
)

// candidates are values to try in a field, valid ones and others.
func (c *changes) candidates(name string, s *schema) []any {
	if ref := s.to(); ref != "" {
		switch {
		case strings.HasSuffix(ref, ".Quantity"):
			return []any{"-1", "0", "1500m", "abc", 5, "1.5"}
		case strings.HasSuffix(ref, ".IntOrString"):
			return []any{-1, 0, 70000, "50%", "150%", "abc", "", "http"}
		case strings.HasSuffix(ref, "Time"):
			return []any{"2020-01-01T00:00:00Z", "x", 5}
		}
		return []any{map[string]any{}, c.minimal(ref, 0), "text"}
	}
	switch s.Type {
	case "string":
		if s.Format == "byte" {
			return []any{"", "YWJj", "!!"}
		}
		out := []any{"", "a", "Ab_c!", strings.Repeat("x", 300), "a b", "a.b/c", "1.2.3.4", "/a/../b", 5}
		for _, v := range s.Enum {
			out = append(out, v)
		}
		return out
	case "integer":
		return []any{-1, 0, 1, 2, 70000, 2147483648, "text", 1.5}
	case "number":
		return []any{-1, 0, 1.5, "text"}
	case "boolean":
		return []any{true, false, "text"}
	case "array":
		item := c.value(name, s.Items, 0)
		return []any{[]any{}, []any{item}, []any{item, item}, "text", []any{nil}}
	case "object":
		if s.Values == nil {
			return []any{map[string]any{}, "text"}
		}
		return c.mapCandidates(s.Values)
	}
	return []any{"text", map[string]any{}, 5}
}

func (c *changes) mapCandidates(s *schema) []any {
	v := c.value("", s, 0)
	one := func(key string, value any) any { return map[string]any{key: value} }
	out := []any{map[string]any{}, "text"}
	for _, key := range []string{"a", "Bad Key!", "a/b/c", "example.com/x", strings.Repeat("x", 70)} {
		out = append(out, one(key, v))
	}
	switch ref := s.to(); {
	case ref == "" && s.Type == "string" && s.Format != "byte":
		out = append(out, one("a", "Bad value!"), one("a", strings.Repeat("x", 70)), one("a", ""), one("a", 5))
	case strings.HasSuffix(ref, ".Quantity"):
		out = append(out, one("cpu", "-1"), map[string]any{"cpu": "1500m", "memory": "1Gi"}, one("cpu", "0.1m"), one("memory", "100m"), one("storage", "1Gi"),
			one("example.com/gpu", "1"), one("example.com/gpu", "1.5"), one("hugepages-2Mi", "2Mi"), one("hugepages-2Mi", "3Mi"), one("pods", "1"), one("requests.cpu", "1"))
	}
	return out
}

// likely are values that fields of a name usually have, where "a" and 1 are not valid.
var likely = map[string]any{
	"apiVersion": "v1", "kind": "Pod", "path": "/a", "mountPath": "/m", "devicePath": "/dev/a", "image": "registry.example/a:1",
	"port": 80, "containerPort": 80, "number": 80, "ip": "1.2.3.4", "operator": "Exists", "topologyKey": "kubernetes.io/hostname",
	"whenUnsatisfiable": "DoNotSchedule", "driver": "a.example.com", "fieldPath": "metadata.name", "resource": "limits.cpu",
	"conditionType": "example.com/a", "iqn": "iqn.2017-10.local.example:x", "targetPortal": "10.0.0.1:3260", "diskURI": "https://blob.example/a",
	"host": "a.example.com", "expression": "true", "scheme": "HTTP", "expirationSeconds": 3600, "signerName": "kubernetes.io/kube-apiserver-client",
	"value": "1", "containerName": "c",
}

// samples are the least that is valid of some types, for which the required fields are not enough.
var samples = map[string]any{
	"core.v1.EnvVar":                   map[string]any{"name": "A", "value": "b"},
	"core.v1.Volume":                   map[string]any{"name": "v", "emptyDir": map[string]any{}},
	"core.v1.ContainerPort":            map[string]any{"containerPort": 80},
	"core.v1.VolumeMount":              map[string]any{"name": "v", "mountPath": "/m"},
	"core.v1.ServicePort":              map[string]any{"port": 80},
	"core.v1.Toleration":               map[string]any{"key": "a", "operator": "Exists"},
	"core.v1.PodAffinityTerm":          map[string]any{"topologyKey": "zone", "labelSelector": labelled},
	"core.v1.Probe":                    map[string]any{"tcpSocket": map[string]any{"port": 80}},
	"core.v1.LifecycleHandler":         map[string]any{"exec": map[string]any{"command": []any{"a"}}},
	"core.v1.EnvFromSource":            map[string]any{"configMapRef": map[string]any{"name": "a"}},
	"core.v1.EnvVarSource":             map[string]any{"fieldRef": map[string]any{"fieldPath": "metadata.name"}},
	"core.v1.NodeSelectorRequirement":  in,
	"core.v1.NodeSelectorTerm":         map[string]any{"matchExpressions": []any{in}},
	"core.v1.Container":                map[string]any{"name": "x", "image": "registry.example/a:1"},
	"core.v1.EphemeralContainer":       map[string]any{"name": "x", "image": "registry.example/a:1"},
	"core.v1.ObjectReference":          map[string]any{"kind": "Pod", "name": "a", "namespace": recorded.Namespace},
	"meta.v1.LabelSelector":            labelled,
	"meta.v1.LabelSelectorRequirement": in,
	"meta.v1.OwnerReference":           map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u"},
	"networking.v1.NetworkPolicyPeer":  map[string]any{"podSelector": map[string]any{}},
}

var (
	labelled = map[string]any{"matchLabels": map[string]any{"a": "b"}}
	in       = map[string]any{"key": "a", "operator": "In", "values": []any{"b"}}
)

// minimal is the least that a definition's value needs to be likely valid.
func (c *changes) minimal(definition string, depth int) any {
	switch {
	case strings.HasSuffix(definition, ".Quantity"):
		return "1"
	case strings.HasSuffix(definition, ".IntOrString"):
		return 1
	case strings.HasSuffix(definition, "Time"):
		return "2020-01-01T00:00:00Z"
	}
	for suffix, v := range samples {
		if strings.HasSuffix(definition, "."+suffix) {
			return copied(v.(map[string]any))
		}
	}
	out := map[string]any{}
	s := c.doc.Definitions[definition]
	if s == nil || depth > 6 {
		return out
	}
	for _, name := range s.Required {
		out[name] = c.value(name, s.Properties[name], depth+1)
	}
	return out
}

func (c *changes) value(name string, s *schema, depth int) any {
	if ref := s.to(); ref != "" {
		return c.minimal(ref, depth)
	}
	switch v := likely[name]; v.(type) {
	case string:
		if s.Type == "string" {
			return v
		}
	case int:
		if s.Type == "integer" {
			return v
		}
	}
	switch s.Type {
	case "string":
		if len(s.Enum) > 0 {
			return s.Enum[0]
		}
		if s.Format == "byte" {
			return "YWJj"
		}
		return "a"
	case "integer", "number":
		return 1
	case "boolean":
		return true
	case "array":
		return []any{c.value(name, s.Items, depth+1)}
	case "object":
		if s.Values != nil {
			return map[string]any{"a": c.value("", s.Values, depth+1)}
		}
	}
	return map[string]any{}
}
