package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// limitRanger gives containers the default requests and limits of their namespace and refuses pods and claims
// that are outside of its bounds.
type limitRanger struct {
	silent
	client Reader
}

func (*limitRanger) Name() string { return "LimitRanger" }

func (p *limitRanger) items(ctx context.Context, r *Request) ([]corev1.LimitRangeItem, error) {
	ranges, err := client.List[*corev1.LimitRange](ctx, p.client(), client.Query{Namespace: r.Namespace})
	if err != nil {
		return nil, err
	}
	var items []corev1.LimitRangeItem
	for _, lr := range ranges {
		items = append(items, lr.Spec.Limits...)
	}
	return items, nil
}

func (p *limitRanger) Admit(ctx context.Context, r *Request) error {
	pod := podOf(r)
	if pod == nil || r.Verb != kind.Create {
		return nil
	}
	items, err := p.items(ctx, r)
	if err != nil {
		return err
	}
	for _, item := range items {
		if item.Type != corev1.LimitTypeContainer {
			continue
		}
		for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range containers {
				fill(&containers[i].Resources, item)
			}
		}
	}
	return nil
}

// fill adds what the container leaves out. A default request is not taken where the container has a limit of
// its own below which the request would have to stay: there the limit becomes the request.
func fill(r *corev1.ResourceRequirements, item corev1.LimitRangeItem) {
	for name, limit := range item.Default {
		if _, ok := r.Limits[name]; !ok {
			if r.Limits == nil {
				r.Limits = corev1.ResourceList{}
			}
			r.Limits[name] = limit.DeepCopy()
		}
	}
	for name, request := range item.DefaultRequest {
		if _, ok := r.Requests[name]; !ok {
			if r.Requests == nil {
				r.Requests = corev1.ResourceList{}
			}
			r.Requests[name] = request.DeepCopy()
		}
	}
}

func (p *limitRanger) Validate(ctx context.Context, r *Request) error {
	if r.Verb != kind.Create {
		return nil
	}
	claim, _ := r.Object.(*corev1.PersistentVolumeClaim)
	pod := podOf(r)
	if claim == nil && pod == nil {
		return nil
	}
	items, err := p.items(ctx, r)
	if err != nil {
		return err
	}
	var errs []error
	for _, item := range items {
		switch {
		case item.Type == corev1.LimitTypePersistentVolumeClaim && claim != nil:
			errs = append(errs, within(item, claim.Spec.Resources.Requests, nil)...)
		case item.Type == corev1.LimitTypeContainer && pod != nil:
			for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
				errs = append(errs, within(item, c.Resources.Requests, c.Resources.Limits)...)
			}
		case item.Type == corev1.LimitTypePod && pod != nil:
			requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{ExcludeOverhead: true})
			limits := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{ExcludeOverhead: true})
			errs = append(errs, within(item, requests, limits)...)
		}
	}
	if len(errs) > 0 {
		return forbidden(r, errors.Join(errs...))
	}
	return nil
}

// within checks requests and limits against the bounds of an item.
func within(item corev1.LimitRangeItem, requests, limits corev1.ResourceList) []error {
	claim := item.Type == corev1.LimitTypePersistentVolumeClaim
	var errs []error
	for name, bound := range item.Min {
		request, requested := requests[name]
		limit, limited := limits[name]
		switch {
		case !requested:
			errs = append(errs, fmt.Errorf("minimum %s usage per %s is %s.  No request is specified", name, item.Type, bound.String()))
		case request.Cmp(bound) < 0:
			errs = append(errs, fmt.Errorf("minimum %s usage per %s is %s, but request is %s", name, item.Type, bound.String(), request.String()))
		case !claim && limited && limit.Cmp(bound) < 0:
			errs = append(errs, fmt.Errorf("minimum %s usage per %s is %s, but limit is %s", name, item.Type, bound.String(), limit.String()))
		}
	}
	for name, bound := range item.Max {
		request, requested := requests[name]
		limit, limited := limits[name]
		switch {
		case claim && requested && request.Cmp(bound) > 0:
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, item.Type, bound.String(), request.String()))
		case claim:
		case !limited:
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s.  No limit is specified", name, item.Type, bound.String()))
		case limit.Cmp(bound) > 0:
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s, but limit is %s", name, item.Type, bound.String(), limit.String()))
		case requested && request.Cmp(bound) > 0:
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, item.Type, bound.String(), request.String()))
		}
	}
	for name, bound := range item.MaxLimitRequestRatio {
		if err := ratio(item.Type, name, bound, requests, limits); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func ratio(t corev1.LimitType, name corev1.ResourceName, bound resource.Quantity, requests, limits corev1.ResourceList) error {
	request, limit := requests[name], limits[name]
	if request.IsZero() {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no request is specified or request is 0", name, t, bound.String())
	}
	if limit.IsZero() {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no limit is specified or limit is 0", name, t, bound.String())
	}
	if is := limit.AsApproximateFloat64() / request.AsApproximateFloat64(); is > bound.AsApproximateFloat64() {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but provided ratio is %f", name, t, bound.String(), is)
	}
	return nil
}
