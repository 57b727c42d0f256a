package node

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/event"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/pods"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// outageCheck is how often a node is looked at while no node at all is ready.
const outageCheck = 10 * time.Second

// Evictions returns the controller that deletes pods from nodes whose NoExecute taints they do not tolerate, or
// no longer. While no node is ready nothing is evicted for silence: it is then more likely the control plane
// that is cut off, and there is nowhere to go; tolerated time counts from the end of such an outage.
func Evictions(c client.Client, events *event.Recorder) loop.Controller {
	r := &evictions{client: c, events: events.For("taint-eviction-controller"), ready: map[string]bool{}, tainted: map[string]map[corev1.Taint]time.Time{}, now: time.Now}
	return loop.Controller{
		Name: "taint-eviction", For: kind.Of[*corev1.Node](), Workers: 4, Reconcile: r.reconcile,
		Also: []loop.Source{
			{Kind: kind.Of[*corev1.Node](), Keys: r.nodeChanged},
			{Kind: kind.Of[*corev1.Pod](), Keys: r.podChanged},
		},
	}
}

type evictions struct {
	client client.Client
	events *event.Recorder
	now    func() time.Time

	mu      sync.Mutex
	ready   map[string]bool                       // nodes that are ready
	tainted map[string]map[corev1.Taint]time.Time // NoExecute taints by node, and when they were first seen
	since   time.Time                             // when the last outage ended
}

func noExecute(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoExecute })
}

func (r *evictions) nodeChanged(e client.Event) []loop.Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := e.Object.(*corev1.Node)
	outage := len(r.ready) == 0
	delete(r.ready, n.Name)
	if e.Type == watch.Deleted {
		delete(r.tainted, n.Name)
		return nil
	}
	r.noteTaints(n)
	if readiness(n) == corev1.ConditionTrue {
		r.ready[n.Name] = true
		if outage {
			r.since = r.now()
		}
	}
	return nil
}

// noteTaints keeps since when n has had each taint: kubectl sets none of the times that the taints could hold.
func (r *evictions) noteTaints(n *corev1.Node) {
	before := r.tainted[n.Name]
	delete(r.tainted, n.Name)
	for _, t := range n.Spec.Taints {
		if t.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		seen, ok := before[identity(t)]
		if !ok {
			seen = r.now()
		}
		if r.tainted[n.Name] == nil {
			r.tainted[n.Name] = map[corev1.Taint]time.Time{}
		}
		r.tainted[n.Name][identity(t)] = seen
	}
}

func identity(t corev1.Taint) corev1.Taint {
	t.TimeAdded = nil
	return t
}

// starts returns from when tolerated time counts for the taints of a node.
func (r *evictions) starts(node string, now time.Time) func(*corev1.Taint) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen, since := maps.Clone(r.tainted[node]), r.since
	return func(t *corev1.Taint) time.Time {
		at, ok := seen[identity(*t)]
		if !ok {
			at = now
		}
		if t.TimeAdded != nil {
			at = t.TimeAdded.Time
		}
		if silence(t) && since.After(at) {
			return since
		}
		return at
	}
}

// silence says whether a taint came from a node that is not ready, and not from a user.
func silence(t *corev1.Taint) bool {
	return t.Key == corev1.TaintNodeUnreachable || t.Key == corev1.TaintNodeNotReady
}

// podChanged looks at a node again when a pod arrives on it or changes its tolerations, if that matters at all.
func (r *evictions) podChanged(e client.Event) []loop.Key {
	p := e.Object.(*corev1.Pod)
	if e.Type == watch.Deleted || p.Spec.NodeName == "" {
		return nil
	}
	if old, ok := e.Old.(*corev1.Pod); ok && old.Spec.NodeName == p.Spec.NodeName && len(old.Spec.Tolerations) == len(p.Spec.Tolerations) {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tainted[p.Spec.NodeName] == nil {
		return nil
	}
	return []loop.Key{{Name: p.Spec.NodeName}}
}

// outage says whether no node is ready.
func (r *evictions) outage() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ready) == 0
}

func (r *evictions) reconcile(ctx context.Context, key loop.Key) (loop.Result, error) {
	n, err := client.Get[*corev1.Node](ctx, r.client, "", key.Name)
	if apierrors.IsNotFound(err) {
		return loop.Result{}, nil
	}
	if err != nil || !noExecute(n) {
		return loop.Result{}, err
	}
	list, err := client.List[*corev1.Pod](ctx, r.client, client.Query{Index: kind.NodeNameIndex, Value: n.Name})
	if err != nil {
		return loop.Result{}, err
	}
	taints := n.Spec.Taints
	var next time.Duration
	if r.outage() {
		taints = slices.DeleteFunc(slices.Clone(taints), func(t corev1.Taint) bool { return silence(&t) })
		next = outageCheck
	}
	now := r.now()
	start := r.starts(n.Name, now)
	var leaving []*corev1.Pod
	for _, p := range list {
		if p.DeletionTimestamp != nil {
			continue
		}
		at, evict := evictAt(p.Spec.Tolerations, taints, start)
		if !evict {
			continue
		}
		if wait := at.Sub(now); wait > 0 {
			if next == 0 || wait < next {
				next = wait
			}
			continue
		}
		leaving = append(leaving, p)
	}
	err = loop.Parallel(len(leaving), func(i int) error { return r.evict(ctx, leaving[i]) })
	return loop.Result{After: next}, err
}

func (r *evictions) evict(ctx context.Context, p *corev1.Pod) error {
	r.events.Normal(p, "TaintManagerEviction", "Marking for deletion Pod %s/%s", p.Namespace, p.Name)
	next := p.DeepCopy()
	if pods.SetCondition(next, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager",
		Message: "Taint manager: deleting due to NoExecute taint", ObservedGeneration: p.Generation,
	}, r.now()) {
		if _, err := client.UpdateStatus(ctx, r.client, next); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("cannot mark pod %s/%s for eviction: %w", p.Namespace, p.Name, err)
		}
	}
	err := client.Delete[*corev1.Pod](ctx, r.client, p.Namespace, p.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot evict pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	return nil
}
