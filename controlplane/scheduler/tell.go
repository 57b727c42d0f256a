package scheduler

import (
	"context"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/pods"
)

// Why pods have no node is told at this rate at most, after a burst: thousands of pods that fit nowhere must not
// keep those that do from being bound.
const (
	tellsPerSecond = 100
	tellsAtOnce    = 100
)

// news is what users are still to be told: the latest reason of each pod, in the order of the first.
type news struct {
	messages map[types.UID]string
	order    []types.UID
	more     chan struct{} // capacity 1: a wake-up is not lost while one is told; never closed
}

func newNews() news {
	return news{messages: map[types.UID]string{}, more: make(chan struct{}, 1)}
}

func (n *news) add(uid types.UID, message string) {
	if _, waits := n.messages[uid]; !waits {
		n.order = append(n.order, uid)
	}
	n.messages[uid] = message
	select {
	case n.more <- struct{}{}:
	default:
	}
}

func (n *news) next() (types.UID, string, bool) {
	if len(n.order) == 0 {
		return "", "", false
	}
	uid := n.order[0]
	n.order = n.order[1:]
	message := n.messages[uid]
	delete(n.messages, uid)
	return uid, message, true
}

// tell writes news until ctx ends.
func (s *Scheduler) tell(ctx context.Context) {
	limit := rate.NewLimiter(tellsPerSecond, tellsAtOnce)
	for {
		s.mu.Lock()
		more := s.news.more
		uid, message, ok := s.news.next()
		s.mu.Unlock()
		if !ok {
			select {
			case <-ctx.Done():
				return
			case <-more:
			}
			continue
		}
		if limit.Wait(ctx) != nil {
			return
		}
		s.mu.Lock()
		var pod *corev1.Pod
		if e := s.queue.pods[uid]; e != nil && e.place != inWork {
			pod = e.pod
		}
		s.mu.Unlock()
		if pod != nil {
			s.refuse(ctx, pod, message)
		}
	}
}

// refuse tells users why a pod has no node.
func (s *Scheduler) refuse(ctx context.Context, pod *corev1.Pod, message string) {
	s.events.Warning(pod, "FailedScheduling", "%s", message)
	next := pod.DeepCopy()
	changed := pods.SetCondition(next, corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: message,
		ObservedGeneration: pod.Generation,
	}, s.now())
	if !changed {
		return
	}
	_, err := client.UpdateStatus(ctx, s.client, next)
	if err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		s.log.Warn("cannot write why pod has no node", "pod", pod.Name, "namespace", pod.Namespace, "error", err)
	}
}
