package kube

import (
	"encoding/json"
	"math/big"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tftypes"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// testKinds are kinds of every shape that the derivation must take, more than the provider has resources for.
var testKinds = map[string]Descriptor{
	"Namespace":   {Object: &corev1.Namespace{}, Omit: []string{"spec"}},
	"ConfigMap":   {Object: &corev1.ConfigMap{}, Namespaced: true},
	"Secret":      {Object: &corev1.Secret{}, Namespaced: true},
	"Service":     {Object: &corev1.Service{}, Namespaced: true, Filled: []Filled{{Path: "spec.cluster_ip"}, {Path: "spec.ports[*].node_port", Depends: []string{"spec.type"}}}},
	"Deployment":  {Object: &appsv1.Deployment{}, Namespaced: true, Defaults: []Default{{Path: "spec.selector", Value: SelectorFromTemplate}}, Immutable: []string{"spec.selector"}},
	"StatefulSet": {Object: &appsv1.StatefulSet{}, Namespaced: true},
	"CronJob":     {Object: &batchv1.CronJob{}, Namespaced: true},
	"Ingress":     {Object: &networkingv1.Ingress{}, Namespaced: true},
	"ClusterRole": {Object: &rbacv1.ClusterRole{}},
	"PV":          {Object: &corev1.PersistentVolume{}},
}

func testEngine(t testing.TB, kind string) *engine {
	t.Helper()
	desc, ok := testKinds[kind]
	if !ok {
		t.Fatalf("there is no test kind %s", kind)
	}
	k, err := newEngine(&desc)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// build makes a value of a type from a JSON document; what the document lacks is null, "<unknown>" is unknown.
func build(t testing.TB, typ tftypes.Type, document string) tftypes.Value {
	t.Helper()
	var content any
	if err := json.Unmarshal([]byte(document), &content); err != nil {
		t.Fatalf("%s: %v", document, err)
	}
	return valueOf(t, typ, content)
}

func valueOf(t testing.TB, typ tftypes.Type, content any) tftypes.Value {
	t.Helper()
	if content == nil {
		return tftypes.NewValue(typ, nil)
	}
	if content == "<unknown>" {
		return tftypes.NewValue(typ, tftypes.UnknownValue)
	}
	switch typ := typ.(type) {
	case tftypes.Object:
		values := map[string]tftypes.Value{}
		object := content.(map[string]any)
		for name, member := range typ.AttributeTypes {
			values[name] = valueOf(t, member, object[name])
		}
		for name := range object {
			if typ.AttributeTypes[name] == nil {
				t.Fatalf("there is no attribute %s", name)
			}
		}
		return tftypes.NewValue(typ, values)
	case tftypes.Map:
		values := map[string]tftypes.Value{}
		for name, member := range content.(map[string]any) {
			values[name] = valueOf(t, typ.ElementType, member)
		}
		return tftypes.NewValue(typ, values)
	case tftypes.List:
		return tftypes.NewValue(typ, listOf(t, typ.ElementType, content.([]any)))
	case tftypes.Set:
		return tftypes.NewValue(typ, listOf(t, typ.ElementType, content.([]any)))
	}
	if number, ok := content.(float64); ok {
		return tftypes.NewValue(typ, big.NewFloat(number))
	}
	return tftypes.NewValue(typ, content)
}

func listOf(t testing.TB, typ tftypes.Type, content []any) []tftypes.Value {
	t.Helper()
	values := make([]tftypes.Value, len(content))
	for i := range content {
		values[i] = valueOf(t, typ, content[i])
	}
	return values
}

// plain turns a value back into a JSON document, without what is null.
func plain(v tftypes.Value) any {
	if absent(v) {
		return nil
	}
	if unknown(v) {
		return "<unknown>"
	}
	switch {
	case v.Type().Is(tftypes.Object{}), v.Type().Is(tftypes.Map{}):
		object := map[string]any{}
		for name, member := range members(v) {
			if value := plain(member); value != nil {
				object[name] = value
			}
		}
		return object
	case v.Type().Is(tftypes.List{}), v.Type().Is(tftypes.Set{}):
		list := []any{}
		for _, element := range elements(v) {
			list = append(list, plain(element))
		}
		return list
	case v.Type().Is(tftypes.Number):
		number, _ := numberOf(v).Float64()
		return number
	case v.Type().Is(tftypes.Bool):
		return boolOf(v)
	default:
		return textOf(v)
	}
}

func document(t testing.TB, text string) any {
	t.Helper()
	var content any
	if err := json.Unmarshal([]byte(text), &content); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return content
}

// liveObject reads JSON as the dynamic client does: whole numbers are int64.
func liveObject(t testing.TB, text string) map[string]any {
	t.Helper()
	object, ok := integers(document(t, text)).(map[string]any)
	if !ok {
		t.Fatalf("%s is not an object", text)
	}
	return object
}

func integers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name := range v {
			v[name] = integers(v[name])
		}
	case []any:
		for i := range v {
			v[i] = integers(v[i])
		}
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	}
	return v
}
