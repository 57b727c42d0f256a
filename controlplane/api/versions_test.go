package api_test

import (
	"strings"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
)

// TestAutoscalerInTwoVersions writes one object in both of its versions.
func TestAutoscalerInTwoVersions(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	kube, ctx := e.Kube(e.Admin()), t.Context()
	v1, v2 := kube.AutoscalingV1().HorizontalPodAutoscalers("default"), kube.AutoscalingV2().HorizontalPodAutoscalers("default")
	half := int32(50)
	made, err := v1.Create(ctx, &autoscalingv1.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "a"},
		Spec: autoscalingv1.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv1.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "a"}, MaxReplicas: 3, TargetCPUUtilizationPercentage: &half,
		},
	}, metav1.CreateOptions{FieldManager: "one"})
	if err != nil || *made.Spec.MinReplicas != 1 || *made.Spec.TargetCPUUtilizationPercentage != 50 {
		t.Fatalf("created %+v, %v", made, err)
	}
	got, err := v2.Get(ctx, "a", metav1.GetOptions{})
	if err != nil || len(got.Spec.Metrics) != 1 || *got.Spec.Metrics[0].Resource.Target.AverageUtilization != 50 {
		t.Fatalf("in v2 it is %+v, %v", got, err)
	}
	got.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: new(int32)}}
	got.Spec.Metrics = append(got.Spec.Metrics, autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name: corev1.ResourceMemory, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &half},
	}})
	if _, err := v2.Update(ctx, got, metav1.UpdateOptions{FieldManager: "two"}); err != nil {
		t.Fatal(err)
	}
	back, err := v1.Get(ctx, "a", metav1.GetOptions{})
	if err != nil || !strings.Contains(back.Annotations["autoscaling.alpha.kubernetes.io/behavior"], "StabilizationWindowSeconds") ||
		back.Annotations["autoscaling.alpha.kubernetes.io/metrics"] != `[{"type":"Resource","resource":{"name":"memory","targetAverageUtilization":50}}]` {
		t.Fatalf("in v1 it is %+v, %v", back.Annotations, err)
	}
	back.Spec.MaxReplicas = 9
	if _, err := v1.Update(ctx, back, metav1.UpdateOptions{FieldManager: "one"}); err != nil {
		t.Fatal(err)
	}
	patch := `{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler","metadata":{"name":"a"},"spec":{"minReplicas":2}}`
	if _, err := v1.Patch(ctx, "a", types.ApplyPatchType, []byte(patch), metav1.PatchOptions{FieldManager: "three", Force: new(bool)}); err == nil {
		t.Error("an apply of another's field was no conflict")
	}
	got, err = v2.Get(ctx, "a", metav1.GetOptions{})
	if err != nil || got.Spec.MaxReplicas != 9 || got.Spec.Behavior == nil || len(got.Spec.Metrics) != 2 || len(got.Annotations) != 0 {
		t.Errorf("after the update in v1 it is %+v %v, %v", got.Spec, got.Annotations, err)
	}
	managers := map[string]string{}
	for _, m := range got.ManagedFields {
		managers[m.Manager] = m.APIVersion
	}
	if managers["one"] != "autoscaling/v1" || managers["two"] != "autoscaling/v2" {
		t.Errorf("managers are %v", managers)
	}
	bad := back.DeepCopy()
	bad.Name, bad.ResourceVersion, bad.UID, bad.Spec.MaxReplicas = "bad", "", "", 0
	if _, err := v1.Create(ctx, bad, metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), "spec.maxReplicas") {
		t.Errorf("an invalid one = %v", err)
	}
	groups, err := kube.Discovery().ServerGroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups.Groups {
		if g.Name == "autoscaling" && (g.PreferredVersion.Version != "v2" || len(g.Versions) != 2) {
			t.Errorf("discovery has %+v", g)
		}
	}
}

func TestEventInTwoGroups(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	kube, ctx := e.Kube(e.Admin()), t.Context()
	w, err := kube.EventsV1().Events("default").Watch(ctx, metav1.ListOptions{FieldSelector: "regarding.name=web"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	_, err = kube.EventsV1().Events("default").Create(ctx, &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "new"}, EventTime: metav1.NowMicro(), ReportingController: "example.com/c", ReportingInstance: "c-1",
		Action: "Testing", Reason: "Tested", Type: "Normal", Note: "it works", Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "web"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if ev, ok := (<-w.ResultChan()).Object.(*eventsv1.Event); !ok || ev.Note != "it works" {
		t.Errorf("the watch saw %v", ev)
	}
	core, err := kube.CoreV1().Events("default").Get(ctx, "new", metav1.GetOptions{})
	if err != nil || core.Message != "it works" || core.InvolvedObject.Name != "web" {
		t.Errorf("in the core group it is %+v, %v", core, err)
	}
	_, err = kube.CoreV1().Events("default").Create(ctx, &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "old"}, Message: "hello",
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "db"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	list, err := kube.EventsV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "regarding.name=db"})
	if err != nil || len(list.Items) != 1 || list.Items[0].Note != "hello" {
		t.Errorf("list = %+v, %v", list, err)
	}
	if err := kube.EventsV1().Events("default").Delete(ctx, "old", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}
