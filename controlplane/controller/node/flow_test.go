package node

import (
	"testing"
	"time"

	"go.uber.org/goleak"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/clienttest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a time that tests set.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

func runningPod(name, node string, tolerations ...corev1.Toleration) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns"},
		Spec:       corev1.PodSpec{NodeName: node, Tolerations: tolerations},
		Status: corev1.PodStatus{
			Phase:      corev1.PodRunning,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
}

func get[T kind.Object](t *testing.T, c client.Client, namespace, name string) T {
	t.Helper()
	obj, err := client.Get[T](t.Context(), c, namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	return obj
}

// A node falls silent and comes back: conditions, taints and its pods' readiness follow.
func TestSilentNode(t *testing.T) {
	c := clienttest.NewFake(nodeThat(corev1.ConditionTrue), runningPod("p", "n"))
	at := &clock{epoch}
	r := &health{client: c, heard: map[string]heartbeat{}, now: at.now}
	look := func() loop.Result {
		t.Helper()
		result, err := r.reconcile(t.Context(), loop.Key{Name: "n"})
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	r.nodeChanged(client.Event{Type: watch.Added, Object: get[*corev1.Node](t, c, "", "n")})
	if got := look(); got.After != grace {
		t.Errorf("to be looked at again after %s", got.After)
	}
	at.Time = epoch.Add(30 * time.Second)
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "n", Namespace: corev1.NamespaceNodeLease}}
	r.leaseChanged(client.Event{Type: watch.Modified, Object: lease})
	at.Time = epoch.Add(60 * time.Second)
	if got := look(); got.After != 10*time.Second || readiness(get[*corev1.Node](t, c, "", "n")) != corev1.ConditionTrue {
		t.Fatalf("a renewed lease did not count: %+v", got)
	}
	at.Time = epoch.Add(70 * time.Second)
	look()
	n := get[*corev1.Node](t, c, "", "n")
	if readiness(n) != corev1.ConditionUnknown || len(n.Spec.Taints) != 2 || n.Spec.Taints[0].Key != corev1.TaintNodeUnreachable {
		t.Fatalf("silent node: %+v %+v", n.Status.Conditions, n.Spec.Taints)
	}
	if p := get[*corev1.Pod](t, c, "ns", "p"); p.Status.Conditions[0].Status != corev1.ConditionFalse {
		t.Error("its pod is still ready")
	}
	r.nodeChanged(client.Event{Type: watch.Modified, Object: n})
	back := n.DeepCopy()
	for i := range back.Status.Conditions {
		back.Status.Conditions[i].Status = corev1.ConditionFalse
	}
	condition(back, corev1.NodeReady).Status = corev1.ConditionTrue
	condition(back, corev1.NodeReady).LastHeartbeatTime = metav1.NewTime(at.Time)
	got, err := client.UpdateStatus(t.Context(), c, back)
	if err != nil {
		t.Fatal(err)
	}
	r.nodeChanged(client.Event{Type: watch.Modified, Object: got, Old: n})
	look()
	if n := get[*corev1.Node](t, c, "", "n"); len(n.Spec.Taints) != 0 {
		t.Errorf("taints of a node that is back: %+v", n.Spec.Taints)
	}
}

// Pods leave when their patience ends, but not while there is no node left to go to.
func TestEvictionsWaitForAnOutageToEnd(t *testing.T) {
	patience := int64(300)
	lost := nodeThat(corev1.ConditionUnknown)
	lost.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute, TimeAdded: &metav1.Time{Time: epoch}}}
	pod := runningPod("p", "n", corev1.Toleration{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, TolerationSeconds: &patience})
	c := clienttest.NewFake(lost, pod)
	at := &clock{epoch.Add(time.Hour)}
	r := &evictions{client: c, ready: map[string]bool{}, tainted: map[string]map[corev1.Taint]time.Time{}, now: at.now}
	look := func() time.Duration {
		t.Helper()
		result, err := r.reconcile(t.Context(), loop.Key{Name: "n"})
		if err != nil {
			t.Fatal(err)
		}
		return result.After
	}
	r.nodeChanged(client.Event{Type: watch.Added, Object: lost})
	if after := look(); after != outageCheck {
		t.Fatalf("during the outage: again after %s", after)
	}
	other := nodeThat(corev1.ConditionTrue)
	other.Name = "other"
	r.nodeChanged(client.Event{Type: watch.Added, Object: other})
	if after := look(); after != 300*time.Second {
		t.Fatalf("after the outage: again after %s", after)
	}
	get[*corev1.Pod](t, c, "ns", "p")
	at.Time = at.Add(300 * time.Second)
	look()
	p, err := client.Get[*corev1.Pod](t.Context(), c, "ns", "p")
	if err != nil && !apierrors.IsNotFound(err) || err == nil && p.DeletionTimestamp == nil {
		t.Errorf("the pod is still there: %v", err)
	}
	if err == nil && (p.Status.Conditions[1].Reason != "DeletionByTaintManager" || p.Status.Conditions[1].ObservedGeneration != p.Generation) {
		t.Errorf("conditions are %+v", p.Status.Conditions)
	}
}
