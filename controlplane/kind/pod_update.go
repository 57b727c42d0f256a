package kind

import (
	"fmt"
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/podspec"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/scheduling"
)

// PrepareEphemeralContainers lets only the ephemeral containers of an update through.
func PrepareEphemeralContainers(p, old *corev1.Pod) {
	added, meta := p.Spec.EphemeralContainers, p.ObjectMeta
	old.DeepCopyInto(p)
	p.Spec.EphemeralContainers = added
	p.ResourceVersion, p.ManagedFields = meta.ResourceVersion, meta.ManagedFields
	p.TypeMeta = metav1.TypeMeta{}
	podspec.DropGated(&p.Spec, &old.Spec)
}

const podUpdateAllowed = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"

// validatePodUpdate allows what may change of a pod that exists: images, a shorter deadline, more tolerations,
// and what gates keep from being scheduled yet.
func validatePodUpdate(p, old *corev1.Pod) field.ErrorList {
	errs := podspec.Validate(p, podspec.Exemptions(&old.Spec, &old.ObjectMeta))
	errs = append(errs, validateAnnotationChange(p, old)...)
	for _, part := range []struct {
		name     string
		now, old []corev1.Container
	}{{"containers", p.Spec.Containers, old.Spec.Containers}, {"initContainers", p.Spec.InitContainers, old.Spec.InitContainers}} {
		path := specPath.Child(part.name)
		if len(part.now) != len(part.old) {
			return append(errs, field.Forbidden(path, "pod updates may not add or remove containers"))
		}
	}
	faults, known := validateDeadlineUpdate(p, old, specPath.Child("activeDeadlineSeconds"))
	if errs = append(errs, faults...); !known {
		return errs
	}
	errs = append(errs, validateTolerationsUpdate(p.Spec.Tolerations, old.Spec.Tolerations, specPath.Child("tolerations"))...)
	errs = append(errs, noNewGates(p.Spec.SchedulingGates, old.Spec.SchedulingGates, specPath.Child("schedulingGates"))...)
	if apiequality.Semantic.DeepEqual(p.Spec, old.Spec) {
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
	rest.SchedulingGates = old.Spec.SchedulingGates
	rest.Tolerations = old.Spec.Tolerations
	if g := old.Spec.TerminationGracePeriodSeconds; g != nil && *g < 0 && ptr.Deref(rest.TerminationGracePeriodSeconds, 0) == 1 {
		rest.TerminationGracePeriodSeconds = g
	}
	if len(old.Spec.SchedulingGates) > 0 {
		errs = append(errs, narrowed(rest, &old.Spec, specPath)...)
	}
	if !apiequality.Semantic.DeepEqual(rest, &old.Spec) {
		errs = append(errs, field.Forbidden(specPath, podUpdateAllowed+"\n"+diff.Diff(&old.Spec, rest)))
	}
	return errs
}

// validateDeadlineUpdate says also whether the rest of the change can be judged.
func validateDeadlineUpdate(p, old *corev1.Pod, path *field.Path) (errs field.ErrorList, known bool) {
	now, was := p.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds
	switch {
	case now != nil && (*now < 0 || *now > math.MaxInt32):
		return field.ErrorList{field.Invalid(path, *now, validation.InclusiveRangeError(0, math.MaxInt32))}, false
	case now != nil && was != nil && *now > *was:
		return field.ErrorList{field.Invalid(path, *now, "must be less than or equal to previous value")}, false
	case now == nil && was != nil:
		return field.ErrorList{field.Invalid(path, now, "must not update from a positive integer to nil value")}, true
	}
	return nil, true
}

// validateTolerationsUpdate refuses to take a toleration back. Its seconds may change.
func validateTolerationsUpdate(now, old []corev1.Toleration, path *field.Path) field.ErrorList {
	left := make(map[corev1.Toleration]bool, len(now))
	for _, t := range now {
		t.TolerationSeconds = nil
		left[t] = true
	}
	for _, t := range old {
		t.TolerationSeconds = nil
		if !left[t] {
			return field.ErrorList{field.Forbidden(path, "existing toleration can not be modified except its tolerationSeconds")}
		}
	}
	return nil
}

func noNewGates(now, old []corev1.PodSchedulingGate, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	last := make(map[string]int, len(now))
	for i, g := range now {
		last[g.Name] = i
	}
	for _, g := range old {
		delete(last, g.Name)
	}
	for name, i := range last {
		errs = append(errs, field.Forbidden(path.Index(i).Child("name"), fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", name)))
	}
	return errs
}

// narrowed lets a gated pod be restricted to fewer nodes, and makes rest equal to old in what it allowed or refused.
func narrowed(rest, old *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for key, value := range old.NodeSelector {
		if now, ok := rest.NodeSelector[key]; !ok || now != value {
			errs = append(errs, field.Invalid(path.Child("nodeSelector"), rest.NodeSelector, "only additions to spec.nodeSelector are allowed (no mutations or deletions)"))
			break
		}
	}
	rest.NodeSelector = old.NodeSelector
	was, now := scheduling.NodeAffinity(old), scheduling.NodeAffinity(rest)
	if apiequality.Semantic.DeepEqual(was, now) {
		return errs
	}
	errs = append(errs, narrowedAffinity(now, was, path.Child("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"))...)
	switch {
	case rest.Affinity == nil:
		rest.Affinity = &corev1.Affinity{NodeAffinity: was}
	case old.Affinity == nil && rest.Affinity.PodAffinity == nil && rest.Affinity.PodAntiAffinity == nil:
		rest.Affinity = nil
	default:
		rest.Affinity.NodeAffinity = was
	}
	return errs
}

// narrowedAffinity lets each of the terms, any of which is enough, require more.
func narrowedAffinity(now, old *corev1.NodeAffinity, path *field.Path) field.ErrorList {
	was, terms := scheduling.RequiredTerms(old), scheduling.RequiredTerms(now)
	if len(was) == 0 {
		return nil
	}
	if len(was) != len(terms) {
		return field.ErrorList{field.Invalid(path, terms, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")}
	}
	var errs field.ErrorList
	for i := range was {
		if !requiresMore(&terms[i], &was[i]) {
			errs = append(errs, field.Invalid(path.Index(i), terms[i], "only additions are allowed (no mutations or deletions)"))
		}
	}
	return errs
}

func requiresMore(now, old *corev1.NodeSelectorTerm) bool {
	if len(old.MatchExpressions) == 0 && len(old.MatchFields) == 0 { // matches no node
		return len(now.MatchExpressions) == 0 && len(now.MatchFields) == 0
	}
	starts := func(now, old []corev1.NodeSelectorRequirement) bool {
		return len(old) == 0 || len(now) >= len(old) && apiequality.Semantic.DeepEqual(now[:len(old)], old)
	}
	return starts(now.MatchExpressions, old.MatchExpressions) && starts(now.MatchFields, old.MatchFields)
}

// ValidateEphemeralContainers checks an update of a pod that may only add ephemeral containers.
func ValidateEphemeralContainers(p, old *corev1.Pod) field.ErrorList {
	if podspec.IsMirror(&old.ObjectMeta) {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods do not support ephemeral containers")}
	}
	errs := podspec.Validate(p, podspec.Exemptions(&old.Spec, &old.ObjectMeta))
	errs = append(errs, validateAnnotationChange(p, old)...)
	path := specPath.Child("ephemeralContainers")
	now := make(map[string]*corev1.EphemeralContainer, len(p.Spec.EphemeralContainers))
	for i := range p.Spec.EphemeralContainers {
		now[p.Spec.EphemeralContainers[i].Name] = &p.Spec.EphemeralContainers[i]
	}
	for i := range old.Spec.EphemeralContainers {
		was := &old.Spec.EphemeralContainers[i]
		c, ok := now[was.Name]
		if !ok {
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", was.Name)))
		} else if !apiequality.Semantic.DeepEqual(was, c) {
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be changed\n%v", was.Name, diff.Diff(*was, *c))))
		}
	}
	return errs
}

// validateAnnotationChange refuses to add, change or remove what decides how a pod that exists is run.
func validateAnnotationChange(p, old *corev1.Pod) field.ErrorList {
	var errs field.ErrorList
	for key, was := range old.Annotations {
		if now, ok := p.Annotations[key]; ok && now == was {
			continue
		}
		if strings.HasPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix) {
			errs = append(errs, field.Forbidden(annotationsPath.Key(key), "may not remove or update AppArmor annotations"))
		}
		if key == corev1.MirrorPodAnnotationKey {
			errs = append(errs, field.Forbidden(annotationsPath.Key(key), "may not remove or update mirror pod annotation"))
		}
	}
	for key := range p.Annotations {
		if _, ok := old.Annotations[key]; ok {
			continue
		}
		if strings.HasPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix) {
			errs = append(errs, field.Forbidden(annotationsPath.Key(key), "may not add AppArmor annotations"))
		}
		if key == corev1.MirrorPodAnnotationKey {
			errs = append(errs, field.Forbidden(annotationsPath.Key(key), "may not add mirror pod annotation"))
		}
	}
	return errs
}
