package registry_test

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
)

// BenchmarkPodLife is a pod's create, binding and one status write, one after another.
func BenchmarkPodLife(b *testing.B) {
	e := apitest.Start(b, apitest.Options{})
	ctx := context.Background()
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		p, err := client.Create(ctx, e.Client, pod(fmt.Sprintf("p-%d", i), ""))
		if err != nil {
			b.Fatal(err)
		}
		if err := e.Client.Bind(ctx, "default", p.Name, p.UID, "n1"); err != nil {
			b.Fatal(err)
		}
		if p, err = client.Get[*corev1.Pod](ctx, e.Client, "default", p.Name); err != nil {
			b.Fatal(err)
		}
		p = p.DeepCopy()
		p.Status.Phase = corev1.PodRunning
		if _, err := client.UpdateStatus(ctx, e.Client, p); err != nil {
			b.Fatal(err)
		}
	}
}
