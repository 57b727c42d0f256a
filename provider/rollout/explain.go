package rollout

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
)

const (
	logLines   = int64(20)
	logBytes   = int64(16 << 10)
	eventLines = 5
	// explainTimeout is for logs and events, each of which is one request to a server that has just answered.
	explainTimeout = 10 * time.Second
)

// explain tells all that is known about a trouble: reason, exit code, the last lines of the log, events. What can not be
// found out is said, and never hides the rest.
func explain(ctx context.Context, client kubernetes.Interface, t *trouble) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), explainTimeout) // the rollout's own time may be up
	defer cancel()
	var out strings.Builder
	fmt.Fprintf(&out, "Pod:       %s/%s", t.pod.Namespace, t.pod.Name)
	if t.pod.Spec.NodeName != "" {
		fmt.Fprintf(&out, " on node %s", t.pod.Spec.NodeName)
	}
	if t.container != "" {
		fmt.Fprintf(&out, "\nContainer: %s, image %s", t.container, imageOf(t.pod, t.container))
	}
	fmt.Fprintf(&out, "\nReason:    %s", t.reason)
	if t.message != "" {
		fmt.Fprintf(&out, ": %s", t.message)
	}
	if t.exit != nil {
		fmt.Fprintf(&out, "\nExit code: %d", t.exit.ExitCode)
		if t.exit.Signal != 0 {
			fmt.Fprintf(&out, " (signal %d)", t.exit.Signal)
		}
		if t.exit.Reason != "" {
			fmt.Fprintf(&out, ", %s", t.exit.Reason)
		}
	}
	if t.restarts > 0 {
		fmt.Fprintf(&out, "\nRestarts:  %d", t.restarts)
	}
	if t.container != "" && (t.exit != nil || t.reason == "NotReady") {
		fmt.Fprintf(&out, "\n\nLast lines of its log:\n%s", indent(logs(ctx, client, t)))
	}
	fmt.Fprintf(&out, "\n\nEvents of the pod:\n%s", indent(events(ctx, client, t.pod)))
	return out.String()
}

// logs returns the end of a container's log: of its current run, or of the one before when that wrote nothing.
func logs(ctx context.Context, client kubernetes.Interface, t *trouble) string {
	lines, limit := logLines, logBytes
	read := func(previous bool) (string, error) {
		raw, err := client.CoreV1().Pods(t.pod.Namespace).GetLogs(t.pod.Name, &corev1.PodLogOptions{
			Container: t.container, TailLines: &lines, LimitBytes: &limit, Previous: previous,
		}).DoRaw(ctx)
		return strings.TrimRight(string(raw), "\n"), err
	}
	text, err := read(false)
	if text == "" && t.restarts > 0 {
		if before, errBefore := read(true); errBefore == nil {
			text, err = before, nil
		}
	}
	switch {
	case err != nil:
		return fmt.Sprintf("(cannot read the log: %v)", err)
	case text == "":
		return "(it wrote nothing)"
	default:
		return text
	}
}

// events returns the last events of a pod, oldest first.
func events(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod) string {
	list, err := client.CoreV1().Events(pod.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.Set{"involvedObject.kind": "Pod", "involvedObject.name": pod.Name}.AsSelector().String(),
	})
	if err != nil {
		return fmt.Sprintf("(cannot list events: %v)", err)
	}
	of := slices.DeleteFunc(list.Items, func(e corev1.Event) bool { return e.InvolvedObject.UID != "" && e.InvolvedObject.UID != pod.UID })
	if len(of) == 0 {
		return "(none)"
	}
	slices.SortStableFunc(of, func(a, b corev1.Event) int { return when(a).Compare(when(b)) })
	var lines []string
	for _, e := range of[max(0, len(of)-eventLines):] {
		line := fmt.Sprintf("%s %s: %s", e.Type, e.Reason, strings.TrimSpace(e.Message))
		if e.Count > 1 {
			line += fmt.Sprintf(" (%d times)", e.Count)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// when returns an event's time, whichever way its reporter wrote it.
func when(e corev1.Event) time.Time {
	switch {
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	default:
		return e.CreationTimestamp.Time
	}
}

func imageOf(pod *corev1.Pod, container string) string {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == container {
				return list[i].Image
			}
		}
	}
	return "unknown"
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(text, "\n", "\n  ")
}
