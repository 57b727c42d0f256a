package kind

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/podspec"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/volume"
)

func statefulSetKind() *Kind {
	return definition[*appsv1.StatefulSet]{
		gv: appsv1.SchemeGroupVersion, kind: "StatefulSet", plural: "statefulsets", singular: "statefulset",
		short: []string{"sts"}, categories: []string{"all"}, namespaced: true, generation: true,
		new:            func() *appsv1.StatefulSet { return &appsv1.StatefulSet{} },
		list:           func() runtime.Object { return &appsv1.StatefulSetList{} },
		template:       func(o *appsv1.StatefulSet) *corev1.PodTemplateSpec { return &o.Spec.Template },
		defaults:       defaultStatefulSet,
		prepareCreate:  func(s *appsv1.StatefulSet) { s.Status = appsv1.StatefulSetStatus{} },
		prepareUpdate:  func(s, old *appsv1.StatefulSet) { s.Status = old.Status },
		validName:      apivalidation.NameIsDNSLabel,
		validateCreate: validateNewStatefulSet,
		validateUpdate: validateStatefulSetUpdate,
		warnings:       statefulSetWarnings,
		status: &statusRules[*appsv1.StatefulSet]{
			prepareUpdate: func(s, old *appsv1.StatefulSet) { s.Spec = old.Spec },
			validate:      validateStatefulSetStatus,
		},
		scale: &scaleRules[*appsv1.StatefulSet]{
			get: func(s *appsv1.StatefulSet) (int32, int32, string) {
				return ptr.Deref(s.Spec.Replicas, 1), s.Status.Replicas, selectorText(s.Spec.Selector)
			},
			set: func(s *appsv1.StatefulSet, n int32) { s.Spec.Replicas = &n },
		},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Ready", "string", "Number of the pod with ready state"), ageColumn(),
			wide("Containers", "string", "Names of each container in the template."), wide("Images", "string", "Images referenced by each container in the template."),
		},
		row: func(s *appsv1.StatefulSet, now time.Time) []any {
			names, images := containerCells(s.Spec.Template.Spec.Containers)
			return []any{s.Name, fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, ptr.Deref(s.Spec.Replicas, 1)), age(s, now), names, images}
		},
	}.build()
}

func defaultStatefulSet(s *appsv1.StatefulSet) {
	spec := &s.Spec
	defaults.Value(&spec.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	if u := &spec.UpdateStrategy; u.Type == "" {
		u.Type = appsv1.RollingUpdateStatefulSetStrategyType
		defaults.Pointer(&u.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
	}
	if u := spec.UpdateStrategy; u.Type == appsv1.RollingUpdateStatefulSetStrategyType && u.RollingUpdate != nil {
		defaults.Pointer(&u.RollingUpdate.Partition, 0)
		defaults.Pointer(&u.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
	}
	if spec.PersistentVolumeClaimRetentionPolicy == nil {
		spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{}
	}
	policy := spec.PersistentVolumeClaimRetentionPolicy
	defaults.Value(&policy.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	defaults.Value(&policy.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	defaults.Pointer(&spec.Replicas, 1)
	defaults.Pointer(&spec.RevisionHistoryLimit, 10)
	podspec.DefaultTemplate(&spec.Template)
	for i := range spec.VolumeClaimTemplates {
		c := &spec.VolumeClaimTemplates[i]
		c.APIVersion, c.Kind = "v1", "PersistentVolumeClaim"
		defaultClaim(c)
	}
}

func validateStatefulSet(s *appsv1.StatefulSet, e podspec.Exempt) field.ErrorList {
	path, spec := field.NewPath("spec"), &s.Spec
	errs := validateStatefulSetPolicies(spec, path)
	errs = append(errs, validate.NonNegative(ptr.Deref(spec.Replicas, 0), path.Child("replicas"))...)
	errs = append(errs, validate.NonNegative(spec.MinReadySeconds, path.Child("minReadySeconds"))...)
	if spec.Ordinals != nil {
		errs = append(errs, validate.NonNegative(spec.Ordinals.Start, path.Child("ordinals.start"))...)
	}
	errs = append(errs, validateWorkloadSelector(spec.Selector, path.Child("selector"), "statefulset")...)
	at := path.Child("template")
	if selector, err := metav1.LabelSelectorAsSelector(spec.Selector); err != nil {
		errs = append(errs, field.Invalid(path.Child("selector"), spec.Selector, ""))
	} else {
		errs = append(errs, validateSelected(selector, &spec.Template, at)...)
		errs = append(errs, podspec.ValidateTemplate(statefulTemplate(spec), e, at)...)
	}
	return append(errs, validateEndless(&spec.Template, at, "StatefulSet")...)
}

// validateNewStatefulSet is also about fields that never change: what was stored before a rule came is left alone.
func validateNewStatefulSet(s *appsv1.StatefulSet) field.ErrorList {
	errs := validateStatefulSet(s, podspec.Exempt{})
	path := field.NewPath("spec")
	for i := range s.Spec.VolumeClaimTemplates {
		errs = append(errs, volume.ValidateClaim(&s.Spec.VolumeClaimTemplates[i].Spec, path.Child("volumeClaimTemplates").Index(i).Child("spec"))...)
	}
	if name := s.Spec.ServiceName; name != "" {
		errs = append(errs, validate.DNSLabel(name, path.Child("serviceName"))...)
	}
	return errs
}

func validateStatefulSetPolicies(spec *appsv1.StatefulSetSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	ordered, parallel := appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement
	if p := spec.PodManagementPolicy; p != ordered && p != parallel {
		errs = append(errs, field.Invalid(path.Child("podManagementPolicy"), p, fmt.Sprintf("must be '%s' or '%s'", ordered, parallel)))
	}
	u, at := &spec.UpdateStrategy, path.Child("updateStrategy")
	rolling, onDelete := appsv1.RollingUpdateStatefulSetStrategyType, appsv1.OnDeleteStatefulSetStrategyType
	switch {
	case u.Type == onDelete && u.RollingUpdate != nil:
		errs = append(errs, field.Invalid(at.Child("rollingUpdate"), partitionFormOf(u.RollingUpdate), fmt.Sprintf("only allowed for updateStrategy '%s'", rolling)))
	case u.Type == rolling && u.RollingUpdate != nil:
		errs = append(errs, validatePartition(u.RollingUpdate, at.Child("rollingUpdate"))...)
	case u.Type != onDelete && u.Type != rolling:
		errs = append(errs, field.Invalid(at, struct {
			Type          appsv1.StatefulSetUpdateStrategyType
			RollingUpdate *partitionForm
		}{u.Type, partitionFormOf(u.RollingUpdate)}, fmt.Sprintf("must be '%s' or '%s'", rolling, onDelete)))
	}
	if p := spec.PersistentVolumeClaimRetentionPolicy; p != nil {
		at := path.Child("persistentVolumeClaimRetentionPolicy")
		retain, remove := appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
		errs = append(errs, validate.OneOf(p.WhenDeleted, at.Child("whenDeleted"), retain, remove)...)
		errs = append(errs, validate.OneOf(p.WhenScaled, at.Child("whenScaled"), retain, remove)...)
	}
	return errs
}

func validatePartition(r *appsv1.RollingUpdateStatefulSetStrategy, path *field.Path) field.ErrorList {
	errs := validate.NonNegative(ptr.Deref(r.Partition, 0), path.Child("partition"))
	if r.MaxUnavailable == nil {
		return errs
	}
	n, at := *r.MaxUnavailable, path.Child("maxUnavailable")
	errs = append(errs, validate.IntOrPercent(n, at)...)
	if validate.IsZero(n) {
		errs = append(errs, field.Invalid(at, n, "cannot be 0"))
	}
	return append(errs, validate.AtMost100Percent(n, at)...)
}

// partitionForm is how errors quote the parameters of an update: in the form that has no version.
type partitionForm struct {
	Partition      int32
	MaxUnavailable *intstr.IntOrString
}

func partitionFormOf(r *appsv1.RollingUpdateStatefulSetStrategy) *partitionForm {
	if r == nil {
		return nil
	}
	return &partitionForm{ptr.Deref(r.Partition, 0), r.MaxUnavailable}
}

// statefulTemplate returns the template with what the controller puts into its pods: the claims become volumes of the same
// names, and the names of host and subdomain are its own.
func statefulTemplate(spec *appsv1.StatefulSetSpec) *corev1.PodTemplateSpec {
	if spec.Template.Spec.Subdomain == "" && spec.Template.Spec.Hostname == "" && len(spec.VolumeClaimTemplates) == 0 {
		return &spec.Template
	}
	t := spec.Template // a shallow copy: nothing below it is changed
	t.Spec.Subdomain, t.Spec.Hostname = "", ""
	claims := make(map[string]bool, len(spec.VolumeClaimTemplates))
	volumes := make([]corev1.Volume, 0, len(spec.VolumeClaimTemplates)+len(t.Spec.Volumes))
	for i := range spec.VolumeClaimTemplates {
		name := spec.VolumeClaimTemplates[i].Name
		if claims[name] {
			continue
		}
		claims[name] = true
		volumes = append(volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
		}})
	}
	for _, v := range t.Spec.Volumes {
		if !claims[v.Name] {
			volumes = append(volumes, v)
		}
	}
	t.Spec.Volumes = volumes
	return &t
}

func validateStatefulSetUpdate(s, old *appsv1.StatefulSet) field.ErrorList {
	path := field.NewPath("spec")
	e := podspec.TemplateExemptions(&old.Spec.Template)
	e.Template = len(validateStatefulSet(old, e)) > 0
	errs := validateStatefulSet(s, e)
	errs = append(errs, validate.Immutable(s.Spec.Selector, old.Spec.Selector, path.Child("selector"))...)
	errs = append(errs, validate.Immutable(s.Spec.VolumeClaimTemplates, old.Spec.VolumeClaimTemplates, path.Child("volumeClaimTemplates"))...)
	errs = append(errs, validate.Immutable(s.Spec.ServiceName, old.Spec.ServiceName, path.Child("serviceName"))...)
	return append(errs, validate.Immutable(s.Spec.PodManagementPolicy, old.Spec.PodManagementPolicy, path.Child("podManagementPolicy"))...)
}

func validateStatefulSetStatus(s, old *appsv1.StatefulSet) field.ErrorList {
	path, status := field.NewPath("status"), &s.Status
	errs := validate.NonNegative(status.Replicas, path.Child("replicas"))
	parts := []struct {
		name string
		n    int32
	}{
		{"readyReplicas", status.ReadyReplicas}, {"currentReplicas", status.CurrentReplicas},
		{"updatedReplicas", status.UpdatedReplicas}, {"availableReplicas", status.AvailableReplicas},
	}
	for _, p := range parts {
		errs = append(errs, validate.NonNegative(p.n, path.Child(p.name))...)
	}
	errs = append(errs, validate.NonNegative(status.ObservedGeneration, path.Child("observedGeneration"))...)
	errs = append(errs, validate.Optional(status.CollisionCount, path.Child("collisionCount"))...)
	for _, p := range parts {
		errs = append(errs, validate.AtMost(p.n, status.Replicas, path.Child(p.name), "cannot be greater than status.replicas")...)
	}
	errs = append(errs, validate.AtMost(status.AvailableReplicas, status.ReadyReplicas, path.Child("availableReplicas"), "cannot be greater than status.readyReplicas")...)
	return append(errs, validateCollisions(status.CollisionCount, old.Status.CollisionCount, path.Child("collisionCount"))...)
}

func statefulSetWarnings(s, old *appsv1.StatefulSet) []string {
	var out []string
	if old == nil || s.Generation != old.Generation {
		out = podspec.TemplateWarnings(&s.Spec.Template, field.NewPath("spec", "template"))
	}
	if n := s.Spec.RevisionHistoryLimit; n != nil && *n < 0 {
		out = append(out, "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended")
	}
	return out
}
