package controller_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/clienttest/plane"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/scheduler"
)

// planeWith runs everything but agents on nodes nodes.
func planeWith(b *testing.B, nodes int) client.Client {
	c := plane.Start(b)
	log := slog.New(slog.DiscardHandler)
	plane.Go(b, func(ctx context.Context) error {
		return controller.Run(ctx, controller.Config{Client: c, ClusterCIDR: plane.Pods, ServiceCIDR: plane.Services, Logger: log})
	})
	plane.Go(b, scheduler.New(scheduler.Config{Client: c, Logger: log}).Run)
	for i := range nodes {
		plane.AddNode(b, c, plane.Node(fmt.Sprintf("n%d", i)))
	}
	plane.Eventually(b, soon, "service account of namespace default", func() bool {
		_, err := client.Get[*corev1.ServiceAccount](b.Context(), c, "default", "default")
		return err == nil
	})
	return c
}

// follow closes done when count pods satisfy is.
func follow(b *testing.B, c client.Client, count int64, is func(*corev1.Pod) bool) (done chan struct{}) {
	done = make(chan struct{})
	var seen sync.Map
	var n atomic.Int64
	plane.Go(b, func(ctx context.Context) error {
		return c.Watch(ctx, kind.Of[*corev1.Pod](), make(chan struct{}), func(e client.Event) {
			p := e.Object.(*corev1.Pod)
			if !is(p) {
				return
			}
			if _, old := seen.LoadOrStore(p.UID, true); !old && n.Add(1) == count {
				close(done)
			}
		})
	})
	return done
}

func await(b *testing.B, done chan struct{}) {
	select {
	case <-done:
	case <-time.After(time.Minute):
		b.Fatal("did not finish within a minute")
	}
}

// BenchmarkDeployment is how fast the pods of one Deployment of 1,000 replicas come to be.
func BenchmarkDeployment(b *testing.B) {
	const replicas = 1000
	for range b.N {
		b.StopTimer()
		c := planeWith(b, 0)
		done := follow(b, c, replicas, func(*corev1.Pod) bool { return true })
		b.StartTimer()
		must(client.Create(b.Context(), c, newDeployment("web", replicas)))(b)
		await(b, done)
	}
	b.ReportMetric(replicas*float64(b.N)/b.Elapsed().Seconds(), "pods/s")
}

// BenchmarkSchedule is how fast 2,000 pods are created and bound on 200 nodes.
func BenchmarkSchedule(b *testing.B) {
	const pods = 2000
	for range b.N {
		b.StopTimer()
		c := planeWith(b, 200)
		done := follow(b, c, pods, func(p *corev1.Pod) bool { return p.Spec.NodeName != "" })
		b.StartTimer()
		var next atomic.Int64
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				for i := next.Add(1); i <= pods; i = next.Add(1) {
					if _, err := client.Create(b.Context(), c, benchPod(i)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		await(b, done)
	}
	b.ReportMetric(pods*float64(b.N)/b.Elapsed().Seconds(), "pods/s")
}

func benchPod(i int64) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("p-%d", i), Namespace: "default", Labels: map[string]string{"app": "p"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "c", Image: "registry.example/pause:1",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi"),
			}},
		}}},
	}
}
