// Package node watches over nodes: which of them are heard from, which pods must leave those that are not, and
// which addresses each may give to its pods.
package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/event"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/pods"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// Health returns the controller that hears nodes' heartbeats (their leases, or their status), marks those that
// are silent, keeps the taints that conditions ask for, and takes pods of nodes that are not ready out of their
// services.
//
//	heard within 40 s -> conditions as the node says -> taints as the conditions say
//	silent            -> Ready Unknown               -> unreachable
//
// Silence is measured by this process' clock from when it saw a heartbeat change, so neither a node's clock nor
// a server that was itself away makes a node unreachable.
func Health(c client.Client, events *event.Recorder) loop.Controller {
	r := &health{client: c, events: events.For("node-controller"), heard: map[string]heartbeat{}, now: time.Now}
	return loop.Controller{
		Name: "node-health", For: kind.Of[*corev1.Node](), Workers: 8, Reconcile: r.reconcile,
		Also: []loop.Source{
			{Kind: kind.Of[*corev1.Node](), Keys: r.nodeChanged},
			{Kind: kind.Of[*coordinationv1.Lease](), Keys: r.leaseChanged},
		},
	}
}

type health struct {
	client client.Client
	events *event.Recorder
	now    func() time.Time

	mu    sync.Mutex
	heard map[string]heartbeat // by node
}

// heartbeat is the last sign of life of a node.
type heartbeat struct {
	at     time.Time // when this process saw it
	status time.Time // as the node wrote it into its Ready condition
	ready  corev1.ConditionStatus
}

func (r *health) nodeChanged(e client.Event) []loop.Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := e.Object.(*corev1.Node)
	if e.Type == watch.Deleted {
		delete(r.heard, n.Name)
		return nil
	}
	last, known := r.heard[n.Name]
	c := condition(n, corev1.NodeReady)
	switch {
	case !known:
		last.at = r.now()
	case c != nil && (!c.LastHeartbeatTime.Time.Equal(last.status) || c.Status != last.ready && c.Status != corev1.ConditionUnknown):
		last.at = r.now()
	}
	if c != nil {
		last.status, last.ready = c.LastHeartbeatTime.Time, c.Status
	}
	r.heard[n.Name] = last
	return nil
}

// leaseChanged notes a renewal. It concerns the node only when it was silent, since a node that is heard needs
// no look.
func (r *health) leaseChanged(e client.Event) []loop.Key {
	if e.Object.GetNamespace() != corev1.NamespaceNodeLease || e.Type == watch.Deleted {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	name := e.Object.GetName()
	last := r.heard[name]
	last.at = r.now()
	r.heard[name] = last
	if last.ready != corev1.ConditionUnknown {
		return nil
	}
	return []loop.Key{{Name: name}}
}

func (r *health) lastHeard(name string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.heard[name]
	if !ok {
		last.at = r.now()
		r.heard[name] = last
	}
	return last.at
}

func (r *health) reconcile(ctx context.Context, key loop.Key) (loop.Result, error) {
	n, err := client.Get[*corev1.Node](ctx, r.client, "", key.Name)
	if apierrors.IsNotFound(err) {
		return loop.Result{}, nil
	}
	if err != nil {
		return loop.Result{}, err
	}
	now := r.now()
	left := r.lastHeard(n.Name).Add(grace).Sub(now)
	if left <= 0 {
		if n, err = r.silence(ctx, n, now); err != nil {
			return loop.Result{}, err
		}
		left = grace
	}
	if n, err = r.taint(ctx, n, now); err != nil {
		return loop.Result{}, err
	}
	if s := readiness(n); s == corev1.ConditionFalse || s == corev1.ConditionUnknown {
		if err := r.unready(ctx, n.Name); err != nil {
			return loop.Result{}, err
		}
	}
	return loop.Result{After: left}, nil
}

func (r *health) silence(ctx context.Context, n *corev1.Node, now time.Time) (*corev1.Node, error) {
	next := silenced(n, now)
	if next == n {
		return n, nil
	}
	got, err := client.UpdateStatus(ctx, r.client, next)
	if err != nil {
		return nil, fmt.Errorf("cannot mark node %s as unreachable: %w", n.Name, err)
	}
	r.events.Normal(n, "NodeNotReady", "Node %s status is now: NodeNotReady", n.Name)
	return got, nil
}

func (r *health) taint(ctx context.Context, n *corev1.Node, now time.Time) (*corev1.Node, error) {
	taints := taintsFor(n, now)
	if sameTaints(taints, n.Spec.Taints) {
		return n, nil
	}
	next := n.DeepCopy()
	next.Spec.Taints = taints
	got, err := client.Update(ctx, r.client, next)
	if err != nil {
		return nil, fmt.Errorf("cannot taint node %s: %w", n.Name, err)
	}
	return got, nil
}

// unready takes the pods of a node out of their services. The node sets them ready again when it is back.
func (r *health) unready(ctx context.Context, node string) error {
	list, err := client.List[*corev1.Pod](ctx, r.client, client.Query{Index: kind.NodeNameIndex, Value: node})
	if err != nil {
		return err
	}
	return loop.Parallel(len(list), func(i int) error {
		p := list[i]
		if !pods.Ready(p) {
			return nil
		}
		next := p.DeepCopy()
		c := *pods.Condition(next, corev1.PodReady)
		c.Status = corev1.ConditionFalse
		pods.SetCondition(next, c, r.now())
		if _, err := client.UpdateStatus(ctx, r.client, next); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("cannot mark pod %s/%s as not ready: %w", p.Namespace, p.Name, err)
		}
		r.events.Warning(p, "NodeNotReady", "Node is not ready")
		return nil
	})
}
