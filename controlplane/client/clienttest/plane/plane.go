// Package plane starts the real thing for tests: an embedded etcd, the store, admission and the registry, with
// the client that controllers use; and agents that pretend to run pods.
package plane

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/etcd"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/registry"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/store"
)

// Ranges of the test cluster.
var (
	Pods     = netip.MustParsePrefix("10.244.0.0/16")
	Services = netip.MustParsePrefix("10.96.0.0/16")
)

const (
	startTimeout = 30 * time.Second
	pollEvery    = 5 * time.Millisecond
)

// Start returns a client of a fresh control plane that ends with the test. The options of its admission may be
// changed.
func Start(t testing.TB, change ...func(*admission.Options)) client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	member, err := etcd.Start(ctx, etcd.Config{DataDir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := member.Close(); err != nil {
			t.Error(err)
		}
	})
	s := store.New(member.Client, kind.Builtin().Kinds(), store.Options{})
	Go(t, s.Run)
	select {
	case <-s.Ready():
	case <-ctx.Done():
		t.Fatal("the store did not become ready")
	}
	var c client.Client
	options := admission.Options{ServiceCIDR: Services}
	for _, f := range change {
		f(&options)
	}
	plugins, err := admission.Default(func() client.Client { return c }, options)
	if err != nil {
		t.Fatal(err)
	}
	c = registry.NewClient(registry.New(registry.Config{Store: s, Kinds: kind.Builtin(), Admission: plugins}), "fairlead-controller")
	return c
}

// Go runs f until the test ends, and waits for it then.
func Go(t testing.TB, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

// Eventually asks until is true, and fails the test when it does not become so.
func Eventually(t testing.TB, within time.Duration, what string, is func() bool) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !is() {
		select {
		case <-deadline.C:
			t.Fatalf("after %s still not: %s", within, what)
		case <-tick.C:
		}
	}
}

// Node returns a ready node of 8 cores and 110 pods.
func Node(name string) *corev1.Node {
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("32Gi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	now := metav1.Now()
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{
			Capacity: capacity, Allocatable: capacity,
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: now, LastTransitionTime: now}},
		},
	}
}

// AddNode registers a node as an agent does: the object, then its status. It lifts the taint of a new node too, as the node
// controller does, which not every test runs.
func AddNode(t testing.TB, c client.Client, n *corev1.Node) {
	t.Helper()
	taints := slices.Clone(n.Spec.Taints)
	got, err := client.Create(t.Context(), c, n)
	if err != nil {
		t.Fatal(err)
	}
	for {
		next := got.DeepCopy()
		next.Status = n.Status
		next, err := client.UpdateStatus(t.Context(), c, next)
		if err == nil {
			next = next.DeepCopy()
			next.Spec.Taints = taints
			_, err = client.Update(t.Context(), c, next)
		}
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) {
			t.Fatal(err)
		}
		if got, err = client.Get[*corev1.Node](t.Context(), c, "", n.Name); err != nil {
			t.Fatal(err)
		}
	}
}

// Agents returns what pretends to run the pods of all nodes: a bound pod runs and is ready at once unless sick
// says otherwise, and one that is being deleted is gone at once. Pass it to Go.
func Agents(c client.Client, sick func(*corev1.Pod) bool) func(context.Context) error {
	return func(ctx context.Context) error {
		work := make(chan *corev1.Pod, 10000) // as large as any test's number of events that wait; never closed
		var wg sync.WaitGroup
		defer wg.Wait()
		for range 8 {
			wg.Go(func() {
				for {
					select {
					case <-ctx.Done():
						return
					case p := <-work:
						run(ctx, c, p, sick)
					}
				}
			})
		}
		return c.Watch(ctx, kind.Of[*corev1.Pod](), make(chan struct{}), func(e client.Event) {
			p := e.Object.(*corev1.Pod)
			if e.Type == watch.Deleted || p.Spec.NodeName == "" {
				return
			}
			select {
			case work <- p:
			case <-ctx.Done():
			}
		})
	}
}

func run(ctx context.Context, c client.Client, p *corev1.Pod, sick func(*corev1.Pod) bool) {
	if p.DeletionTimestamp != nil {
		zero := int64(0)
		// a pod that is gone, or was changed meanwhile, comes by again if it matters
		_ = client.Delete[*corev1.Pod](ctx, c, p.Namespace, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero})
		return
	}
	if p.Status.Phase == corev1.PodRunning || p.Status.Phase == corev1.PodFailed || sick != nil && sick(p) {
		return
	}
	next := p.DeepCopy()
	next.ResourceVersion = ""
	next.Status.Phase = corev1.PodRunning
	next.Status.PodIP = "10.244.0.2"
	next.Status.PodIPs = []corev1.PodIP{{IP: next.Status.PodIP}}
	now := metav1.Now()
	next.Status.Conditions = append(next.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: now})
	_, _ = client.UpdateStatus(ctx, c, next)
}
