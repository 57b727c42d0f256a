package admission_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/clienttest/plane"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// BenchmarkAdmission is what all plug-ins together cost of one pod's or service's create, without the store.
func BenchmarkAdmission(b *testing.B) {
	c := start(b)
	plugins, err := admission.Default(func() client.Client { return c }, admission.Options{ServiceCIDR: plane.Services})
	if err != nil {
		b.Fatal(err)
	}
	for _, obj := range []kind.Object{aPod("p"), service("s", corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: web})} {
		k := kind.Builtin().ByType(obj)
		k.Default(obj)
		b.Run(fmt.Sprintf("%T", obj), func(b *testing.B) {
			for b.Loop() {
				r := &admission.Request{Verb: kind.Create, Kind: k, Namespace: "default", Name: obj.GetName(), Object: obj.DeepCopyObject().(kind.Object)}
				for _, p := range plugins {
					if err := p.Admit(b.Context(), r); err != nil {
						b.Fatal(err)
					}
				}
				for _, p := range plugins {
					if err := p.Validate(b.Context(), r); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
