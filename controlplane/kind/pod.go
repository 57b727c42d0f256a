package kind

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/podspec"
)

// NodeNameIndex lists pods by the node that they are bound to.
const NodeNameIndex = "nodeName"

func podKind() *Kind {
	status, spec := corev1.PodStatus{}.SwaggerDoc(), corev1.PodSpec{}.SwaggerDoc()
	return definition[*corev1.Pod]{
		gv: corev1.SchemeGroupVersion, kind: "Pod", plural: "pods", singular: "pod",
		short: []string{"po"}, categories: []string{"all"}, namespaced: true, generation: true,
		new:            func() *corev1.Pod { return &corev1.Pod{} },
		list:           func() runtime.Object { return &corev1.PodList{} },
		defaults:       podspec.Default,
		prepareCreate:  preparePodCreate,
		complete:       podspec.Complete,
		prepareUpdate:  preparePodUpdate,
		validate:       none[*corev1.Pod], // an update is held to less
		validateCreate: podspec.ValidateNew,
		validateUpdate: validatePodUpdate,
		warnings:       podspec.Warnings,
		status: &statusRules[*corev1.Pod]{
			prepareUpdate: preparePodStatus, validate: validatePodStatusUpdate, unowned: Paths("spec", "metadata.deletionTimestamp", "metadata.ownerReferences"),
		},
		fields: podFields,
		indexes: map[string]func(*corev1.Pod) []string{
			NodeNameIndex: func(p *corev1.Pod) []string {
				if p.Spec.NodeName == "" {
					return nil
				}
				return []string{p.Spec.NodeName}
			},
		},
		gracePeriod: podGracePeriod,
		columns: []metav1.TableColumnDefinition{
			nameColumn(),
			column("Ready", "string", "The aggregate readiness state of this pod for accepting traffic."),
			column("Status", "string", "The aggregate status of the containers in this pod."),
			column("Restarts", "string", "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted."),
			ageColumn(),
			wide("IP", "string", status["podIP"]),
			wide("Node", "string", spec["nodeName"]),
			wide("Nominated Node", "string", status["nominatedNodeName"]),
			wide("Readiness Gates", "string", spec["readinessGates"]),
		},
		row: podRow,
	}.build()
}

func preparePodCreate(p *corev1.Pod) {
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: podspec.QOSClass(p)}
	if len(p.Spec.SchedulingGates) > 0 {
		p.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated,
			Message: "Scheduling is blocked due to non-empty scheduling gates", LastTransitionTime: p.CreationTimestamp,
		}}
	}
}

// preparePodUpdate keeps what clients that do not know of it drop: what the pod asks for as a whole.
func preparePodUpdate(p, old *corev1.Pod) {
	p.Status = old.Status
	if p.Spec.Resources == nil && old.Spec.Resources != nil {
		p.Spec.Resources = old.Spec.Resources.DeepCopy()
	}
	podspec.DropGated(&p.Spec, &old.Spec)
	podspec.DropInitAnnotations(p.Annotations)
}

func podFields(p *corev1.Pod) fields.Set {
	return fields.Set{
		"spec.nodeName":            p.Spec.NodeName,
		"spec.restartPolicy":       string(p.Spec.RestartPolicy),
		"spec.schedulerName":       p.Spec.SchedulerName,
		"spec.serviceAccountName":  p.Spec.ServiceAccountName,
		"spec.hostNetwork":         strconv.FormatBool(p.Spec.HostNetwork),
		"status.phase":             string(p.Status.Phase),
		"status.podIP":             podIP(p),
		"status.podIPs":            podIP(p),
		"status.nominatedNodeName": p.Status.NominatedNodeName,
	}
}

func podIP(p *corev1.Pod) string {
	if len(p.Status.PodIPs) > 0 {
		return p.Status.PodIPs[0].IP
	}
	return p.Status.PodIP
}

// podGracePeriod is what the caller or else the pod asks for; a pod that runs nowhere has nothing to wait for.
func podGracePeriod(p *corev1.Pod, opts *metav1.DeleteOptions) int64 {
	grace := ptr.Deref(p.Spec.TerminationGracePeriodSeconds, 0)
	if opts != nil && opts.GracePeriodSeconds != nil {
		grace = *opts.GracePeriodSeconds
	}
	if p.Spec.NodeName == "" || podFinished(p) {
		return 0
	}
	if grace < 0 {
		return 1
	}
	return grace
}

func podFinished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
}
