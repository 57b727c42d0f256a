package api_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// fuzzPatience bounds one request: watches last for as long.
const fuzzPatience = 30 * time.Millisecond

// FuzzRequest sends whole requests, as an administrator, to a handler on a real store: none may panic, and none may
// be answered with an internal error.
func FuzzRequest(f *testing.F) {
	requestSeeds(f)
	log := &lines{}
	e, handler := startHandler(f, slog.New(slog.NewTextHandler(log, nil)))
	define(f, dynamic.NewForConfigOrDie(e.Admin()), widgetDefinition)
	f.Fuzz(func(t *testing.T, method, path, query, contentType, accept string, body []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), fuzzPatience)
		defer cancel()
		hr := directRequest(ctx, method, path, query, body)
		hr.Header = http.Header{"Content-Type": {contentType}, "Accept": {accept}, "User-Agent": {"fuzz"}}
		before := len(log.all())
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, hr)
		if logged := log.all()[before:]; strings.Contains(strings.Join(logged, "\n"), "panicked") {
			t.Fatalf("%s %s?%s panicked:\n%s", method, path, query, strings.Join(logged, "\n"))
		}
		if w.Code == http.StatusInternalServerError && ctx.Err() == nil {
			t.Fatalf("%s %s?%s (%s): %s", method, path, query, contentType, w.Body)
		}
	})
}

// startHandler runs a server and returns a handler on its store that takes requests without a network.
func startHandler(tb testing.TB, log *slog.Logger) (*apitest.Env, http.Handler) {
	tb.Helper()
	var handler http.Handler
	e := apitest.Start(tb, apitest.Options{Change: func(c *api.Config) {
		if log != nil {
			c.Logger = log
		}
		s, err := api.New(*c)
		if err != nil {
			tb.Fatal(err)
		}
		handler = s.Handler()
	}})
	return e, handler
}

// directRequest is an administrator's from another host.
func directRequest(ctx context.Context, method, path, query string, body []byte) *http.Request {
	hr := httptest.NewRequestWithContext(ctx, "GET", "/", bytes.NewReader(body))
	hr.Method, hr.URL = method, &url.URL{Path: path, RawQuery: query}
	hr.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: "direct", Organization: []string{"system:masters"}}}}}}
	return hr
}

// requestSeeds are requests of every sort, for the fuzzer to change.
func requestSeeds(f *testing.F) {
	const proto = "application/vnd.kubernetes.protobuf"
	add := func(method, path, query, contentType, accept, body string) {
		f.Add(method, path, query, contentType, accept, []byte(body))
	}
	for _, k := range kind.Builtin().Kinds() {
		path := "/apis/" + k.GroupVersion().String() + "/"
		if k.Group == "" {
			path = "/api/v1/"
		}
		if k.Namespaced {
			path += "namespaces/default/"
		}
		object := map[string]any{}
		if err := yaml.Unmarshal([]byte(samples[k.Plural]), &object); err != nil {
			f.Fatal(err)
		}
		object["apiVersion"], object["kind"], object["metadata"] = k.GroupVersion().String(), k.Kind, map[string]any{"name": "seed"}
		data, err := yaml.Marshal(object)
		if err != nil {
			f.Fatal(err)
		}
		add("POST", path+k.Plural, "fieldManager=f&fieldValidation=Strict", "application/yaml", "application/json", string(data))
		add("PATCH", path+k.Plural+"/seed", "fieldManager=f&force=1", "application/apply-patch+yaml", "application/yaml", string(data))
		obj := k.New()
		if err := yaml.Unmarshal(data, obj); err != nil {
			f.Fatal(err)
		}
		if m, ok := obj.(interface{ Marshal() ([]byte, error) }); ok {
			raw, err := protobufBody(k, m)
			if err != nil {
				f.Fatal(err)
			}
			add("PUT", path+k.Plural+"/seed", "", proto, proto, string(raw))
		}
		add("GET", path+k.Plural, "limit=1&labelSelector=a in (b),!c&fieldSelector=metadata.name!=x", "", "application/json;as=Table;v=v1;g=meta.k8s.io", "")
	}
	const custom = "/apis/example.com/v1/namespaces/default/widgets"
	add("POST", custom, "fieldValidation=Strict", "application/json", "", `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"seed"},"spec":{"color":"red","port":"a","free":{"x":[1]},"object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"in"}},"parts":[{"name":"one","size":1}]}}`)
	add("PATCH", custom+"/seed", "fieldManager=f&force=1", "application/apply-patch+yaml", "", "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: seed}\nspec: {color: red, replicas: 3, odd: 1, parts: [{name: one}, {name: two}]}\n")
	add("PATCH", custom+"/seed", "", "application/merge-patch+json", "", `{"spec":{"max":1,"color":"green"},"metadata":{"managedFields":[{"manager":"m","operation":"Apply","apiVersion":"example.com/v1alpha1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:parts":{"k:{\"name\":\"one\"}":{".":{}}}}}}]}}`)
	add("PATCH", custom+"/seed/status", "", "application/json-patch+json", "", `[{"op":"add","path":"/status","value":{"replicas":1,"selector":"a=b"}}]`)
	add("PUT", custom+"/seed/scale", "", "application/json", "", `{"spec":{"replicas":4}}`)
	add("GET", custom, "fieldSelector=spec.color=red,spec.size!=1", "", "application/json;as=Table;v=v1;g=meta.k8s.io", "")
	add("GET", "/apis/example.com/v1alpha1/namespaces/default/widgets/seed", "", "", "", "")
	const maps = "/api/v1/namespaces/default/configmaps"
	add("POST", maps, "dryRun=All", "application/json", "", `{"metadata":{"generateName":"a-"},"data":{"k":"v"}}`)
	add("PATCH", maps+"/seed", "", "application/json-patch+json", "", `[{"op":"add","path":"/data","value":{}},{"op":"copy","from":"/metadata","path":"/data/x"},{"op":"move","from":"/a","path":"/b"},{"op":"test","path":"/a/-1","value":null}]`)
	add("PATCH", maps+"/seed", "", "application/merge-patch+json", "", `{"data":null,"metadata":{"finalizers":["a/b"],"managedFields":[{}],"ownerReferences":[{"uid":"u"}]}}`)
	add("PATCH", "/api/v1/namespaces/default/pods/seed/status", "", "application/strategic-merge-patch+json", "", `{"status":{"conditions":[{"type":"Ready","$patch":"replace"}],"$setElementOrder/conditions":[{"type":"x"}],"$retainKeys":["a"],"$deleteFromPrimitiveList/x":[1]}}`)
	add("DELETE", maps+"/seed", "gracePeriodSeconds=-1&propagationPolicy=Orphan", "application/json", "", `{"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"uid":"u","resourceVersion":"1"},"dryRun":["All"]}`)
	add("DELETE", maps, "labelSelector=a", "", "", "")
	add("GET", maps, "watch=1&resourceVersion=0&allowWatchBookmarks=1&timeoutSeconds=1&sendInitialEvents=1&resourceVersionMatch=NotOlderThan", "", proto+";stream=watch", "")
	add("GET", maps, "limit=2&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiYSJ9&resourceVersionMatch=Exact&resourceVersion=5", "", proto, "")
	add("GET", maps+"/seed", "pretty=1", "", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "")
	add("PUT", "/apis/apps/v1/namespaces/default/deployments/seed/scale", "", "application/json", "", `{"spec":{"replicas":1}}`)
	add("POST", "/api/v1/namespaces/default/pods/seed/binding", "", "application/json", "", `{"target":{"kind":"Node","name":"n"}}`)
	add("POST", "/api/v1/namespaces/default/pods/seed/eviction", "", "application/json", "", `{"deleteOptions":{"dryRun":["All"]}}`)
	add("POST", "/api/v1/namespaces/default/serviceaccounts/seed/token", "", "application/json", "", `{"spec":{"audiences":["a"],"expirationSeconds":600,"boundObjectRef":{"kind":"Pod","name":"x"}}}`)
	add("PATCH", "/api/v1/namespaces/default/pods/seed/ephemeralcontainers", "", "application/strategic-merge-patch+json", "", `{"spec":{"ephemeralContainers":[{"name":"d","image":"i","targetContainerName":"c"}]}}`)
	add("PUT", "/api/v1/namespaces/seed/finalize", "", "application/json", "", `{"metadata":{"name":"seed"},"spec":{"finalizers":[]}}`)
	add("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", "", "application/json", "", `{"spec":{"user":"u","resourceAttributes":{"verb":"get","resource":"pods"}}}`)
	add("POST", "/apis/authentication.k8s.io/v1/tokenreviews", "", "application/json", "", `{"spec":{"token":"a.b.c"}}`)
	add("GET", "/openapi/v3/apis/apps/v1", "hash=x", "", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf", "")
	add("GET", "/apis", "", "", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", "")
	add("GET", "/api/v1/namespaces/default/pods/seed/log", "container=c&tailLines=1&sinceSeconds=-1", "", "", "")
	add("POST", "/api/v1/namespaces/default/pods/seed/exec", "command=a&stdin=1", "", "", "")
}

// protobufBody is an object as clients send it.
func protobufBody(k *kind.Kind, m interface{ Marshal() ([]byte, error) }) ([]byte, error) {
	for _, info := range scheme.Codecs.SupportedMediaTypes() {
		if info.MediaType == "application/vnd.kubernetes.protobuf" {
			obj, ok := m.(kind.Object)
			if !ok {
				return nil, fmt.Errorf("%s is no object", k.Kind)
			}
			var b strings.Builder
			err := info.Serializer.Encode(obj, &b)
			return []byte(b.String()), err
		}
	}
	return nil, fmt.Errorf("there is no protobuf encoding")
}

// TestSlowBody sends the head of a request and never its body: the place that it holds must become free.
func TestSlowBody(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		c, err := rest.TLSConfigFor(e.Admin())
		if err != nil {
			t.Fatal(err)
		}
		hc := &http.Client{Transport: &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: protocol == "HTTP/2.0"}}
		defer hc.CloseIdleConnections()
		body, never := io.Pipe()
		defer never.Close()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.Address+maps+"?timeout=200ms", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", jsonType)
		resp, err := hc.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", protocol, err)
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusGatewayTimeout || resp.Proto != protocol {
			t.Errorf("%s: %d by %s", protocol, resp.StatusCode, resp.Proto)
		}
	}
}

// crowdedPod is a pod of containers without anything in them.
func crowdedPod(t *testing.T) string {
	t.Helper()
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: make([]corev1.Container, 10_001)}}
	raw, err := pod.Marshal()
	if err == nil {
		raw, err = (&runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "v1", Kind: "Pod"}, Raw: raw}).Marshal()
	}
	if err != nil {
		t.Fatal(err)
	}
	return "k8s\x00" + string(raw)
}

// TestBombs sends small requests that would grow large: each must be refused, and quickly enough to be tested.
func TestBombs(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	if _, err := e.Kube(e.Admin()).CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	deep := strings.Repeat(`{"a":`, 200_000)
	lol := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'j'; c++ {
		lol += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat("*"+string(c-1)+",", 9), ","))
	}
	double := `{"op":"add","path":"/data","value":{"k":"v"}}`
	for i := range 40 {
		double += fmt.Sprintf(`,{"op":"copy","from":"/data","path":"/data/k%d"}`, i)
	}
	many := strings.TrimSuffix(strings.Repeat(`{"op":"test","path":"/kind","value":"ConfigMap"},`, 10_001), ",")
	crowd := strings.TrimSuffix(strings.Repeat("{},", 10_001), ",")
	pods := strings.TrimSuffix(maps, "configmaps") + "pods"
	for _, tc := range []struct {
		name, method, path, contentType, body string
		code                                  int
	}{
		{"containers", "POST", pods, jsonType, `{"spec":{"containers":[` + crowd + `]}}`, 413},
		{"containers in YAML", "POST", pods, "application/yaml", "spec:\n  containers:\n" + strings.Repeat("  - {}\n", 10_001), 413},
		{"containers in protobuf", "POST", pods, "application/vnd.kubernetes.protobuf", crowdedPod(t), 413},
		{"merged containers", "PATCH", pods + "/a", "application/merge-patch+json", `{"spec":{"containers":[` + crowd + `]}}`, 413},
		{"applied containers", "PATCH", pods + "/a?fieldManager=m", "application/apply-patch+yaml", "spec:\n  containers:\n" + strings.Repeat("  - name:\n", 10_001), 413},
		{"deep JSON", "POST", maps, jsonType, deep, 400},
		{"deep YAML", "POST", maps, "application/yaml", strings.Repeat("[", 200_000), 400},
		{"deep merge patch", "PATCH", maps + "/a", "application/merge-patch+json", deep, 400},
		{"deep apply", "PATCH", maps + "/a?fieldManager=m", "application/apply-patch+yaml", deep, 400},
		{"deep options", "DELETE", maps + "/a", jsonType, deep, 400},
		{"YAML aliases", "POST", maps, "application/yaml", lol, 400},
		{"applied YAML aliases", "PATCH", maps + "/a?fieldManager=m", "application/apply-patch+yaml", lol, 400},
		{"copies of copies", "PATCH", maps + "/a", "application/json-patch+json", "[" + double + "]", 422},
		{"operations", "PATCH", maps + "/a", "application/json-patch+json", "[" + many + "]", 413},
		{"large patch", "PATCH", maps + "/a", "application/merge-patch+json", `{"data":{"a":"` + strings.Repeat("x", 3<<20) + `"}}`, 413},
		{"large options", "DELETE", maps + "/a", jsonType, `{"kind":"` + strings.Repeat("x", 3<<20) + `"}`, 413},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, _, data := do(t, e.HTTP(), tc.method, e.Address+tc.path, tc.contentType, "", tc.body)
			if code != tc.code {
				t.Errorf("got %d, want %d: %.300s", code, tc.code, data)
			}
		})
	}
}
