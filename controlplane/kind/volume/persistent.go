package volume

import (
	"path"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// maxPortalName bounds the name of a volume and its portal together, of which iSCSI makes the name of an interface.
const maxPortalName = 64

const portalTooLong = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."

// volumeSource is one of the sources that a persistent volume may have.
type volumeSource struct {
	name  string
	set   bool
	check func() field.ErrorList
}

// sourcesOf lists the sources in the order in which errors name them.
func sourcesOf(s *corev1.PersistentVolumeSource, name string, at *field.Path) []volumeSource {
	return []volumeSource{
		{"hostPath", s.HostPath != nil, func() field.ErrorList { return validateHostPath(s.HostPath, at.Child("hostPath")) }},
		{"gcePersistentDisk", s.GCEPersistentDisk != nil, func() field.ErrorList {
			return validateGCEDisk(s.GCEPersistentDisk, at.Child("persistentDisk")) // not the field's name, but what Kubernetes says
		}},
		{"awsElasticBlockStore", s.AWSElasticBlockStore != nil, func() field.ErrorList {
			return validateEBS(s.AWSElasticBlockStore, at.Child("awsElasticBlockStore"))
		}},
		{"glusterfs", s.Glusterfs != nil, func() field.ErrorList { return validateGlusterfsVolume(s.Glusterfs, at.Child("glusterfs")) }},
		{"flocker", s.Flocker != nil, func() field.ErrorList { return validateFlocker(s.Flocker, at.Child("flocker")) }},
		{"nfs", s.NFS != nil, func() field.ErrorList { return validateNFS(s.NFS, at.Child("nfs")) }},
		{"rbd", s.RBD != nil, func() field.ErrorList {
			errs := validate.RequiredList(s.RBD.CephMonitors, at.Child("rbd", "monitors"))
			return append(errs, validate.Required(s.RBD.RBDImage, at.Child("rbd", "image"))...)
		}},
		{"quobyte", s.Quobyte != nil, func() field.ErrorList { return validateQuobyte(s.Quobyte, at.Child("quobyte")) }},
		{"cephFS", s.CephFS != nil, func() field.ErrorList {
			return validate.RequiredList(s.CephFS.Monitors, at.Child("cephfs", "monitors"))
		}},
		{"iscsi", s.ISCSI != nil, func() field.ErrorList { return validateISCSIVolume(s.ISCSI, name, at.Child("iscsi")) }},
		{"cinder", s.Cinder != nil, func() field.ErrorList {
			errs := validate.Required(s.Cinder.VolumeID, at.Child("cinder", "volumeID"))
			return append(errs, validateSecretReference(s.Cinder.SecretRef, at.Child("cinder", "secretRef"))...)
		}},
		{"fc", s.FC != nil, func() field.ErrorList { return validateFibreChannel(s.FC, at.Child("fc")) }},
		{"flexVolume", s.FlexVolume != nil, func() field.ErrorList {
			errs := validate.Required(s.FlexVolume.Driver, at.Child("flexVolume", "driver"))
			return append(errs, validateFlexOptions(s.FlexVolume.Options, at.Child("flexVolume", "options"))...)
		}},
		{"azureFile", s.AzureFile != nil, func() field.ErrorList { return validateAzureFileVolume(s.AzureFile, at.Child("azureFile")) }},
		{"vsphereVolume", s.VsphereVolume != nil, func() field.ErrorList {
			return validate.Required(s.VsphereVolume.VolumePath, at.Child("vsphereVolume", "volumePath"))
		}},
		{"photonPersistentDisk", s.PhotonPersistentDisk != nil, func() field.ErrorList {
			return validate.Required(s.PhotonPersistentDisk.PdID, at.Child("photonPersistentDisk", "pdID"))
		}},
		{"portworxVolume", s.PortworxVolume != nil, func() field.ErrorList {
			return validate.Required(s.PortworxVolume.VolumeID, at.Child("portworxVolume", "volumeID"))
		}},
		{"azureDisk", s.AzureDisk != nil, func() field.ErrorList { return validateAzureDisk(s.AzureDisk, at.Child("azureDisk")) }},
		{"scaleIO", s.ScaleIO != nil, func() field.ErrorList {
			return validateScaleIO(s.ScaleIO.Gateway, s.ScaleIO.System, s.ScaleIO.VolumeName, at.Child("scaleIO"))
		}},
		{"local", s.Local != nil, func() field.ErrorList {
			if s.Local.Path == "" {
				return validate.Required("", at.Child("local", "path"))
			}
			return validate.NoBacksteps(s.Local.Path, at.Child("local", "path"))
		}},
		{"storageos", s.StorageOS != nil, func() field.ErrorList {
			errs := validateStorageOS(s.StorageOS.VolumeName, s.StorageOS.VolumeNamespace, at.Child("storageos"))
			if ref := s.StorageOS.SecretRef; ref != nil {
				errs = append(errs, validate.Required(ref.Name, at.Child("storageos", "secretRef", "name"))...)
				errs = append(errs, validate.Required(ref.Namespace, at.Child("storageos", "secretRef", "namespace"))...)
			}
			return errs
		}},
		{"csi", s.CSI != nil, func() field.ErrorList { return validateCSIVolume(s.CSI, at.Child("csi")) }},
	}
}

// ValidatePersistent holds a persistent volume to one source, and checks that.
func ValidatePersistent(s *corev1.PersistentVolumeSpec, name string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	found := 0
	for _, source := range sourcesOf(&s.PersistentVolumeSource, name, at) {
		switch {
		case !source.set:
			continue
		case found > 0 && source.name != "flexVolume": // Kubernetes forgets to refuse that one beside another
			errs = append(errs, field.Forbidden(at.Child(source.name), "may not specify more than 1 volume type"))
			continue
		}
		found++
		errs = append(errs, source.check()...)
		if source.name == "local" && s.NodeAffinity == nil {
			errs = append(errs, field.Required(at.Child("nodeAffinity"), "Local volume requires node affinity"))
		}
	}
	if found == 0 {
		errs = append(errs, field.Required(at, "must specify a volume type"))
	}
	if s.HostPath != nil && path.Clean(s.HostPath.Path) == "/" && s.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		errs = append(errs, field.Forbidden(at.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'"))
	}
	return errs
}

func validateGlusterfsVolume(s *corev1.GlusterfsPersistentVolumeSource, at *field.Path) field.ErrorList {
	errs := validate.Required(s.EndpointsName, at.Child("endpoints"))
	errs = append(errs, validate.Required(s.Path, at.Child("path"))...)
	switch ns := s.EndpointsNamespace; {
	case ns == nil:
	case *ns == "":
		errs = append(errs, field.Invalid(at.Child("endpointsNamespace"), *ns, "if the endpointnamespace is set, it must be a valid namespace name"))
	default:
		errs = append(errs, validate.Each(at.Child("endpointsNamespace"), *ns, apivalidation.ValidateNamespaceName(*ns, false))...)
	}
	return errs
}

func validateISCSIVolume(s *corev1.ISCSIPersistentVolumeSource, name string, at *field.Path) field.ErrorList {
	const form = "must be valid format"
	errs := validate.Required(s.TargetPortal, at.Child("targetPortal"))
	if s.InitiatorName != nil && len(name+":"+s.TargetPortal) > maxPortalName {
		errs = append(errs, field.Invalid(at.Child("targetportal"), s.TargetPortal, portalTooLong))
	}
	if s.IQN == "" {
		errs = append(errs, field.Required(at.Child("iqn"), ""))
	} else {
		errs = append(errs, validateISCSIName(s.IQN, form, at.Child("iqn"))...)
	}
	errs = append(errs, validateLUN(s.Lun, at.Child("lun"))...)
	if (s.DiscoveryCHAPAuth || s.SessionCHAPAuth) && s.SecretRef == nil {
		errs = append(errs, field.Required(at.Child("secretRef"), ""))
	}
	if s.SecretRef != nil {
		errs = append(errs, validate.Required(s.SecretRef.Name, at.Child("secretRef", "name"))...)
	}
	if s.InitiatorName != nil {
		errs = append(errs, validateISCSIName(*s.InitiatorName, form, at.Child("initiatorname"))...)
	}
	return errs
}

// validateSecretReference requires both parts of a reference, if there is one.
func validateSecretReference(ref *corev1.SecretReference, at *field.Path) field.ErrorList {
	if ref == nil {
		return nil
	}
	return append(validate.Required(ref.Name, at.Child("name")), validate.Required(ref.Namespace, at.Child("namespace"))...)
}

func validateAzureFileVolume(s *corev1.AzureFilePersistentVolumeSource, at *field.Path) field.ErrorList {
	errs := validate.Required(s.SecretName, at.Child("secretName"))
	errs = append(errs, validate.Required(s.ShareName, at.Child("shareName"))...)
	if s.SecretNamespace != nil {
		errs = append(errs, validate.Required(*s.SecretNamespace, at.Child("secretNamespace"))...)
	}
	return errs
}

func validateCSIVolume(s *corev1.CSIPersistentVolumeSource, at *field.Path) field.ErrorList {
	errs := ValidateDriverName(s.Driver, at.Child("driver"))
	errs = append(errs, validate.Required(s.VolumeHandle, at.Child("volumeHandle"))...)
	for _, secret := range []struct {
		field string
		ref   *corev1.SecretReference
	}{
		{"controllerPublishSecretRef", s.ControllerPublishSecretRef}, {"controllerExpandSecretRef", s.ControllerExpandSecretRef},
		{"nodePublishSecretRef", s.NodePublishSecretRef}, {"nodeExpandSecretRef", s.NodeExpandSecretRef},
	} {
		if secret.ref == nil {
			continue
		}
		at := at.Child(secret.field)
		errs = append(errs, validateSecretReference(secret.ref, at)...)
		if name := secret.ref.Name; name != "" {
			errs = append(errs, validate.Subdomain(name, at.Child("name"))...)
		}
		if ns := secret.ref.Namespace; ns != "" {
			errs = append(errs, validate.DNSLabel(ns, at.Child("namespace"))...)
		}
	}
	return errs
}
