package scheduler

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/pods"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// sacrifice is the pods of a node that have to go for another to fit.
type sacrifice struct {
	node       *nodeInfo
	victims    []*podInfo // those with the highest priority first
	violations int        // of disruption budgets
}

// preempt returns the sacrifice that costs least for p to fit somewhere; false when none helps. Only what other
// pods take of a node is won so: constraints between pods and places are not broken for anyone.
func (c *cluster) preempt(p *podInfo) (sacrifice, bool) {
	if p.pod.Spec.PreemptionPolicy != nil && *p.pod.Spec.PreemptionPolicy == corev1.PreemptNever {
		return sacrifice{}, false
	}
	t := c.topologyOf(p)
	var best sacrifice
	found := false
	for _, n := range c.list {
		s, ok := c.sacrificeOn(n, p, t)
		if ok && (!found || s.cheaper(&best)) {
			best, found = s, true
		}
	}
	return best, found
}

// cheaper compares as Kubernetes does: fewer budgets broken, less important victims, fewer of them.
func (s *sacrifice) cheaper(o *sacrifice) bool {
	sum := func(s *sacrifice) (n int64) {
		for _, v := range s.victims {
			n += int64(v.priority()) - int64(-1<<31)
		}
		return n
	}
	return cmp.Or(
		cmp.Compare(s.violations, o.violations),
		cmp.Compare(s.victims[0].priority(), o.victims[0].priority()),
		cmp.Compare(sum(s), sum(o)),
		cmp.Compare(len(s.victims), len(o.victims)),
	) < 0
}

// sacrificeOn takes all less important pods off n, and gives back one after another as long as p still fits.
func (c *cluster) sacrificeOn(n *nodeInfo, p *podInfo, t *topology) (sacrifice, bool) {
	for _, r := range filter(p, n, t, nil) {
		if r.cause != causeResources {
			return sacrifice{}, false
		}
	}
	trial := n.clone()
	var lower []*podInfo
	for _, o := range n.pods {
		if o.priority() < p.priority() {
			lower = append(lower, o)
			trial.change(o, -1)
		}
	}
	if len(lower) == 0 || len(filter(p, trial, t, nil)) > 0 {
		return sacrifice{}, false
	}
	protected := c.protected(lower)
	slices.SortFunc(lower, func(a, b *podInfo) int {
		return cmp.Or(falseLast(protected[a], protected[b]), cmp.Compare(b.priority(), a.priority()), cmp.Compare(a.pod.UID, b.pod.UID))
	})
	out := sacrifice{node: n}
	for _, o := range lower {
		trial.change(o, 1)
		if len(filter(p, trial, t, nil)) == 0 {
			continue
		}
		trial.change(o, -1)
		out.victims = append(out.victims, o)
		if protected[o] {
			out.violations++
		}
	}
	if len(out.victims) == 0 {
		return sacrifice{}, false
	}
	slices.SortStableFunc(out.victims, func(a, b *podInfo) int { return cmp.Compare(b.priority(), a.priority()) })
	return out, true
}

func falseLast(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

// protected returns those of list that a disruption budget has no room to lose.
func (c *cluster) protected(list []*podInfo) map[*podInfo]bool {
	out := map[*podInfo]bool{}
	for _, b := range c.budgets {
		left := b.allowed
		for _, p := range list {
			if p.pod.Namespace != b.namespace || !b.selector.Matches(labels.Set(p.pod.Labels)) {
				continue
			}
			if left--; left < 0 {
				out[p] = true
			}
		}
	}
	return out
}

// clone returns a copy of n to try things on.
func (n *nodeInfo) clone() *nodeInfo {
	out := *n
	out.pods, out.ports = maps.Clone(n.pods), maps.Clone(n.ports)
	out.used.other = maps.Clone(n.used.other)
	return &out
}

// leaving says whether pods less important than p are on their way off a node.
func (c *cluster) leaving(node string, p *podInfo) bool {
	n := c.nodes[node]
	if n == nil || n.node == nil {
		return false
	}
	for _, o := range n.pods {
		if o.pod.DeletionTimestamp != nil && o.priority() < p.priority() {
			return true
		}
	}
	return false
}

// budget is what a PodDisruptionBudget allows.
type budget struct {
	namespace string
	selector  labels.Selector
	allowed   int
}

func (s *Scheduler) budgetChanged(e client.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := loop.KeyOf(e.Object)
	if e.Type == watch.Deleted {
		delete(s.cluster.budgets, key)
		return
	}
	b := e.Object.(*policyv1.PodDisruptionBudget)
	s.cluster.budgets[key] = budget{b.Namespace, selectorOf(b.Spec.Selector), int(b.Status.DisruptionsAllowed)}
}

// evictFor deletes the victims of a sacrifice, and tells whom it is for.
func (s *Scheduler) evictFor(ctx context.Context, pod *corev1.Pod, cost sacrifice) {
	err := s.nominate(ctx, pod, cost.node.name)
	for _, v := range cost.victims {
		if v.pod.DeletionTimestamp == nil && err == nil {
			err = s.sacrifice(ctx, v.pod, pod, cost.node.name)
		}
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	s.log.Warn("cannot make room, will try again", "pod", pod.Name, "namespace", pod.Namespace, "node", cost.node.name, "error", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.queue.pods[pod.UID]; e != nil && e.place == parked {
		s.queue.release(e, s.now())
		s.poke()
	}
}

func (s *Scheduler) nominate(ctx context.Context, pod *corev1.Pod, node string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": map[string]any{"nominatedNodeName": node}})
	if err != nil {
		return err
	}
	_, err = s.client.Patch(ctx, kind.Of[*corev1.Pod](), pod.Namespace, pod.Name, types.MergePatchType, patch, "status")
	if err != nil {
		return fmt.Errorf("cannot nominate node: %w", err)
	}
	return nil
}

func (s *Scheduler) sacrifice(ctx context.Context, victim, pod *corev1.Pod, node string) error {
	next := victim.DeepCopy()
	if pods.SetCondition(next, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler,
		Message:            corev1.DefaultSchedulerName + ": preempting to accommodate a higher priority pod",
		ObservedGeneration: victim.Generation,
	}, s.now()) {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": victim.UID}, "status": map[string]any{"conditions": []any{pods.Condition(next, corev1.DisruptionTarget)}}})
		if err != nil {
			return err
		}
		_, err = s.client.Patch(ctx, kind.Of[*corev1.Pod](), victim.Namespace, victim.Name, types.StrategicMergePatchType, patch, "status")
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("cannot mark victim %s/%s: %w", victim.Namespace, victim.Name, err)
		}
	}
	err := client.Delete[*corev1.Pod](ctx, s.client, victim.Namespace, victim.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &victim.UID}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot delete victim %s/%s: %w", victim.Namespace, victim.Name, err)
	}
	s.events.Normal(victim, "Preempted", "Preempted by pod %s on node %s", pod.UID, node)
	return nil
}
