package scheduler

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/pods"
)

func (s *Scheduler) podChanged(e client.Event) {
	pod := e.Object.(*corev1.Pod)
	if old, ok := e.Old.(*corev1.Pod); ok && e.Type == watch.Modified && sameToScheduler(old, pod) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if old, ok := e.Old.(*corev1.Pod); ok && old.UID != pod.UID {
		s.queue.remove(old.UID)
		s.cluster.removePod(old.UID)
	}
	switch {
	case e.Type == watch.Deleted || pods.Terminal(pod):
		s.queue.remove(pod.UID)
		if s.cluster.removePod(pod.UID) {
			s.queue.happened(causeResources|causeSpread|causeAffinity, now)
		}
	case pod.Spec.NodeName != "":
		s.queue.remove(pod.UID)
		s.cluster.setPod(newPodInfo(pod), pod.Spec.NodeName)
		s.queue.happened(causeSpread|causeAffinity, now)
	case ours(pod):
		s.queue.set(newPodInfo(pod), now)
	default:
		s.queue.remove(pod.UID)
		s.cluster.removePod(pod.UID) // what was kept free for it
	}
	s.poke()
}

// ours says whether pod waits for this scheduler.
func ours(pod *corev1.Pod) bool {
	return (pod.Spec.SchedulerName == corev1.DefaultSchedulerName || pod.Spec.SchedulerName == "") &&
		pod.DeletionTimestamp == nil && len(pod.Spec.SchedulingGates) == 0
}

// sameToScheduler says that a change means nothing here, as most changes of a running pod's status.
func sameToScheduler(old, pod *corev1.Pod) bool {
	return old.UID == pod.UID && pod.Spec.NodeName != "" && old.Spec.NodeName == pod.Spec.NodeName &&
		old.Generation == pod.Generation &&
		(old.DeletionTimestamp == nil) == (pod.DeletionTimestamp == nil) &&
		pods.Terminal(old) == pods.Terminal(pod) &&
		maps.Equal(old.Labels, pod.Labels)
}

func (s *Scheduler) nodeChanged(e client.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	node := e.Object.(*corev1.Node)
	if e.Type == watch.Deleted {
		s.cluster.removeNode(node.Name)
		s.queue.happened(causeSpread|causeAffinity, s.now())
	} else if s.cluster.setNode(node) {
		s.queue.happened(causeNode|causeResources|causeSpread|causeAffinity, s.now())
	}
	s.poke()
}

func (s *Scheduler) serviceChanged(e client.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	svc := e.Object.(*corev1.Service)
	var selector map[string]string
	if e.Type != watch.Deleted {
		selector = svc.Spec.Selector
	}
	s.cluster.setService(svc.Namespace, svc.Name, selector)
}

func (s *Scheduler) namespaceChanged(e client.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var set map[string]string
	if e.Type != watch.Deleted {
		set = e.Object.GetLabels()
		if set == nil {
			set = map[string]string{}
		}
	}
	s.cluster.setNamespace(e.Object.GetName(), set)
}

// setService takes a service's selector; nil or empty selects nothing.
func (c *cluster) setService(namespace, name string, selector map[string]string) {
	list := slices.DeleteFunc(c.services[namespace], func(s service) bool { return s.name == name })
	if len(selector) > 0 {
		list = append(list, service{name, newTerm("", map[string]bool{namespace: true}, nil, labels.SelectorFromSet(selector))})
	}
	if len(list) == 0 {
		delete(c.services, namespace)
		return
	}
	c.services[namespace] = list
}

// service is a service's name and whom it selects.
type service struct {
	name string
	term
}
