package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
)

// do sends a raw request and returns the code, the headers and the body.
func do(t *testing.T, c *http.Client, method, url, contentType, accept, body string) (int, http.Header, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, data
}

const (
	jsonType  = "application/json"
	mergeType = "application/merge-patch+json"
	maps      = "/api/v1/namespaces/default/configmaps"
)

func TestErrors(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	c := e.HTTP()
	if code, _, data := do(t, c, "POST", e.Address+maps, jsonType, "", `{"metadata":{"name":"there"},"data":{"a":"b"}}`); code != 201 {
		t.Fatalf("create: %d %s", code, data)
	}
	deep := strings.Repeat(`{"a":`, 2000) + "1" + strings.Repeat("}", 2000)
	for _, tc := range []struct {
		name, method, path, contentType, accept, body string
		code                                          int
		reason                                        metav1.StatusReason
		cause                                         string // field of the first cause
	}{
		{name: "no such resource", method: "GET", path: "/api/v1/things", code: 404, reason: metav1.StatusReasonNotFound},
		{name: "no such subresource", method: "GET", path: maps + "/there/scale", code: 404, reason: metav1.StatusReasonNotFound},
		{name: "namespaced kind without namespace", method: "GET", path: "/api/v1/configmaps/there", code: 404, reason: metav1.StatusReasonNotFound},
		{name: "no such object", method: "GET", path: maps + "/none", code: 404, reason: metav1.StatusReasonNotFound},
		{name: "create of an object by name", method: "POST", path: maps + "/there", code: 405, reason: metav1.StatusReasonMethodNotAllowed, body: "{}"},
		{name: "update of a collection", method: "PUT", path: maps, code: 405, reason: metav1.StatusReasonMethodNotAllowed, body: "{}"},
		{name: "unknown method", method: "FOO", path: maps, code: 405, reason: metav1.StatusReasonMethodNotAllowed},
		{name: "unacceptable", method: "GET", path: maps, accept: "text/html", code: 406, reason: metav1.StatusReasonNotAcceptable},
		{name: "unknown body", method: "POST", path: maps, contentType: "text/csv", body: "a,b", code: 415, reason: metav1.StatusReasonUnsupportedMediaType},
		{name: "unknown patch", method: "PATCH", path: maps + "/there", contentType: jsonType, body: "{}", code: 415, reason: metav1.StatusReasonUnsupportedMediaType},
		{name: "empty body", method: "POST", path: maps, contentType: jsonType, code: 400, reason: metav1.StatusReasonBadRequest},
		{name: "broken body", method: "POST", path: maps, contentType: jsonType, body: "{", code: 400, reason: metav1.StatusReasonBadRequest},
		{name: "wrong type", method: "POST", path: maps, contentType: jsonType, body: `{"data":{"a":1}}`, code: 400, reason: metav1.StatusReasonBadRequest},
		{name: "another kind", method: "POST", path: maps, contentType: jsonType, body: `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}`, code: 400, reason: metav1.StatusReasonBadRequest},
		{name: "another version", method: "POST", path: maps, contentType: jsonType, body: `{"kind":"ConfigMap","apiVersion":"v2","metadata":{"name":"a"}}`, code: 400, reason: metav1.StatusReasonBadRequest},
		{name: "another namespace", method: "POST", path: maps, contentType: jsonType, body: `{"metadata":{"name":"a","namespace":"other"}}`, code: 400, reason: metav1.StatusReasonBadRequest},
		{name: "too deep", method: "POST", path: maps, contentType: jsonType, body: deep, code: 400, reason: metav1.StatusReasonBadRequest},
		{name: "unknown field, strict", method: "POST", path: maps + "?fieldValidation=Strict", contentType: jsonType, body: `{"metadata":{"name":"a"},"foo":1}`, code: 400, reason: metav1.StatusReasonBadRequest},
		{name: "duplicate field, strict", method: "POST", path: maps + "?fieldValidation=Strict", contentType: jsonType, body: `{"metadata":{"name":"a"},"data":{},"data":{}}`, code: 400, reason: metav1.StatusReasonBadRequest},
		{name: "there already", method: "POST", path: maps, contentType: jsonType, body: `{"metadata":{"name":"there"}}`, code: 409, reason: metav1.StatusReasonAlreadyExists},
		{name: "no namespace", method: "POST", path: "/api/v1/namespaces/none/configmaps", contentType: jsonType, body: `{"metadata":{"name":"a"}}`, code: 404, reason: metav1.StatusReasonNotFound},
		{name: "invalid name", method: "POST", path: maps, contentType: jsonType, body: `{"metadata":{"name":"A_"}}`, code: 422, reason: metav1.StatusReasonInvalid, cause: "metadata.name"},
		{name: "no name", method: "POST", path: maps, contentType: jsonType, body: `{}`, code: 422, reason: metav1.StatusReasonInvalid, cause: "metadata.name"},
		{name: "invalid label", method: "POST", path: maps, contentType: jsonType, body: `{"metadata":{"name":"a","labels":{"x y":"z"}}}`, code: 422, reason: metav1.StatusReasonInvalid, cause: "metadata.labels"},
		{name: "version on create", method: "POST", path: maps, contentType: jsonType, body: `{"metadata":{"name":"a","resourceVersion":"1"}}`, code: 400, reason: metav1.StatusReasonBadRequest},
		{name: "unknown dry run", method: "POST", path: maps + "?dryRun=Some", contentType: jsonType, body: `{"metadata":{"name":"a"}}`, code: 422, reason: metav1.StatusReasonInvalid, cause: "dryRun"},
		{name: "another name", method: "PUT", path: maps + "/there", contentType: jsonType, body: `{"metadata":{"name":"a"}}`, code: 400, reason: metav1.StatusReasonBadRequest},
		{name: "stale version", method: "PUT", path: maps + "/there", contentType: jsonType, body: `{"metadata":{"name":"there","resourceVersion":"1"}}`, code: 409, reason: metav1.StatusReasonConflict},
		{name: "update of nothing", method: "PUT", path: maps + "/none", contentType: jsonType, body: `{"metadata":{"name":"none"}}`, code: 404, reason: metav1.StatusReasonNotFound},
		{name: "patch of the name", method: "PATCH", path: maps + "/there", contentType: mergeType, body: `{"metadata":{"name":"a"}}`, code: 400, reason: metav1.StatusReasonBadRequest},
		{name: "patch of an immutable field", method: "PATCH", path: maps + "/there", contentType: mergeType, body: `{"metadata":{"uid":"a"}}`, code: 422, reason: metav1.StatusReasonInvalid},
		{name: "patch that is no JSON, of nothing", method: "PATCH", path: maps + "/absent", contentType: mergeType, body: `{`, code: 400, reason: metav1.StatusReasonBadRequest},
		{name: "broken JSON patch", method: "PATCH", path: maps + "/there", contentType: "application/json-patch+json", body: `[{"op":"replace","path":"/none/such","value":1}]`, code: 422, reason: metav1.StatusReasonInvalid},
		{name: "apply without a manager", method: "PATCH", path: maps + "/there", contentType: "application/apply-patch+yaml", body: `{apiVersion: v1, kind: ConfigMap}`, code: 422, reason: metav1.StatusReasonInvalid, cause: "fieldManager"},
		{name: "apply of no quantity", method: "PATCH", path: "/api/v1/namespaces/default/pods/a?fieldManager=a", contentType: "application/apply-patch+yaml",
			body: `{apiVersion: v1, kind: Pod, spec: {containers: [{name: c, image: x, resources: {limits: {cpu: x}}}]}}`, code: 400, reason: metav1.StatusReasonBadRequest},
		{name: "apply to another object of the name", method: "PATCH", path: maps + "/there?fieldManager=a", contentType: "application/apply-patch+yaml",
			body: `{apiVersion: v1, kind: ConfigMap, metadata: {uid: a}}`, code: 422, reason: metav1.StatusReasonInvalid, cause: "metadata.uid"},
		{name: "label selector", method: "GET", path: maps + "?labelSelector=a%20in", code: 400, reason: metav1.StatusReasonBadRequest},
		{name: "field selector", method: "GET", path: maps + "?fieldSelector=spec.x%3Dy", code: 400, reason: metav1.StatusReasonBadRequest},
		{name: "empty limit", method: "GET", path: maps + "?limit=", code: 400, reason: metav1.StatusReasonBadRequest},
		{name: "limit", method: "GET", path: maps + "?limit=x", code: 400, reason: metav1.StatusReasonBadRequest},
		{name: "version match", method: "GET", path: maps + "?resourceVersionMatch=Exact", code: 422, reason: metav1.StatusReasonInvalid, cause: "resourceVersionMatch"},
		{name: "continue token", method: "GET", path: maps + "?limit=1&continue=xx", code: 400, reason: metav1.StatusReasonBadRequest},
		{name: "future version", method: "GET", path: maps + "?resourceVersion=99999999", code: 504, reason: metav1.StatusReasonTimeout},
		{name: "propagation policy", method: "DELETE", path: maps + "/there?propagationPolicy=No", code: 422, reason: metav1.StatusReasonInvalid, cause: "propagationPolicy"},
		{name: "precondition", method: "DELETE", path: maps + "/there", contentType: jsonType, body: `{"preconditions":{"uid":"x"}}`, code: 409, reason: metav1.StatusReasonConflict},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, h, data := do(t, c, tc.method, e.Address+tc.path, tc.contentType, tc.accept, tc.body)
			var st metav1.Status
			if err := json.Unmarshal(data, &st); err != nil {
				t.Fatalf("answer is no Status: %d %s", code, data)
			}
			if code != tc.code || int(st.Code) != code || st.Reason != tc.reason || st.Status != metav1.StatusFailure || st.Message == "" {
				t.Fatalf("got %d %s, want %d %s: %s", code, st.Reason, tc.code, tc.reason, data)
			}
			if tc.cause != "" && (st.Details == nil || len(st.Details.Causes) == 0 || st.Details.Causes[0].Field != tc.cause) {
				t.Fatalf("causes %+v, want field %s", st.Details, tc.cause)
			}
			if !bytes.HasSuffix(data, []byte("}\n")) {
				t.Errorf("the answer does not end a line: %q", data)
			}
			if tc.code == 504 && h.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		})
	}
}

// TestPathsOfNothing holds the answer to paths outside Kubernetes' own groups that nothing serves to no Status, as there:
// clients then say what they asked for.
func TestPathsOfNothing(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	for _, path := range []string{"/nothing", "/apis/example.com", "/apis/example.com/v1", "/apis/example.com/v1/things"} {
		code, h, data := do(t, e.HTTP(), "GET", e.Address+path, "", "", "")
		if code != 404 || h.Get("Content-Type") != "text/plain; charset=utf-8" || string(data) != "404 page not found\n" {
			t.Errorf("%s: %d %s %q", path, code, h.Get("Content-Type"), data)
		}
	}
	err := e.Kube(e.Admin()).CoreV1().RESTClient().Get().AbsPath("/apis/example.com/v1").Resource("things").Do(t.Context()).Error()
	if !apierrors.IsNotFound(err) || err.Error() != "the server could not find the requested resource (get things)" {
		t.Errorf("a list of nothing: %v", err)
	}
}

// TestAnswersAreKubernetes has requests that kube-apiserver 1.37.2 was sent too: code, and all that the answer says.
func TestAnswersAreKubernetes(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	c := e.HTTP()
	if code, _, data := do(t, c, "POST", e.Address+maps, jsonType, "", `{"metadata":{"name":"there"},"data":{"a":"b"}}`); code != 201 {
		t.Fatalf("create: %d %s", code, data)
	}
	const (
		yamlType      = "application/yaml"
		strategicType = "application/strategic-merge-patch+json"
		applyType     = "application/apply-patch+yaml"
		nothing       = "404 page not found\n"
		method        = "the server does not allow this method on the requested resource"
		resource      = "the server could not find the requested resource"
		typeless      = `json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }`
		nameless      = "the name of the object (there based on URL) was undeterminable: name must be provided"
	)
	for _, tc := range []struct {
		method, path, contentType, body string
		code                            int
		message                         string // of the Status, or the whole text
	}{
		// paths and methods
		{"POST", "/nothing", "", "", 404, nothing},
		{"GET", "/healthz/", "", "", 404, nothing},
		{"GET", "/livez/nothing", "", "", 404, nothing},
		{"GET", "/apis/apps/v2", "", "", 404, resource},
		{"GET", "/apis/authorization.k8s.io/v2/things", "", "", 404, resource},
		{"POST", "/healthz", "", "", 200, "ok"},
		{"POST", "/version", "", "", 405, method},
		{"PUT", "/api/v1", "", "", 405, method},
		{"DELETE", "/apis/apps/v1", "", "", 405, method},
		{"OPTIONS", "/api", "", "", 405, method},
		{"HEAD", "/version", "", "", 405, ""},
		{"HEAD", maps + "/there", "", "", 405, ""},
		{"HEAD", maps + "/there/status", "", "", 404, ""},
		{"GET", "/api/v1/bindings", "", "", 404, resource},
		{"POST", "/api/v1/namespaces/default/selfsubjectaccessreviews", "", "{}", 404, resource},
		{"GET", "/api/v1/namespaces/default/services/none/proxy/", "", "", 503, `no endpoints available for service "none"`},
		// bodies
		{"POST", maps, jsonType, "", 400, "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)"},
		{"POST", maps, protobufType, "", 400, "the object provided is unrecognized (must be of type ConfigMap): empty data (<empty>)"},
		{"POST", maps, jsonType, "{", 400, "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input ({)"},
		{"POST", maps, jsonType, "[]", 400, "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: " + typeless + " (5b5d)"},
		{"POST", maps, yamlType, "{", 400, "the object provided is unrecognized (must be of type ConfigMap): yaml: line 1: did not find expected node content ({)"},
		{"POST", maps, protobufType, `{"apiVersion":"v1","kind":"ConfigMap"}`, 400, `the object provided is unrecognized (must be of type ConfigMap): provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] ({"apiVersion":"v1","kind":"Con ...)`},
		{"POST", maps, jsonType, `{"apiVersion":"a/b/c","kind":"ConfigMap"}`, 400, `the object provided is unrecognized (must be of type ConfigMap): unexpected GroupVersion string: a/b/c ({"apiVersion":"a/b/c","kind":" ...)`},
		{"POST", maps + "?fieldValidation=Strict", jsonType, `{"apiVersion":"v1","kind":"ConfigMapList","items":[]}`, 400, `ConfigMapList in version "v1" cannot be handled as a ConfigMap: converting (v1.ConfigMapList) to (core.ConfigMap): unknown conversion`},
		{"POST", maps, jsonType, `{"apiVersion":"apps/v1","kind":"Deployment"}`, 400, `Deployment in version "v1" cannot be handled as a ConfigMap: converting (v1.Deployment) to (core.ConfigMap): unknown conversion`},
		{"POST", maps, jsonType, `{"apiVersion":"v2","kind":"ConfigMap"}`, 400, `ConfigMap in version "v2" cannot be handled as a ConfigMap: no kind "ConfigMap" is registered for version "v2" in scheme "pkg/runtime/scheme.go:111"`},
		{"DELETE", maps + "/there", jsonType, "{", 400, "couldn't get version/kind; json parse error: unexpected end of JSON input"},
		{"DELETE", maps + "/there", jsonType, "[]", 400, "couldn't get version/kind; json parse error: " + typeless},
		{"DELETE", maps + "/there", jsonType, `{"kind":"Nope","apiVersion":"v1"}`, 400, `no kind "Nope" is registered for version "v1" in scheme "pkg/runtime/scheme.go:111"`},
		// names and kinds
		{"PUT", maps + "/there", jsonType, "{}", 400, nameless},
		{"PATCH", maps + "/there", mergeType, `{"metadata":{"name":null}}`, 400, nameless},
		{"PATCH", maps + "/there", strategicType, `{"$patch":"delete"}`, 400, nameless},
		{"PATCH", maps + "/none?fieldManager=a", applyType, "{apiVersion: v1, kind: ConfigMap}", 400, strings.Replace(nameless, "there", "none", 1)},
		{"PATCH", maps + "/there?fieldManager=a", applyType, "{", 400, "error decoding patch: error converting YAML to JSON: yaml: line 1: did not find expected node content"},
		{"PATCH", maps + "/there?fieldManager=a", applyType, "[]", 400, "error decoding patch: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type map[string]interface {}"},
		{"PATCH", maps + "/there", strategicType, "[]", 400, "json: cannot unmarshal array into Go value of type map[string]interface {}"},
		{"PATCH", maps + "/there", jsonType, "{}", 415, "415: Unsupported Media Type"},
	} {
		code, h, data := do(t, c, tc.method, e.Address+tc.path, tc.contentType, "", tc.body)
		got := string(data)
		var st metav1.Status
		if h.Get("Content-Type") == jsonType && len(data) > 0 {
			if err := json.Unmarshal(data, &st); err != nil || int(st.Code) != code {
				t.Errorf("%s %s: %d %s", tc.method, tc.path, code, data)
				continue
			}
			got = st.Message
		}
		if code != tc.code || got != tc.message {
			t.Errorf("%s %s %s: got %d %s\nwant %d %s", tc.method, tc.path, tc.body, code, got, tc.code, tc.message)
		}
	}
	for _, tc := range []struct{ method, path, contentType, accept, body, header, want string }{
		{"PATCH", maps + "/there", strategicType, "", `{"kind":"Secret","data":{"a":"c"}}`, "Content-Type", jsonType},
		{"GET", maps + "/none", "", yamlType, "", "Content-Type", yamlType},
		{"POST", maps, yamlType, "", "{metadata: {name: twice}, data: {a: b}, data: {c: d}}", "Warning", `299 - "line 1: key \"data\" already set in map"`},
		{"GET", "/apis", "", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", "", "Cache-Control", "public"},
	} {
		code, h, data := do(t, c, tc.method, e.Address+tc.path, tc.contentType, tc.accept, tc.body)
		if got := h.Get(tc.header); got != tc.want || code >= 400 && code != 404 || h.Get("Audit-Id") == "" {
			t.Errorf("%s %s: %d, %s %q, Audit-Id %q: %s", tc.method, tc.path, code, tc.header, got, h.Get("Audit-Id"), data)
		}
	}
}

func TestBodyIsBounded(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	body := fmt.Sprintf(`{"metadata":{"name":"big"},"data":{"a":%q}}`, bytes.Repeat([]byte("x"), 3<<20))
	code, _, data := do(t, e.HTTP(), "POST", e.Address+maps, jsonType, "", body)
	if code != http.StatusRequestEntityTooLarge {
		t.Fatalf("got %d %.200s", code, data)
	}
}

func TestWarnings(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	code, h, data := do(t, e.HTTP(), "POST", e.Address+maps+"?fieldValidation=Warn", jsonType, "", `{"metadata":{"name":"a"},"foo":1}`)
	if code != 201 || h.Get("Warning") != `299 - "unknown field \"foo\""` {
		t.Fatalf("got %d, Warning %q: %s", code, h.Get("Warning"), data)
	}
	if _, h, _ := do(t, e.HTTP(), "POST", e.Address+maps+"?fieldValidation=Ignore", jsonType, "", `{"metadata":{"name":"b"},"foo":1}`); h.Get("Warning") != "" {
		t.Fatalf("Warning %q", h.Get("Warning"))
	}
}

func TestPublicPathsAreAllThatIsPublic(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	c := e.Kube(e.Token("nonsense")).RESTClient()
	anonymous := e.Admin()
	anonymous.CertData, anonymous.KeyData = nil, nil
	a := e.Kube(anonymous).RESTClient()
	for path, want := range map[string]int{"/healthz": 200, "/livez": 200, "/readyz": 200, "/version": 200, "/livez/ping": 401, "/readyz/etcd": 401, "/api": 401, "/apis": 401, "/metrics": 401, "/openapi/v2": 401, "/openid/v1/jwks": 401, "/nothing": 401, maps: 401} {
		var code int
		a.Get().AbsPath(path).Do(t.Context()).StatusCode(&code)
		if code != want {
			t.Errorf("%s without credentials: %d, want %d", path, code, want)
		}
		c.Get().AbsPath(path).Do(t.Context()).StatusCode(&code)
		if code != want {
			t.Errorf("%s with a bad token: %d, want %d", path, code, want)
		}
	}
}
