// Package volume sets the defaults of volumes and checks them: those of pods, persistent volumes, and claims of these, which
// share most of their sources.
package volume

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// ValidateAll checks the volumes of a pod, or of a template when meta is nil. Those without fault, which it returns by
// name, are what containers can mount.
func ValidateAll(
	volumes []corev1.Volume, meta *metav1.ObjectMeta, e Exempt, path *field.Path,
) (known map[string]*corev1.VolumeSource, errs field.ErrorList) {
	known = make(map[string]*corev1.VolumeSource, len(volumes))
	made := madeClaims(volumes, meta)
	for i := range volumes {
		v, at := &volumes[i], path.Index(i)
		faults := validateVolumeSource(v, meta, e, at)
		if v.Name == "" {
			faults = append(faults, field.Required(at.Child("name"), ""))
		} else {
			faults = append(faults, validate.DNSLabel(v.Name, at.Child("name"))...)
		}
		if known[v.Name] != nil {
			faults = append(faults, field.Duplicate(at.Child("name"), v.Name))
		}
		if len(faults) == 0 {
			known[v.Name] = &v.VolumeSource
		}
		errs = append(errs, faults...)
		if c := v.PersistentVolumeClaim; c != nil && made[c.ClaimName] {
			errs = append(errs, field.Invalid(at.Child("persistentVolumeClaim", "claimName"), c.ClaimName,
				"must not reference a PVC that gets created for an ephemeral volume"))
		}
	}
	return known, errs
}

// madeClaims are the names of the claims that are made for a pod's ephemeral volumes.
func madeClaims(volumes []corev1.Volume, meta *metav1.ObjectMeta) map[string]bool {
	if meta == nil || meta.Name == "" {
		return nil
	}
	made := map[string]bool{}
	for i := range volumes {
		if volumes[i].Ephemeral != nil {
			made[meta.Name+"-"+volumes[i].Name] = true
		}
	}
	return made
}

// oneSource collects what is wrong with a volume that must have one source.
type oneSource struct {
	path *field.Path
	n    int
	errs field.ErrorList
}

// source checks a source if it is set and the first, and else refuses it.
func source[T any](o *oneSource, name string, s *T, check func(*T, *field.Path) field.ErrorList) {
	sourceAs(o, name, name, s, check)
}

// sourceAs is source where kube-apiserver refuses a source by another name than it checks it by.
func sourceAs[T any](o *oneSource, refused, name string, s *T, check func(*T, *field.Path) field.ErrorList) {
	if s == nil {
		return
	}
	if o.n++; o.n == 1 {
		o.errs = append(o.errs, check(s, o.path.Child(name))...)
	} else {
		o.errs = append(o.errs, field.Forbidden(o.path.Child(refused), "may not specify more than 1 volume type"))
	}
}

// validateVolumeSource checks the first source that a volume has, in the order in which kube-apiserver looks, and refuses any further.
func validateVolumeSource(v *corev1.Volume, meta *metav1.ObjectMeta, e Exempt, path *field.Path) field.ErrorList {
	o, s := &oneSource{path: path}, &v.VolumeSource
	source(o, "emptyDir", s.EmptyDir, validateEmptyDir)
	source(o, "hostPath", s.HostPath, validateHostPath)
	source(o, "gitRepo", s.GitRepo, validateGitRepo)
	sourceAs(o, "gcePersistentDisk", "persistentDisk", s.GCEPersistentDisk, validateGCEDisk)
	source(o, "awsElasticBlockStore", s.AWSElasticBlockStore, validateEBS)
	source(o, "secret", s.Secret, validateSecretVolume)
	source(o, "nfs", s.NFS, validateNFS)
	source(o, "iscsi", s.ISCSI, validateISCSI)
	if s.ISCSI != nil && s.ISCSI.InitiatorName != nil && len(v.Name+":"+s.ISCSI.TargetPortal) > maxPortalName {
		o.errs = append(o.errs, field.Invalid(path.Child("name"), v.Name, portalTooLong))
	}
	source(o, "glusterfs", s.Glusterfs, validateGlusterfs)
	source(o, "flocker", s.Flocker, validateFlocker)
	source(o, "persistentVolumeClaim", s.PersistentVolumeClaim, validateClaimSource)
	source(o, "rbd", s.RBD, validateRBD)
	source(o, "cinder", s.Cinder, validateCinder)
	sourceAs(o, "cephFS", "cephfs", s.CephFS, validateCephFS)
	source(o, "quobyte", s.Quobyte, validateQuobyte)
	sourceAs(o, "downwarAPI", "downwardAPI", s.DownwardAPI, validateDownwardVolume)
	source(o, "fc", s.FC, validateFibreChannel)
	source(o, "flexVolume", s.FlexVolume, validateFlexVolume)
	source(o, "configMap", s.ConfigMap, validateConfigMapVolume)
	source(o, "azureFile", s.AzureFile, validateAzureFile)
	source(o, "vsphereVolume", s.VsphereVolume, validateVsphere)
	source(o, "photonPersistentDisk", s.PhotonPersistentDisk, validatePhoton)
	source(o, "portworxVolume", s.PortworxVolume, validatePortworx)
	source(o, "azureDisk", s.AzureDisk, validateAzureDisk)
	source(o, "storageos", s.StorageOS, validateStorageOSVolume)
	if s.Projected != nil {
		source(o, "projected", s.Projected, func(p *corev1.ProjectedVolumeSource, at *field.Path) field.ErrorList {
			return validateProjected(p, e, at)
		})
	}
	source(o, "scaleIO", s.ScaleIO, validateScaleIOVolume)
	source(o, "csi", s.CSI, validateCSI)
	source(o, "ephemeral", s.Ephemeral, validateEphemeralVolume)
	if s.Ephemeral != nil && o.n == 1 && meta != nil && meta.Name != "" && v.Name != "" {
		claim := meta.Name + "-" + v.Name
		for _, message := range apivalidation.NameIsDNSSubdomain(claim, false) {
			o.errs = append(o.errs, field.Invalid(path.Child("name"), v.Name, fmt.Sprintf("PVC name %q: %v", claim, message)))
		}
	}
	if s.Image != nil {
		source(o, "image", s.Image, func(i *corev1.ImageVolumeSource, at *field.Path) field.ErrorList {
			return validateImageVolume(i, e, at)
		})
	}
	if o.n == 0 {
		return field.ErrorList{field.Required(path, "must specify a volume type")}
	}
	return o.errs
}

func validateEmptyDir(e *corev1.EmptyDirVolumeSource, path *field.Path) field.ErrorList {
	if e.SizeLimit != nil && e.SizeLimit.Sign() < 0 {
		return field.ErrorList{field.Forbidden(path.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity")}
	}
	return nil
}

func validateGitRepo(g *corev1.GitRepoVolumeSource, path *field.Path) field.ErrorList {
	return append(validate.Required(g.Repository, path.Child("repository")), validate.LocalPath(g.Directory, path.Child("directory"))...)
}

func validateClaimSource(c *corev1.PersistentVolumeClaimVolumeSource, path *field.Path) field.ErrorList {
	return validate.Required(c.ClaimName, path.Child("claimName"))
}

func validateEphemeralVolume(e *corev1.EphemeralVolumeSource, path *field.Path) field.ErrorList {
	at, t := path.Child("volumeClaimTemplate"), e.VolumeClaimTemplate
	if t == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	errs := apivalidation.ValidateAnnotations(t.Annotations, at.Child("metadata", "annotations"))
	errs = append(errs, metavalidation.ValidateLabels(t.Labels, at.Child("metadata", "labels"))...)
	errs = append(errs, onlyLabels(&t.ObjectMeta, at.Child("metadata"))...)
	return append(errs, ValidateClaim(&t.Spec, at.Child("spec"))...)
}

// onlyLabels refuses all metadata but labels and annotations, which is all that what is made from a template takes over.
func onlyLabels(m *metav1.ObjectMeta, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	forbid := func(name string, set bool) {
		if set {
			errs = append(errs, field.Forbidden(path.Child(name), "cannot be set"))
		}
	}
	forbid("name", m.Name != "")
	forbid("generateName", m.GenerateName != "")
	forbid("namespace", m.Namespace != "")
	forbid("selfLink", m.SelfLink != "")
	forbid("uID", m.UID != "")
	forbid("resourceVersion", m.ResourceVersion != "")
	forbid("generation", m.Generation != 0)
	forbid("creationTimestamp", !m.CreationTimestamp.IsZero())
	forbid("deletionTimestamp", m.DeletionTimestamp != nil)
	forbid("deletionGracePeriodSeconds", m.DeletionGracePeriodSeconds != nil)
	forbid("ownerReferences", m.OwnerReferences != nil)
	forbid("finalizers", m.Finalizers != nil)
	forbid("managedFields", m.ManagedFields != nil)
	return errs
}

func validateImageVolume(i *corev1.ImageVolumeSource, e Exempt, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if !e.emptyReference {
		errs = validate.Required(i.Reference, path.Child("reference"))
	}
	return append(errs, validate.PullPolicy(i.PullPolicy, path.Child("pullPolicy"))...)
}
