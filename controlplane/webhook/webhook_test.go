package webhook

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReadyEndpoints(t *testing.T) {
	slice := &discoveryv1.EndpointSlice{}
	if err := yaml.UnmarshalStrict([]byte(`
ports: [{name: https, port: 8443}, {name: metrics, port: 9090}]
endpoints:
- {addresses: [10.0.0.1]}
- {addresses: [10.0.0.2], conditions: {ready: true}}
- {addresses: [10.0.0.3], conditions: {ready: false}}`), slice); err != nil {
		t.Fatal(err)
	}
	for port, want := range map[string][]string{
		`{name: https, port: 443, targetPort: 8443}`: {"10.0.0.1:8443", "10.0.0.2:8443"},
		`{name: https, port: 443, targetPort: web}`:  {"10.0.0.1:8443", "10.0.0.2:8443"},
		`{name: https, port: 443, targetPort: 1}`:    {"10.0.0.1:8443", "10.0.0.2:8443"},
		`{name: other, port: 443}`:                   nil,
	} {
		p := &corev1.ServicePort{}
		if err := yaml.UnmarshalStrict([]byte(port), p); err != nil {
			t.Fatal(err)
		}
		if got := readyOf(slice, p); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", port, got, want)
		}
	}
}

func TestCall(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/big":
			_, _ = w.Write(make([]byte, maxAnswer+1))
		case "/away":
			http.Redirect(w, r, "/good", http.StatusFound)
		default:
			_ = json.NewEncoder(w).Encode(r.URL.Path)
		}
	}))
	defer s.Close()
	c := New(nil)
	defer c.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	var answer string
	if err := c.Call(t.Context(), Target{URL: s.URL + "/good", CABundle: ca}, 1, &answer); err != nil || answer != "/good" {
		t.Errorf("answered %q, %v", answer, err)
	}
	for name, tc := range map[string]struct {
		target Target
		want   string
	}{
		"big":      {Target{URL: s.URL + "/big", CABundle: ca}, "the response is larger than"},
		"redirect": {Target{URL: s.URL + "/away", CABundle: ca}, "the server answered 302 Found"},
		"clear":    {Target{URL: strings.Replace(s.URL, "https", "http", 1), CABundle: ca}, "only https is allowed"},
		"bundle":   {Target{URL: s.URL, CABundle: []byte("x")}, "unable to parse bytes as PEM block"},
		"nowhere":  {Target{}, "must have either service or URL"},
	} {
		if err := c.Call(t.Context(), tc.target, 1, &answer); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
}
