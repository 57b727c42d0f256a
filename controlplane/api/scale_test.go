package api_test

import (
	"strings"
	"testing"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
)

// TestParts applies and writes scales and status: who manages what is asked, and what names another object is refused.
func TestParts(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	c := e.HTTP()
	const (
		applyType = "application/apply-patch+yaml"
		d         = "/apis/apps/v1/namespaces/default/deployments/d"
		scale     = `{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"d"},"spec":{"replicas":`
		va        = "/apis/storage.k8s.io/v1/volumeattachments"
		rc        = "/api/v1/namespaces/default/replicationcontrollers"
		template  = `"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"x"}]}}`
	)
	for _, tc := range []struct {
		name, method, path, contentType, body string
		code                                  int
		want                                  string
	}{
		{"deployment", "PATCH", d + "?fieldManager=owner", applyType, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"replicas":1,"selector":{"matchLabels":{"a":"b"}},` + template + `}}`, 201, ""},
		{"another's field", "PATCH", d + "/scale?fieldManager=me", applyType, scale + "2}}", 409, `conflict with \"owner\": .spec.replicas`},
		{"agreed", "PATCH", d + "/scale?fieldManager=me", applyType, scale + "1}}", 200, `"replicas":1`},
		{"by force", "PATCH", d + "/scale?fieldManager=me&force=true", applyType, scale + "3}}", 200, `"replicas":3`},
		{"nothing", "PATCH", d + "/scale?fieldManager=other", applyType, `{"apiVersion":"autoscaling/v1","kind":"Scale"}`, 200, `"replicas":3`},
		{"negative", "PATCH", d + "/scale?fieldManager=me&force=true", applyType, scale + "-1}}", 422, `"field":"spec.replicas"`},
		{"unknown", "PATCH", d + "/scale?fieldManager=me", applyType, `{"apiVersion":"autoscaling/v1","kind":"Scale","nope":1}`, 400, "nope"},
		{"deployment's", "PATCH", d + "/scale?fieldManager=me", applyType, `{"apiVersion":"apps/v1","kind":"Deployment"}`, 400, "invalid object type: apps/v1, Kind=Deployment"},
		{"managers", "GET", d, "", "", 200, `"manager":"me","operation":"Apply","apiVersion":"apps/v1"`},
		{"other kind", "PATCH", d + "/scale", mergeType, `{"kind":"Foo"}`, 422, `"field":"patch"`},
		{"other name", "PATCH", d + "/scale", mergeType, `{"metadata":{"name":"x"}}`, 400, "the name of the object (x) does not match the name on the URL (d)"},
		{"no name", "PUT", d + "/scale", jsonType, `{"spec":{"replicas":1}}`, 400, "the name of the object (d based on URL) was undeterminable"},
		{"controller", "POST", rc, jsonType, `{"metadata":{"name":"r"},"spec":{"replicas":0,"selector":{"a":"b"},` + template + `}}`, 201, ""},
		{"controller's status", "PATCH", rc + "/r/status", mergeType, `{"status":{"replicas":1,"fullyLabeledReplicas":2}}`, 422, `"field":"status.fullyLabeledReplicas"`},
		{"attachment", "POST", va, jsonType, `{"metadata":{"name":"v"},"spec":{"attacher":"a","nodeName":"n","source":{"persistentVolumeName":"p"}}}`, 201, ""},
		{"version", "PUT", va + "/v/status", jsonType, `{"metadata":{"name":"v"},"spec":{"attacher":"a","nodeName":"n","source":{"persistentVolumeName":"p"}},"status":{"attached":true}}`, 422, `"field":"metadata.resourceVersion"`},
		{"status", "PATCH", va + "/v/status", mergeType, `{"metadata":{"labels":{"a":"b"}},"status":{"attached":true}}`, 200, `"attached":true`},
	} {
		code, _, data := do(t, c, tc.method, e.Address+tc.path, tc.contentType, "", tc.body)
		if code != tc.code || !strings.Contains(string(data), tc.want) {
			t.Errorf("%s: %d %s, want %d %s", tc.name, code, data, tc.code, tc.want)
		}
		if tc.name == "status" && strings.Contains(string(data), "labels") {
			t.Errorf("a write of the status labelled %s", data)
		}
	}
	code, _, data := do(t, c, "GET", e.Address+d+"/scale", "", "application/json;as=Table;v=v1;g=meta.k8s.io", "")
	if code != 200 || !strings.Contains(string(data), `"name":"Desired"`) || !strings.Contains(string(data), `"cells":["d",3,0,"`) {
		t.Errorf("a scale as a table: %d %s", code, data)
	}
}
