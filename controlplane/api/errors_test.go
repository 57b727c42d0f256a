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
