package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// limitRanger gives containers the default requests and limits of their namespace and refuses pods and claims
// that are outside of its bounds.
type limitRanger struct {
	client Reader
}

func (*limitRanger) Name() string { return "LimitRanger" }

// limitRangerAnnotation is where a pod says what it was given.
const limitRangerAnnotation = "kubernetes.io/limit-ranger"

func (p *limitRanger) ranges(ctx context.Context, r *Request) ([]*corev1.LimitRange, error) {
	return client.List[*corev1.LimitRange](ctx, p.client(), client.Query{Namespace: r.Namespace})
}

func (p *limitRanger) Admit(ctx context.Context, r *Request) error {
	pod := podOf(r)
	if pod == nil || r.Verb != kind.Create {
		return nil
	}
	ranges, err := p.ranges(ctx, r)
	if err != nil {
		return err
	}
	for _, lr := range ranges {
		if set := fillPod(pod, lr); len(set) > 0 {
			if pod.Annotations == nil {
				pod.Annotations = map[string]string{}
			}
			pod.Annotations[limitRangerAnnotation] = "LimitRanger plugin set: " + strings.Join(set, "; ")
		}
	}
	return nil
}

// fillPod gives each container what it leaves out, and says what that was.
func fillPod(pod *corev1.Pod, lr *corev1.LimitRange) []string {
	var set []string
	each := func(containers []corev1.Container, what string) {
		for i := range containers {
			c := &containers[i]
			var requests, limits []corev1.ResourceName
			for _, item := range lr.Spec.Limits {
				if item.Type == corev1.LimitTypeContainer {
					limits = append(limits, fill(&c.Resources.Limits, item.Default)...)
					requests = append(requests, fill(&c.Resources.Requests, item.DefaultRequest)...)
				}
			}
			if len(requests) > 0 {
				set = append(set, fmt.Sprintf("%s request for %s %s", joinResources(requests), what, c.Name))
			}
			if len(limits) > 0 {
				set = append(set, fmt.Sprintf("%s limit for %s %s", joinResources(limits), what, c.Name))
			}
		}
	}
	each(pod.Spec.Containers, "container")
	each(pod.Spec.InitContainers, "init container")
	return set
}

func joinResources(names []corev1.ResourceName) string {
	parts := make([]string, len(names))
	for i, n := range names {
		parts[i] = string(n)
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// fill adds defaults to what a container says and returns which.
func fill(list *corev1.ResourceList, defaults corev1.ResourceList) []corev1.ResourceName {
	var set []corev1.ResourceName
	for name, amount := range defaults {
		if _, ok := (*list)[name]; ok {
			continue
		}
		if *list == nil {
			*list = corev1.ResourceList{}
		}
		(*list)[name] = amount.DeepCopy()
		set = append(set, name)
	}
	return set
}

// limited returns the pod or the claim of a write that limit ranges judge. A pod's resources change by "resize"
// alone, a claim can grow.
func limited(r *Request) (*corev1.Pod, *corev1.PersistentVolumeClaim) {
	switch obj := r.Object.(type) {
	case *corev1.Pod:
		if r.Verb == kind.Create && r.Subresource == "" || r.Verb == kind.Update && r.Subresource == "resize" {
			return obj, nil
		}
	case *corev1.PersistentVolumeClaim:
		if r.Subresource == "" && (r.Verb == kind.Create || r.Verb == kind.Update && obj.DeletionTimestamp == nil) {
			return nil, obj
		}
	}
	return nil, nil
}

func (p *limitRanger) Validate(ctx context.Context, r *Request) error {
	pod, claim := limited(r)
	if claim == nil && pod == nil {
		return nil
	}
	ranges, err := p.ranges(ctx, r)
	if err != nil {
		return err
	}
	for _, lr := range ranges {
		var errs []error
		for _, item := range lr.Spec.Limits {
			errs = append(errs, judge(item, pod, claim)...)
		}
		if len(errs) > 0 {
			return forbidden(r, utilerrors.NewAggregate(errs))
		}
	}
	return nil
}

// judge holds a pod or a claim against one item.
func judge(item corev1.LimitRangeItem, pod *corev1.Pod, claim *corev1.PersistentVolumeClaim) []error {
	var errs []error
	switch {
	case item.Type == corev1.LimitTypePersistentVolumeClaim && claim != nil:
		return within(item, claim.Spec.Resources.Requests, nil)
	case item.Type == corev1.LimitTypeContainer && pod != nil:
		for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
			errs = append(errs, within(item, c.Resources.Requests, c.Resources.Limits)...)
		}
	case item.Type == corev1.LimitTypePod && pod != nil:
		requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{ExcludeOverhead: true})
		limits := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{ExcludeOverhead: true})
		return within(item, requests, limits)
	}
	return errs
}

// within checks requests and limits against the bounds of an item.
func within(item corev1.LimitRangeItem, requests, limits corev1.ResourceList) []error {
	claim := item.Type == corev1.LimitTypePersistentVolumeClaim
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(item.Min)) {
		bound := item.Min[name]
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
	for _, name := range slices.Sorted(maps.Keys(item.Max)) {
		bound := item.Max[name]
		request, requested := requests[name]
		limit, limited := limits[name]
		switch {
		case claim && !requested:
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s.  No request is specified", name, item.Type, bound.String()))
		case claim && request.Cmp(bound) > 0:
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
	for _, name := range slices.Sorted(maps.Keys(item.MaxLimitRequestRatio)) {
		if err := ratio(item.Type, name, item.MaxLimitRequestRatio[name], requests, limits); err != nil {
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
