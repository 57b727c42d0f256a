package api_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

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
}
