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
}

func (d *drainer) run(ctx context.Context) error {
	if err := d.cordon(ctx); apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("cannot cordon node %s: %w", d.node, err)
	}
	d.progress(d.node, "draining")
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	blocked := map[string]string{} // pod to why it can not be evicted
	for {
		left, err := d.round(ctx, blocked)
		if err == nil && len(left) == 0 {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return d.explain(left, blocked)
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

// round evicts what is still there and returns its names.
func (d *drainer) round(ctx context.Context, blocked map[string]string) ([]string, error) {
	list, err := d.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + d.node})
	if err != nil {
		return nil, fmt.Errorf("cannot list pods of node %s: %w", d.node, err)
	}
	dead := d.ignoreUnreachable && d.isDead(ctx)
	clear(blocked)
	var left []string
	for i := range list.Items {
		pod := &list.Items[i]
		if !evictable(pod) || dead && pod.DeletionTimestamp != nil {
			continue
		}
		name := pod.Namespace + "/" + pod.Name
		left = append(left, name)
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
			blocked[name] = err.Error()
		default:
			return left, fmt.Errorf("cannot evict pod %s: %w", name, err)
		}
	}
	return left, nil
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

func (d *drainer) explain(left []string, blocked map[string]string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "cannot drain node %s within %s: %d pods are still there. The node stays cordoned.", d.node, d.timeout, len(left))
	for _, name := range left {
		why := blocked[name]
		if why == "" {
			why = "is being deleted, and has not ended yet"
		}
		fmt.Fprintf(&b, "\n- %s: %s", name, why)
	}
	b.WriteString("\nGive it longer with on_destroy = { drain_timeout = \"…\" }, or skip the drain with drain = false.")
	return errors.New(b.String())
}
