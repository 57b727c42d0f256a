package scheduler

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// bind makes an assumed place real, or gives it up.
func (s *Scheduler) bind(ctx context.Context, pod *corev1.Pod, node string) {
	err := s.client.Bind(ctx, pod.Namespace, pod.Name, pod.UID, node)
	if err == nil {
		s.events.Normal(pod, "Scheduled", "Successfully assigned %s/%s to %s", pod.Namespace, pod.Name, node)
		return
	}
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue.pods[pod.UID] == nil {
		return // it is bound or gone after all, as the watch has said
	}
	s.cluster.removePod(pod.UID)
	now := s.now()
	s.queue.happened(causeResources|causeSpread|causeAffinity, now)
	s.queue.retry(pod.UID, now)
	s.poke()
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		s.log.Debug("cannot bind pod", "pod", pod.Name, "namespace", pod.Namespace, "node", node, "error", err)
		return
	}
	s.log.Warn("cannot bind pod, will try again", "pod", pod.Name, "namespace", pod.Namespace, "node", node, "error", err)
}
