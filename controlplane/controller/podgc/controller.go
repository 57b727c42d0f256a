// Package podgc removes pods that nobody else will: those of nodes that are gone, those that end without ever
// having had a node, those of nodes that an operator declared dead, and finished ones beyond a threshold.
package podgc

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/pods"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const (
	every = 20 * time.Second
	// quarantine is how long a node must be missing, so that one that is registered anew keeps its pods.
	quarantine = 40 * time.Second
	// maxFinished is how many finished pods are kept, as Kubernetes' default.
	maxFinished = 12500
)

type controller struct {
	client  client.Client
	missing map[string]time.Time // nodes that pods name and that are not there, since when
	now     func() time.Time
}

// New returns the controller.
func New(c client.Client) loop.Controller {
	r := &controller{client: c, missing: map[string]time.Time{}, now: time.Now}
	return loop.Controller{Name: "podgc", Initial: []loop.Key{{Name: "pods"}}, Reconcile: r.reconcile}
}

// victim is a pod to remove.
type victim struct {
	pod *corev1.Pod
	// lost says why the pod counts as failed first, "" when it has ended or never ran.
	lost string
}

// choose returns the pods to remove. gone says whether a node has been missing for long enough, dead whether a
// node carries the taint that says it will not come back.
func choose(list []*corev1.Pod, gone, dead func(node string) bool, maxFinished int) []victim {
	var out []victim
	var finished []*corev1.Pod
	for _, p := range list {
		switch node := p.Spec.NodeName; {
		case node == "" && p.DeletionTimestamp != nil:
			out = append(out, victim{pod: p})
		case node != "" && gone(node):
			v := victim{pod: p, lost: "PodGC: node no longer exists"}
			if pods.Terminal(p) {
				v.lost = ""
			}
			out = append(out, v)
		case node != "" && p.DeletionTimestamp != nil && dead(node):
			out = append(out, victim{pod: p})
		case pods.Terminal(p):
			finished = append(finished, p)
		}
	}
	slices.SortFunc(finished, func(a, b *corev1.Pod) int { return a.CreationTimestamp.Time.Compare(b.CreationTimestamp.Time) })
	for _, p := range finished[:max(0, len(finished)-maxFinished)] {
		out = append(out, victim{pod: p})
	}
	return out
}

func (r *controller) reconcile(ctx context.Context, _ loop.Key) (loop.Result, error) {
	nodes, err := client.List[*corev1.Node](ctx, r.client, client.Query{})
	if err != nil {
		return loop.Result{}, err
	}
	list, err := client.List[*corev1.Pod](ctx, r.client, client.Query{})
	if err != nil {
		return loop.Result{}, err
	}
	byName := make(map[string]*corev1.Node, len(nodes))
	for _, n := range nodes {
		byName[n.Name] = n
	}
	r.noteMissing(byName, list)
	gone := func(node string) bool {
		since, ok := r.missing[node]
		return ok && r.now().Sub(since) >= quarantine
	}
	dead := func(node string) bool { return outOfService(byName[node]) }
	victims := choose(list, gone, dead, maxFinished)
	err = loop.Parallel(len(victims), func(i int) error { return r.remove(ctx, victims[i]) })
	return loop.Result{After: every}, err
}

func (r *controller) noteMissing(nodes map[string]*corev1.Node, list []*corev1.Pod) {
	now := map[string]time.Time{}
	for _, p := range list {
		name := p.Spec.NodeName
		if name == "" || nodes[name] != nil {
			continue
		}
		since, ok := r.missing[name]
		if !ok {
			since = r.now()
		}
		now[name] = since
	}
	r.missing = now
}

func outOfService(n *corev1.Node) bool {
	return n != nil && slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}

func (r *controller) remove(ctx context.Context, v victim) error {
	if v.lost != "" {
		next := v.pod.DeepCopy()
		next.Status.Phase = corev1.PodFailed
		pods.SetCondition(next, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByPodGC", Message: v.lost,
			ObservedGeneration: next.Generation,
		}, r.now())
		if _, err := client.UpdateStatus(ctx, r.client, next); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("cannot mark pod %s/%s as failed: %w", next.Namespace, next.Name, err)
		}
	}
	zero := int64(0)
	err := r.client.Delete(ctx, kind.Of[*corev1.Pod](), v.pod.Namespace, v.pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &v.pod.UID},
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot delete pod %s/%s: %w", v.pod.Namespace, v.pod.Name, err)
	}
	return nil
}
