package admission_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
)

// receiver is a webhook over TLS that remembers what it was asked and answers as it is told.
type receiver struct {
	*httptest.Server
	mu      sync.Mutex
	asked   []*admissionv1.AdmissionRequest
	queries []string
	answer  func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse
}

func receive(t *testing.T, answer func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse) *receiver {
	t.Helper()
	r := &receiver{answer: answer}
	r.Server = quietServer(t, r)
	return r
}

// broken is a webhook that answers every call with this code and body.
func broken(t *testing.T, code int, body string) admissionregistrationv1.WebhookClientConfig {
	t.Helper()
	r := &receiver{Server: quietServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}))}
	return r.client()
}

var quietLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)

func quietServer(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = quietLog
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	data, _ := io.ReadAll(hr.Body)
	review := &admissionv1.AdmissionReview{}
	if err := json.Unmarshal(data, review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	r.asked = append(r.asked, review.Request)
	r.queries = append(r.queries, hr.URL.RawQuery)
	r.mu.Unlock()
	resp := r.answer(review.Request)
	resp.UID = review.Request.UID
	_ = json.NewEncoder(w).Encode(admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: resp})
}

// requests returns what was asked since the last call.
func (r *receiver) requests() []*admissionv1.AdmissionRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := r.asked
	r.asked = nil
	return asked
}

func (r *receiver) ca() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw})
}

func (r *receiver) client() admissionregistrationv1.WebhookClientConfig {
	return admissionregistrationv1.WebhookClientConfig{URL: &r.URL, CABundle: r.ca()}
}

func allow(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Allowed: true}
}

func patchWith(patch string) func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	return func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		typ := admissionv1.PatchTypeJSONPatch
		return &admissionv1.AdmissionResponse{Allowed: true, Patch: []byte(patch), PatchType: &typ}
	}
}

// on is a rule for operations on resources of the core group.
func on(operations string, resources ...string) []admissionregistrationv1.RuleWithOperations {
	var ops []admissionregistrationv1.OperationType
	for op := range strings.SplitSeq(operations, ",") {
		ops = append(ops, admissionregistrationv1.OperationType(op))
	}
	return []admissionregistrationv1.RuleWithOperations{{
		Operations: ops, Rule: admissionregistrationv1.Rule{APIGroups: []string{"", "apps"}, APIVersions: []string{"v1"}, Resources: resources},
	}}
}

var noSideEffects = admissionregistrationv1.SideEffectClassNone

func validating(name string, client admissionregistrationv1.WebhookClientConfig, rules []admissionregistrationv1.RuleWithOperations, change ...func(*admissionregistrationv1.ValidatingWebhook)) *admissionregistrationv1.ValidatingWebhookConfiguration {
	h := admissionregistrationv1.ValidatingWebhook{Name: name + ".example.com", ClientConfig: client, Rules: rules, SideEffects: &noSideEffects, AdmissionReviewVersions: []string{"v1"}}
	for _, f := range change {
		f(&h)
	}
	return &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []admissionregistrationv1.ValidatingWebhook{h}}
}

func mutating(name string, client admissionregistrationv1.WebhookClientConfig, rules []admissionregistrationv1.RuleWithOperations, change ...func(*admissionregistrationv1.MutatingWebhook)) *admissionregistrationv1.MutatingWebhookConfiguration {
	h := admissionregistrationv1.MutatingWebhook{Name: name + ".example.com", ClientConfig: client, Rules: rules, SideEffects: &noSideEffects, AdmissionReviewVersions: []string{"v1"}}
	for _, f := range change {
		f(&h)
	}
	return &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []admissionregistrationv1.MutatingWebhook{h}}
}

// server is an API server with a user's client, whose warnings and audit log are kept.
type server struct {
	*kubernetes.Clientset
	env   *apitest.Env
	audit *lockedBuffer
	warn  *warnings
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) has(text string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Contains(b.String(), text)
}

type warnings struct {
	mu    sync.Mutex
	texts []string
}

func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts = append(w.texts, text)
}

func (w *warnings) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	texts := w.texts
	w.texts = nil
	return strings.Join(texts, "\n")
}

func serve(t *testing.T) *server {
	t.Helper()
	s := &server{audit: &lockedBuffer{}, warn: &warnings{}}
	s.env = apitest.Start(t, apitest.Options{Audit: s.audit, AuditLevel: api.AuditMetadata})
	config := s.env.Admin()
	config.WarningHandler = s.warn
	s.Clientset = s.env.Kube(config)
	return s
}

func (s *server) validating(t *testing.T, c *admissionregistrationv1.ValidatingWebhookConfiguration) {
	t.Helper()
	if _, err := s.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), c, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(context.Background(), c.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

func (s *server) mutating(t *testing.T, c *admissionregistrationv1.MutatingWebhookConfiguration) {
	t.Helper()
	if _, err := s.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), c, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(context.Background(), c.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

func named(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"a": "b"}}
}

func (s *server) create(t *testing.T, cm *corev1.ConfigMap) (*corev1.ConfigMap, error) {
	t.Helper()
	return s.CoreV1().ConfigMaps("default").Create(t.Context(), cm, metav1.CreateOptions{})
}

func (s *server) mustCreate(t *testing.T, cm *corev1.ConfigMap) *corev1.ConfigMap {
	t.Helper()
	got, err := s.create(t, cm)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func wantError(t *testing.T, err error, code int32, text string) {
	t.Helper()
	status, ok := err.(apierrors.APIStatus)
	if !ok || status.Status().Code != code || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v\nwant code %d: %s", err, code, text)
	}
}

func TestWebhooks(t *testing.T) {
	s := serve(t)
	t.Run("what is asked", func(t *testing.T) { whatIsAsked(t, s) })
	t.Run("refusal", func(t *testing.T) { refusal(t, s) })
	t.Run("failure policy", func(t *testing.T) { failurePolicy(t, s) })
	t.Run("matching", func(t *testing.T) { matching(t, s) })
	t.Run("patches", func(t *testing.T) { patches(t, s) })
	t.Run("old reviews", func(t *testing.T) { oldReviews(t, s) })
	t.Run("reinvocation", func(t *testing.T) { reinvocation(t, s) })
	t.Run("service", func(t *testing.T) { byService(t, s) })
	t.Run("subresources", func(t *testing.T) { subresources(t, s) })
	t.Run("dry run", func(t *testing.T) { dryRun(t, s) })
}

func whatIsAsked(t *testing.T, s *server) {
	hook := receive(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Allowed: true, Warnings: []string{"mind the gap"}, AuditAnnotations: map[string]string{"seen": "yes"}}
	})
	s.validating(t, validating("asked", hook.client(), on("*", "configmaps", "validatingwebhookconfigurations")))
	s.mustCreate(t, named("asked"))
	if got := s.warn.take(); got != "mind the gap" {
		t.Errorf("warnings %q", got)
	}
	if err := s.CoreV1().ConfigMaps("default").Delete(t.Context(), "asked", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	got := hook.requests()
	if len(got) != 2 {
		t.Fatalf("asked %d times", len(got))
	}
	r := got[0]
	if r.Operation != "CREATE" || r.Name != "asked" || r.Namespace != "default" || r.Kind.Kind != "ConfigMap" || r.Resource.Resource != "configmaps" ||
		r.UserInfo.Username != "admin" || r.RequestKind.Kind != "ConfigMap" || *r.DryRun || r.OldObject.Raw != nil && string(r.OldObject.Raw) != "null" {
		t.Errorf("asked about %+v", r)
	}
	cm := &corev1.ConfigMap{}
	if err := json.Unmarshal(r.Object.Raw, cm); err != nil || cm.Kind != "ConfigMap" || cm.APIVersion != "v1" || cm.Data["a"] != "b" {
		t.Errorf("object %s, %v", r.Object.Raw, err)
	}
	if !strings.Contains(string(r.Options.Raw), `"kind":"CreateOptions"`) {
		t.Errorf("options %s", r.Options.Raw)
	}
	if r = got[1]; r.Operation != "DELETE" || !strings.Contains(string(r.OldObject.Raw), `"asked"`) {
		t.Errorf("asked about %+v", r)
	}
	if hook.queries[0] != "timeout=10s" {
		t.Errorf("query %q", hook.queries[0])
	}
	s.env.Eventually("the audit log has the annotation", func() bool { return s.audit.has(`"asked.example.com/seen":"yes"`) })
}

func refusal(t *testing.T, s *server) {
	hook := receive(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		if r.Name == "silent" {
			return &admissionv1.AdmissionResponse{}
		}
		return &admissionv1.AdmissionResponse{Result: &metav1.Status{Code: 403, Message: "no way", Reason: metav1.StatusReasonForbidden}}
	})
	s.validating(t, validating("refuse", hook.client(), on("CREATE", "configmaps")))
	_, err := s.create(t, named("loud"))
	wantError(t, err, 403, `admission webhook "refuse.example.com" denied the request: no way`)
	_, err = s.create(t, named("silent"))
	wantError(t, err, 400, `admission webhook "refuse.example.com" denied the request without explanation`)
}

// oldReviews asks webhooks that take AdmissionReviews of v1beta1, and answer as those of its time did: without saying what
// the answer is, for which request, and of what type its patch is.
func oldReviews(t *testing.T, s *server) {
	sent := make(chan string, 2)
	old := func(response string) admissionregistrationv1.WebhookClientConfig {
		return (&receiver{Server: quietServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			review := &admissionv1.AdmissionReview{}
			if err := json.NewDecoder(r.Body).Decode(review); err != nil {
				t.Error(err)
			}
			sent <- review.APIVersion
			_, _ = io.WriteString(w, `{"response": `+response+`}`)
		}))}).client()
	}
	take := []string{"v2", "v1beta1", "v1"}
	patch := base64.StdEncoding.EncodeToString([]byte(`[{"op": "add", "path": "/data/old", "value": "yes"}]`))
	s.mutating(t, mutating("old", old(`{"allowed": true, "patch": "`+patch+`"}`), on("CREATE", "configmaps"), func(h *admissionregistrationv1.MutatingWebhook) { h.AdmissionReviewVersions = take }))
	s.validating(t, validating("old", old(`{"allowed": true, "patch": "bm8=", "patchType": "JSONPatch"}`), on("CREATE", "configmaps"), func(h *admissionregistrationv1.ValidatingWebhook) { h.AdmissionReviewVersions = take }))
	got := s.mustCreate(t, named("old"))
	if got.Data["old"] != "yes" {
		t.Errorf("data %v", got.Data)
	}
	for range 2 {
		if v := <-sent; v != "admission.k8s.io/v1beta1" {
			t.Errorf("sent a review of %s", v)
		}
	}
}

func failurePolicy(t *testing.T, s *server) {
	ignore := admissionregistrationv1.Ignore
	one := int32(1)
	stuck := make(chan struct{}) // closed when the webhook that does not answer may end
	slow := receive(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		<-stuck
		return allow(r)
	})
	defer close(stuck)
	stranger := receive(t, allow).client()
	stranger.CABundle = s.env.Keys.Authority.PEM()
	down := broken(t, 503, "oh no")
	for name, tc := range map[string]struct {
		client admissionregistrationv1.WebhookClientConfig
		want   string
	}{
		"timeout":     {slow.client(), "context deadline exceeded"},
		"certificate": {stranger, "certificate signed by unknown authority"},
		"no-review":   {broken(t, 200, "{}"), "received invalid webhook response: webhook response was absent"},
		"error":       {down, "failed to call webhook: the server answered 503"},
	} {
		t.Run(name, func(t *testing.T) {
			s.validating(t, validating(name, tc.client, on("CREATE", "configmaps"), func(h *admissionregistrationv1.ValidatingWebhook) {
				h.TimeoutSeconds = &one
				h.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"case": name}}
			}))
			cm := named("fails-" + name)
			cm.Labels = map[string]string{"case": name}
			_, err := s.create(t, cm)
			wantError(t, err, 500, fmt.Sprintf("Internal error occurred: failed calling webhook %q: ", name+".example.com"))
			wantError(t, err, 500, tc.want)
		})
	}
	s.validating(t, validating("lenient", down, on("CREATE", "configmaps"), func(h *admissionregistrationv1.ValidatingWebhook) { h.FailurePolicy = &ignore }))
	s.mustCreate(t, named("lenient"))
	s.env.Eventually("the audit log says so", func() bool {
		return s.audit.has(`"failed-open.validating.webhook.admission.k8s.io/round_0_index_0":"lenient.example.com"`)
	})
}

func matching(t *testing.T, s *server) {
	hook := receive(t, allow)
	s.validating(t, validating("match", hook.client(), on("CREATE", "configmaps"), func(h *admissionregistrationv1.ValidatingWebhook) {
		h.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"hooked": "yes"}}
		h.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"mine": "yes"}}
		h.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "not-exempt", Expression: `!has(object.data) || object.data.a != 'exempt' || !authorizer.group('').resource('pods').check('fly').allowed()`}}
	}))
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "hooked", Labels: map[string]string{"hooked": "yes"}}}
	if _, err := s.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for i, tc := range []struct {
		namespace, label, data string
		want                   int
	}{{"default", "yes", "", 0}, {"hooked", "no", "", 0}, {"hooked", "yes", "exempt", 0}, {"hooked", "yes", "", 1}} {
		cm := named("match-" + strconv.Itoa(i))
		cm.Labels = map[string]string{"mine": tc.label}
		cm.Data["a"] = tc.data
		if _, err := s.CoreV1().ConfigMaps(tc.namespace).Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := len(hook.requests()); got != tc.want {
			t.Errorf("%+v: asked %d times", tc, got)
		}
	}
	_, err := s.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), validating("typo", hook.client(), on("CREATE", "configmaps"), func(h *admissionregistrationv1.ValidatingWebhook) {
		h.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "a", Expression: "objekt.x == 1"}}
	}), metav1.CreateOptions{})
	wantError(t, err, 422, "webhooks[0].matchConditions[0].expression: Invalid value: \"objekt.x == 1\": compilation failed")
}

func patches(t *testing.T, s *server) {
	first := receive(t, patchWith(`[{"op": "add", "path": "/data/order", "value": "1"}]`))
	second := receive(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		if !strings.Contains(string(r.Object.Raw), `"order":"1"`) {
			return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: "not after the first"}}
		}
		return patchWith(`[{"op": "replace", "path": "/data/order", "value": "2"}]`)(r)
	})
	s.mutating(t, mutating("b-second", second.client(), on("CREATE,UPDATE", "configmaps")))
	s.mutating(t, mutating("a-first", first.client(), on("CREATE,UPDATE", "configmaps")))
	got := s.mustCreate(t, named("patched"))
	if got.Data["order"] != "2" {
		t.Errorf("data %v", got.Data)
	}
	got.Data = map[string]string{"new": "x"}
	got, err := s.CoreV1().ConfigMaps("default").Update(t.Context(), got, metav1.UpdateOptions{})
	if err != nil || got.Data["order"] != "2" || got.Data["new"] != "x" {
		t.Errorf("updated to %v, %v", got.Data, err)
	}
	s.env.Eventually("the audit log says who changed it", func() bool {
		return s.audit.has(`"mutation.webhook.admission.k8s.io/round_0_index_0":"{\"webhook\":\"a-first.example.com\",\"mutated\":true}"`)
	})
	bad := receive(t, patchWith(`[{"op": "replace", "path": "/metadata/namespace", "value": "kube-system"}]`))
	s.mutating(t, mutating("c-bad", bad.client(), on("CREATE", "configmaps")))
	_, err = s.create(t, named("moved"))
	wantError(t, err, 400, "the namespace of the provided object does not match")
}

func reinvocation(t *testing.T, s *server) {
	ifNeeded := admissionregistrationv1.IfNeededReinvocationPolicy
	again := func(h *admissionregistrationv1.MutatingWebhook) { h.ReinvocationPolicy = &ifNeeded }
	early := receive(t, allow)
	once := receive(t, allow)
	late := receive(t, patchWith(`[{"op": "add", "path": "/data/late", "value": "1"}]`))
	s.mutating(t, mutating("a-early", early.client(), on("CREATE", "configmaps"), again))
	s.mutating(t, mutating("b-once", once.client(), on("CREATE", "configmaps")))
	s.mutating(t, mutating("c-late", late.client(), on("CREATE", "configmaps"), again))
	s.mustCreate(t, named("reinvoked"))
	if a, b, c := len(early.requests()), len(once.requests()), len(late.requests()); a != 2 || b != 1 || c != 1 {
		t.Errorf("asked %d, %d and %d times", a, b, c)
	}
}

// byService reaches a webhook by a service of the cluster and verifies the service's name.
func byService(t *testing.T, s *server) {
	cert, _ := s.env.AgentIdentity("hook.default.svc")
	hook := &receiver{answer: allow}
	hook.Server = httptest.NewUnstartedServer(hook)
	hook.Config.ErrorLog = quietLog
	hook.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	hook.StartTLS()
	defer hook.Close()
	_, port, err := net.SplitHostPort(hook.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	path, at := "/vet", int32(number)
	reference := func(name string) admissionregistrationv1.WebhookClientConfig {
		return admissionregistrationv1.WebhookClientConfig{
			Service: &admissionregistrationv1.ServiceReference{Namespace: "default", Name: name, Path: &path, Port: &at}, CABundle: s.env.Keys.Authority.PEM(),
		}
	}
	service := func(name string, spec corev1.ServiceSpec) {
		t.Helper()
		spec.Ports = []corev1.ServicePort{{Port: at}}
		if _, err := s.CoreV1().Services("default").Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	outer := corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"}
	service("hook", outer)
	service("other", outer)
	service("bare", corev1.ServiceSpec{})
	s.validating(t, validating("service", reference("hook"), on("CREATE", "configmaps")))
	s.mustCreate(t, named("by-service"))
	if got := hook.requests(); len(got) != 1 {
		t.Errorf("asked %d times", len(got))
	}
	for name, want := range map[string]string{
		"other":   "certificate is valid for hook.default.svc, not other.default.svc",
		"bare":    `no endpoints available for service "bare"`,
		"missing": `service "missing" not found`,
	} {
		s.validating(t, validating("service-"+name, reference(name), on("CREATE", "configmaps"), func(h *admissionregistrationv1.ValidatingWebhook) {
			h.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"by": name}}
		}))
		cm := named("by-" + name)
		cm.Labels = map[string]string{"by": name}
		_, err := s.create(t, cm)
		wantError(t, err, 500, want)
	}
}

func subresources(t *testing.T, s *server) {
	hook := receive(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		if r.SubResource == "token" {
			return patchWith(`[{"op": "replace", "path": "/spec/expirationSeconds", "value": 700}]`)(r)
		}
		return allow(r)
	})
	s.mutating(t, mutating("subresources", hook.client(), on("*", "pods/*", "serviceaccounts/token", "deployments/scale")))
	pod := aPod("sub")
	if _, err := s.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "sub"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}
	if err := s.CoreV1().Pods("default").Bind(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	seconds := int64(3600)
	token, err := s.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
	if err != nil || *token.Spec.ExpirationSeconds != 700 {
		t.Errorf("token for %v seconds, %v", token.Spec.ExpirationSeconds, err)
	}
	s.CoreV1().RESTClient().Get().Namespace("default").Resource("pods").Name("sub").SubResource("proxy").Suffix("x").Do(t.Context())
	var got []string
	for _, r := range hook.requests() {
		got = append(got, fmt.Sprintf("%s %s/%s %s", r.Operation, r.Resource.Resource, r.SubResource, r.Kind.Kind))
	}
	want := "CREATE pods/ Pod, CREATE pods/binding Binding, CREATE serviceaccounts/token TokenRequest, CONNECT pods/proxy PodProxyOptions"
	if text := strings.Join(got, ", "); text != want {
		t.Errorf("asked about %s\nwant %s", text, want)
	}
}

func dryRun(t *testing.T, s *server) {
	hook := receive(t, allow)
	some := admissionregistrationv1.SideEffectClassNoneOnDryRun
	s.validating(t, validating("dry", hook.client(), on("CREATE", "configmaps"), func(h *admissionregistrationv1.ValidatingWebhook) { h.SideEffects = &some }))
	if _, err := s.CoreV1().ConfigMaps("default").Create(t.Context(), named("dry"), metav1.CreateOptions{DryRun: []string{"All"}}); err != nil {
		t.Fatal(err)
	}
	if got := hook.requests(); len(got) != 1 || !*got[0].DryRun {
		t.Errorf("asked %v", got)
	}
}
