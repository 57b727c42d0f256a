package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
)

const (
	// drainEvery is between two looks at a node that is being drained; evictions that a disruption budget
	// refused are tried again then.
	drainEvery = 500 * time.Millisecond
)

// drainer empties a node as kubectl drain does: it cordons it and evicts its pods, respecting disruption budgets,
// but those of daemon sets, which would come back, and those that have ended.
type drainer struct {
	client  kubernetes.Interface
	node    string
	timeout time.Duration
	// ignoreUnreachable gives up waiting for pods that have been evicted from a node that is not Ready: nobody
	// is there to end them.
	ignoreUnreachable bool
	progress          bootstrap.Progress
	// advice is what can be done about pods that do not go.
	advice string
}

// errDrainTime ends a drain that has had its own time, other than that of the whole operation.
var errDrainTime = errors.New("the drain's time is up")

// drainRound is one look at a node that is being drained: the pods that are still there, and why some can not be evicted.
type drainRound struct {
	left    []string
	blocked map[string]string
}

func (d *drainer) run(ctx context.Context) error {
	if err := d.cordon(ctx); apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("cannot cordon node %s: %w", d.node, err)
	}
	d.progress(d.node, "draining")
	ctx, cancel := context.WithTimeoutCause(ctx, d.timeout, errDrainTime)
	defer cancel()
	var last drainRound
	for {
		round, err := d.round(ctx)
		switch {
		case err == nil && len(round.left) == 0:
			return nil
		case err == nil:
			last = round
		case ctx.Err() == nil:
			return err
		}
		select {
		case <-ctx.Done():
			return d.explain(context.Cause(ctx), last)
		case <-time.After(drainEvery):
		}
	}
}

// remove deletes the Node, which the agent does not make again.
func (d *drainer) remove(ctx context.Context) error {
	err := d.client.CoreV1().Nodes().Delete(ctx, d.node, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot delete node %s: %w", d.node, err)
	}
	return nil
}

func (d *drainer) cordon(ctx context.Context) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"unschedulable": true}})
	if err != nil {
		return err
	}
	_, err = d.client.CoreV1().Nodes().Patch(ctx, d.node, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// round evicts what is still there.
func (d *drainer) round(ctx context.Context) (drainRound, error) {
	r := drainRound{blocked: map[string]string{}}
	list, err := d.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + d.node})
	if err != nil {
		return r, fmt.Errorf("cannot list pods of node %s: %w", d.node, err)
	}
	dead := d.ignoreUnreachable && d.isDead(ctx)
	for i := range list.Items {
		pod := &list.Items[i]
		if !evictable(pod) || dead && pod.DeletionTimestamp != nil {
			continue
		}
		name := pod.Namespace + "/" + pod.Name
		r.left = append(r.left, name)
		if pod.DeletionTimestamp != nil {
			continue
		}
		err := d.client.PolicyV1().Evictions(pod.Namespace).Evict(ctx, &policyv1.Eviction{
			ObjectMeta:    metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace},
			DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}},
		})
		switch {
		case err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err):
		case apierrors.IsTooManyRequests(err):
			r.blocked[name] = refusal(err)
		default:
			return r, fmt.Errorf("cannot evict pod %s: %w", name, err)
		}
	}
	return r, nil
}

// refusal is why the API refused something, with the causes that it gives, such as the budget that a pod is in.
func refusal(err error) string {
	why := strings.TrimSuffix(err.Error(), ".")
	if status, ok := err.(apierrors.APIStatus); ok && status.Status().Details != nil {
		for _, c := range status.Status().Details.Causes {
			why += ": " + c.Message
		}
	}
	return why
}

func evictable(pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return false
	}
	return !slices.ContainsFunc(pod.OwnerReferences, func(o metav1.OwnerReference) bool {
		return o.Kind == "DaemonSet" && o.Controller != nil && *o.Controller
	})
}

func (d *drainer) isDead(ctx context.Context) bool {
	node, err := d.client.CoreV1().Nodes().Get(ctx, d.node, metav1.GetOptions{})
	if err != nil {
		return false
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionUnknown
		}
	}
	return false
}

// explain says what holds up a drain that has ended for a cause, and what can be done.
func (d *drainer) explain(cause error, last drainRound) error {
	var b strings.Builder
	if errors.Is(cause, errDrainTime) {
		fmt.Fprintf(&b, "cannot drain node %s within %s", d.node, d.timeout)
	} else {
		fmt.Fprintf(&b, "cannot drain node %s: %v", d.node, cause)
	}
	switch n := len(last.left); n {
	case 0:
		b.WriteString(". The API server did not say what is still there.")
	case 1:
		b.WriteString(": one pod is still there.")
	default:
		fmt.Fprintf(&b, ": %d pods are still there.", n)
	}
	b.WriteString(" The node stays cordoned.")
	for _, name := range last.left {
		why := last.blocked[name]
		if why == "" {
			why = "is being deleted, and has not ended yet"
		}
		fmt.Fprintf(&b, "\n- %s: %s", name, why)
	}
	b.WriteString("\n" + d.advice)
	return errors.New(b.String())
}
