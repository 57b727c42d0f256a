package kind

import (
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/container"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/podspec"
)

// PrepareResize lets through of an update what a resize may change: what containers, and the pod as a whole, ask for, and
// how containers take a change of that. What was done to the list of containers is left for ValidateResize to refuse.
func PrepareResize(p, old *corev1.Pod) {
	if len(p.Spec.Containers) != len(old.Spec.Containers) || len(p.Spec.InitContainers) != len(old.Spec.InitContainers) {
		return
	}
	spec := old.Spec.DeepCopy()
	spec.Containers = resized(p.Spec.Containers, spec.Containers)
	spec.InitContainers = resized(p.Spec.InitContainers, spec.InitContainers)
	if p.Spec.Resources != nil {
		spec.Resources = p.Spec.Resources
	}
	p.Spec, p.Status = *spec, old.Status
	metav1.ResetObjectMetaForStatus(&p.ObjectMeta, &old.ObjectMeta)
	if p.Spec.Resources != nil {
		podspec.DefaultResources(p)
	}
	podspec.DropGated(&p.Spec, &old.Spec)
}

// resized returns the old containers with what may change of them, or the new ones when they are others.
func resized(now, old []corev1.Container) []corev1.Container {
	for i := range now {
		if now[i].Name != old[i].Name {
			return now
		}
		old[i].Resources, old[i].ResizePolicy = now[i].Resources, now[i].ResizePolicy
	}
	return old
}

// ValidateResize checks a pod that PrepareResize has seen.
func ValidateResize(p, old *corev1.Pod) field.ErrorList {
	switch {
	case podspec.IsMirror(&old.ObjectMeta):
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods cannot be resized")}
	case old.Spec.OS != nil && old.Spec.OS.Name == corev1.Windows:
		return field.ErrorList{field.Forbidden(field.NewPath(""), "windows pods cannot be resized")}
	}
	errs := podspec.Validate(p, podspec.Exemptions(&old.Spec, &old.ObjectMeta))
	class := old.Status.QOSClass
	if class == "" {
		class = podspec.QOSClass(old)
	}
	if podspec.QOSClass(p) != class {
		errs = append(errs, field.Invalid(specPath, p.Status.QOSClass, "Pod QOS Class may not change as a result of resizing"))
	}
	if !resizable(&old.Status) {
		errs = append(errs, field.Forbidden(specPath, "Pod running on node without support for resize"))
	}
	rest := p.Spec.DeepCopy()
	if hasResources(old) || hasResources(p) {
		errs = append(errs, validatePodResize(rest, &old.Spec)...)
	}
	if bad := sameContainers(&p.Spec, &old.Spec); len(bad) > 0 {
		return append(errs, bad...)
	}
	for i := range old.Spec.InitContainers {
		errs = append(errs, keptResources(&p.Spec.InitContainers[i].Resources, &old.Spec.InitContainers[i].Resources, "resource", specPath.Child("initContainers").Index(i).Child("resources"))...)
	}
	for i := range old.Spec.Containers {
		errs = append(errs, keptResources(&p.Spec.Containers[i].Resources, &old.Spec.Containers[i].Resources, "resource", specPath.Child("containers").Index(i).Child("resources"))...)
	}
	for i := range rest.Containers {
		c, was := &rest.Containers[i], &old.Spec.Containers[i]
		if sameComputing(&c.Resources, &was.Resources); !apiequality.Semantic.DeepEqual(c, was) {
			errs = append(errs, field.Forbidden(specPath, "only cpu and memory resources are mutable"))
		}
	}
	for i := range rest.InitContainers {
		errs = append(errs, validateInitResize(&rest.InitContainers[i], &old.Spec.InitContainers[i], specPath.Child("initContainers").Index(i))...)
	}
	if len(errs) == 0 && !apiequality.Semantic.DeepEqual(*rest, old.Spec) {
		errs = append(errs, field.Forbidden(specPath, "only cpu and memory resources are mutable"))
	}
	return errs
}

// resizable says whether the pod's node can resize it: one that can tells what running containers have. Before any runs,
// nobody knows.
func resizable(s *corev1.PodStatus) bool {
	for i := range s.ContainerStatuses {
		if c := &s.ContainerStatuses[i]; c.State.Running != nil {
			return c.Resources != nil
		}
	}
	return true
}

func hasResources(p *corev1.Pod) bool {
	return p.Spec.Resources != nil && len(p.Spec.Resources.Requests)+len(p.Spec.Resources.Limits) > 0
}

// validatePodResize checks a change of what the pod as a whole asks for, and makes equal to old in s what may differ.
func validatePodResize(s, old *corev1.PodSpec) field.ErrorList {
	path := specPath.Child("resources")
	if s.Resources == nil {
		return field.ErrorList{field.Forbidden(path, "pod-level resources cannot be removed")}
	}
	var errs field.ErrorList
	was := old.Resources
	if was != nil {
		errs = append(errs, keptResources(s.Resources, was, "pod-level resource", path)...)
	} else {
		was = &corev1.ResourceRequirements{}
	}
	sameComputing(s.Resources, was)
	if old.Resources == nil && len(s.Resources.Requests)+len(s.Resources.Limits)+len(s.Resources.Claims) == 0 {
		s.Resources = nil
	}
	if !apiequality.Semantic.DeepEqual(s.Resources, old.Resources) {
		errs = append(errs, field.Forbidden(specPath, "only cpu and memory resources are mutable at pod-level"))
	}
	return errs
}

// sameContainers refuses to add, remove, rename and reorder containers.
func sameContainers(s, old *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	for _, part := range []struct {
		name     string
		now, was []corev1.Container
	}{{"containers", s.Containers, old.Containers}, {"initContainers", s.InitContainers, old.InitContainers}} {
		path := specPath.Child(part.name)
		if len(part.now) != len(part.was) {
			errs = append(errs, field.Forbidden(path, part.name+" may not be added or removed on resize"))
			continue
		}
		for i := range part.was {
			if part.now[i].Name != part.was[i].Name {
				errs = append(errs, field.Forbidden(path.Index(i).Child("name"), part.name+" may not be renamed or reordered on resize"))
			}
		}
	}
	return errs
}

// keptResources refuses to take back that something is asked for; noun is what errors call it.
func keptResources(now, was *corev1.ResourceRequirements, noun string, path *field.Path) field.ErrorList {
	removed := func(list, old corev1.ResourceList) bool {
		for name := range old {
			if _, ok := list[name]; !ok {
				return true
			}
		}
		return false
	}
	var errs field.ErrorList
	if removed(now.Requests, was.Requests) {
		errs = append(errs, field.Forbidden(path.Child("requests"), noun+" requests cannot be removed"))
	}
	if removed(now.Limits, was.Limits) {
		errs = append(errs, field.Forbidden(path.Child("limits"), noun+" limits cannot be removed"))
	}
	return errs
}

// sameComputing makes cpu and memory, which may change, what they were.
func sameComputing(r, old *corev1.ResourceRequirements) {
	same := func(list *corev1.ResourceList, old corev1.ResourceList) {
		for _, name := range [...]corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			was, ok := old[name]
			switch {
			case !ok:
				delete(*list, name)
			case *list == nil:
				*list = corev1.ResourceList{name: was}
			default:
				(*list)[name] = was
			}
		}
	}
	same(&r.Limits, old.Limits)
	same(&r.Requests, old.Requests)
}

// validateInitResize checks a change of an init container, and makes equal to old in c what may differ.
func validateInitResize(c, old *corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	changed := !apiequality.Semantic.DeepEqual(c, old)
	if sameComputing(&c.Resources, &old.Resources); !apiequality.Semantic.DeepEqual(c, old) {
		errs = append(errs, field.Forbidden(path, "only cpu and memory resources for init or sidecar containers are mutable"))
	}
	if changed && !container.IsSidecar(c) {
		for _, p := range c.ResizePolicy {
			if p.RestartPolicy == corev1.RestartContainer {
				errs = append(errs, field.Forbidden(path, "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"))
			}
		}
	}
	return errs
}
