package api_test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
)

// converterOfPaints is a webhook that renames a field of the spec between the versions of paints.
type converterOfPaints struct {
	*httptest.Server
	calls atomic.Int32
	// asked is the server's name and the path of the last call.
	asked atomic.Pointer[string]
	// spoil, when set, changes an answer before it is sent.
	spoil atomic.Pointer[func(*apiextensionsv1.ConversionReview)]
}

// newConverterOfPaints returns one that is to be started, and ends with the test.
func newConverterOfPaints(t *testing.T) *converterOfPaints {
	t.Helper()
	h := &converterOfPaints{}
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.calls.Add(1)
		asked := r.TLS.ServerName + r.URL.Path
		h.asked.Store(&asked)
		review := &apiextensionsv1.ConversionReview{}
		if err := json.NewDecoder(r.Body).Decode(review); err != nil {
			t.Error(err)
		}
		review.Response = &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
		for _, raw := range review.Request.Objects {
			u := &unstructured.Unstructured{}
			if err := u.UnmarshalJSON(raw.Raw); err != nil {
				t.Error(err)
			}
			from, to := "color", "colour"
			if strings.HasSuffix(review.Request.DesiredAPIVersion, "/v1") {
				from, to = to, from
			}
			if spec, ok := u.Object["spec"].(map[string]any); ok {
				if v, ok := spec[from]; ok {
					delete(spec, from)
					spec[to] = v
				}
			}
			u.SetAPIVersion(review.Request.DesiredAPIVersion)
			review.Response.ConvertedObjects = append(review.Response.ConvertedObjects, runtime.RawExtension{Object: u})
		}
		if f := h.spoil.Load(); f != nil {
			(*f)(review)
		}
		review.Request = nil
		if err := json.NewEncoder(w).Encode(review); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

// spoiled has f change the webhook's answers while do runs.
func (h *converterOfPaints) spoiled(f func(*apiextensionsv1.ConversionReview), do func()) {
	h.spoil.Store(&f)
	defer h.spoil.Store(nil)
	do()
}

// eachPaint has f change every object that the webhook converted.
func eachPaint(f func(*unstructured.Unstructured)) func(*apiextensionsv1.ConversionReview) {
	return func(r *apiextensionsv1.ConversionReview) {
		for _, raw := range r.Response.ConvertedObjects {
			f(raw.Object.(*unstructured.Unstructured))
		}
	}
}

func notToday(r *apiextensionsv1.ConversionReview) {
	r.Response.Result = metav1.Status{Status: metav1.StatusFailure, Message: "not today"}
}

// paintsBy defines paints, in two versions that are converted by the webhook of this configuration.
func paintsBy(clientConfig string) string {
	version := func(name, field string, storage bool) string {
		return fmt.Sprintf(`  - name: %[1]s
    served: true
    storage: %[3]v
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {%[2]s: {type: string}, replicas: {type: integer}}}, status: {type: object, properties: {replicas: {type: integer}}}}}}
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
    additionalPrinterColumns: [{name: Paint, type: string, jsonPath: .spec.%[2]s}]
`, name, field, storage)
	}
	return `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: paints.example.com}
spec:
  group: example.com
  scope: Cluster
  names: {plural: paints, kind: Paint}
  conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: ` + clientConfig + `}}
  versions:
` + version("v1", "color", true) + version("v1beta1", "colour", false)
}

// TestConversionWebhook reads and writes objects of a definition whose versions differ in a field's name, in all the ways
// that there are, in the version that is not stored.
func TestConversionWebhook(t *testing.T) {
	hook := newConverterOfPaints(t)
	hook.StartTLS()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw})
	e := apitest.Start(t, apitest.Options{})
	c, ctx := dynamicOf(t, e), t.Context()
	define(t, c, paintsBy(`{url: "`+hook.URL+`/convert", caBundle: `+base64.StdEncoding.EncodeToString(ca)+`}`))
	of := func(version string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Group: "example.com", Version: version, Resource: "paints"}
	}
	stored, other := c.Resource(of("v1")), c.Resource(of("v1beta1"))
	paint := func(name, spec string) *unstructured.Unstructured {
		return fromYAML(t, "apiVersion: example.com/v1beta1\nkind: Paint\nmetadata: {name: "+name+"}\nspec: "+spec)
	}
	// is fails unless an answer has this spec
	is := func(what string, u *unstructured.Unstructured, err error, want string) {
		t.Helper()
		if err != nil || fmt.Sprint(u.Object["spec"]) != want {
			t.Errorf("%s: %v, %v; want %s", what, u, err, want)
		}
	}
	soon := int64(30) // a watch that sees less than it should ends
	w, err := other.Watch(ctx, metav1.ListOptions{TimeoutSeconds: &soon})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	// seen fails unless these are the next events, in any order
	seen := func(want ...string) {
		t.Helper()
		var got []string
		for range want {
			ev := <-w.ResultChan()
			u, ok := ev.Object.(*unstructured.Unstructured)
			if !ok || u.GetAPIVersion() != "example.com/v1beta1" {
				t.Fatalf("the watch saw %s %v, want %s", ev.Type, ev.Object, want)
			}
			got = append(got, fmt.Sprint(ev.Type, " ", u.GetName(), " ", u.Object["spec"]))
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("the watch saw %q, want %q", got, want)
		}
	}
	for _, name := range []string{"a", "b"} {
		made, err := other.Create(ctx, paint(name, "{colour: red}"), metav1.CreateOptions{FieldManager: "maker"})
		is("created", made, err, "map[colour:red]")
		seen("ADDED " + name + " map[colour:red]")
	}
	before := hook.calls.Load()
	got, err := stored.Get(ctx, "a", metav1.GetOptions{})
	if is("as stored", got, err, "map[color:red]"); hook.calls.Load() != before {
		t.Errorf("it took %d conversions to read what is stored", hook.calls.Load()-before)
	}
	got, err = stored.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"color":"green"}}`), metav1.PatchOptions{FieldManager: "maker"})
	is("patched", got, err, "map[color:green]")
	seen("MODIFIED a map[colour:green]")
	list, err := other.List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 2 || fmt.Sprint(list.Items[0].Object["spec"], list.Items[1].Object["spec"]) != "map[colour:green] map[colour:red]" {
		t.Errorf("list in the other version = %v, %v", list, err)
	}

	// what one applies in one version is theirs in the other
	got, err = other.Apply(ctx, "a", paint("a", "{colour: blue}"), metav1.ApplyOptions{FieldManager: "one", Force: true})
	is("applied", got, err, "map[colour:blue]")
	seen("MODIFIED a map[colour:blue]")
	in1 := paint("a", "{color: black}")
	in1.SetAPIVersion("example.com/v1")
	if _, err := stored.Apply(ctx, "a", in1, metav1.ApplyOptions{FieldManager: "two"}); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "one": .spec.colour`) {
		t.Errorf("apply of another's field in the other version: %v", err)
	}
	got, err = stored.Get(ctx, "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	owned := ""
	for _, m := range got.GetManagedFields() {
		if m.Manager == "one" {
			owned = fmt.Sprint(m.Operation, " ", m.APIVersion, " ", string(m.FieldsV1.Raw))
		}
	}
	if want := `Apply example.com/v1beta1 {"f:spec":{"f:colour":{}}}`; owned != want {
		t.Errorf("who applied owns %s, want %s", owned, want)
	}
	got, err = other.Apply(ctx, "a", paint("a", "{replicas: 2}"), metav1.ApplyOptions{FieldManager: "one"})
	is("a field applied no more", got, err, "map[replicas:2]")
	seen("MODIFIED a map[replicas:2]")

	// subresources
	u, err := other.Get(ctx, "b", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	u.Object["spec"] = map[string]any{"colour": "ignored"}
	u.Object["status"] = map[string]any{"replicas": int64(1)}
	got, err = other.UpdateStatus(ctx, u, metav1.UpdateOptions{})
	if is("status written", got, err, "map[colour:red]"); err == nil && fmt.Sprint(got.Object["status"]) != "map[replicas:1]" {
		t.Errorf("the status is %v", got.Object["status"])
	}
	seen("MODIFIED b map[colour:red]")
	scaled, err := other.Patch(ctx, "b", types.MergePatchType, []byte(`{"spec":{"replicas":3}}`), metav1.PatchOptions{}, "scale")
	if err != nil || fmt.Sprint(scaled.GetKind(), scaled.Object["spec"], scaled.Object["status"]) != "Scalemap[replicas:3] map[replicas:1]" {
		t.Errorf("scaled: %v, %v", scaled, err)
	}
	seen("MODIFIED b map[colour:red replicas:3]")

	code, _, table := do(t, e.HTTP(), "GET", e.Address+"/apis/example.com/v1beta1/paints/b", "", "application/json;as=Table;v=v1;g=meta.k8s.io", "")
	if code != http.StatusOK || !strings.Contains(string(table), `"cells":["b","red"]`) {
		t.Errorf("as a table: %d %s", code, table)
	}
	if err := other.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
	seen("DELETED a map[replicas:2]", "DELETED b map[colour:red replicas:3]")
	brokenConversions(t, hook, stored, other, paint)
}

// brokenConversions has the webhook answer in ways that it may not.
func brokenConversions(t *testing.T, hook *converterOfPaints, stored, other dynamic.ResourceInterface, paint func(name, spec string) *unstructured.Unstructured) {
	t.Helper()
	ctx := t.Context()
	if _, err := other.Create(ctx, paint("b", "{colour: red}"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	hook.spoiled(notToday, func() {
		if got, err := other.Get(ctx, "b", metav1.GetOptions{}); !apierrors.IsInternalError(err) {
			t.Errorf("the webhook was not asked for what it had converted once: %v, %v", got, err)
		}
		if list, err := other.List(ctx, metav1.ListOptions{}); err != nil || len(list.Items) != 1 {
			t.Errorf("a list of what was converted = %v, %v", list, err)
		}
		if _, err := other.Get(ctx, "b", metav1.GetOptions{ResourceVersion: "0"}); err != nil {
			t.Errorf("a get of whatever there is = %v", err)
		}
	})
	// change makes an object new, which nobody has converted yet
	changes := 0
	change := func() {
		t.Helper()
		changes++
		if _, err := stored.Patch(ctx, "b", types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, changes), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		spoil func(*apiextensionsv1.ConversionReview)
		want  string
	}{
		"a refusal": {notToday, "failed: not today"},
		"too few": {func(r *apiextensionsv1.ConversionReview) {
			r.Response.ConvertedObjects = r.Response.ConvertedObjects[1:]
		}, "returned 0 objects, expected 1"},
		"another request's": {func(r *apiextensionsv1.ConversionReview) { r.Response.UID = "other" }, "response.uid"},
		"no answer":         {func(r *apiextensionsv1.ConversionReview) { r.Response = nil }, "no response provided"},
		"another version":   {eachPaint(func(u *unstructured.Unstructured) { u.SetAPIVersion("example.com/v9") }), "returned invalid converted object at index 0: invalid groupVersion (expected example.com/v"},
		"another kind":      {eachPaint(func(u *unstructured.Unstructured) { u.SetKind("Varnish") }), "invalid kind (expected Paint, received Varnish)"},
		"another name":      {eachPaint(func(u *unstructured.Unstructured) { u.SetName("z") }), "must have the same name: "},
		"another UID":       {eachPaint(func(u *unstructured.Unstructured) { u.SetUID("z") }), "must have the same UID: "},
		"a bad label":       {eachPaint(func(u *unstructured.Unstructured) { u.SetLabels(map[string]string{"a b": "c"}) }), "metadata.labels: Invalid value: \"a b\""},
		"a bad annotation":  {eachPaint(func(u *unstructured.Unstructured) { u.SetAnnotations(map[string]string{"a b": "c"}) }), "metadata.annotations: Invalid value: \"a b\""},
	} {
		hook.spoiled(tc.spoil, func() {
			change()
			_, created := other.Create(ctx, paint("c", "{colour: red}"), metav1.CreateOptions{})
			_, read := other.Get(ctx, "b", metav1.GetOptions{})
			_, listed := other.List(ctx, metav1.ListOptions{})
			for what, err := range map[string]error{"create": created, "get": read, "list": listed} {
				if !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), "conversion webhook for example.com/") || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%s: %s = %v, want %s", name, what, err, tc.want)
				}
			}
			// who asks for it as it is stored gets it
			if _, err := stored.Get(ctx, "b", metav1.GetOptions{}); err != nil {
				t.Errorf("%s: get as stored = %v", name, err)
			}
		})
	}
	hook.spoiled(eachPaint(func(u *unstructured.Unstructured) {
		u.SetLabels(map[string]string{"by": "hook"})
		u.SetGeneration(99)
		u.SetFinalizers([]string{"example.com/x"})
	}), func() {
		change()
		got, err := other.Get(ctx, "b", metav1.GetOptions{})
		if err != nil || got.GetLabels()["by"] != "hook" || got.GetGeneration() == 99 || len(got.GetFinalizers()) > 0 {
			t.Errorf("metadata that the webhook changed: %v, %v", got, err)
		}
	})
	hook.spoiled(notToday, func() {
		change()
		soon := int64(10)
		w, err := other.Watch(ctx, metav1.ListOptions{TimeoutSeconds: &soon})
		if err == nil {
			defer w.Stop()
			ev := <-w.ResultChan()
			err = apierrors.FromObject(ev.Object)
		}
		if err == nil || !strings.Contains(err.Error(), "not today") {
			t.Errorf("a watch of what can not be converted = %v", err)
		}
	})
}

// TestConversionByService has the webhook answer as an endpoint of a service, and looks for it where it is not.
func TestConversionByService(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	c, ctx := dynamicOf(t, e), t.Context()
	cert, _ := e.AgentIdentity("hook.default.svc")
	hook := newConverterOfPaints(t)
	hook.Config.ErrorLog = log.New(io.Discard, "", 0) // who does not trust it is as it should be
	hook.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	hook.Listener.Close()
	var err error
	if hook.Listener, err = net.Listen("tcp", net.JoinHostPort(hostAddress(t), "0")); err != nil {
		t.Fatal(err)
	}
	hook.StartTLS()
	at := hook.Listener.Addr().(*net.TCPAddr)
	for resource, objects := range map[schema.GroupVersionResource][]string{
		{Version: "v1", Resource: "services"}: {
			"{metadata: {name: hook}, spec: {ports: [{name: metrics, port: 9090}, {name: https, port: 443, targetPort: 1}]}}",
			"{metadata: {name: other}, spec: {type: ExternalName, externalName: " + at.IP.String() + "}}",
			"{metadata: {name: bare}, spec: {ports: [{port: 443}]}}",
		},
		{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}: {
			fmt.Sprintf("{metadata: {name: hook, labels: {kubernetes.io/service-name: hook}}, addressType: IPv4, ports: [{name: metrics, port: 1}, {name: https, port: %d}], endpoints: [{addresses: [192.0.2.1], conditions: {ready: false}}, {addresses: [%s]}]}", at.Port, at.IP),
		},
	} {
		for _, o := range objects {
			u := fromYAML(t, o)
			u.SetAPIVersion(resource.GroupVersion().String())
			u.SetKind(map[string]string{"services": "Service", "endpointslices": "EndpointSlice"}[resource.Resource])
			if _, err := c.Resource(resource).Namespace("default").Create(ctx, u, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	right := base64.StdEncoding.EncodeToString(e.Keys.Authority.PEM())
	config := func(service, ca string) string {
		return fmt.Sprintf(`{"service": {"namespace": "default", "path": "/convert/paints", %s}, "caBundle": %q}`, service, ca)
	}
	define(t, c, paintsBy(config(`"name": "hook"`, right)))
	paints := c.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1beta1", Resource: "paints"})
	red := fromYAML(t, "{apiVersion: example.com/v1beta1, kind: Paint, metadata: {name: a}, spec: {colour: red}}")
	made, err := paints.Create(ctx, red, metav1.CreateOptions{})
	if err != nil || fmt.Sprint(made.Object["spec"]) != "map[colour:red]" {
		t.Fatalf("created %v, %v", made, err)
	}
	if asked := *hook.asked.Load(); asked != "hook.default.svc/convert/paints" {
		t.Errorf("%s was asked", asked)
	}
	// a changed definition is what counts, whatever was converted before
	for _, tc := range []struct{ service, ca, want string }{
		{`"name": "missing"`, right, `conversion webhook for example.com/v1, Kind=Paint failed: Post "https://missing.default.svc:443/convert/paints?timeout=30s": service "missing" not found`},
		{`"name": "bare"`, right, `no endpoints available for service "bare"`},
		{`"name": "hook", "port": 444`, right, `Post "https://hook.default.svc:444/convert/paints?timeout=30s": no service port 444 found for service "hook"`},
		{`"name": "other", "port": ` + strconv.Itoa(at.Port), right, "certificate is valid for hook.default.svc, not other.default.svc"},
		{`"name": "hook"`, "", "certificate signed by unknown authority"},
		{`"name": "hook"`, right, ""},
	} {
		patch := fmt.Sprintf(`[{"op":"replace","path":"/spec/conversion/webhook/clientConfig","value":%s}]`, config(tc.service, tc.ca))
		if _, err := c.Resource(crds).Patch(ctx, "paints.example.com", types.JSONPatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		e.Eventually("it is said that "+tc.want, func() bool {
			_, err := paints.Get(ctx, "a", metav1.GetOptions{})
			return tc.want == "" && err == nil || tc.want != "" && apierrors.IsInternalError(err) && strings.Contains(err.Error(), tc.want)
		})
	}
}

// hostAddress returns an address of this machine that endpoints may have, which loopback's are not.
func hostAddress(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && ip.IP.IsGlobalUnicast() {
			return ip.IP.String()
		}
	}
	t.Fatal("this machine has no address but loopback's")
	return ""
}
