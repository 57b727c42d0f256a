package api_test

import (
	"cmp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
)

// TestResize resizes a pod before its container runs, and not afterwards on a node that can not.
func TestResize(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	pods := e.Kube(e.Admin()).CoreV1().Pods("default")
	request := corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}}
	if _, err := pods.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "c", Image: "x", Resources: request}}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	resize := func(cpu string) (*corev1.Pod, error) {
		patch := `{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"y","resources":{"requests":{"cpu":"` + cpu + `"}}}]}}`
		return pods.Patch(t.Context(), "p", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "me"}, "resize")
	}
	p, err := resize("200m")
	if err != nil {
		t.Fatal(err)
	}
	if c := p.Spec.Containers[0]; c.Resources.Requests.Cpu().String() != "200m" || c.Image != "x" || p.Labels != nil || p.Generation != 2 {
		t.Errorf("the pod of generation %d has %v, %s and %v", p.Generation, c.Resources.Requests, c.Image, p.Labels)
	}
	if m := p.ManagedFields[len(p.ManagedFields)-1]; m.Manager != "me" || m.Subresource != "resize" {
		t.Errorf("the last manager is %s of %q", m.Manager, m.Subresource)
	}
	p.Status.Phase = corev1.PodRunning
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	if _, err := pods.UpdateStatus(t.Context(), p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := resize("300m"); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "Pod running on node without support for resize") {
		t.Errorf("a container that runs: %v", err)
	}
	t.Run("node", func(t *testing.T) { testResizeOnNode(t, e.Kube(e.Admin())) })
}

// testResizeOnNode asks for what a node could never give, has not said that it can do, or is not made for.
func testResizeOnNode(t *testing.T, c kubernetes.Interface) {
	container := func(cpu string) corev1.Container {
		return corev1.Container{Name: "c", Image: "x", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}}
	}
	for name, node := range map[string]*corev1.Node{
		"small":     {},
		"modern":    {Status: corev1.NodeStatus{DeclaredFeatures: []string{"InPlacePodVerticalScalingInitContainers"}}},
		"otherwise": {ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{corev1.LabelOSStable: "windows"}}},
		"":          nil,
	} {
		if node != nil {
			node.Name = name
			node.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
			if _, err := c.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		first := container("100m")
		first.Name = "i"
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "on-" + cmp.Or(name, "none")}, Spec: corev1.PodSpec{
			NodeName: name, InitContainers: []corev1.Container{first}, Containers: []corev1.Container{container("100m")}}}
		if _, err := c.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct{ pod, part, cpu, want, cause string }{
		{"on-small", "containers", "1", "", ""},
		{"on-small", "containers", "1001m", "node didn't have enough allocatable resources: cpu, requested: 1001, allocatable: 1000", "NodeCapacity"},
		{"on-small", "initContainers", "200m", `pod update requires features InPlacePodVerticalScalingInitContainers which are not available on node "small"`, ""},
		{"on-modern", "initContainers", "200m", "", ""},
		{"on-otherwise", "containers", "200m", `pod resize is only supported on linux nodes, node "otherwise" is "windows"`, "UnsupportedPlatform"},
		{"on-none", "initContainers", "5", "", ""},
	} {
		patch := `{"spec":{"` + tc.part + `":[{"name":"` + tc.part[:1] + `","resources":{"requests":{"cpu":"` + tc.cpu + `"}}}]}}`
		_, err := c.CoreV1().Pods("default").Patch(t.Context(), tc.pod, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "resize")
		if tc.want == "" {
			if err != nil {
				t.Errorf("%s of %s to %s: %v", tc.part, tc.pod, tc.cpu, err)
			}
			continue
		}
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), tc.want) || tc.cause != "" && !apierrors.HasStatusCause(err, metav1.CauseType(tc.cause)) {
			t.Errorf("%s of %s to %s: %v, want %s and the cause %q", tc.part, tc.pod, tc.cpu, err, tc.want, tc.cause)
		}
	}
}
