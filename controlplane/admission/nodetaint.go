package admission

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// nodeTaint keeps pods off a new node until it is ready. The node controller lifts the taint then; it would also set it,
// but a pod could be there first.
type nodeTaint struct{ silent }

func (nodeTaint) Name() string { return "TaintNodesByCondition" }

func (nodeTaint) Admit(_ context.Context, r *Request) error {
	n, ok := r.Object.(*corev1.Node)
	if !ok || r.Verb != kind.Create || r.Subresource != "" {
		return nil
	}
	taint := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
	if !slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&taint) }) {
		n.Spec.Taints = append(n.Spec.Taints, taint)
	}
	return nil
}
