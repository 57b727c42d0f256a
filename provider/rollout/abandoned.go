package rollout

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Abandoned says what is left of a deletion when that is pods of dead nodes alone, whose end was due a while ago: nobody
// is there to end them, or to say that they have. It is empty as long as there is something to wait for.
func Abandoned(ctx context.Context, client kubernetes.Interface, namespace, selector string, after time.Duration) (string, error) {
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return "", fmt.Errorf("cannot list pods: %w", err)
	}
	dead := map[string]bool{}
	for i := range pods.Items {
		name := pods.Items[i].Spec.NodeName
		if _, known := dead[name]; known || name == "" {
			continue
		}
		node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return "", fmt.Errorf("cannot read node %s: %w", name, err)
		}
		dead[name] = err == nil && isSilent(node) // the pods of one that is deleted go by themselves
	}
	return abandoned(pods.Items, dead, time.Now().Add(-after)), nil
}

// isSilent says whether the control plane has not heard of the node for so long that it knows nothing of it.
func isSilent(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown
	})
}

// abandoned judges pods whose end must have been due before a time, by what is known of their nodes.
func abandoned(pods []corev1.Pod, dead map[string]bool, due time.Time) string {
	var lines, nodes []string
	for i := range pods {
		pod := &pods[i]
		if pod.DeletionTimestamp == nil || pod.DeletionTimestamp.After(due) || !dead[pod.Spec.NodeName] {
			return ""
		}
		lines = append(lines, fmt.Sprintf("- pod %s/%s on node %s", pod.Namespace, pod.Name, pod.Spec.NodeName))
		if !slices.Contains(nodes, pod.Spec.NodeName) {
			nodes = append(nodes, pod.Spec.NodeName)
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return "What is left is on nodes that do not answer:\n" + strings.Join(lines, "\n") +
		"\n\nThe cluster removes it when they answer again, or when they are given up: kubectl delete node " + strings.Join(nodes, " ")
}
