package registry_test

import (
	"fmt"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/registry"
)

func TestEvictionKeepsTheBudget(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	one := intstr.FromInt32(1)
	for i := range 2 {
		p := create(t, e.Client, pod(fmt.Sprintf("p%d", i), "n1")).DeepCopy()
		p.Status.Phase = corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		if _, err := client.UpdateStatus(t.Context(), e.Client, p); err != nil {
			t.Fatal(err)
		}
	}
	b := create(t, e.Client, &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b"},
		Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}}}}).DeepCopy()
	if err := e.Client.Evict(t.Context(), "default", "p0"); !apierrors.IsTooManyRequests(err) {
		t.Fatalf("eviction before the budget was counted: %v", err)
	}
	b.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: b.Generation, DisruptionsAllowed: 1, CurrentHealthy: 2, DesiredHealthy: 1, ExpectedPods: 2}
	if _, err := client.UpdateStatus(t.Context(), e.Client, b); err != nil {
		t.Fatal(err)
	}
	if err := e.Client.Evict(t.Context(), "default", "p0"); err != nil {
		t.Fatal(err)
	}
	got, err := client.Get[*policyv1.PodDisruptionBudget](t.Context(), e.Client, "default", "b")
	if err != nil || got.Status.DisruptionsAllowed != 0 || len(got.Status.DisruptedPods) != 1 {
		t.Fatalf("budget after an eviction: %+v, %v", got.Status, err)
	}
	if c := meta.FindStatusCondition(got.Status.Conditions, policyv1.DisruptionAllowedCondition); c == nil || c.Status != metav1.ConditionFalse {
		t.Errorf("conditions after an eviction: %+v", got.Status.Conditions)
	}
	evicted, err := client.Get[*corev1.Pod](t.Context(), e.Client, "default", "p0")
	if err != nil || evicted.DeletionTimestamp == nil || len(evicted.Status.Conditions) != 2 || evicted.Status.Conditions[1].Type != corev1.DisruptionTarget || evicted.Status.Conditions[1].Reason != "EvictionByEvictionAPI" {
		t.Errorf("evicted pod: %+v, %v", evicted, err)
	}
	err = e.Client.Evict(t.Context(), "default", "p1")
	if !apierrors.IsTooManyRequests(err) || !apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause) {
		t.Fatalf("eviction beyond the budget: %v", err)
	}
}

// What needs no budget when it is looked at, and comes to need one before it goes, is not evicted.
func TestEvictionOfWhatBecomesReady(t *testing.T) {
	allow := policyv1.AlwaysAllow
	one := intstr.FromInt32(1)
	for name, phase := range map[string]corev1.PodPhase{"pending": corev1.PodPending, "not ready": corev1.PodRunning} {
		t.Run(name, func(t *testing.T) {
			e := apitest.Start(t, apitest.Options{})
			p := create(t, e.Client, pod("p", "n1")).DeepCopy()
			p.Status.Phase = phase
			if _, err := client.UpdateStatus(t.Context(), e.Client, p); err != nil {
				t.Fatal(err)
			}
			b := create(t, e.Client, &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b"},
				Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}}, UnhealthyPodEvictionPolicy: &allow}}).DeepCopy()
			b.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: b.Generation, CurrentHealthy: 1, DesiredHealthy: 1, ExpectedPods: 1}
			if _, err := client.UpdateStatus(t.Context(), e.Client, b); err != nil {
				t.Fatal(err)
			}
			becomeReady := sync.OnceFunc(func() {
				p, err := client.Get[*corev1.Pod](t.Context(), e.Client, "default", "p")
				if err != nil {
					t.Error(err)
					return
				}
				p = p.DeepCopy()
				p.Status.Phase = corev1.PodRunning
				p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
				if _, err := client.UpdateStatus(t.Context(), e.Client, p); err != nil {
					t.Error(err)
				}
			})
			err := e.Registry.Evict(t.Context(), "default", "p", nil, registry.Write{Check: func(kind.Object, kind.Object) error {
				becomeReady()
				return nil
			}})
			if !apierrors.IsTooManyRequests(err) || !apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause) {
				t.Errorf("eviction: %v", err)
			}
			if p, err := client.Get[*corev1.Pod](t.Context(), e.Client, "default", "p"); err != nil || p.DeletionTimestamp != nil {
				t.Errorf("the pod is %+v, %v", p, err)
			}
		})
	}
}
