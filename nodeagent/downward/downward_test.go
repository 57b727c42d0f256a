package downward

import (
	"errors"
	"runtime"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fields are all the paths that the API has, with what the test's pod says.
var fields = map[string]string{
	"metadata.name": "p", "metadata.namespace": "n", "metadata.uid": "u",
	"metadata.labels": "a=\"1\"\nb/c=\"\"", "metadata.labels['b/c']": "", "metadata.labels['a']": "1", "metadata.labels['none']": "",
	"metadata.annotations": `k="a \"quoted\"\nline\twith \\ and é"`, "metadata.annotations['k']": "a \"quoted\"\nline\twith \\ and é",
	"spec.nodeName": "node", "spec.host": "node", "spec.serviceAccountName": "sa",
	"status.hostIP": "192.0.2.1", "status.hostIPs": "192.0.2.1,2001:db8::1", "status.podIP": "10.0.0.1", "status.podIPs": "10.0.0.1,fd00::1",
}

func TestFields(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "p", Namespace: "n", UID: "u", Labels: map[string]string{"b/c": "", "a": "1"},
			Annotations: map[string]string{"k": "a \"quoted\"\nline\twith \\ and é"},
		},
		Spec: corev1.PodSpec{NodeName: "node", ServiceAccountName: "sa"},
		Status: corev1.PodStatus{
			HostIPs: []corev1.HostIP{{IP: "192.0.2.1"}, {IP: "2001:db8::1"}}, PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "fd00::1"}},
		},
	}
	p := FromStatus(pod, nil)
	for path, want := range fields {
		if got, err := p.Field(path); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", path, got, err, want)
		}
	}
	for _, path := range []string{"", "spec.containers", "metadata.labels['a'", "metadata.name['a']", "['a']", "spec.nodeName.x"} {
		if got, err := p.Field(path); err == nil {
			t.Errorf("%s is %q", path, got)
		}
	}
	pod.Status = corev1.PodStatus{}
	p = FromStatus(pod, nil)
	for _, path := range []string{"status.hostIP", "status.podIP"} {
		if got, err := p.Field(path); !errors.Is(err, ErrNoAddress) {
			t.Errorf("%s of a pod without is %q, %v", path, got, err)
		}
	}
	for _, path := range []string{"status.hostIPs", "status.podIPs"} {
		if got, err := p.Field(path); err != nil || got != "" {
			t.Errorf("%s of a pod without is %q, %v", path, got, err)
		}
	}
}

func TestResources(t *testing.T) {
	list := func(kv ...string) corev1.ResourceList {
		out := corev1.ResourceList{}
		for i := 0; i < len(kv); i += 2 {
			out[corev1.ResourceName(kv[i])] = resource.MustParse(kv[i+1])
		}
		return out
	}
	node := list("cpu", "4", "memory", "8Gi", "ephemeral-storage", "100G", "hugepages-2Mi", "64Mi")
	free, full := corev1.ResourceRequirements{}, corev1.ResourceRequirements{
		Requests: list("cpu", "250m", "memory", "100M", "ephemeral-storage", "1", "hugepages-2Mi", "4Mi"),
		Limits:   list("cpu", "1001m", "memory", "1Gi", "ephemeral-storage", "2G", "hugepages-2Mi", "4Mi"),
	}
	for _, tt := range []struct {
		name              string
		have              corev1.ResourceRequirements
		podLimits, node   corev1.ResourceList
		resource, divisor string
		want              string
	}{
		{"processors are rounded up", full, nil, node, "limits.cpu", "0", "2"},
		{"and count in thousandths", full, nil, node, "limits.cpu", "1m", "1001"},
		{"a part of one", full, nil, node, "requests.cpu", "1", "1"},
		{"memory in bytes", full, nil, node, "requests.memory", "0", "100000000"},
		{"memory rounded up", full, nil, node, "requests.memory", "1Mi", "96"},
		{"memory", full, nil, node, "limits.memory", "1Ki", "1048576"},
		{"storage", full, nil, node, "limits.ephemeral-storage", "1G", "2"},
		{"storage rounded up", full, nil, node, "requests.ephemeral-storage", "1Ki", "1"},
		{"huge pages", full, nil, node, "limits.hugepages-2Mi", "1Mi", "4"},
		{"huge pages asked for", full, nil, node, "requests.hugepages-2Mi", "0", "4194304"},
		{"nothing asked for", free, nil, node, "requests.memory", "0", "0"},
		{"no limit of processors", free, nil, node, "limits.cpu", "1m", "4000"},
		{"no limit of memory", free, nil, node, "limits.memory", "1Gi", "8"},
		{"no limit of storage", free, nil, node, "limits.ephemeral-storage", "1G", "100"},
		{"a limit of zero is none", corev1.ResourceRequirements{Limits: list("memory", "0")}, nil, node, "limits.memory", "1Gi", "8"},
		{"no huge pages", free, nil, node, "limits.hugepages-2Mi", "0", "0"},
		{"the pod's limit", free, list("memory", "2Gi"), node, "limits.memory", "1Gi", "2"},
		{"its own limit counts before the pod's", full, list("memory", "2Gi"), node, "limits.memory", "1Gi", "1"},
		{"the pod's limit is of something else", free, list("memory", "2Gi"), node, "limits.cpu", "0", "4"},
		{"the node is not known", free, nil, nil, "limits.cpu", "0", strconv.Itoa(runtime.NumCPU())},
		{"nor its memory", free, nil, nil, "limits.memory", "0", "0"},
		{"neither side", full, nil, node, "cpu", "0", ""},
		{"another side", full, nil, node, "capacity.cpu", "0", ""},
		{"what the API does not have", full, nil, node, "limits.example.com/gpu", "0", ""},
	} {
		pod := &corev1.Pod{}
		if tt.podLimits != nil {
			pod.Spec.Resources = &corev1.ResourceRequirements{Limits: tt.podLimits}
		}
		got, err := FromStatus(pod, tt.node).Resource(&corev1.Container{Resources: tt.have},
			&corev1.ResourceFieldSelector{Resource: tt.resource, Divisor: resource.MustParse(tt.divisor)})
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: %s is %q, %v; want %q", tt.name, tt.resource, got, err, tt.want)
		}
	}
}
