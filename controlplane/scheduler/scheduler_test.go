package scheduler_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/clienttest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/clienttest/plane"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/scheduler"
)

const soon = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newPod(name, cpu string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns"},
		Spec: corev1.PodSpec{SchedulerName: corev1.DefaultSchedulerName, Containers: []corev1.Container{{
			Name: "c", Image: "web:1", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}},
		}}},
	}
}

func create(t *testing.T, c client.Client, p *corev1.Pod) {
	t.Helper()
	if _, err := client.Create(t.Context(), c, p); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, c client.Client, name string) *corev1.Pod {
	t.Helper()
	p, err := client.Get[*corev1.Pod](t.Context(), c, "ns", name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func bound(t *testing.T, c client.Client, name string) func() bool {
	return func() bool { return get(t, c, name).Spec.NodeName != "" }
}

func TestPodWaitsUntilThereIsRoom(t *testing.T) {
	c := clienttest.NewFake()
	plane.Go(t, scheduler.New(scheduler.Config{Client: c}).Run)
	create(t, c, newPod("first", "6"))
	reason := func(name, message string) func() bool {
		return func() bool {
			for _, cond := range get(t, c, name).Status.Conditions {
				if cond.Type == corev1.PodScheduled && cond.Status == corev1.ConditionFalse && cond.Reason == "Unschedulable" {
					return cond.Message == message && cond.ObservedGeneration == get(t, c, name).Generation
				}
			}
			return false
		}
	}
	plane.Eventually(t, soon, "first is told", reason("first", "no nodes available to schedule pods"))
	plane.AddNode(t, c, plane.Node("n"))
	plane.Eventually(t, soon, "first is bound", bound(t, c, "first"))
	create(t, c, newPod("second", "6"))
	plane.Eventually(t, soon, "second is told", reason("second", "0/1 nodes are available: 1 Insufficient cpu."))
	zero := int64(0)
	if err := client.Delete[*corev1.Pod](t.Context(), c, "ns", "first", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	plane.Eventually(t, soon, "second is bound", bound(t, c, "second"))
	plane.Eventually(t, soon, "events", func() bool {
		list, err := client.List[*corev1.Event](t.Context(), c, client.Query{Namespace: "ns"})
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, e := range list {
			seen[e.InvolvedObject.Name+" "+e.Reason+" "+e.Message] = true
		}
		return seen["second FailedScheduling 0/1 nodes are available: 1 Insufficient cpu."] && seen["second Scheduled Successfully assigned ns/second to n"]
	})
}

func TestOthersPodsAreLeftAlone(t *testing.T) {
	c := clienttest.NewFake()
	plane.AddNode(t, c, plane.Node("n"))
	other := newPod("other", "1")
	other.Spec.SchedulerName = "mine"
	gated := newPod("gated", "1")
	gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "wait"}}
	create(t, c, other)
	create(t, c, gated)
	create(t, c, newPod("last", "1"))
	plane.Go(t, scheduler.New(scheduler.Config{Client: c}).Run)
	plane.Eventually(t, soon, "last is bound", bound(t, c, "last"))
	if bound(t, c, "other")() || bound(t, c, "gated")() {
		t.Error("a pod that was not this scheduler's got a node")
	}
}

func TestAFailedBindingGivesItsPlaceBack(t *testing.T) {
	c := clienttest.NewFake()
	plane.AddNode(t, c, plane.Node("n"))
	var failures atomic.Int32
	c.Fail(func(_ kind.Verb, k *kind.Kind, obj kind.Object) error {
		if k == kind.Of[*corev1.Pod]() && obj.GetName() == "p" && obj.GetUID() != "" && failures.Add(1) == 1 {
			return errors.New("etcd is away")
		}
		return nil
	})
	create(t, c, newPod("p", "6"))
	plane.Go(t, scheduler.New(scheduler.Config{Client: c}).Run)
	plane.Eventually(t, soon, "p is bound", bound(t, c, "p"))
	if failures.Load() < 2 {
		t.Error("nothing failed")
	}
}

func TestManyPodsFillTheRealClusterExactly(t *testing.T) {
	c := realCluster(t)
	for i := range 5 {
		plane.AddNode(t, c, plane.Node(fmt.Sprint("n", i)))
	}
	plane.Go(t, scheduler.New(scheduler.Config{Client: c}).Run)
	for i := range 45 { // eight fit on each node
		create(t, c, newPod(fmt.Sprint("p", i), "1"))
	}
	count := func() (bound map[string]int, refused int) {
		bound = map[string]int{}
		list, err := client.List[*corev1.Pod](t.Context(), c, client.Query{Namespace: "ns"})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			if p.Spec.NodeName != "" {
				bound[p.Spec.NodeName]++
			} else if len(p.Status.Conditions) > 0 {
				refused++
			}
		}
		return bound, refused
	}
	plane.Eventually(t, soon, "40 bound and 5 refused", func() bool {
		bound, refused := count()
		total := 0
		for node, n := range bound {
			if n > 8 {
				t.Fatalf("%d pods on %s", n, node)
			}
			total += n
		}
		return total == 40 && refused == 5
	})
}

func TestImportantPodTakesTheRoomOfOthers(t *testing.T) {
	c := realCluster(t)
	class := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "important"}, Value: 1000}
	if _, err := client.Create(t.Context(), c, class); err != nil {
		t.Fatal(err)
	}
	plane.AddNode(t, c, plane.Node("n"))
	plane.Go(t, scheduler.New(scheduler.Config{Client: c}).Run)
	plane.Go(t, plane.Agents(c, nil))
	create(t, c, newPod("ordinary", "6"))
	plane.Eventually(t, soon, "ordinary is bound", bound(t, c, "ordinary"))
	important := newPod("important", "6")
	important.Spec.PriorityClassName = class.Name
	create(t, c, important)
	plane.Eventually(t, soon, "important is bound", bound(t, c, "important"))
	if got := get(t, c, "important").Status.NominatedNodeName; got != "" {
		t.Errorf("it is bound, and still nominated for %q", got)
	}
	if _, err := client.Get[*corev1.Pod](t.Context(), c, "ns", "ordinary"); !apierrors.IsNotFound(err) {
		t.Errorf("ordinary: %v", err)
	}
}

// realCluster has a namespace "ns" with its service account.
func realCluster(t *testing.T) client.Client {
	t.Helper()
	c := plane.Start(t)
	if _, err := client.Create(t.Context(), c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Create(t.Context(), c, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: "ns"}}); err != nil {
		t.Fatal(err)
	}
	return c
}
