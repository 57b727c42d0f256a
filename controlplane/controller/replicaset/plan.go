package replicaset

import (
	"cmp"
	"math/bits"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/pods"
)

// plan is what a ReplicaSet needs: Create new pods, or the pods Delete to go.
type plan struct {
	Create int
	Delete []*corev1.Pod
}

// reconcile compares owned, which are the pods that rs controls, with what rs asks for. related counts the
// active pods of the same Deployment or of rs itself on each node.
func reconcile(rs *appsv1.ReplicaSet, owned []*corev1.Pod, related map[string]int, now time.Time) plan {
	if rs.DeletionTimestamp != nil {
		return plan{}
	}
	active := make([]*corev1.Pod, 0, len(owned))
	for _, p := range owned {
		if pods.Active(p) {
			active = append(active, p)
		}
	}
	diff := int(wanted(rs)) - len(active)
	if diff >= 0 {
		return plan{Create: diff}
	}
	return plan{Delete: victims(active, -diff, related, now)}
}

func wanted(rs *appsv1.ReplicaSet) int32 {
	if rs.Spec.Replicas == nil {
		return 1
	}
	return *rs.Spec.Replicas
}

// victims returns the n pods whose loss costs least, in the order that Kubernetes documents: not scheduled,
// pending, not ready, cheap by annotation, many on one node, ready for a shorter time, restarted often, young.
func victims(active []*corev1.Pod, n int, related map[string]int, now time.Time) []*corev1.Pod {
	sorted := slices.Clone(active)
	slices.SortStableFunc(sorted, func(a, b *corev1.Pod) int {
		return cmp.Or(
			falseFirst(a.Spec.NodeName != "", b.Spec.NodeName != ""),
			cmp.Compare(phaseRank(a), phaseRank(b)),
			falseFirst(pods.Ready(a), pods.Ready(b)),
			cmp.Compare(deletionCost(a), deletionCost(b)),
			cmp.Compare(related[b.Spec.NodeName], related[a.Spec.NodeName]),
			byReadyAge(a, b, now),
			cmp.Compare(pods.Restarts(b), pods.Restarts(a)),
			cmp.Compare(ageRank(a.CreationTimestamp, now), ageRank(b.CreationTimestamp, now)),
			cmp.Compare(a.UID, b.UID),
		)
	})
	return sorted[:min(n, len(sorted))]
}

func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case !a:
		return -1
	default:
		return 1
	}
}

func phaseRank(p *corev1.Pod) int {
	switch p.Status.Phase {
	case corev1.PodPending:
		return 0
	case corev1.PodUnknown:
		return 1
	default:
		return 2
	}
}

func deletionCost(p *corev1.Pod) int32 {
	v, ok := p.Annotations[corev1.PodDeletionCost]
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil {
		return 0 // as documented: an annotation that is not a number counts as absent
	}
	return int32(n)
}

func byReadyAge(a, b *corev1.Pod, now time.Time) int {
	if !pods.Ready(a) || !pods.Ready(b) {
		return 0
	}
	return cmp.Compare(ageRank(pods.Condition(a, corev1.PodReady).LastTransitionTime, now),
		ageRank(pods.Condition(b, corev1.PodReady).LastTransitionTime, now))
}

// ageRank groups ages by powers of two, so that among pods of about the same age chance decides (by UID) and
// not the order in which zones were filled (KEP-2185). A time that is not known ranks youngest.
func ageRank(t metav1.Time, now time.Time) int {
	if t.IsZero() || !t.Time.Before(now) {
		return 0
	}
	return bits.Len64(uint64(now.Sub(t.Time)))
}

// status returns rs's status as its pods show it, and after how long a ready pod will become available.
func status(rs *appsv1.ReplicaSet, owned []*corev1.Pod, failure *appsv1.ReplicaSetCondition, now time.Time) (appsv1.ReplicaSetStatus, time.Duration) {
	next := *rs.Status.DeepCopy()
	next.Replicas, next.ReadyReplicas, next.AvailableReplicas, next.FullyLabeledReplicas = 0, 0, 0, 0
	var terminating int32
	var soonest time.Duration
	template := labels.SelectorFromSet(rs.Spec.Template.Labels)
	for _, p := range owned {
		if !pods.Active(p) {
			if !pods.Terminal(p) {
				terminating++
			}
			continue
		}
		next.Replicas++
		if template.Matches(labels.Set(p.Labels)) {
			next.FullyLabeledReplicas++
		}
		wait, ready := pods.AvailableIn(p, rs.Spec.MinReadySeconds, now)
		if !ready {
			continue
		}
		next.ReadyReplicas++
		if wait == 0 {
			next.AvailableReplicas++
		} else if soonest == 0 || wait < soonest {
			soonest = wait
		}
	}
	next.TerminatingReplicas = &terminating
	next.ObservedGeneration = rs.Generation
	next.Conditions = withFailure(next.Conditions, failure)
	return next, soonest
}

// withFailure sets or removes the ReplicaFailure condition.
func withFailure(conditions []appsv1.ReplicaSetCondition, failure *appsv1.ReplicaSetCondition) []appsv1.ReplicaSetCondition {
	at := slices.IndexFunc(conditions, func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure })
	switch {
	case failure == nil && at < 0:
		return conditions
	case failure == nil:
		return slices.Delete(conditions, at, at+1)
	case at < 0:
		return append(conditions, *failure)
	case conditions[at].Reason == failure.Reason && conditions[at].Status == failure.Status:
		return conditions // the first message stays, as a new one for each failed pod would be a write each
	default:
		conditions[at] = *failure
		return conditions
	}
}

// newPod returns a pod of rs's template.
func newPod(rs *appsv1.ReplicaSet, owner metav1.OwnerReference) *corev1.Pod {
	t := rs.Spec.Template.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName:    rs.Name + "-",
			Namespace:       rs.Namespace,
			Labels:          t.Labels,
			Annotations:     t.Annotations,
			Finalizers:      t.Finalizers,
			OwnerReferences: []metav1.OwnerReference{owner},
		},
		Spec: t.Spec,
	}
}

// relatedOn counts active pods by node.
func relatedOn(groups ...[]*corev1.Pod) map[string]int {
	out := map[string]int{}
	seen := map[types.UID]bool{}
	for _, g := range groups {
		for _, p := range g {
			if pods.Active(p) && p.Spec.NodeName != "" && !seen[p.UID] {
				seen[p.UID] = true
				out[p.Spec.NodeName]++
			}
		}
	}
	return out
}
