package pod

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// runtimeHandler is the one that runtime classes can name.
const runtimeHandler = "runc"

func (m *Manager) node() *corev1.Node {
	if m.cfg.Node == nil {
		return nil
	}
	return m.cfg.Node()
}

// memory is the node's, in bytes; 0 when it is not known.
func (m *Manager) memory() int64 {
	if n := m.node(); n != nil {
		return n.Status.Capacity.Memory().Value()
	}
	return 0
}

// admit checks a new pod against the node as it is: the scheduler may have decided on older news. It returns the reason for
// which the pod fails, or "".
func (w *worker) admit() (reason, message string) {
	if w.m.cfg.Pressure != nil {
		if under := w.m.cfg.Pressure.Under(); !bears(w.pod, under) {
			return reasonEvicted, fmt.Sprintf("The node had condition: %v. ", under)
		}
	}
	node := w.m.node()
	if node == nil {
		return "", ""
	}
	if os := w.pod.Spec.OS; os != nil && os.Name != corev1.Linux {
		return "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"
	}
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(w.pod).Match(node); err != nil || !ok {
		return "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
	}
	others := w.others()
	if port := portConflict(w.pod, others); port != "" {
		return "NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports: " + port
	}
	return fits(resource.PodRequests(w.pod, resource.PodResourcesOptions{}), others, node.Status.Allocatable)
}

// unsupported says what a pod asks for that this node has not: it is not run without.
func (w *worker) unsupported(ctx context.Context, pod *corev1.Pod) error {
	switch {
	case pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers:
		return errors.New("this node cannot give a pod a user namespace of its own (hostUsers: false)")
	case len(pod.Spec.ResourceClaims) > 0:
		return fmt.Errorf("this node has no devices for resource claim %q", pod.Spec.ResourceClaims[0].Name)
	case pod.Spec.RuntimeClassName == nil:
		return nil
	}
	name := *pod.Spec.RuntimeClassName
	class, err := w.m.cfg.Client.NodeV1().RuntimeClasses().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("cannot read runtime class %q: %w", name, err)
	}
	if class.Handler != runtimeHandler {
		return fmt.Errorf("no runtime for %q is configured: this node has %s only", class.Handler, runtimeHandler)
	}
	return nil
}

// others are the node's other pods that count against it, with what it has allocated to them.
func (w *worker) others() []*corev1.Pod {
	var out []*corev1.Pod
	for _, o := range w.m.all() {
		if o != w && o.holds() {
			out = append(out, o.snapshot())
		}
	}
	return out
}

// holds says whether the pod counts against the node: it does from its admission until it has ended.
func (w *worker) holds() bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.published.Status.StartTime != nil && !terminal(w.published.Status.Phase)
}

// fits says whether there is room for one more pod with these requests. Otherwise it returns a reason for its failure.
func fits(req corev1.ResourceList, others []*corev1.Pod, allocatable corev1.ResourceList) (reason, message string) {
	if n, ok := allocatable[corev1.ResourcePods]; ok && int64(len(others))+1 > n.Value() {
		return "OutOfpods", fmt.Sprintf("Node didn't have enough resource: pods, requested: 1, used: %d, capacity: %d", len(others), n.Value())
	}
	used := corev1.ResourceList{}
	for _, o := range others {
		for name, q := range resource.PodRequests(o, resource.PodResourcesOptions{}) {
			sum := used[name]
			sum.Add(q)
			used[name] = sum
		}
	}
	for _, name := range sortedResources(req) {
		q, have, sum := req[name], allocatable[name], used[name]
		if q.IsZero() {
			continue
		}
		total := sum.DeepCopy()
		total.Add(q)
		if total.Cmp(have) > 0 {
			value := func(l corev1.ResourceList) int64 {
				v := l[name]
				if name == corev1.ResourceCPU {
					return v.MilliValue()
				}
				return v.Value()
			}
			return "OutOf" + string(name), fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d",
				name, value(req), value(used), value(allocatable))
		}
	}
	return "", ""
}

func sortedResources(l corev1.ResourceList) []corev1.ResourceName {
	m := make(map[string]struct{}, len(l))
	for name := range l {
		m[string(name)] = struct{}{}
	}
	out := make([]corev1.ResourceName, 0, len(l))
	for _, name := range sortedKeys(m) {
		out = append(out, corev1.ResourceName(name))
	}
	return out
}

// portConflict returns a host port that the pod wants and another one has.
func portConflict(pod *corev1.Pod, others []*corev1.Pod) string {
	for _, want := range networkPod(pod).Ports {
		for _, o := range others {
			for _, have := range networkPod(o).Ports {
				same := want.HostPort == have.HostPort && want.Protocol == have.Protocol
				if same && (!want.HostIP.IsValid() || !have.HostIP.IsValid() || want.HostIP == have.HostIP) {
					return fmt.Sprintf("%d/%s", want.HostPort, want.Protocol)
				}
			}
		}
	}
	return ""
}
