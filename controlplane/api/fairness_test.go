package api_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
)

// TestNoisyClientStarvesNobody has a client list without pause by many requests at once, and another ask one
// thing after the other meanwhile. That waits for about one of the lists each time, and not for all that were
// there before it.
func TestNoisyClientStarvesNobody(t *testing.T) {
	const seats, noise, questions = 2, 48, 30
	e := apitest.Start(t, apitest.Options{Change: func(c *api.Config) { c.MaxReads = seats }})
	admin := e.Kube(e.Admin())
	for i := range 200 {
		if _, err := admin.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("c", i)}, Data: map[string]string{"a": "b"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	bindRole(t, admin, "default", "view", "noisy")
	bindRole(t, admin, "default", "view", "quiet")
	noisy, quiet := e.Kube(e.As("noisy")), e.Kube(e.As("quiet"))
	e.Eventually("both may read", func() bool {
		return may(t, noisy, "list", "", "configmaps", "default", "") && may(t, quiet, "get", "", "configmaps", "default", "")
	})
	ctx, cancel := context.WithCancel(t.Context())
	var lists atomic.Int64
	var wait sync.WaitGroup
	for range noise {
		wait.Go(func() {
			for ctx.Err() == nil {
				if _, err := noisy.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{}); err != nil && ctx.Err() == nil {
					t.Errorf("noisy: %v", err)
					return
				}
				lists.Add(1)
			}
		})
	}
	e.Eventually("it is noisy", func() bool { return lists.Load() > noise })
	before := lists.Load()
	for range questions {
		if _, err := quiet.CoreV1().ConfigMaps("default").Get(t.Context(), "c1", metav1.GetOptions{}); err != nil {
			t.Fatalf("quiet: %v", err)
		}
	}
	meanwhile := lists.Load() - before
	cancel()
	wait.Wait()
	// without shares each question would wait for all the lists before it
	if limit := int64(questions * noise / 2); meanwhile > limit {
		t.Errorf("%d questions were answered while %d lists were; want at most %d", questions, meanwhile, limit)
	}
	t.Logf("%d lists a question", meanwhile/questions)
}
