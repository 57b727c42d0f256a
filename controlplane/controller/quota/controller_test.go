package quota_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/clienttest/plane"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/quota"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	counting "github.com/fairlead-io/terraform-provider-fairlead/controlplane/quota"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon is how long the controller may take.
const soon = 20 * time.Second

// start returns a control plane whose quotas are kept, with the namespace "default".
func start(t *testing.T) client.Client {
	t.Helper()
	ledger := counting.NewLedger()
	c := plane.Start(t, func(o *admission.Options) { o.Ledger = ledger })
	plane.Go(t, func(ctx context.Context) error {
		return loop.Run(ctx, c, nil, quota.New(c, kind.Builtin(), ledger))
	})
	if _, err := client.Create(t.Context(), c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Create(t.Context(), c, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}); err != nil {
		t.Fatal(err)
	}
	return c
}

func limit(t *testing.T, c client.Client, name string, hard map[corev1.ResourceName]string) {
	t.Helper()
	list := corev1.ResourceList{}
	for n, v := range hard {
		list[n] = resource.MustParse(v)
	}
	_, err := client.Create(t.Context(), c, &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ResourceQuotaSpec{Hard: list},
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := range list {
		await(t, c, name, n, "")
	}
}

// await waits until a quota's used amount is want, or known when want is empty.
func await(t *testing.T, c client.Client, name string, of corev1.ResourceName, want string) {
	t.Helper()
	plane.Eventually(t, soon, fmt.Sprintf("quota %s uses %q of %s", name, want, of), func() bool {
		q, err := client.Get[*corev1.ResourceQuota](t.Context(), c, "default", name)
		if err != nil {
			t.Fatal(err)
		}
		used, ok := q.Status.Used[of]
		return ok && (want == "" || used.String() == want)
	})
}

func configMap(i int) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("c%d", i)}}
}

// TestExactUnderConcurrentWriters has writers create more than two quotas allow, and delete again, while the
// controller counts; there are never more objects than the tighter of the quotas says.
func TestExactUnderConcurrentWriters(t *testing.T) {
	c := start(t)
	const most = 15
	limit(t, c, "tight", map[corev1.ResourceName]string{corev1.ResourceConfigMaps: fmt.Sprint(most)})
	limit(t, c, "wide", map[corev1.ResourceName]string{"count/configmaps": "1000"})
	var live, made atomic.Int64
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 12 {
				_, err := client.Create(t.Context(), c, configMap(100*w+i))
				if apierrors.IsForbidden(err) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				made.Add(1)
				if n := live.Add(1); n > most {
					t.Errorf("%d objects under a quota of %d", n, most)
				}
				if i%2 == 0 {
					live.Add(-1) // before the delete, which frees the room
					if err := client.Delete[*corev1.ConfigMap](t.Context(), c, "default", configMap(100*w+i).Name, metav1.DeleteOptions{}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if made.Load() < most {
		t.Errorf("only %d objects were allowed under a quota of %d", made.Load(), most)
	}
	left := fmt.Sprint(live.Load())
	await(t, c, "tight", corev1.ResourceConfigMaps, left)
	await(t, c, "wide", "count/configmaps", left)
	for i := int(live.Load()); i < most; i++ {
		if _, err := client.Create(t.Context(), c, configMap(10_000+i)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := client.Create(t.Context(), c, configMap(20_000))
	want := `configmaps "c20000" is forbidden: exceeded quota: tight, requested: configmaps=1, used: configmaps=15, limited: configmaps=15`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	await(t, c, "wide", "count/configmaps", "15") // what the other quota refused was given back
}

func TestFailedWriteGivesBack(t *testing.T) {
	c := start(t)
	limit(t, c, "q", map[corev1.ResourceName]string{corev1.ResourceConfigMaps: "2"})
	for range 5 {
		if _, err := client.Create(t.Context(), c, configMap(0)); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	q, err := client.Get[*corev1.ResourceQuota](t.Context(), c, "default", "q")
	if used := q.Status.Used[corev1.ResourceConfigMaps]; err != nil || used.String() != "1" {
		t.Errorf("uses %s, %v", used.String(), err)
	}
}

// TestReleases follows what objects use through their lives.
func TestReleases(t *testing.T) {
	c := start(t)
	limit(t, c, "q", map[corev1.ResourceName]string{corev1.ResourcePods: "5", "count/pods": "5", corev1.ResourceRequestsCPU: "2", corev1.ResourceServicesNodePorts: "2", "count/deployments.apps": "1"})
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "x:1", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1500m")}}}}},
	}
	pod, err := client.Create(t.Context(), c, pod)
	if err != nil {
		t.Fatal(err)
	}
	await(t, c, "q", corev1.ResourceRequestsCPU, "1500m")
	second := pod.DeepCopy()
	second.ObjectMeta = metav1.ObjectMeta{Namespace: "default", Name: "p2"}
	if _, err := client.Create(t.Context(), c, second); !apierrors.IsForbidden(err) {
		t.Errorf("more CPU than there is: %v", err)
	}
	ended := pod.DeepCopy()
	ended.Status.Phase = corev1.PodSucceeded
	if _, err := client.UpdateStatus(t.Context(), c, ended); err != nil {
		t.Fatal(err)
	}
	await(t, c, "q", corev1.ResourceRequestsCPU, "0")
	await(t, c, "q", corev1.ResourcePods, "0")
	await(t, c, "q", "count/pods", "1")

	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Name: "a", Port: 80}, {Name: "b", Port: 81}}}}
	if svc, err = client.Create(t.Context(), c, svc); err != nil {
		t.Fatal(err)
	}
	await(t, c, "q", corev1.ResourceServicesNodePorts, "2")
	more := svc.DeepCopy()
	more.Spec.Ports = append(more.Spec.Ports, corev1.ServicePort{Name: "c", Port: 82})
	if _, err := client.Update(t.Context(), c, more); !apierrors.IsForbidden(err) {
		t.Errorf("an update to more node ports than there are: %v", err)
	}
	less := svc.DeepCopy()
	less.Spec.Type = corev1.ServiceTypeClusterIP
	if _, err := client.Update(t.Context(), c, less); err != nil {
		t.Fatal(err)
	}
	await(t, c, "q", corev1.ResourceServicesNodePorts, "0")
}
