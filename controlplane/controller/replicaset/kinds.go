package replicaset

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// workload is a kind that the controller keeps the pods of, seen as a ReplicaSet.
type workload struct {
	name string // of the controller
	kind *kind.Kind
	// set returns an object as a ReplicaSet, which shares parts with it: neither may be changed.
	set func(kind.Object) *appsv1.ReplicaSet
	// withStatus returns a copy of an object with another status.
	withStatus func(kind.Object, *appsv1.ReplicaSetStatus) kind.Object
	// terminating says that the kind's status counts pods that are on their way out.
	terminating bool
}

func replicaSets() workload {
	return workload{
		name: "replicaset", kind: kind.Of[*appsv1.ReplicaSet](), terminating: true,
		set: func(obj kind.Object) *appsv1.ReplicaSet { return obj.(*appsv1.ReplicaSet) },
		withStatus: func(obj kind.Object, s *appsv1.ReplicaSetStatus) kind.Object {
			rs := obj.(*appsv1.ReplicaSet).DeepCopy()
			rs.Status = *s
			return rs
		},
	}
}

func replicationControllers() workload {
	return workload{
		name: "replicationcontroller", kind: kind.Of[*corev1.ReplicationController](),
		set: func(obj kind.Object) *appsv1.ReplicaSet { return asSet(obj.(*corev1.ReplicationController)) },
		withStatus: func(obj kind.Object, s *appsv1.ReplicaSetStatus) kind.Object {
			rc := obj.(*corev1.ReplicationController).DeepCopy()
			rc.Status = corev1.ReplicationControllerStatus{
				Replicas: s.Replicas, FullyLabeledReplicas: s.FullyLabeledReplicas, ReadyReplicas: s.ReadyReplicas,
				AvailableReplicas: s.AvailableReplicas, ObservedGeneration: s.ObservedGeneration,
			}
			for _, c := range s.Conditions {
				rc.Status.Conditions = append(rc.Status.Conditions, corev1.ReplicationControllerCondition{
					Type: corev1.ReplicationControllerConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
				})
			}
			return rc
		},
	}
}

func asSet(rc *corev1.ReplicationController) *appsv1.ReplicaSet {
	rs := &appsv1.ReplicaSet{
		ObjectMeta: rc.ObjectMeta,
		Spec: appsv1.ReplicaSetSpec{
			Replicas: rc.Spec.Replicas, MinReadySeconds: rc.Spec.MinReadySeconds, Selector: &metav1.LabelSelector{MatchLabels: rc.Spec.Selector},
		},
		Status: appsv1.ReplicaSetStatus{
			Replicas: rc.Status.Replicas, FullyLabeledReplicas: rc.Status.FullyLabeledReplicas, ReadyReplicas: rc.Status.ReadyReplicas,
			AvailableReplicas: rc.Status.AvailableReplicas, ObservedGeneration: rc.Status.ObservedGeneration,
		},
	}
	if rc.Spec.Template != nil {
		rs.Spec.Template = *rc.Spec.Template
	}
	for _, c := range rc.Status.Conditions {
		rs.Status.Conditions = append(rs.Status.Conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return rs
}
