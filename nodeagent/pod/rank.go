package pod

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/component-helpers/resource"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/pressure"
)

// candidate is a pod that could be evicted, with what it takes of what is short.
type candidate struct {
	w     *worker
	pod   *corev1.Pod
	known bool // whether it could be measured
	used  int64
	// containers is what each container takes, where requests are by container.
	containers map[string]int64
}

// rank puts those first that are evicted first, as kubelets do: what could not be measured; of memory and disk, what
// takes more than it has asked for; the lower priority; what takes the most beyond its request. Files and process ids
// are not asked for.
func rank(list []candidate, name corev1.ResourceName) {
	beyond := func(c candidate) int64 { return c.used - requested(c.pod, name) }
	slices.SortFunc(list, func(a, b candidate) int {
		if a.known != b.known {
			return first(!a.known)
		}
		if over := beyond(a) > 0; over != (beyond(b) > 0) && (name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage) {
			return first(over)
		}
		return cmp.Or(
			cmp.Compare(priority(a.pod), priority(b.pod)), cmp.Compare(beyond(b), beyond(a)),
			cmp.Compare(a.pod.Namespace, b.pod.Namespace), cmp.Compare(a.pod.Name, b.pod.Name),
		)
	})
}

func first(yes bool) int {
	if yes {
		return -1
	}
	return 1
}

func requested(pod *corev1.Pod, name corev1.ResourceName) int64 {
	q := resource.PodRequests(pod, resource.PodResourcesOptions{})[name]
	return q.Value()
}

func priority(pod *corev1.Pod) int32 {
	if p := pod.Spec.Priority; p != nil {
		return *p
	}
	return 0
}

// systemCritical is the lowest priority of pods that a node cannot do without.
const systemCritical = 2_000_000_000

// critical says whether a pod is neither evicted nor refused for want of resources.
func critical(pod *corev1.Pod) bool {
	source, mirror := pod.Annotations["kubernetes.io/config.source"], pod.Annotations[corev1.MirrorPodAnnotationKey]
	return mirror != "" || source != "" && source != "api" || priority(pod) >= systemCritical
}

// bears says whether a node under these pressures takes a pod.
func bears(pod *corev1.Pod, under []corev1.NodeConditionType) bool {
	if len(under) == 0 || critical(pod) {
		return true
	}
	if len(under) > 1 || under[0] != corev1.NodeMemoryPressure {
		return false
	}
	taint := corev1.Taint{Key: corev1.TaintNodeMemoryPressure, Effect: corev1.TaintEffectNoSchedule}
	return qosOf(pod) != corev1.PodQOSBestEffort || slices.ContainsFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool {
		return t.ToleratesTaint(logr.Discard(), &taint, false)
	})
}

// askedAsOne returns what the pod has asked for where what it uses is no container's: with requests for the pod itself, or
// with volumes on the disk. Of the second a kubelet is silent, and the message would not say who filled the disk.
func (c candidate) askedAsOne(name corev1.ResourceName) (quantity.Quantity, bool) {
	switch name {
	case corev1.ResourceMemory:
		if r := c.pod.Spec.Resources; r != nil {
			q, ok := r.Requests[name]
			return q, ok
		}
	case corev1.ResourceEphemeralStorage:
		total := c.used
		for _, n := range c.containers {
			total -= n
		}
		return resource.PodRequests(c.pod, resource.PodResourcesOptions{})[name], total > 0
	}
	return quantity.Quantity{}, false
}

// explain words the eviction of a pod as a kubelet does, and names in annotations of its event who used more than it had
// asked for.
func (c candidate) explain(s pressure.Shortage) (message string, annotations map[string]string) {
	var b strings.Builder
	b.WriteString(s.Message())
	annotations = map[string]string{"starved_resource": string(s.Resource)}
	var names, uses []string
	if request, ok := c.askedAsOne(s.Resource); ok {
		use := quantity.NewQuantity(c.used, quantity.BinarySI)
		if use.Cmp(request) > 0 {
			fmt.Fprintf(&b, "Pod %s was using %s, request is %s, has larger consumption of %s. ", c.pod.Name, use, &request, s.Resource)
			annotations["offending_pod"], annotations["offending_pod_usage"] = c.pod.Name, use.String()
		}
	}
	for _, spec := range slices.Concat(c.pod.Spec.Containers, c.pod.Spec.InitContainers) {
		request := spec.Resources.Requests[s.Resource]
		use := quantity.NewQuantity(c.containers[spec.Name], quantity.BinarySI)
		if use.Cmp(request) > 0 {
			fmt.Fprintf(&b, "Container %s was using %s, request is %s, has larger consumption of %s. ", spec.Name, use, &request, s.Resource)
			names, uses = append(names, spec.Name), append(uses, use.String())
		}
	}
	annotations["offending_containers"], annotations["offending_containers_usage"] = strings.Join(names, ","), strings.Join(uses, ",")
	return b.String(), annotations
}
