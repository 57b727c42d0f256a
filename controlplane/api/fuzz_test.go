package api

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// FuzzDecode holds the decoders to an error or an object, whatever comes.
func FuzzDecode(f *testing.F) {
	f.Add("application/json", "Strict", []byte(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"},"spec":{"containers":[{"name":"c"}]}}`))
	f.Add("application/yaml", "Warn", []byte("kind: Pod\nmetadata: {name: a}\nmetadata: {}\n"))
	f.Add("application/vnd.kubernetes.protobuf", "", append(append([]byte{}, protobufMagic...), 0x0a, 0x09, 0x0a, 0x02, 'v', '1', 0x12, 0x03, 'P', 'o', 'd', 0x12, 0x00))
	f.Fuzz(func(t *testing.T, contentType, validation string, data []byte) {
		hr := httptest.NewRequest(http.MethodPost, "/api/v1/namespaces/default/pods", nil)
		hr.Header.Set("Content-Type", contentType)
		r := parseRequest(hr, kind.Builtin())
		r.query = map[string][]string{"fieldValidation": {validation}}
		for _, k := range kind.Builtin().Kinds() {
			obj := k.New()
			if err := decodeInto(r, data, obj, k.GroupVersionKind); err == nil {
				var _ runtime.Object = obj.DeepCopyObject()
			}
		}
	})
}

// FuzzPath holds the reading of paths and parameters to no panic, and to never naming an object without its
// resource.
func FuzzPath(f *testing.F) {
	for _, p := range []string{"/api/v1/namespaces/a/pods/b/log", "/apis/apps/v1/watch/deployments", "/api/v1/namespaces/a/finalize", "/api//", "/apis/x", "/api/v1/nodes/n/proxy/a/b/"} {
		f.Add("GET", p, "watch=1&labelSelector=a in (b)&fieldSelector=a=b&limit=5&continue=x&resourceVersion=0&timeoutSeconds=9")
	}
	f.Fuzz(func(t *testing.T, method, path, query string) {
		hr := httptest.NewRequest(http.MethodGet, "/", nil)
		hr.Method, hr.URL.Path, hr.URL.RawQuery = method, path, query
		r := parseRequest(hr, kind.Builtin())
		if r.resource && r.plural == "" {
			t.Fatalf("%s names a resource without a name", path)
		}
		if r.kind == nil {
			return
		}
		_, _, _ = r.watchQuery()
		_, _ = r.write()
		_ = r.checkScope()
		_ = r.long()
	})
}

// FuzzAccept holds the reading of Accept headers to offers that exist.
func FuzzAccept(f *testing.F) {
	f.Add("application/json;as=Table;v=v1;g=meta.k8s.io,application/json;q=0.5,*/*;q=0.1")
	f.Add("application/vnd.kubernetes.protobuf, text/html")
	f.Fuzz(func(t *testing.T, header string) {
		for _, m := range parseAccept(header) {
			if m.transform != asIs && m.version != "v1" && m.version != "v1beta1" {
				t.Fatalf("%q gives %+v", header, m)
			}
		}
	})
}
