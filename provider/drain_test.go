package provider

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"
)

// TestDrainIsCutOff ends a drain before its own time, and wants to be told by what, and what had been seen up to then.
func TestDrainIsCutOff(t *testing.T) {
	pod := func(name string, change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
		p.Spec.NodeName = "one"
		change(p)
		return p
	}
	yes := true
	clients := fake.NewClientset(
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one"}},
		pod("ending", func(p *corev1.Pod) {
			p.DeletionTimestamp, p.Finalizers = &metav1.Time{Time: time.Now()}, []string{"example.com/held"}
		}),
		pod("ended", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }),
		pod("of-every-node", func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{Kind: "DaemonSet", Name: "logs", Controller: &yes}}
		}),
	)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	lists := 0
	clients.PrependReactor("list", "pods", func(kubetesting.Action) (bool, runtime.Object, error) {
		if lists++; lists == 2 {
			cancel(errors.New("no end within 10m"))
			return true, nil, ctx.Err() // as the request that the end cuts off
		}
		return false, nil, nil
	})
	d := drainer{client: clients, node: "one", timeout: time.Hour, progress: func(string, string) {}, advice: "Wait."}
	err := d.run(ctx)
	const want = "cannot drain node one: no end within 10m: one pod is still there. The node stays cordoned.\n" +
		"- default/ending: is being deleted, and has not ended yet\nWait."
	if err == nil || err.Error() != want {
		t.Errorf("it says %v\nwant %s", err, want)
	}
	for _, a := range clients.Actions() {
		if strings.Contains(a.GetSubresource(), "eviction") {
			t.Errorf("a pod was evicted that ends, has ended or would come back: %v", a)
		}
	}
}
