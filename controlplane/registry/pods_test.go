package registry_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
)

// A binding is no change of what the pod should be: its generation stays, as its agent's view of it does.
func TestBindingKeepsTheGeneration(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	p := create(t, e.Client, pod("p", ""))
	if err := e.Client.Bind(t.Context(), "default", "p", p.UID, "n1"); err != nil {
		t.Fatal(err)
	}
	got, err := client.Get[*corev1.Pod](t.Context(), e.Client, "default", "p")
	if err != nil || got.Spec.NodeName != "n1" || got.Generation != 1 {
		t.Errorf("generation %d, %v", got.Generation, err)
	}
}
