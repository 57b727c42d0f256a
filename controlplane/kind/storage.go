package kind

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func persistentVolumeKind() *Kind {
	spec, status := corev1.PersistentVolumeSpec{}.SwaggerDoc(), corev1.PersistentVolumeStatus{}.SwaggerDoc()
	return definition[*corev1.PersistentVolume]{
		gv: corev1.SchemeGroupVersion, kind: "PersistentVolume", plural: "persistentvolumes", singular: "persistentvolume", short: []string{"pv"},
		new:  func() *corev1.PersistentVolume { return &corev1.PersistentVolume{} },
		list: func() runtime.Object { return &corev1.PersistentVolumeList{} },
		defaults: func(v *corev1.PersistentVolume) {
			if v.Status.Phase == "" {
				v.Status.Phase = corev1.VolumePending
			}
			if v.Spec.PersistentVolumeReclaimPolicy == "" {
				v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
			}
			setDefault(&v.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
			if v.Spec.HostPath != nil {
				setDefault(&v.Spec.HostPath.Type, corev1.HostPathUnset)
			}
			defaultResources(v.Spec.Capacity)
		},
		prepareCreate: func(v *corev1.PersistentVolume) {
			v.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending}
		},
		prepareUpdate: func(v, old *corev1.PersistentVolume) { v.Status = old.Status },
		validate:      validateVolume,
		validateUpdate: func(v, old *corev1.PersistentVolume) field.ErrorList {
			var errs field.ErrorList
			if !apiequality.Semantic.DeepEqual(v.Spec.PersistentVolumeSource, old.Spec.PersistentVolumeSource) {
				errs = append(errs, field.Forbidden(field.NewPath("spec", "persistentvolumesource"), "spec.persistentvolumesource is immutable after creation"))
			}
			errs = append(errs, immutable(v.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
			if old.Spec.NodeAffinity != nil {
				errs = append(errs, immutable(v.Spec.NodeAffinity, old.Spec.NodeAffinity, field.NewPath("spec", "nodeAffinity"))...)
			}
			return errs
		},
		status: &statusRules[*corev1.PersistentVolume]{prepareUpdate: func(v, old *corev1.PersistentVolume) { v.Spec = old.Spec }},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Capacity", "string", spec["capacity"]), column("Access Modes", "string", spec["accessModes"]),
			column("Reclaim Policy", "string", spec["persistentVolumeReclaimPolicy"]), column("Status", "string", status["phase"]),
			column("Claim", "string", spec["claimRef"]), column("StorageClass", "string", "StorageClass of the pv"),
			column("VolumeAttributesClass", "string", "VolumeAttributesClass of the pv"), column("Reason", "string", status["reason"]), ageColumn(),
			wide("VolumeMode", "string", spec["volumeMode"]),
		},
		row: func(v *corev1.PersistentVolume, now time.Time) []any {
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
				v.Spec.StorageClassName, orUnset(deref(v.Spec.VolumeAttributesClassName, "")), v.Status.Reason, age(v, now), modeText(v.Spec.VolumeMode),
			}
		},
	}.build()
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

func validateVolume(v *corev1.PersistentVolume) field.ErrorList {
	path := field.NewPath("spec")
	errs := validateAccessModes(v.Spec.AccessModes, path.Child("accessModes"))
	switch storage, ok := v.Spec.Capacity[corev1.ResourceStorage]; {
	case len(v.Spec.Capacity) == 0:
		errs = append(errs, field.Required(path.Child("capacity"), ""))
	case !ok || len(v.Spec.Capacity) > 1:
		errs = append(errs, field.NotSupported(path.Child("capacity"), v.Spec.Capacity, []corev1.ResourceName{corev1.ResourceStorage}))
	case storage.Sign() <= 0:
		errs = append(errs, greaterThanZero(path.Child("capacity").Key("storage"), storage.String()))
	}
	errs = append(errs, oneOf(v.Spec.PersistentVolumeReclaimPolicy, path.Child("persistentVolumeReclaimPolicy"),
		corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)...)
	if v.Spec.PersistentVolumeSource == (corev1.PersistentVolumeSource{}) {
		errs = append(errs, field.Required(path, "must specify a volume type"))
	}
	if v.Spec.HostPath != nil {
		errs = append(errs, validateHostPath(v.Spec.HostPath, path.Child("hostPath"))...)
	}
	if v.Spec.Local != nil && (v.Spec.NodeAffinity == nil || v.Spec.NodeAffinity.Required == nil) {
		errs = append(errs, field.Required(path.Child("nodeAffinity"), "Local volume requires node affinity"))
	}
	if a := v.Spec.NodeAffinity; a != nil && a.Required != nil {
		errs = append(errs, validateNodeSelector(a.Required, path.Child("nodeAffinity", "required"))...)
	}
	if v.Spec.StorageClassName != "" {
		errs = append(errs, invalidEach(path.Child("storageClassName"), v.Spec.StorageClassName, validation.IsDNS1123Subdomain(v.Spec.StorageClassName))...)
	}
	return append(errs, validateVolumeMode(v.Spec.VolumeMode, path.Child("volumeMode"))...)
}

func validateVolumeMode(m *corev1.PersistentVolumeMode, path *field.Path) field.ErrorList {
	if m == nil {
		return nil
	}
	return oneOf(*m, path, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
}

func validateAccessModes(modes []corev1.PersistentVolumeAccessMode, path *field.Path) field.ErrorList {
	if len(modes) == 0 {
		return field.ErrorList{field.Required(path, "")}
	}
	var errs field.ErrorList
	for _, m := range modes {
		errs = append(errs, oneOf(m, path, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)...)
		if m == corev1.ReadWriteOncePod && len(modes) > 1 {
			errs = append(errs, field.Forbidden(path, "may not use ReadWriteOncePod with other access modes"))
		}
	}
	return errs
}

func persistentVolumeClaimKind() *Kind {
	spec, status := corev1.PersistentVolumeClaimSpec{}.SwaggerDoc(), corev1.PersistentVolumeClaimStatus{}.SwaggerDoc()
	return definition[*corev1.PersistentVolumeClaim]{
		gv: corev1.SchemeGroupVersion, kind: "PersistentVolumeClaim", plural: "persistentvolumeclaims", singular: "persistentvolumeclaim",
		short: []string{"pvc"}, namespaced: true,
		new:      func() *corev1.PersistentVolumeClaim { return &corev1.PersistentVolumeClaim{} },
		list:     func() runtime.Object { return &corev1.PersistentVolumeClaimList{} },
		defaults: defaultClaim,
		prepareCreate: func(c *corev1.PersistentVolumeClaim) {
			c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
		},
		prepareUpdate: func(c, old *corev1.PersistentVolumeClaim) { c.Status = old.Status },
		validate: func(c *corev1.PersistentVolumeClaim) field.ErrorList {
			return validateClaimSpec(&c.Spec, field.NewPath("spec"))
		},
		validateUpdate: validateClaimUpdate,
		status:         &statusRules[*corev1.PersistentVolumeClaim]{prepareUpdate: func(c, old *corev1.PersistentVolumeClaim) { c.Spec = old.Spec }},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Status", "string", status["phase"]), column("Volume", "string", spec["volumeName"]),
			column("Capacity", "string", status["capacity"]), column("Access Modes", "string", status["accessModes"]),
			column("StorageClass", "string", "StorageClass of the pvc"), column("VolumeAttributesClass", "string", "VolumeAttributesClass of the pvc"), ageColumn(),
			wide("VolumeMode", "string", spec["volumeMode"]),
		},
		row: func(c *corev1.PersistentVolumeClaim, now time.Time) []any {
			phase, capacity, modes := string(c.Status.Phase), "", ""
			if c.DeletionTimestamp != nil {
				phase = "Terminating"
			}
			if c.Spec.VolumeName != "" {
				capacity, modes = quantityText(c.Status.Capacity), accessModesText(c.Status.AccessModes)
			}
			return []any{
				c.Name, phase, c.Spec.VolumeName, capacity, modes, deref(c.Spec.StorageClassName, ""),
				orUnset(deref(c.Spec.VolumeAttributesClassName, "")), age(c, now), modeText(c.Spec.VolumeMode),
			}
		},
	}.build()
}

func defaultClaim(c *corev1.PersistentVolumeClaim) {
	if c.Status.Phase == "" {
		c.Status.Phase = corev1.ClaimPending
	}
	setDefault(&c.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	defaultResources(c.Spec.Resources.Limits)
	defaultResources(c.Spec.Resources.Requests)
}

func validateClaimSpec(s *corev1.PersistentVolumeClaimSpec, path *field.Path) field.ErrorList {
	errs := validateAccessModes(s.AccessModes, path.Child("accessModes"))
	at := path.Child("resources").Key(string(corev1.ResourceStorage))
	if storage, ok := s.Resources.Requests[corev1.ResourceStorage]; !ok {
		errs = append(errs, field.Required(at, ""))
	} else if storage.Sign() <= 0 {
		errs = append(errs, greaterThanZero(at, storage.String()))
	}
	if name := deref(s.StorageClassName, ""); name != "" {
		errs = append(errs, invalidEach(path.Child("storageClassName"), name, validation.IsDNS1123Subdomain(name))...)
	}
	return append(errs, validateVolumeMode(s.VolumeMode, path.Child("volumeMode"))...)
}

func validateClaimUpdate(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	rest := c.Spec.DeepCopy()
	if old.Spec.VolumeName == "" { // binding sets it once
		rest.VolumeName = ""
	}
	if old.Spec.StorageClassName == nil && c.Spec.StorageClassName != nil { // the default class may be filled in later
		rest.StorageClassName = nil
	}
	request := old.Spec.Resources.Requests[corev1.ResourceStorage]
	now := c.Spec.Resources.Requests[corev1.ResourceStorage]
	bound := old.Status.Phase == corev1.ClaimBound
	if bound && now.Cmp(request) >= 0 {
		rest.Resources.Requests = old.Spec.Resources.Requests
	}
	rest.VolumeAttributesClassName = old.Spec.VolumeAttributesClassName
	var errs field.ErrorList
	if !apiequality.Semantic.DeepEqual(rest, &old.Spec) {
		errs = append(errs, field.Forbidden(field.NewPath("spec"), "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"))
	}
	if bound && now.Cmp(request) < 0 {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "resources", "requests", "storage"), "field can not be less than status.capacity"))
	}
	return errs
}

func storageClassKind() *Kind {
	docs := storagev1.StorageClass{}.SwaggerDoc()
	return definition[*storagev1.StorageClass]{
		gv: storagev1.SchemeGroupVersion, kind: "StorageClass", plural: "storageclasses", singular: "storageclass", short: []string{"sc"},
		new:  func() *storagev1.StorageClass { return &storagev1.StorageClass{} },
		list: func() runtime.Object { return &storagev1.StorageClassList{} },
		defaults: func(c *storagev1.StorageClass) {
			setDefault(&c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
			setDefault(&c.VolumeBindingMode, storagev1.VolumeBindingImmediate)
		},
		validate: func(c *storagev1.StorageClass) field.ErrorList {
			var errs field.ErrorList
			if c.Provisioner == "" {
				errs = append(errs, field.Required(field.NewPath("provisioner"), ""))
			} else {
				errs = append(errs, invalidEach(field.NewPath("provisioner"), c.Provisioner, validation.IsQualifiedName(strings.ToLower(c.Provisioner)))...)
			}
			if c.ReclaimPolicy != nil {
				errs = append(errs, oneOf(*c.ReclaimPolicy, field.NewPath("reclaimPolicy"), corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)...)
			}
			if c.VolumeBindingMode != nil {
				errs = append(errs, oneOf(*c.VolumeBindingMode, field.NewPath("volumeBindingMode"), storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)...)
			}
			return errs
		},
		validateUpdate: func(c, old *storagev1.StorageClass) field.ErrorList {
			var errs field.ErrorList
			if !apiequality.Semantic.DeepEqual(c.Parameters, old.Parameters) {
				errs = append(errs, field.Forbidden(field.NewPath("parameters"), "updates to parameters are forbidden."))
			}
			if c.Provisioner != old.Provisioner {
				errs = append(errs, field.Forbidden(field.NewPath("provisioner"), "updates to provisioner are forbidden."))
			}
			if deref(c.ReclaimPolicy, "") != deref(old.ReclaimPolicy, "") {
				errs = append(errs, field.Forbidden(field.NewPath("reclaimPolicy"), "updates to reclaimPolicy are forbidden."))
			}
			return append(errs, immutable(c.VolumeBindingMode, old.VolumeBindingMode, field.NewPath("volumeBindingMode"))...)
		},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Provisioner", "string", docs["provisioner"]), column("ReclaimPolicy", "string", docs["reclaimPolicy"]),
			column("VolumeBindingMode", "string", docs["volumeBindingMode"]), column("AllowVolumeExpansion", "boolean", docs["allowVolumeExpansion"]), ageColumn(),
		},
		row: func(c *storagev1.StorageClass, now time.Time) []any {
			name := c.Name
			if c.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" {
				name += " (default)"
			}
			return []any{name, c.Provisioner, string(deref(c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)),
				string(deref(c.VolumeBindingMode, storagev1.VolumeBindingImmediate)), deref(c.AllowVolumeExpansion, false), age(c, now)}
		},
	}.build()
}

func runtimeClassKind() *Kind {
	docs := nodev1.RuntimeClass{}.SwaggerDoc()
	return definition[*nodev1.RuntimeClass]{
		gv: nodev1.SchemeGroupVersion, kind: "RuntimeClass", plural: "runtimeclasses", singular: "runtimeclass",
		new:  func() *nodev1.RuntimeClass { return &nodev1.RuntimeClass{} },
		list: func() runtime.Object { return &nodev1.RuntimeClassList{} },
		validate: func(r *nodev1.RuntimeClass) field.ErrorList {
			if r.Handler == "" {
				return field.ErrorList{field.Required(field.NewPath("handler"), "")}
			}
			return invalidEach(field.NewPath("handler"), r.Handler, validation.IsDNS1123Label(r.Handler))
		},
		validateUpdate: func(r, old *nodev1.RuntimeClass) field.ErrorList {
			return immutable(r.Handler, old.Handler, field.NewPath("handler"))
		},
		columns: []metav1.TableColumnDefinition{nameColumn(), column("Handler", "string", docs["handler"]), ageColumn()},
		row:     func(r *nodev1.RuntimeClass, now time.Time) []any { return []any{r.Name, r.Handler, age(r, now)} },
	}.build()
}
