package registry

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// bindings is how admission sees the resource by which pods were bound before pods/NAME/binding.
var bindings = &kind.Kind{
	GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Binding"), Plural: "bindings", Singular: "binding", Namespaced: true,
	New: func() kind.Object { return &corev1.Binding{} },
}

// Bind sets a pod's node. It is a conflict when the pod has one, is another pod than the binding's uid says, has another
// version than the binding's, or is being deleted.
func (r *Registry) Bind(ctx context.Context, b *corev1.Binding, w Write) error {
	return r.bind(ctx, b, kind.Of[*corev1.Pod](), "binding", w)
}

// BindOld does what Bind does for a binding that was created as one.
func (r *Registry) BindOld(ctx context.Context, b *corev1.Binding, w Write) error {
	return r.bind(ctx, b, bindings, "", w)
}

// bind asks admission about a create of the resource and subresource.
func (r *Registry) bind(ctx context.Context, b *corev1.Binding, asked *kind.Kind, subresource string, w Write) error {
	k := kind.Of[*corev1.Pod]()
	if errs := validateBinding(b); len(errs) > 0 {
		return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Binding").GroupKind(), b.Name, errs)
	}
	body := &admission.Body{Kind: corev1.SchemeGroupVersion.WithKind("Binding"), Object: b}
	if err := r.AdmitBody(ctx, kind.Create, asked, b.Namespace, b.Name, subresource, body, w); err != nil {
		return err
	}
	_, err := r.change(ctx, k, b.Namespace, b.Name, "binding", w, func(cur kind.Object) (kind.Object, error) {
		pod := cur.(*corev1.Pod)
		switch {
		case b.UID != "" && b.UID != pod.UID:
			return nil, uidConflict(k, cur, string(b.UID))
		case b.ResourceVersion != "" && b.ResourceVersion != pod.ResourceVersion:
			return nil, apierrors.NewConflict(k.GroupResource(), b.Name, fmt.Errorf(
				"Precondition failed: ResourceVersion in precondition: %s, ResourceVersion in object meta: %s", b.ResourceVersion, pod.ResourceVersion))
		case pod.DeletionTimestamp != nil:
			return nil, bindConflict(b, fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", pod.Name))
		case pod.Spec.NodeName != "":
			return nil, bindConflict(b, fmt.Errorf("pod %s is already assigned to node %q", pod.Name, pod.Spec.NodeName))
		case len(pod.Spec.SchedulingGates) > 0:
			return nil, bindConflict(b, fmt.Errorf("pod %s has non-empty .spec.schedulingGates", pod.Name))
		}
		pod = pod.DeepCopy()
		pod.Spec.NodeName, pod.Status.NominatedNodeName = b.Target.Name, ""
		pod.Annotations = merged(pod.Annotations, b.Annotations)
		pod.Labels = merged(pod.Labels, b.Labels)
		setPodCondition(pod, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, r.now())
		return pod, nil
	})
	return err
}

func merged(have, more map[string]string) map[string]string {
	if have == nil && len(more) > 0 {
		have = map[string]string{}
	}
	maps.Copy(have, more)
	return have
}

func bindConflict(b *corev1.Binding, err error) error {
	return apierrors.NewConflict(corev1.Resource("pods/binding"), b.Name, err)
}

func validateBinding(b *corev1.Binding) field.ErrorList {
	var errs field.ErrorList
	target := field.NewPath("target")
	if b.Target.Kind != "" && b.Target.Kind != "Node" {
		errs = append(errs, field.NotSupported(target.Child("kind"), b.Target.Kind, []string{"Node", "<empty>"}))
	}
	if b.Target.Name == "" {
		errs = append(errs, field.Required(target.Child("name"), ""))
	} else if len(errs) == 0 {
		for _, text := range apivalidation.NameIsDNSSubdomain(b.Target.Name, false) {
			errs = append(errs, field.Invalid(target.Child("name"), b.Target.Name, text))
		}
	}
	return errs
}

// setPodCondition sets a condition as of now; one that had the same status keeps the time since when it has it.
func setPodCondition(pod *corev1.Pod, c corev1.PodCondition, now time.Time) {
	c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	for i, had := range pod.Status.Conditions {
		if had.Type == c.Type {
			if c.ObservedGeneration = had.ObservedGeneration; had.Status == c.Status {
				c.LastTransitionTime = had.LastTransitionTime
			}
			pod.Status.Conditions[i] = c
			return
		}
	}
	pod.Status.Conditions = append(pod.Status.Conditions, c)
}
