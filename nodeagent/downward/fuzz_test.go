package downward

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FuzzField holds every path to an error or to something that the pod has.
func FuzzField(f *testing.F) {
	for _, path := range []string{"metadata.name", "metadata.labels['a/b']", "metadata.annotations['it''s']", "metadata.labels", "status.podIPs", "spec.nodeName['x']", "metadata.labels['", "['']"} {
		f.Add(path, "key", "value")
	}
	f.Fuzz(func(t *testing.T, path, key, value string) {
		p := FromStatus(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod", Labels: map[string]string{key: value}}, Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "192.0.2.1"}}}}, nil)
		got, err := p.Field(path)
		if err != nil && got != "" {
			t.Errorf("%q is %q, and %v", path, got, err)
		}
		if got, err := p.Field("metadata.labels['" + key + "']"); err != nil || got != value {
			t.Errorf("label %q is %q, %v, want %q", key, got, err, value)
		}
		if all, err := p.Field("metadata.labels"); err != nil || !strings.HasPrefix(all, key+`="`) || strings.Contains(all, "\n") && !strings.Contains(key, "\n") {
			t.Errorf("labels are %q, %v", all, err)
		}
	})
}
