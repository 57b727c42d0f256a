package quota

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	resources "k8s.io/apiserver/pkg/quota/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/podspec"
)

// now is the clock, for tests.
var now = time.Now

var podResource = schema.GroupResource{Resource: "pods"}

// podNames are the resources of quotas that pods use, beside huge pages and extended resources.
var podNames = map[corev1.ResourceName]bool{
	"count/pods": true, corev1.ResourcePods: true,
	corev1.ResourceCPU: true, corev1.ResourceMemory: true, corev1.ResourceEphemeralStorage: true,
	corev1.ResourceRequestsCPU: true, corev1.ResourceRequestsMemory: true, corev1.ResourceRequestsEphemeralStorage: true,
	corev1.ResourceLimitsCPU: true, corev1.ResourceLimitsMemory: true, corev1.ResourceLimitsEphemeralStorage: true,
}

// mandatory are the resources that every container has to state where they are limited. It is only these by
// history: later resources are not asked for.
var mandatory = map[corev1.ResourceName]bool{
	corev1.ResourceCPU: true, corev1.ResourceMemory: true, corev1.ResourceRequestsCPU: true,
	corev1.ResourceRequestsMemory: true, corev1.ResourceLimitsCPU: true, corev1.ResourceLimitsMemory: true,
}

func pods() *Evaluator {
	return &Evaluator{
		resource: podResource,
		counts:   podCounts,
		usage:    func(obj kind.Object) corev1.ResourceList { return podUsage(obj.(*corev1.Pod), now()) },
		updates:  func(subresource string) bool { return subresource == "resize" },
		required: func(obj kind.Object, limited []corev1.ResourceName) error {
			return stated(obj.(*corev1.Pod), limited)
		},
		inScope: func(obj kind.Object, s corev1.ScopedResourceSelectorRequirement) bool {
			return podInScope(obj.(*corev1.Pod), s)
		},
	}
}

func podCounts(name corev1.ResourceName) bool {
	text := string(name)
	switch {
	case podNames[name]:
		return true
	case strings.HasPrefix(text, corev1.ResourceHugePagesPrefix), strings.HasPrefix(text, corev1.ResourceRequestsHugePagesPrefix):
		return true
	}
	extended, ok := strings.CutPrefix(text, corev1.DefaultResourceRequestsPrefix)
	return ok && isExtended(corev1.ResourceName(extended))
}

// isExtended says whether a container's resource is of somebody else's making than Kubernetes'.
func isExtended(name corev1.ResourceName) bool {
	text := string(name)
	return strings.Contains(text, "/") && !strings.Contains(text, corev1.ResourceDefaultNamespacePrefix) &&
		!strings.HasPrefix(text, corev1.DefaultResourceRequestsPrefix)
}

// podUsage is what a pod uses at a time. A pod that has ended, or that should have by its grace period, is counted
// as an object and as nothing else.
func podUsage(p *corev1.Pod, at time.Time) corev1.ResourceList {
	used := corev1.ResourceList{"count/pods": one()}
	if ended(p, at) {
		return used
	}
	requests := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{UseStatusResources: true})
	limits := resourcehelper.PodLimits(p, resourcehelper.PodResourcesOptions{UseStatusResources: true})
	used[corev1.ResourcePods] = one()
	maps.Copy(used, computeUsage(requests, limits))
	return used
}

func ended(p *corev1.Pod, at time.Time) bool {
	if p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		return true
	}
	if p.DeletionTimestamp == nil || p.DeletionGracePeriodSeconds == nil {
		return false
	}
	return at.After(p.DeletionTimestamp.Add(time.Duration(*p.DeletionGracePeriodSeconds) * time.Second))
}

// Expires returns when a pod stops to be counted without a further write: the end of its grace period once more,
// as Kubernetes has it. It is zero when that does not come by itself.
func Expires(obj kind.Object, at time.Time) time.Time {
	p, ok := obj.(*corev1.Pod)
	if !ok || p.DeletionTimestamp == nil || p.DeletionGracePeriodSeconds == nil || ended(p, at) {
		return time.Time{}
	}
	return p.DeletionTimestamp.Add(time.Duration(*p.DeletionGracePeriodSeconds) * time.Second)
}

// computeUsage names requests and limits as quotas do.
func computeUsage(requests, limits corev1.ResourceList) corev1.ResourceList {
	used := corev1.ResourceList{}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if request, ok := requests[name]; ok {
			used[name] = request
			used[corev1.DefaultResourceRequestsPrefix+name] = request
		}
		if limit, ok := limits[name]; ok {
			used["limits."+name] = limit
		}
	}
	for name, request := range requests {
		switch {
		case strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
			used[name] = request
			used[corev1.DefaultResourceRequestsPrefix+name] = request
		case isExtended(name):
			used[corev1.DefaultResourceRequestsPrefix+name] = request
		}
	}
	return used
}

// stated says which of the mandatory resources containers leave out. A pod that states resources as a whole need
// not state them for each.
func stated(pod *corev1.Pod, limited []corev1.ResourceName) error {
	if resourcehelper.IsPodLevelResourcesSet(pod) {
		return nil
	}
	missing := map[corev1.ResourceName][]string{}
	for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		has := computeUsage(c.Resources.Requests, c.Resources.Limits)
		for _, name := range limited {
			if _, ok := has[name]; !ok && mandatory[name] {
				missing[name] = append(missing[name], c.Name)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		slices.Sort(missing[name])
		parts = append(parts, fmt.Sprintf("%s for: %s", name, strings.Join(slices.Compact(missing[name]), ",")))
	}
	return fmt.Errorf("must specify %s", strings.Join(parts, "; "))
}

func podInScope(p *corev1.Pod, s corev1.ScopedResourceSelectorRequirement) bool {
	terminating := p.Spec.ActiveDeadlineSeconds != nil && *p.Spec.ActiveDeadlineSeconds >= 0
	switch s.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return terminating
	case corev1.ResourceQuotaScopeNotTerminating:
		return !terminating
	case corev1.ResourceQuotaScopeBestEffort:
		return podspec.QOSClass(p) == corev1.PodQOSBestEffort
	case corev1.ResourceQuotaScopeNotBestEffort:
		return podspec.QOSClass(p) != corev1.PodQOSBestEffort
	case corev1.ResourceQuotaScopePriorityClass:
		return selects(s, p.Spec.PriorityClassName)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return crossesNamespaces(p.Spec.Affinity)
	}
	return false
}

var scopeOperators = map[corev1.ScopeSelectorOperator]selection.Operator{
	corev1.ScopeSelectorOpIn: selection.In, corev1.ScopeSelectorOpNotIn: selection.NotIn,
	corev1.ScopeSelectorOpExists: selection.Exists, corev1.ScopeSelectorOpDoesNotExist: selection.DoesNotExist,
}

// selects says whether a scope selects one of the values; the empty value is none.
func selects(s corev1.ScopedResourceSelectorRequirement, values ...string) bool {
	req, err := labels.NewRequirement(string(s.ScopeName), scopeOperators[s.Operator], s.Values)
	if err != nil {
		return false // validation lets none of these through
	}
	values = slices.DeleteFunc(values, func(v string) bool { return v == "" })
	if len(values) == 0 {
		return req.Matches(labels.Set{})
	}
	return slices.ContainsFunc(values, func(v string) bool { return req.Matches(labels.Set{string(s.ScopeName): v}) })
}

func crossesNamespaces(a *corev1.Affinity) bool {
	if a == nil {
		return false
	}
	var terms []corev1.PodAffinityTerm
	add := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		terms = append(terms, required...)
		for _, w := range preferred {
			terms = append(terms, w.PodAffinityTerm)
		}
	}
	if a.PodAffinity != nil {
		add(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if a.PodAntiAffinity != nil {
		add(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool { return len(t.Namespaces) > 0 || t.NamespaceSelector != nil })
}

// Equal says whether two lists mean the same.
func Equal(a, b corev1.ResourceList) bool { return resources.Equals(a, b) }
