// Package downward resolves what the downward API tells a container of its own pod, for environment variables and
// for volumes.
package downward

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// ErrNoAddress says that a field wants the pod's address before there is one.
var ErrNoAddress = errors.New("cannot resolve the pod's address: it has none yet")

// Pod is a pod with what the node knows of it.
type Pod struct {
	*corev1.Pod
	HostIPs, PodIPs []string
	// Allocatable is what the node offers: the limit of a container without one. Without it the host's processors
	// count, and no memory.
	Allocatable corev1.ResourceList
}

// FromStatus takes the addresses from the pod's own status.
func FromStatus(p *corev1.Pod, allocatable corev1.ResourceList) Pod {
	out := Pod{Pod: p, Allocatable: allocatable}
	for _, ip := range p.Status.HostIPs {
		out.HostIPs = append(out.HostIPs, ip.IP)
	}
	for _, ip := range p.Status.PodIPs {
		out.PodIPs = append(out.PodIPs, ip.IP)
	}
	return out
}

// Field returns what a fieldRef's path says.
func (p Pod) Field(path string) (string, error) {
	if name, key, ok := subscript(path); ok {
		switch name {
		case "metadata.labels":
			return p.Labels[key], nil
		case "metadata.annotations":
			return p.Annotations[key], nil
		}
		return "", fmt.Errorf("cannot resolve field %q: only metadata.labels and metadata.annotations take a key", path)
	}
	switch path {
	case "metadata.name":
		return p.Name, nil
	case "metadata.namespace":
		return p.Namespace, nil
	case "metadata.uid":
		return string(p.UID), nil
	case "metadata.labels":
		return formatMap(p.Labels), nil
	case "metadata.annotations":
		return formatMap(p.Annotations), nil
	case "spec.nodeName", "spec.host": // the second as the first version of the API named it; it is let in still
		return p.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return p.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(p.HostIPs)
	case "status.hostIPs":
		return strings.Join(p.HostIPs, ","), nil
	case "status.podIP":
		return first(p.PodIPs)
	case "status.podIPs":
		return strings.Join(p.PodIPs, ","), nil
	}
	return "", fmt.Errorf("cannot resolve field %q: the downward API does not have it", path)
}

func first(ips []string) (string, error) {
	if len(ips) == 0 {
		return "", ErrNoAddress
	}
	return ips[0], nil
}

// subscript splits NAME['KEY'].
func subscript(path string) (name, key string, ok bool) {
	name, rest, ok := strings.Cut(path, "['")
	if !ok {
		return "", "", false
	}
	key, ok = strings.CutSuffix(rest, "']")
	return name, key, ok
}

// formatMap writes KEY="escaped value" lines in order of keys.
func formatMap(m map[string]string) string {
	lines := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, k+"="+strconv.Quote(m[k]))
	}
	return strings.Join(lines, "\n")
}

// Resource returns what a resourceFieldRef says of a container, in multiples of its divisor, rounded up.
func (p Pod) Resource(c *corev1.Container, ref *corev1.ResourceFieldSelector) (string, error) {
	side, name, _ := strings.Cut(ref.Resource, ".")
	resourceName := corev1.ResourceName(name)
	huge := strings.HasPrefix(name, corev1.ResourceHugePagesPrefix)
	if !huge && !slices.Contains(shared, resourceName) {
		side = ""
	}
	switch side {
	case "requests":
		return divide(c.Resources.Requests[resourceName], ref.Divisor, resourceName), nil
	case "limits":
		q := c.Resources.Limits[resourceName]
		if q.IsZero() && !huge {
			q = p.offered(resourceName)
		}
		return divide(q, ref.Divisor, resourceName), nil
	}
	return "", fmt.Errorf("cannot resolve resource %q: it must be limits.NAME or requests.NAME, of cpu, memory, ephemeral-storage or hugepages-SIZE", ref.Resource)
}

// shared are the resources of which a container without a limit may use what the pod or the node has.
var shared = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}

// offered is what a container without a limit may use: the pod's own limit, or what the node offers.
func (p Pod) offered(name corev1.ResourceName) resource.Quantity {
	if r := p.Spec.Resources; r != nil {
		if q := r.Limits[name]; !q.IsZero() {
			return q
		}
	}
	if q, ok := p.Allocatable[name]; ok || name != corev1.ResourceCPU {
		return q
	}
	return *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI)
}

// divide rounds up to multiples of the divisor; processors count in thousandths.
func divide(q, divisor resource.Quantity, name corev1.ResourceName) string {
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if name == corev1.ResourceCPU {
		return strconv.FormatInt(int64(math.Ceil(float64(q.MilliValue())/float64(divisor.MilliValue()))), 10)
	}
	return strconv.FormatInt(int64(math.Ceil(float64(q.Value())/float64(divisor.Value()))), 10)
}
