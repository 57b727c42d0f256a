package admission

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// priority turns the priority class of a pod into its number, and keeps the default class unique. The two
// classes of the system are known whether or not they are stored.
type priority struct {
	client Reader
}

func (*priority) Name() string { return "Priority" }

func (p *priority) Admit(ctx context.Context, r *Request) error {
	pod := podOf(r)
	if pod == nil {
		return nil
	}
	if r.Verb == kind.Update {
		old := r.Old.(*corev1.Pod)
		if pod.Spec.Priority == nil {
			pod.Spec.Priority = old.Spec.Priority
		}
		if pod.Spec.PreemptionPolicy == nil {
			pod.Spec.PreemptionPolicy = old.Spec.PreemptionPolicy
		}
		return nil
	}
	if r.Verb != kind.Create {
		return nil
	}
	name, value, preemption, err := p.classOf(ctx, pod.Spec.PriorityClassName)
	if err != nil {
		if apierrors.IsNotFound(err) {
			return forbidden(r, fmt.Errorf("no PriorityClass with name %v was found", pod.Spec.PriorityClassName))
		}
		return err
	}
	if own := pod.Spec.Priority; own != nil && *own != value {
		return forbidden(r, fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *own, value))
	}
	if own := pod.Spec.PreemptionPolicy; own != nil && *own != preemption {
		return forbidden(r, fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *own, preemption))
	}
	pod.Spec.PriorityClassName, pod.Spec.Priority, pod.Spec.PreemptionPolicy = name, &value, &preemption
	return nil
}

// classOf returns the class of that name; of the empty name the default class, or none with priority 0.
func (p *priority) classOf(ctx context.Context, name string) (string, int32, corev1.PreemptionPolicy, error) {
	if name == "" {
		class, err := p.defaultClass(ctx)
		if class == nil || err != nil {
			return "", 0, corev1.PreemptLowerPriority, err
		}
		return class.Name, class.Value, preemptionOf(class), nil
	}
	if value, ok := kind.SystemPriorities[name]; ok {
		return name, value, corev1.PreemptLowerPriority, nil
	}
	class, err := client.Get[*schedulingv1.PriorityClass](ctx, p.client(), "", name)
	if err != nil {
		return "", 0, "", err
	}
	return name, class.Value, preemptionOf(class), nil
}

func preemptionOf(class *schedulingv1.PriorityClass) corev1.PreemptionPolicy {
	if class.PreemptionPolicy == nil {
		return corev1.PreemptLowerPriority
	}
	return *class.PreemptionPolicy
}

// defaultClass returns the class for pods that name none, or nil. Should a race have made two, the lower counts.
func (p *priority) defaultClass(ctx context.Context) (*schedulingv1.PriorityClass, error) {
	all, err := client.List[*schedulingv1.PriorityClass](ctx, p.client(), client.Query{})
	if err != nil {
		return nil, err
	}
	var found *schedulingv1.PriorityClass
	for _, class := range all {
		if class.GlobalDefault && (found == nil || class.Value < found.Value) {
			found = class
		}
	}
	return found, nil
}

// Validate keeps the default class unique and those of the system where they are.
func (p *priority) Validate(ctx context.Context, r *Request) error {
	if r.Verb == kind.Delete && r.Kind == kind.Of[*schedulingv1.PriorityClass]() {
		if _, system := kind.SystemPriorities[r.Name]; system {
			return forbidden(r, errors.New("this is a system priority class and cannot be deleted"))
		}
	}
	class, ok := r.Object.(*schedulingv1.PriorityClass)
	if !ok || !class.GlobalDefault {
		return nil
	}
	is, err := p.defaultClass(ctx)
	if err != nil {
		return err
	}
	if is != nil && is.Name != class.Name {
		return forbidden(r, fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", is.Name))
	}
	return nil
}
