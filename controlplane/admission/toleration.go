package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// tolerationSeconds is how long a pod stays on a node that is not ready or can not be reached, unless it says
// otherwise.
const tolerationSeconds = 300

// defaultTolerations adds the tolerations that decide when a pod leaves a node that fails.
type defaultTolerations struct{ silent }

func (*defaultTolerations) Name() string { return "DefaultTolerationSeconds" }

func (*defaultTolerations) Admit(_ context.Context, r *Request) error {
	pod := podOf(r)
	if pod == nil || r.Subresource != "" {
		return nil
	}
	for _, taint := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		if toleratesExecute(pod.Spec.Tolerations, taint) {
			continue
		}
		seconds := int64(tolerationSeconds)
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{
			Key: taint, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds,
		})
	}
	return nil
}

func toleratesExecute(tolerations []corev1.Toleration, taint string) bool {
	for _, t := range tolerations {
		if (t.Key == taint || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
			return true
		}
	}
	return false
}
