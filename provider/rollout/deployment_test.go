package rollout

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/fairlead-io/terraform-provider-fairlead/provider/kube"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// applied turns a deployment into what an apply returns.
func applied(t *testing.T, object runtime.Object) *unstructured.Unstructured {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: content}
}

func TestDeploymentFailure(t *testing.T) {
	d := deployment(1, 0, 3)
	crashing := pod("2", "web-1", waiting("CrashLoopBackOff", 4))
	event := func(name, reason, message string, at time.Time) *corev1.Event {
		return &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Name: name, Namespace: "default"},
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "web-1", UID: "web-1"},
			Type:           "Warning", Reason: reason, Message: message, Count: 4, LastTimestamp: metav1.NewTime(at),
		}
	}
	client := &kube.Client{Typed: fake.NewClientset(d, set("2"), crashing,
		event("b", "BackOff", "back-off restarting", start.Add(time.Minute)), event("a", "Started", "started container", start))}
	err := Deployment(t.Context(), client, applied(t, d))
	var failure *kube.Failure
	if !errors.As(err, &failure) {
		t.Fatalf("the error is %v", err)
	}
	if want := `Cannot roll out deployment default/web: container "main" of pod web-1: CrashLoopBackOff`; failure.Summary != want {
		t.Errorf("the summary is %q, want %q", failure.Summary, want)
	}
	at := 0
	for _, want := range []string{
		"Pod:       default/web-1 on node n1", "Container: main, image web:1", "Reason:    CrashLoopBackOff: why", "Exit code: 7, Error", "Restarts:  4",
		"Last lines of its log:\n  fake logs", "Warning Started: started container (4 times)", "Warning BackOff: back-off restarting", "So far 1 of 2 replicas are updated",
	} {
		next := strings.Index(failure.Detail[at:], want)
		if next < 0 {
			t.Fatalf("%q is missing, or not in its place, in:\n%s", want, failure.Detail)
		}
		at += next
	}
}

func TestDeploymentEnds(t *testing.T) {
	d := deployment(1, 1, 2)
	clients := fake.NewClientset(d, set("2"))
	result := make(chan error, 1) // one result
	go func() { result <- Deployment(context.Background(), &kube.Client{Typed: clients}, applied(t, d)) }()
	ready := deployment(2, 2, 2)
	if _, err := clients.AppsV1().Deployments("default").UpdateStatus(t.Context(), ready, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-result:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the end of the rollout was not seen in 20 s")
	}
}

func TestDeploymentIsDeletedMeanwhile(t *testing.T) {
	err := Deployment(t.Context(), &kube.Client{Typed: fake.NewClientset()}, applied(t, deployment(1, 1, 2)))
	if err == nil || !strings.Contains(err.Error(), "It was deleted") {
		t.Errorf("the error is %v", err)
	}
}

func TestDeploymentOutOfTime(t *testing.T) {
	d := deployment(2, 1, 2)
	client := &kube.Client{Typed: fake.NewClientset(d, set("2"), pod("2", "web-1", running(false)))}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // enough to list, with the race detector on a busy machine
	defer cancel()
	err := Deployment(ctx, client, applied(t, d))
	if err == nil || !strings.Contains(err.Error(), `container "main" of pod web-1: NotReady when its time was up`) || !strings.Contains(err.Error(), "fake logs") {
		t.Errorf("the error is %v", err)
	}
	canceled, stop := context.WithCancel(t.Context())
	stop()
	if err := Deployment(canceled, client, applied(t, d)); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
