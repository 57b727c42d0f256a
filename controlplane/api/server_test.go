package api_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/registry"
)

// panicking is an admission plug-in with a defect.
type panicking struct{}

func (panicking) Name() string { return "Panicking" }
func (panicking) Admit(_ context.Context, r *admission.Request) error {
	if r.Name == "boom" {
		panic("a defect")
	}
	return nil
}
func (panicking) Validate(context.Context, *admission.Request) error { return nil }

func TestPanicIsAnAnswer(t *testing.T) {
	log := &lines{}
	logger := slog.New(slog.NewJSONHandler(log, nil))
	e := apitest.Start(t, apitest.Options{NoAdmission: true, Change: func(c *api.Config) {
		c.Logger = logger
		c.Registry = registry.New(registry.Config{Store: c.Registry.Store(), Kinds: c.Registry.Kinds(), Admission: []admission.Plugin{panicking{}}})
	}})
	c := e.Kube(e.Admin())
	_, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("boom"), metav1.CreateOptions{})
	if !apierrors.IsInternalError(err) {
		t.Fatalf("create: %v", err)
	}
	var entry struct{ Msg, ID, Cause string }
	for _, text := range log.all() {
		if strings.Contains(text, "handler panicked") {
			if err := json.Unmarshal([]byte(text), &entry); err != nil {
				t.Fatal(err)
			}
		}
	}
	if entry.ID == "" || entry.Cause != "a defect" || !strings.Contains(err.Error(), entry.ID) || strings.Contains(err.Error(), "a defect") {
		t.Fatalf("logged %+v, answered %v", entry, err)
	}
	// a collection is deleted by goroutines of its own
	if _, err := e.Store.Create(t.Context(), kind.Of[*corev1.Secret](), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "boom"}}, 0); err != nil {
		t.Fatal(err)
	}
	err = c.CoreV1().Secrets("default").DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{})
	if !apierrors.IsInternalError(err) || strings.Contains(err.Error(), "a defect") {
		t.Fatalf("delete of a collection: %v", err)
	}
	if _, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("fine"), metav1.CreateOptions{}); err != nil {
		t.Fatalf("the next request: %v", err)
	}
}

func TestExtraHandlersAuthenticateThemselves(t *testing.T) {
	e := apitest.Start(t, apitest.Options{Change: func(c *api.Config) {
		c.Extra = map[string]http.Handler{"/fairlead/v1/join": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })}
	}})
	anonymous := e.Token("none")
	anonymous.BearerToken = ""
	for path, want := range map[string]int{"/fairlead/v1/join": http.StatusTeapot, "/fairlead/v1/join/x": http.StatusUnauthorized, "/fairlead/v1": http.StatusUnauthorized} {
		var code int
		e.Kube(anonymous).RESTClient().Post().AbsPath(path).Do(t.Context()).StatusCode(&code)
		if code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
}

// TestWatchesEndWithTheServer holds the shutdown to ending open watches, so that it does not wait for them.
func TestWatchesEndWithTheServer(t *testing.T) {
	ended := make(chan struct{}) // closed when the watch's channel is
	t.Run("server", func(t *testing.T) {
		e := apitest.Start(t, apitest.Options{})
		w, err := e.Kube(e.Admin()).CoreV1().ConfigMaps("default").Watch(context.Background(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for range w.ResultChan() { //nolint:revive // until it is closed
			}
			close(ended)
		}()
	})
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the watch outlives its server")
	}
}

func TestMetrics(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	if _, err := e.Kube(e.Admin()).CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, _, data := do(t, e.HTTP(), "GET", e.Address+"/metrics", "", "", "")
	for _, want := range []string{
		`apiserver_request_total{code="201",component="apiserver",group="",resource="secrets",scope="resource",subresource="",verb="POST",version="v1"} 1`,
		`apiserver_current_inflight_requests{request_kind="readOnly"} 0`,
		`apiserver_flowcontrol_rejected_requests_total{priority_level="workload",request_kind="mutating"} 0`,
		`apiserver_longrunning_requests{component="apiserver",verb="WATCH"} 0`,
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}
