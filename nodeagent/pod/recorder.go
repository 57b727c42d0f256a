package pod

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// statusID is a container's identifier as the API shows it.
func statusID(id string) string {
	if id == "" {
		return ""
	}
	return "containerd://" + id
}

func trimID(id string) string { return strings.TrimPrefix(id, "containerd://") }

func (w *worker) event(c *corev1.Container, kind, reason, format string, args ...any) {
	w.eventFor(w.pod, c, kind, reason, format, args...)
}

// eventFor records an event about a pod, or about one of its containers. It may be called by operations.
func (w *worker) eventFor(pod *corev1.Pod, c *corev1.Container, kind, reason, format string, args ...any) {
	ref := podRef(pod)
	if c != nil {
		ref.FieldPath = fieldPath(pod, c.Name)
	}
	w.m.cfg.Recorder.Event(ref, kind, reason, fmt.Sprintf(format, args...))
}

func podRef(pod *corev1.Pod) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
	}
}

// nodeEvent records an event about the node. By its name alone it is found, as a kubelet's are.
func (m *Manager) nodeEvent(kind, reason, format string, args ...any) {
	name := m.cfg.NodeName
	m.cfg.Recorder.Eventf(&corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: name, UID: types.UID(name)}, kind, reason, format, args...)
}

func fieldPath(pod *corev1.Pod, name string) string {
	switch {
	case isInit(pod, name):
		return "spec.initContainers{" + name + "}"
	case isEphemeral(pod, name):
		return "spec.ephemeralContainers{" + name + "}"
	default:
		return "spec.containers{" + name + "}"
	}
}
