package kube

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answers serves one status after the other, the last one for ever, and counts the requests.
func answers(t *testing.T, statuses ...int) (*rest.Config, *atomic.Int32) {
	t.Helper()
	var count atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(count.Add(1))
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		status := statuses[min(n, len(statuses))-1]
		if status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "0")
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if _, err := io.WriteString(w, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x"}}`); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL}, &count
}

func TestRetries(t *testing.T) {
	for _, test := range []struct {
		name     string
		statuses []int
		requests int32
		ok       bool
	}{
		{"a server that restarts", []int{503, 502, 200}, 3, true},
		{"one that is busy", []int{429, 200}, 2, true},
		{"a conflict is an answer", []int{409, 200}, 1, false},
		{"so is a mistake of the server's", []int{500, 200}, 1, false},
		{"a refused credential", []int{401, 200}, 1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, count := answers(t, test.statuses...)
			client, err := newClient(config)
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.Typed.CoreV1().ConfigMaps("default").Get(t.Context(), "x", metav1.GetOptions{})
			if (err == nil) != test.ok || count.Load() != test.requests {
				t.Errorf("%d requests, %v", count.Load(), err)
			}
		})
	}
}

// refusing is a transport to a host where nothing listens.
type refusing struct{ tries int }

func (r *refusing) RoundTrip(*http.Request) (*http.Response, error) {
	r.tries++
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
}

func TestRefusedConnectionIsRetriedAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nobody := &refusing{}
		client, err := newClient(&rest.Config{Host: "http://192.0.2.1:6443", Transport: nobody})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = client.Typed.CoreV1().ConfigMaps("default").Get(t.Context(), "x", metav1.GetOptions{})
		if err == nil || !strings.Contains(err.Error(), "connection refused") || nobody.tries != 1+retries {
			t.Errorf("%d tries, %v", nobody.tries, err)
		}
		if took := time.Since(start); took != 6*time.Second {
			t.Errorf("gave up after %s", took)
		}
	})
}

func TestIsGone(t *testing.T) {
	config, _ := answers(t, http.StatusNotFound)
	client, err := newClient(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Typed.CoreV1().ConfigMaps("default").Get(t.Context(), "x", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) || isGone(err) {
		t.Errorf("a server that does not know the path means that the object is gone: %v", err)
	}
	if !isGone(apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, "x")) {
		t.Error("an object that is not found is not gone")
	}
}

// connects counts connections and fails the first.
type connects struct {
	config *rest.Config
	count  atomic.Int32
}

func (c *connects) Connect(_ context.Context, cluster string) (*rest.Config, error) {
	if c.count.Add(1) == 1 {
		return nil, errors.New("no route")
	}
	return c.config, nil
}

func (c *connects) SameCluster(a, b string) bool { return a[0] == b[0] }

func TestClientsConnectOnce(t *testing.T) {
	config, _ := answers(t, http.StatusOK)
	connector := &connects{config: config}
	clients := NewClients(connector)
	if _, err := clients.Get(t.Context(), "a"); err == nil || err.Error() != `cannot connect to cluster "a": no route` {
		t.Errorf("the failure is %v", err)
	}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if _, err := clients.Get(context.Background(), "a"); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if n := connector.count.Load(); n != 2 {
		t.Errorf("connected %d times", n)
	}
	if !clients.SameCluster("a1", "a2") || clients.SameCluster("a", "b") || clients.SameCluster("", "a") || !clients.SameCluster("", "") {
		t.Error("clusters are confused")
	}
}
