package kube

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

// ending is a transport to a server whose object is being deleted until a time.
type ending struct{ until time.Time }

func (e *ending) RoundTrip(r *http.Request) (*http.Response, error) {
	var answer any = map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{
		"name": "web", "namespace": "default", "uid": "1", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": []string{"foregroundDeletion"},
	}}
	code := http.StatusOK
	if !time.Now().Before(e.until) {
		code = http.StatusNotFound
		answer = metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: int32(code)}
	}
	body, err := json.Marshal(answer)
	return &http.Response{StatusCode: code, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(string(body))), Request: r}, err
}

// TestWaitForTheEndOfAnObject has two who wait for an object's end: a deletion, which is done without what the cluster
// can not end for now, and the creation of another of its name, which needs the end itself.
func TestWaitForTheEndOfAnObject(t *testing.T) {
	const left = "What is left is on nodes that do not answer: kubectl delete node dead"
	desc := testKinds["Deployment"]
	desc.ExplainDelete = func(*unstructured.Unstructured) string { return "It waits for its pods." }
	overdue := time.Minute
	for name, test := range map[string]struct {
		ends      time.Duration
		abandoned bool
		create    bool
		takes     time.Duration // at least
		says      []string      // nothing: it goes well
	}{
		"deletion":              {ends: 3 * time.Second, takes: 3 * time.Second},
		"abandoned deletion":    {ends: time.Hour, abandoned: true, takes: overdue, says: []string{left}},
		"deletion that hangs":   {ends: time.Hour, takes: DefaultTimeout, says: []string{"Cannot delete deployment default/web in time: ", "[foregroundDeletion]", "It waits for its pods."}},
		"creation":              {ends: 5 * time.Minute, abandoned: true, create: true, takes: 5 * time.Minute},
		"creation without room": {ends: time.Hour, abandoned: true, create: true, takes: DefaultTimeout, says: []string{"Cannot create deployment default/web in time: the one before it is still being deleted: ", left, "The next apply waits again"}},
		"creation that hangs":   {ends: time.Hour, create: true, takes: DefaultTimeout, says: []string{"the one before it is still being deleted", "[foregroundDeletion]", "It waits for its pods."}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				desc := desc
				desc.Abandoned = func(context.Context, *Client, *unstructured.Unstructured) (string, error) {
					if !test.abandoned || time.Since(start) < overdue {
						return "", nil
					}
					return left, nil
				}
				k, err := newEngine(&desc)
				if err != nil {
					t.Fatal(err)
				}
				client, err := newClient(&rest.Config{Host: "http://192.0.2.1:6443", Transport: &ending{start.Add(test.ends)}})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), DefaultTimeout)
				defer cancel()
				id := identity{"", "default", "web"}
				if test.create {
					err = k.expectAbsent(ctx, client, id)
				} else {
					err = k.delete(ctx, client, id, "1")
				}
				if took := time.Since(start); took < test.takes || took > test.takes+goneMost {
					t.Errorf("it took %v", took)
				}
				var rest *abandoned
				if !test.create && errors.As(err, &rest) != test.abandoned {
					t.Errorf("it ends with %v", err)
				}
				if err == nil {
					err = errors.New("")
				}
				for _, want := range test.says {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("it does not say %q: %v", want, err)
					}
				}
				if len(test.says) == 0 && err.Error() != "" {
					t.Error(err)
				}
			})
		})
	}
}
