package kind

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/quantity"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/scheduling"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/unversioned"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/volume"
)

// betaMountOptions is the annotation from before spec.mountOptions.
const betaMountOptions = "volume.beta.kubernetes.io/mount-options"

func persistentVolumeKind() *Kind {
	spec, status := corev1.PersistentVolumeSpec{}.SwaggerDoc(), corev1.PersistentVolumeStatus{}.SwaggerDoc()
	return definition[*corev1.PersistentVolume]{
		gv: corev1.SchemeGroupVersion, kind: "PersistentVolume", plural: "persistentvolumes", singular: "persistentvolume", short: []string{"pv"},
		new:      func() *corev1.PersistentVolume { return &corev1.PersistentVolume{} },
		list:     func() runtime.Object { return &corev1.PersistentVolumeList{} },
		defaults: defaultPersistentVolume,
		prepareCreate: func(v *corev1.PersistentVolume) {
			now := metav1.Now().Rfc3339Copy()
			v.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending, LastPhaseTransitionTime: &now}
		},
		prepareUpdate:  func(v, old *corev1.PersistentVolume) { v.Status = old.Status },
		validate:       validatePersistentVolume,
		validateUpdate: validatePersistentVolumeUpdate,
		warnings:       func(v, _ *corev1.PersistentVolume) []string { return persistentVolumeWarnings(v) },
		status:         &statusRules[*corev1.PersistentVolume]{prepareUpdate: preparePersistentVolumeStatus},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Capacity", "string", spec["capacity"]), column("Access Modes", "string", spec["accessModes"]),
			column("Reclaim Policy", "string", spec["persistentVolumeReclaimPolicy"]), column("Status", "string", status["phase"]),
			column("Claim", "string", spec["claimRef"]), column("StorageClass", "string", "StorageClass of the pv"),
			column("VolumeAttributesClass", "string", "VolumeAttributesClass of the pv"), column("Reason", "string", status["reason"]), ageColumn(),
			wide("VolumeMode", "string", spec["volumeMode"]),
		},
		row: persistentVolumeRow,
	}.build()
}

func persistentVolumeRow(v *corev1.PersistentVolume, now time.Time) []any {
	claim := ""
	if ref := v.Spec.ClaimRef; ref != nil {
		claim = ref.Namespace + "/" + ref.Name
	}
	phase := string(v.Status.Phase)
	if v.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	return []any{
		v.Name, quantityText(v.Spec.Capacity), accessModesText(v.Spec.AccessModes), string(v.Spec.PersistentVolumeReclaimPolicy), phase, claim,
		v.Spec.StorageClassName, orUnset(ptr.Deref(v.Spec.VolumeAttributesClassName, "")), v.Status.Reason, age(v, now), modeText(v.Spec.VolumeMode),
	}
}

func quantityText(list corev1.ResourceList) string {
	q := list[corev1.ResourceStorage]
	return q.String()
}

func modeText(m *corev1.PersistentVolumeMode) string {
	if m == nil {
		return unsetText
	}
	return string(*m)
}

// accessModesText abbreviates access modes in the order in which kubectl has them.
func accessModesText(modes []corev1.PersistentVolumeAccessMode) string {
	has := map[corev1.PersistentVolumeAccessMode]bool{}
	for _, m := range modes {
		has[m] = true
	}
	var out []string
	for _, m := range []struct {
		mode corev1.PersistentVolumeAccessMode
		text string
	}{{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"}} {
		if has[m.mode] {
			out = append(out, m.text)
		}
	}
	return strings.Join(out, ",")
}

func defaultPersistentVolume(v *corev1.PersistentVolume) {
	defaults.Value(&v.Status.Phase, corev1.VolumePending)
	defaults.Value(&v.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
	defaults.Pointer(&v.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	volume.DefaultPersistent(&v.Spec.PersistentVolumeSource)
	quantity.Round(v.Spec.Capacity)
}

// preparePersistentVolumeStatus notes when the phase changed, unless the client says when.
func preparePersistentVolumeStatus(v, old *corev1.PersistentVolume) {
	v.Spec = old.Spec
	at := &v.Status.LastPhaseTransitionTime
	switch stays := v.Status.Phase == old.Status.Phase; {
	case stays && *at == nil:
		*at = old.Status.LastPhaseTransitionTime
	case !stays && (*at == nil || (*at).Equal(old.Status.LastPhaseTransitionTime)):
		now := metav1.Now().Rfc3339Copy()
		*at = &now
	}
}

var reclaimPolicies = []corev1.PersistentVolumeReclaimPolicy{
	corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain,
}

func validatePersistentVolume(v *corev1.PersistentVolume) field.ErrorList {
	s, path := &v.Spec, field.NewPath("spec")
	errs := validate.RequiredList(s.AccessModes, path.Child("accessModes"))
	errs = append(errs, volume.ValidateAccessModes(s.AccessModes, path.Child("accessModes"))...)
	capacity := path.Child("capacity")
	if len(s.Capacity) == 0 {
		errs = append(errs, field.Required(capacity, ""))
	}
	if _, ok := s.Capacity[corev1.ResourceStorage]; !ok || len(s.Capacity) > 1 {
		errs = append(errs, field.NotSupported(capacity, s.Capacity, []corev1.ResourceName{corev1.ResourceStorage}))
	}
	for name, q := range s.Capacity {
		at := capacity.Key(string(name))
		if q.Sign() < 0 {
			errs = append(errs, field.Invalid(at, q.Value(), "must be a valid resource quantity"))
		}
		errs = append(errs, volume.ValidateSize(q, at)...)
	}
	if p := s.PersistentVolumeReclaimPolicy; p != "" {
		errs = append(errs, validate.Supported(p, path.Child("persistentVolumeReclaimPolicy"), reclaimPolicies...)...)
	}
	if a := s.NodeAffinity; a != nil {
		if a.Required == nil {
			errs = append(errs, field.Required(path.Child("nodeAffinity", "required"), "must specify required node constraints"))
		} else {
			errs = append(errs, scheduling.ValidateNodeSelector(a.Required, path.Child("nodeAffinity", "required"))...)
		}
	}
	errs = append(errs, volume.ValidatePersistent(s, v.Name, path)...)
	if s.StorageClassName != "" {
		errs = append(errs, validate.Subdomain(s.StorageClassName, path.Child("storageClassName"))...)
	}
	errs = append(errs, volume.ValidateMode(s.VolumeMode, path.Child("volumeMode"))...)
	if c := s.VolumeAttributesClassName; c != nil {
		at := path.Child("volumeAttributesClassName")
		if *c == "" {
			errs = append(errs, field.Required(at, "an empty string is disallowed"))
		} else {
			errs = append(errs, validate.Subdomain(*c, at)...)
		}
		if s.CSI == nil {
			errs = append(errs, field.Required(path.Child("csi"), "has to be specified when using volumeAttributesClassName"))
		}
	}
	if _, ok := v.Annotations[betaMountOptions]; ok && !mountsWithOptions(s) {
		errs = append(errs, field.Forbidden(field.NewPath("metadata", "annotations", betaMountOptions), "may not specify mount options for this volume type"))
	}
	return errs
}

// mountsWithOptions says whether the annotation with mount options means something to the volume's source.
func mountsWithOptions(s *corev1.PersistentVolumeSpec) bool {
	return s.GCEPersistentDisk != nil || s.AWSElasticBlockStore != nil || s.Glusterfs != nil || s.NFS != nil || s.RBD != nil || s.Quobyte != nil ||
		s.ISCSI != nil || s.Cinder != nil || s.CephFS != nil || s.AzureFile != nil || s.VsphereVolume != nil || s.AzureDisk != nil || s.PhotonPersistentDisk != nil
}

func validatePersistentVolumeUpdate(v, old *corev1.PersistentVolume) field.ErrorList {
	var errs field.ErrorList
	source := &v.Spec.PersistentVolumeSource
	if csi := v.Spec.CSI; csi != nil && csi.ControllerExpandSecretRef != nil && old.Spec.CSI != nil && old.Spec.CSI.ControllerExpandSecretRef == nil {
		source = source.DeepCopy() // the secret for growing can be told later
		source.CSI.ControllerExpandSecretRef = nil
	}
	if !apiequality.Semantic.DeepEqual(source, &old.Spec.PersistentVolumeSource) {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "persistentvolumesource"),
			fmt.Sprintf("spec.persistentvolumesource is immutable after creation\n%v", diff.Diff(unversioned.Form(&old.Spec.PersistentVolumeSource), unversioned.Form(source)))))
	}
	errs = append(errs, validate.Immutable(v.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
	if old.Spec.NodeAffinity != nil {
		errs = append(errs, validateAffinityUpdate(v.Spec.NodeAffinity, old.Spec.NodeAffinity, field.NewPath("nodeAffinity"))...)
	}
	if old.Spec.VolumeAttributesClassName != nil && v.Spec.VolumeAttributesClassName == nil {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "volumeAttributesClassName"), "update from non-nil value to nil is forbidden"))
	}
	return errs
}

// currentLabels are the labels of nodes that took the place of older ones, with those.
var currentLabels = map[string]string{
	corev1.LabelFailureDomainBetaZone: corev1.LabelTopologyZone, corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
	corev1.LabelInstanceType: corev1.LabelInstanceTypeStable, "beta.kubernetes.io/os": corev1.LabelOSStable, "beta.kubernetes.io/arch": corev1.LabelArchStable,
}

// validateAffinityUpdate refuses changes but from a deprecated label to the one that took its place.
func validateAffinityUpdate(a, old *corev1.VolumeNodeAffinity, path *field.Path) field.ErrorList {
	was := old.DeepCopy()
	if a != nil && a.Required != nil && was.Required != nil && len(a.Required.NodeSelectorTerms) == len(was.Required.NodeSelectorTerms) {
		for i, term := range was.Required.NodeSelectorTerms {
			now := a.Required.NodeSelectorTerms[i].MatchExpressions
			for j := range term.MatchExpressions {
				e := &term.MatchExpressions[j]
				if label := currentLabels[e.Key]; label != "" && j < len(now) && now[j].Key == label {
					e.Key = label
				}
			}
		}
	}
	if apiequality.Semantic.DeepEqual(a, was) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, a, "field is immutable, except for updating from beta label to GA")}
}

func persistentVolumeWarnings(v *corev1.PersistentVolume) []string {
	var out []string
	for _, a := range []struct{ key, instead string }{
		{corev1.BetaStorageClassAnnotation, `deprecated since v1.8; use "storageClassName" attribute instead`},
		{betaMountOptions, `deprecated since v1.31; use "mountOptions" attribute instead`},
	} {
		if _, ok := v.Annotations[a.key]; ok {
			out = append(out, fmt.Sprintf("metadata.annotations[%s]: %s", a.key, a.instead))
		}
	}
	if v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		out = append(out, "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.")
	}
	if a := v.Spec.NodeAffinity; a != nil && a.Required != nil {
		for i, term := range a.Required.NodeSelectorTerms {
			for j, e := range term.MatchExpressions {
				if text, ok := scheduling.OldNodeLabels[e.Key]; ok {
					at := field.NewPath("spec", "nodeAffinity", "required", "nodeSelectorTerms").Index(i).Child("matchExpressions").Index(j).Child("key")
					out = append(out, fmt.Sprintf("%s: %s is %s", at, e.Key, text))
				}
			}
		}
	}
	for _, source := range []struct {
		set  bool
		text string
	}{
		{v.Spec.CephFS != nil, "spec.cephfs: deprecated in v1.28, non-functional in v1.31+"},
		{v.Spec.PhotonPersistentDisk != nil, "spec.photonPersistentDisk: deprecated in v1.11, non-functional in v1.16+"},
		{v.Spec.ScaleIO != nil, "spec.scaleIO: deprecated in v1.16, non-functional in v1.22+"},
		{v.Spec.StorageOS != nil, "spec.storageOS: deprecated in v1.22, non-functional in v1.25+"},
		{v.Spec.Glusterfs != nil, "spec.glusterfs: deprecated in v1.25, non-functional in v1.26+"},
		{v.Spec.RBD != nil, "spec.rbd: deprecated in v1.28, non-functional in v1.31+"},
	} {
		if source.set {
			out = append(out, source.text)
		}
	}
	return out
}
