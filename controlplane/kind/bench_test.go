package kind_test

import (
	"testing"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// BenchmarkPodCreate is what the kind costs of one pod's create: defaults twice, as before and after admission.
func BenchmarkPodCreate(b *testing.B) {
	k := byName(b, "Pod")
	pristine := created(b, k, container("ports: [{containerPort: 80}], env: [{name: A, value: b}], livenessProbe: {httpGet: {port: 80}}, resources: {limits: {cpu: 1, memory: 1Gi}}"))
	for b.Loop() {
		obj := pristine.DeepCopyObject().(kind.Object)
		k.Default(obj)
		k.PrepareCreate(obj)
		k.Default(obj)
		if errs := validated(k, obj); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}
