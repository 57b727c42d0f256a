package kind

import (
	"fmt"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const podUpdateAllowed = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"

// validatePodUpdate allows what may change of a pod that exists: images, a shorter deadline, more tolerations,
// and what gates keep from being scheduled yet.
func validatePodUpdate(p, old *corev1.Pod) field.ErrorList {
	path := field.NewPath("spec")
	if len(p.Spec.Containers) != len(old.Spec.Containers) {
		return field.ErrorList{field.Forbidden(path.Child("containers"), "pod updates may not add or remove containers")}
	}
	if len(p.Spec.InitContainers) != len(old.Spec.InitContainers) {
		return field.ErrorList{field.Forbidden(path.Child("initContainers"), "pod updates may not add or remove containers")}
	}
	errs := validateDeadlineUpdate(p, old, path.Child("activeDeadlineSeconds"))
	for i, t := range old.Spec.Tolerations {
		if !slices.ContainsFunc(p.Spec.Tolerations, func(now corev1.Toleration) bool {
			now.TolerationSeconds, t.TolerationSeconds = nil, nil // only the seconds may change
			return apiequality.Semantic.DeepEqual(now, t)
		}) {
			errs = append(errs, field.Forbidden(path.Child("tolerations"), fmt.Sprintf("existing toleration %d can not be modified except its tolerationSeconds", i)))
		}
	}
	for _, g := range p.Spec.SchedulingGates {
		if !slices.Contains(old.Spec.SchedulingGates, g) {
			errs = append(errs, field.Forbidden(path.Child("schedulingGates").Child(g.Name), "only deletion is allowed, but found new scheduling gate '"+g.Name+"'"))
		}
	}
	if len(errs) > 0 {
		return errs
	}
	// what is left must be equal after what may differ is made equal
	rest := p.Spec.DeepCopy()
	for i := range rest.Containers {
		rest.Containers[i].Image = old.Spec.Containers[i].Image
	}
	for i := range rest.InitContainers {
		rest.InitContainers[i].Image = old.Spec.InitContainers[i].Image
	}
	rest.ActiveDeadlineSeconds = old.Spec.ActiveDeadlineSeconds
	rest.Tolerations = old.Spec.Tolerations
	rest.SchedulingGates = old.Spec.SchedulingGates
	if g := old.Spec.TerminationGracePeriodSeconds; g != nil && *g < 0 && deref(rest.TerminationGracePeriodSeconds, 0) == 1 {
		rest.TerminationGracePeriodSeconds = g
	}
	if len(old.Spec.SchedulingGates) > 0 {
		errs = append(errs, narrowed(rest, &old.Spec, path)...)
	}
	if !apiequality.Semantic.DeepEqual(rest, &old.Spec) {
		errs = append(errs, field.Forbidden(path, podUpdateAllowed+"\n"+diff.Diff(&old.Spec, rest)))
	}
	return errs
}

// narrowed lets a gated pod be restricted to fewer nodes, and makes rest equal to old in what it allowed.
func narrowed(rest, old *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for key, value := range old.NodeSelector {
		if rest.NodeSelector[key] != value {
			errs = append(errs, field.Invalid(path.Child("nodeSelector"), rest.NodeSelector, "only additions are allowed to existing nodeSelector"))
			break
		}
	}
	rest.NodeSelector = old.NodeSelector
	if old.Affinity == nil || old.Affinity.NodeAffinity == nil {
		if rest.Affinity != nil && rest.Affinity.NodeAffinity != nil {
			rest.Affinity = rest.Affinity.DeepCopy()
			rest.Affinity.NodeAffinity = nil
			if old.Affinity == nil && rest.Affinity.PodAffinity == nil && rest.Affinity.PodAntiAffinity == nil {
				rest.Affinity = nil
			}
		}
	}
	return errs
}

func validateDeadlineUpdate(p, old *corev1.Pod, path *field.Path) field.ErrorList {
	now, was := p.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds
	switch {
	case now != nil && (*now < 0 || *now > math.MaxInt32):
		return field.ErrorList{field.Invalid(path, *now, validation.InclusiveRangeError(0, math.MaxInt32))}
	case now != nil && was != nil && *now > *was:
		return field.ErrorList{field.Invalid(path, *now, "must be less than or equal to previous value")}
	case now == nil && was != nil:
		return field.ErrorList{field.Invalid(path, nil, "must not update from a positive integer to nil value")}
	}
	return nil
}

func validatePodStatusUpdate(p, old *corev1.Pod) field.ErrorList {
	path := field.NewPath("status")
	var errs field.ErrorList
	if name := p.Status.NominatedNodeName; name != "" {
		errs = append(errs, invalidEach(path.Child("nominatedNodeName"), name, validation.IsDNS1123Subdomain(name))...)
	}
	if old.Status.QOSClass != "" && p.Status.QOSClass != old.Status.QOSClass {
		errs = append(errs, field.Invalid(path.Child("qosClass"), p.Status.QOSClass, "field is immutable"))
	}
	seen := map[string]bool{}
	for i, ip := range p.Status.PodIPs {
		at := path.Child("podIPs").Index(i)
		errs = append(errs, validation.IsValidIPForLegacyField(at, ip.IP, false, nil)...)
		if seen[ip.IP] {
			errs = append(errs, field.Duplicate(at, ip))
		}
		seen[ip.IP] = true
	}
	if p.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		errs = append(errs, stayTerminated(p, old, path.Child("containerStatuses"))...)
	}
	return errs
}

// stayTerminated refuses to revive, in the status, a container that is not to run again.
func stayTerminated(p, old *corev1.Pod, path *field.Path) field.ErrorList {
	final := map[string]bool{}
	for _, was := range old.Status.ContainerStatuses {
		if t := was.State.Terminated; t != nil && (t.ExitCode == 0 || p.Spec.RestartPolicy == corev1.RestartPolicyNever) {
			final[was.Name] = true
		}
	}
	for _, c := range p.Spec.Containers {
		if c.RestartPolicy != nil { // its own policy decides, not the pod's
			delete(final, c.Name)
		}
	}
	var errs field.ErrorList
	for i, c := range p.Status.ContainerStatuses {
		if final[c.Name] && c.State.Terminated == nil {
			errs = append(errs, field.Forbidden(path.Index(i).Child("state"), "may not be transitioned to non-terminated state"))
		}
	}
	return errs
}
