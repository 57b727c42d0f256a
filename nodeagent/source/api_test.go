package source

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// api is what a node sees of an API server: lists and watches of one object at a time, and tokens. Anything else that it is
// asked for is an error of the test.
type api struct {
	t   *testing.T
	srv *httptest.Server

	mu       sync.Mutex
	version  int
	objects  map[key]runtime.Object
	watches  map[key]chan watchEvent // closed to end the watch
	refused  bool
	requests []authenticationv1.TokenRequest
}

var kinds = map[string]string{"secrets": "Secret", "configmaps": "ConfigMap"}

type watchEvent struct {
	Type   string         `json:"type"`
	Object runtime.Object `json:"object"`
}

func newAPI(t *testing.T) (*api, *kubernetes.Clientset) {
	t.Helper()
	a := &api{t: t, version: 1, objects: map[key]runtime.Object{}, watches: map[key]chan watchEvent{}}
	a.srv = httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(a.srv.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: a.srv.URL, ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeJSON}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.CoreV1().RESTClient().(*rest.RESTClient).Client.CloseIdleConnections() })
	return a, client
}

func (a *api) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", runtime.ContentTypeJSON)
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/"), "/")
	if r.Method == http.MethodPost && len(parts) == 4 && parts[1] == "serviceaccounts" && parts[3] == "token" {
		a.token(w, r, parts[0]+"/"+parts[2])
		return
	}
	name, one := strings.CutPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")
	if r.Method != http.MethodGet || len(parts) != 2 || !one || name == "" {
		a.t.Errorf("a node may not ask for %s %s", r.Method, r.URL)
	}
	k := key{parts[1], parts[0], name}
	a.mu.Lock()
	if a.refused {
		a.mu.Unlock()
		answer(w, http.StatusForbidden, &apierrors.NewForbidden(corev1.Resource(k.resource), k.name, fmt.Errorf("no pod of the node has it")).ErrStatus)
		return
	}
	if r.URL.Query().Get("watch") == "" {
		list := map[string]any{
			"apiVersion": "v1", "kind": kinds[k.resource] + "List", "metadata": map[string]any{"resourceVersion": strconv.Itoa(a.version)}, "items": []any{},
		}
		if o := a.objects[k]; o != nil {
			list["items"] = []any{o}
		}
		a.mu.Unlock()
		answer(w, http.StatusOK, list)
		return
	}
	events := make(chan watchEvent, 16)
	if o := a.objects[k]; o != nil && r.URL.Query().Get("sendInitialEvents") == "true" {
		events <- watchEvent{"ADDED", o}
	}
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		events <- watchEvent{"BOOKMARK", a.bookmark(k)}
	}
	a.watches[k] = events
	a.mu.Unlock()
	a.stream(w, r, k, events)
}

// bookmark says that all there was has been sent.
func (a *api) bookmark(k key) runtime.Object {
	return &metav1.PartialObjectMetadata{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: kinds[k.resource]},
		ObjectMeta: metav1.ObjectMeta{
			ResourceVersion: strconv.Itoa(a.version), Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"},
		},
	}
}

func (a *api) stream(w http.ResponseWriter, r *http.Request, k key, events chan watchEvent) {
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.watches[k] == events {
			delete(a.watches, k)
		}
	}()
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case e, ok := <-events:
			if !ok {
				return
			}
			if json.NewEncoder(w).Encode(e) != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
	}
}

func (a *api) token(w http.ResponseWriter, r *http.Request, account string) {
	var req authenticationv1.TokenRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		a.t.Error(err)
	}
	a.mu.Lock()
	a.requests = append(a.requests, *req.DeepCopy())
	refused := a.refused
	a.mu.Unlock()
	if refused {
		answer(w, http.StatusForbidden, &apierrors.NewForbidden(corev1.Resource("serviceaccounts/token"), account, fmt.Errorf("no pod of the node has it")).ErrStatus)
		return
	}
	req.TypeMeta = metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenRequest"}
	*req.Spec.ExpirationSeconds = 600
	req.Status.Token = "token of " + account
	answer(w, http.StatusCreated, &req)
}

func answer(w http.ResponseWriter, code int, o any) {
	if s, ok := o.(*metav1.Status); ok {
		s.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	}
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(o) // the client may have gone
}

// set makes an object what it is, or removes it when it is nil.
func (a *api) set(k key, o runtime.Object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	old := a.objects[k]
	e := watchEvent{"MODIFIED", o}
	switch {
	case o == nil:
		e = watchEvent{"DELETED", old.DeepCopyObject()}
		delete(a.objects, k)
	case old == nil:
		e.Type = "ADDED"
	}
	e.Object.GetObjectKind().SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kinds[k.resource]))
	m, err := meta.Accessor(e.Object)
	if err != nil {
		a.t.Fatal(err)
	}
	m.SetNamespace(k.namespace)
	m.SetName(k.name)
	m.SetResourceVersion(strconv.Itoa(a.version))
	if o != nil {
		a.objects[k] = o
	}
	if w := a.watches[k]; w != nil {
		w <- e
	}
}

// refuse has it refuse everything, and ends what it had allowed.
func (a *api) refuse(yes bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused = yes
	if yes {
		for k, w := range a.watches {
			close(w)
			delete(a.watches, k)
		}
	}
}

// watched are the objects that are under watch, as RESOURCE/NAMESPACE/NAME, in order.
func (a *api) watched() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for k := range maps.Keys(a.watches) {
		out = append(out, k.resource+"/"+k.namespace+"/"+k.name)
	}
	slices.Sort(out)
	return out
}
