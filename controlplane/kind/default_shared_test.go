package kind_test

import (
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// TestDefaultsAreNotWrittenAgain sets the defaults of objects that have them from two goroutines, as updates of a status
// do with the spec that they share: the race detector sees what is written.
func TestDefaultsAreNotWrittenAgain(t *testing.T) {
	spec := corev1.PodSpec{
		ServiceAccountName: "web",
		Containers:         []corev1.Container{{Name: "c", Image: "web:1", Ports: []corev1.ContainerPort{{ContainerPort: 80}}, LivenessProbe: &corev1.Probe{}}},
		EphemeralContainers: []corev1.EphemeralContainer{
			{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "e", Image: "tools:1"}},
		},
		Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}}, {Name: "empty"}},
	}
	for k, obj := range map[*kind.Kind]kind.Object{
		kind.Of[*corev1.Pod]():                   &corev1.Pod{Spec: *spec.DeepCopy()},
		kind.Of[*corev1.ReplicationController](): &corev1.ReplicationController{Spec: corev1.ReplicationControllerSpec{Template: &corev1.PodTemplateSpec{Spec: *spec.DeepCopy()}}},
	} {
		k.Default(obj)
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() { k.Default(obj) })
		}
		both.Wait()
	}
}
