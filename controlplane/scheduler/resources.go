package scheduler

import (
	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// What a container without requests counts for when nodes are scored, so that such pods spread too.
const (
	defaultMilliCPU = 100
	defaultMemory   = 200 << 20
)

// resources is an amount of what a node has: CPU in thousandths of a core, memory and storage in bytes.
type resources struct {
	cpu, memory, storage int64
	other                map[corev1.ResourceName]int64 // nil when there is none
}

func resourcesOf(list corev1.ResourceList) resources {
	var r resources
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			r.cpu = q.MilliValue()
		case corev1.ResourceMemory:
			r.memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			r.storage = q.Value()
		case corev1.ResourcePods:
		default:
			if n := q.Value(); n != 0 {
				if r.other == nil {
					r.other = map[corev1.ResourceName]int64{}
				}
				r.other[name] = n
			}
		}
	}
	return r
}

// add adds sign times o.
func (r *resources) add(o *resources, sign int64) {
	r.cpu += sign * o.cpu
	r.memory += sign * o.memory
	r.storage += sign * o.storage
	for name, n := range o.other {
		if r.other == nil {
			r.other = map[corev1.ResourceName]int64{}
		}
		r.other[name] += sign * n
	}
}

// requestsOf returns what pod reserves: the larger of its containers together and of its init containers one
// after the other, sidecars counted with both, and the overhead of its runtime. A pod that is being resized reserves the
// larger of what it has and what it is to have.
func requestsOf(pod *corev1.Pod) resources {
	return resourcesOf(resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{UseStatusResources: true}))
}

// scoredRequests is requestsOf with a small amount for containers that name none.
func scoredRequests(pod *corev1.Pod, exact *resources) (cpu, memory int64) {
	cpu, memory = exact.cpu, exact.memory
	for i := range pod.Spec.Containers {
		r := pod.Spec.Containers[i].Resources.Requests
		if _, ok := r[corev1.ResourceCPU]; !ok {
			cpu += defaultMilliCPU
		}
		if _, ok := r[corev1.ResourceMemory]; !ok {
			memory += defaultMemory
		}
	}
	return cpu, memory
}

// hostPort is a port of the node that a pod takes. ip "" is all addresses.
type hostPort struct {
	ip       string
	protocol corev1.Protocol
	port     int32
}

func hostPortsOf(pod *corev1.Pod) []hostPort {
	var out []hostPort
	collect := func(containers []corev1.Container, sidecars bool) {
		for i := range containers {
			c := &containers[i]
			if sidecars && (c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways) {
				continue
			}
			for _, p := range c.Ports {
				if p.HostPort <= 0 {
					continue
				}
				h := hostPort{ip: p.HostIP, protocol: p.Protocol, port: p.HostPort}
				if h.ip == "0.0.0.0" || h.ip == "::" {
					h.ip = ""
				}
				if h.protocol == "" {
					h.protocol = corev1.ProtocolTCP
				}
				out = append(out, h)
			}
		}
	}
	collect(pod.Spec.Containers, false)
	collect(pod.Spec.InitContainers, true)
	return out
}

// conflicts says whether both can not be had on one node.
func (h hostPort) conflicts(o hostPort) bool {
	return h.port == o.port && h.protocol == o.protocol && (h.ip == o.ip || h.ip == "" || o.ip == "")
}
