package validate

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// FuzzFieldRef lets in no path but one that a pod has.
func FuzzFieldRef(f *testing.F) {
	for _, path := range []string{"metadata.name", "metadata.labels['a/b']", "metadata.annotations['A']", "spec.host", "status.podIPs", "spec.nodeName['x']", "['']", "metadata.labels['"} {
		f.Add("v1", path)
	}
	f.Fuzz(func(t *testing.T, version, path string) {
		for _, allowed := range [][]string{EnvFields, VolumeFields} {
			errs := FieldRef(&corev1.ObjectFieldSelector{APIVersion: version, FieldPath: path}, allowed, field.NewPath("fieldRef"))
			if len(errs) > 0 || slices.Contains(allowed, path) || path == "spec.host" {
				continue
			}
			keyed := strings.HasPrefix(path, "metadata.labels['") || strings.HasPrefix(path, "metadata.annotations['")
			if version != "v1" || !keyed || !strings.HasSuffix(path, "']") || strings.Count(path, "'") != 2 {
				t.Errorf("%q of version %q is let in", path, version)
			}
		}
	})
}
