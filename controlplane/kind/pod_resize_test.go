package kind_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// TestResize compares with what kube-apiserver 1.37.2 answered to the same patches of pods/resize.
func TestResize(t *testing.T) {
	const (
		asks  = "spec: {initContainers: [{name: i, image: x, resources: {requests: {cpu: 10m}}}], containers: [{name: c, image: x, resources: {requests: {cpu: 100m, memory: 1Mi}, limits: {cpu: 1}}}, {name: d, image: y}]}\n"
		whole = "spec: {resources: {requests: {cpu: 1}, limits: {cpu: 2}}, containers: [{name: c, image: x}]}"
		runs  = "status: {containerStatuses: [{name: c, state: {running: {}}"
	)
	for _, c := range []struct {
		name, pod, patch string
		want             []string
	}{
		{"a request", asks, `{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"200m"}}}]}}`, nil},
		{"an init container's", asks, `{"spec":{"initContainers":[{"name":"i","resources":{"requests":{"cpu":"20m"}}}]}}`, nil},
		{"the pod's", whole, `{"spec":{"resources":{"requests":{"cpu":"1500m"}}}}`, nil},
		{"of a node that can", asks + runs + ", resources: {}}]}", `{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"200m"}}}]}}`, nil},
		{"of a node that can not", asks + runs + "}]}", `{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"200m"}}}]}}`, []string{"spec: " + forbidden}},
		{"what is not computing", asks, `{"spec":{"containers":[{"name":"c","resources":{"requests":{"ephemeral-storage":"1Gi"}}}]}}`, []string{"spec: " + forbidden}},
		{"the policy alone", asks, `{"spec":{"containers":[{"name":"c","resizePolicy":[{"resourceName":"cpu","restartPolicy":"RestartContainer"}]}]}}`, []string{"spec: " + forbidden}},
		{"a further container", asks, `{"spec":{"containers":[{"name":"e","image":"x"}]}}`, []string{"spec.containers: " + forbidden}},
		{"a request taken back", asks, `{"spec":{"initContainers":[{"name":"i","resources":{"requests":{"cpu":null}}}]}}`, []string{"spec.initContainers[0].resources.requests: " + forbidden}},
		{"another class", whole, `{"spec":{"resources":{"requests":{"cpu":"2","memory":"1Gi"},"limits":{"cpu":"2","memory":"1Gi"}}}}`, []string{"spec: " + invalid}},
		{"huge pages of the pod", whole, `{"spec":{"resources":{"limits":{"hugepages-2Mi":"2Mi"}}}}`, []string{"spec: " + forbidden}},
		{"a static pod", "metadata: {annotations: {kubernetes.io/config.mirror: x}}\n" + asks, `{}`, []string{"[]: " + forbidden}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := kind.Of[*corev1.Pod]()
			old := created(t, k, c.pod).(*corev1.Pod)
			unmarshal(t, c.pod, old) // the status too
			k.Default(old)
			data, err := json.Marshal(old)
			if err == nil {
				data, err = strategicpatch.StrategicMergePatch(data, []byte(c.patch), old)
			}
			now := &corev1.Pod{}
			if err = errors.Join(err, json.Unmarshal(data, now)); err != nil {
				t.Fatal(err)
			}
			k.Default(now)
			asked := now.DeepCopy()
			now.Labels, now.Spec.NodeName = map[string]string{"a": "b"}, "elsewhere" // not for a resize to change
			before := old.DeepCopy()
			kind.PrepareResize(now, old)
			expect(t, short(kind.ValidateResize(now, old)), c.want)
			if d := cmp.Diff(before, old); d != "" {
				t.Errorf("the stored pod was changed: %s", d)
			}
			if d := cmp.Diff(asked.Spec.Containers, now.Spec.Containers); c.want == nil && (d != "" || now.Spec.NodeName != "" || now.Labels != nil) {
				t.Errorf("it is resized to %v on %s with %v", d, now.Spec.NodeName, now.Labels)
			}
		})
	}
}
