package kube

import (
	"testing"
)

func TestLocate(t *testing.T) {
	k := testEngine(t, "Deployment")
	value := build(t, k.root.tf, `{"metadata": {"name": "web", "labels": {"app.kubernetes.io/name": "x"}, "finalizers": ["f"]}, "spec": {"replicas": 1, "template": {"spec": {
		"containers": [{"name": "a", "image": "i"}, {"name": "b]", "image": "j", "ports": [{"container_port": 80}, {"container_port": 80, "protocol": "UDP"}], "resources": {"limits": {"cpu": "1"}}}]}}}}`)
	for text, want := range map[string]struct {
		at    string
		value any
		exact bool
	}{
		".spec.replicas": {"spec.replicas", 1.0, true},
		"spec.replicas":  {"spec.replicas", 1.0, true},
		`.metadata.labels.app.kubernetes.io/name`:                                          {`metadata.labels["app.kubernetes.io/name"]`, "x", true},
		`metadata.labels[app.kubernetes.io/name]`:                                          {`metadata.labels["app.kubernetes.io/name"]`, "x", true},
		`.metadata.finalizers[="f"]`:                                                       {`metadata.finalizers`, nil, true},
		`.spec.template.spec.containers[name="b]"].image`:                                  {"spec.template.spec.containers[1].image", "j", true},
		`spec.template.spec.containers[1].image`:                                           {"spec.template.spec.containers[1].image", "j", true},
		`.spec.template.spec.containers[name="b]"].ports[containerPort=80,protocol="UDP"]`: {"spec.template.spec.containers[1].ports[1]", nil, true},
		`.spec.template.spec.containers[name="b]"].ports[containerPort=80,protocol="TCP"].containerPort`: {
			"spec.template.spec.containers[1].ports[0].container_port", 80.0, true},
		`.spec.template.spec.containers[name="b]"].resources.limits.cpu`: {`spec.template.spec.containers[1].resources.limits["cpu"]`, "1", true},
		`.spec.template.spec.containers[name="none"].image`:              {"spec.template.spec.containers", nil, false},
		`spec.template.spec.containers[9].image`:                         {"spec.template.spec.containers", nil, false},
		`.status.replicas`:                                               {"", nil, false},
		`spec.template.spec.containers[`:                                 {"spec.template.spec.containers", nil, false},
		`.spec.paused`:                                                   {"spec.paused", nil, true},
	} {
		loc := k.root.locate(text, value)
		if loc.at.String() != want.at || loc.exact != want.exact {
			t.Errorf("%s leads to %s (exact: %v), want %s (%v)", text, loc.at, loc.exact, want.at, want.exact)
		}
		if want.value != nil && plain(loc.value) != want.value {
			t.Errorf("%s has %v, want %v", text, plain(loc.value), want.value)
		}
	}
}

func FuzzLocate(f *testing.F) {
	for _, seed := range []string{".spec.ports[port=80,protocol=\"TCP\"].nodePort", "metadata.labels[", "spec.ports[0", "[", ".", "data.a[b]"} {
		f.Add(seed)
	}
	k := testEngine(f, "Service")
	value := build(f, k.root.tf, `{"metadata": {"name": "web", "labels": {"a": "b"}}, "spec": {"ports": [{"port": 80}]}}`)
	f.Fuzz(func(_ *testing.T, text string) { k.root.locate(text, value) })
}

func TestIdentity(t *testing.T) {
	for _, test := range []struct {
		text       string
		namespaced bool
		want       identity
	}{
		{"default/web", true, identity{"", "default", "web"}},
		{"main@[2001:db8::1]:22#ssh-ed25519.x/default/web", true, identity{"main@[2001:db8::1]:22#ssh-ed25519.x", "default", "web"}},
		{"a/b/default/web", true, identity{"a/b", "default", "web"}},
		{"team", false, identity{"", "", "team"}},
		{"main/team", false, identity{"main", "", "team"}},
	} {
		got, err := parseIdentity(test.text, test.namespaced)
		if err != nil || got != test.want {
			t.Errorf("%s is %+v, %v; want %+v", test.text, got, err, test.want)
		}
		if got.String() != test.text {
			t.Errorf("%s is written %s", test.text, got)
		}
	}
	for _, text := range []string{"", "web", "/web", "default/", "a//web"} {
		if got, err := parseIdentity(text, true); err == nil {
			t.Errorf("%q was read as %+v", text, got)
		}
	}
}
