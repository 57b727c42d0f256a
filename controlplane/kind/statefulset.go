package kind

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
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
		validate:       validateStatefulSet,
		validateUpdate: validateStatefulSetUpdate,
		warnings: func(s, _ *appsv1.StatefulSet) []string {
			return templateWarnings(&s.Spec.Template, field.NewPath("spec", "template"))
		},
		status: &statusRules[*appsv1.StatefulSet]{
			prepareUpdate: func(s, old *appsv1.StatefulSet) { s.Spec = old.Spec },
			validate: func(s, _ *appsv1.StatefulSet) field.ErrorList {
				path := field.NewPath("status")
				errs := nonNegative(s.Status.Replicas, path.Child("replicas"))
				for name, n := range map[string]int32{
					"readyReplicas": s.Status.ReadyReplicas, "currentReplicas": s.Status.CurrentReplicas, "updatedReplicas": s.Status.UpdatedReplicas,
				} {
					errs = append(errs, nonNegative(n, path.Child(name))...)
					errs = append(errs, notMore(n, s.Status.Replicas, path.Child(name), "cannot be greater than status.replicas")...)
				}
				return errs
			},
		},
		scale: &scaleRules[*appsv1.StatefulSet]{
			get: func(s *appsv1.StatefulSet) (int32, int32, string) {
				return deref(s.Spec.Replicas, 1), s.Status.Replicas, selectorText(s.Spec.Selector)
			},
			set: func(s *appsv1.StatefulSet, n int32) { s.Spec.Replicas = &n },
		},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Ready", "string", "Number of the pod with ready state"), ageColumn(),
			wide("Containers", "string", "Names of each container in the template."), wide("Images", "string", "Images referenced by each container in the template."),
		},
		row: func(s *appsv1.StatefulSet, now time.Time) []any {
			names, images := containerCells(s.Spec.Template.Spec.Containers)
			return []any{s.Name, fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, deref(s.Spec.Replicas, 1)), age(s, now), names, images}
		},
	}.build()
}

func defaultStatefulSet(s *appsv1.StatefulSet) {
	spec := &s.Spec
	if spec.PodManagementPolicy == "" {
		spec.PodManagementPolicy = appsv1.OrderedReadyPodManagement
	}
	if spec.UpdateStrategy.Type == "" {
		spec.UpdateStrategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
	}
	if spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType {
		if spec.UpdateStrategy.RollingUpdate == nil {
			spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{}
		}
		setDefault(&spec.UpdateStrategy.RollingUpdate.Partition, 0)
	}
	if spec.PersistentVolumeClaimRetentionPolicy == nil {
		spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{}
	}
	policy := spec.PersistentVolumeClaimRetentionPolicy
	if policy.WhenDeleted == "" {
		policy.WhenDeleted = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	}
	if policy.WhenScaled == "" {
		policy.WhenScaled = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	}
	setDefault(&spec.Replicas, 1)
	setDefault(&spec.RevisionHistoryLimit, 10)
	defaultTemplate(&spec.Template)
	for i := range spec.VolumeClaimTemplates {
		c := &spec.VolumeClaimTemplates[i]
		c.APIVersion, c.Kind = "v1", "PersistentVolumeClaim"
		defaultClaim(c)
	}
}

func validateStatefulSet(s *appsv1.StatefulSet) field.ErrorList {
	path, spec := field.NewPath("spec"), &s.Spec
	errs := oneOf(spec.PodManagementPolicy, path.Child("podManagementPolicy"), appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement)
	u, at := spec.UpdateStrategy, path.Child("updateStrategy")
	errs = append(errs, oneOf(u.Type, at.Child("type"), appsv1.RollingUpdateStatefulSetStrategyType, appsv1.OnDeleteStatefulSetStrategyType)...)
	if u.RollingUpdate != nil {
		if u.Type == appsv1.OnDeleteStatefulSetStrategyType {
			errs = append(errs, field.Invalid(at.Child("rollingUpdate"), u.RollingUpdate, "only allowed for updateStrategy 'RollingUpdate'"))
		}
		errs = append(errs, nonNegative(deref(u.RollingUpdate.Partition, 0), at.Child("rollingUpdate", "partition"))...)
	}
	if p := spec.PersistentVolumeClaimRetentionPolicy; p != nil {
		at := path.Child("persistentVolumeClaimRetentionPolicy")
		retain, remove := appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
		errs = append(errs, oneOf(p.WhenDeleted, at.Child("whenDeleted"), retain, remove)...)
		errs = append(errs, oneOf(p.WhenScaled, at.Child("whenScaled"), retain, remove)...)
	}
	errs = append(errs, nonNegative(deref(spec.Replicas, 0), path.Child("replicas"))...)
	errs = append(errs, nonNegative(spec.MinReadySeconds, path.Child("minReadySeconds"))...)
	errs = append(errs, nonNegative(deref(spec.RevisionHistoryLimit, 0), path.Child("revisionHistoryLimit"))...)
	if spec.Ordinals != nil {
		errs = append(errs, nonNegative(spec.Ordinals.Start, path.Child("ordinals", "start"))...)
	}
	if spec.ServiceName != "" {
		errs = append(errs, invalidEach(path.Child("serviceName"), spec.ServiceName, validation.IsDNS1123Subdomain(spec.ServiceName))...)
	}
	errs = append(errs, validateWorkloadSelector(spec.Selector, path.Child("selector"))...)
	// the claims become volumes of the same names
	template := spec.Template.DeepCopy()
	for i := range spec.VolumeClaimTemplates {
		c := &spec.VolumeClaimTemplates[i]
		v := corev1.Volume{Name: c.Name}
		v.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c.Name}
		kept := template.Spec.Volumes[:0]
		for _, own := range template.Spec.Volumes {
			if own.Name != c.Name {
				kept = append(kept, own)
			}
		}
		template.Spec.Volumes = append(kept, v)
		errs = append(errs, validateClaimSpec(&c.Spec, path.Child("volumeClaimTemplates").Index(i).Child("spec"))...)
	}
	return append(errs, validateWorkloadTemplate(template, spec.Selector, path.Child("template"))...)
}

func validateStatefulSetUpdate(s, old *appsv1.StatefulSet) field.ErrorList {
	rest := s.Spec.DeepCopy()
	rest.Replicas, rest.Ordinals, rest.Template = old.Spec.Replicas, old.Spec.Ordinals, old.Spec.Template
	rest.UpdateStrategy, rest.MinReadySeconds = old.Spec.UpdateStrategy, old.Spec.MinReadySeconds
	rest.PersistentVolumeClaimRetentionPolicy, rest.RevisionHistoryLimit = old.Spec.PersistentVolumeClaimRetentionPolicy, old.Spec.RevisionHistoryLimit
	if apiequality.Semantic.DeepEqual(rest, &old.Spec) {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("spec"), "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden")}
}
