package kind

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The volumes of this file are of storage systems. Nodes mount few of them, but an object that names one is checked all the same.

func validateGCEDisk(d *corev1.GCEPersistentDiskVolumeSource, path *field.Path) field.ErrorList {
	return validateDiskPartition(d.PDName, d.Partition, path.Child("pdName"), path.Child("partition"))
}

func validateEBS(d *corev1.AWSElasticBlockStoreVolumeSource, path *field.Path) field.ErrorList {
	return validateDiskPartition(d.VolumeID, d.Partition, path.Child("volumeID"), path.Child("partition"))
}

const iscsiForms = "must be valid format starting with iqn, eui, or naa"

func validateISCSI(s *corev1.ISCSIVolumeSource, path *field.Path) field.ErrorList {
	errs := requiredText(s.TargetPortal, path.Child("targetPortal"))
	if s.IQN == "" {
		errs = append(errs, field.Required(path.Child("iqn"), ""))
	} else {
		errs = append(errs, validateISCSIName(s.IQN, iscsiForms, path.Child("iqn"))...)
	}
	errs = append(errs, validateLUN(s.Lun, path.Child("lun"))...)
	if (s.DiscoveryCHAPAuth || s.SessionCHAPAuth) && s.SecretRef == nil {
		errs = append(errs, field.Required(path.Child("secretRef"), ""))
	}
	if s.InitiatorName != nil {
		errs = append(errs, validateISCSIName(*s.InitiatorName, iscsiForms, path.Child("initiatorname"))...)
	}
	return errs
}

func validateGlusterfs(g *corev1.GlusterfsVolumeSource, path *field.Path) field.ErrorList {
	return append(requiredText(g.EndpointsName, path.Child("endpoints")), requiredText(g.Path, path.Child("path"))...)
}

func validateRBD(r *corev1.RBDVolumeSource, path *field.Path) field.ErrorList {
	return append(requiredList(r.CephMonitors, path.Child("monitors")), requiredText(r.RBDImage, path.Child("image"))...)
}

func validateCephFS(c *corev1.CephFSVolumeSource, path *field.Path) field.ErrorList {
	return requiredList(c.Monitors, path.Child("monitors"))
}

func validateCinder(c *corev1.CinderVolumeSource, path *field.Path) field.ErrorList {
	errs := requiredText(c.VolumeID, path.Child("volumeID"))
	if c.SecretRef != nil {
		errs = append(errs, requiredText(c.SecretRef.Name, path.Child("secretRef", "name"))...)
	}
	return errs
}

func validateFlexVolume(f *corev1.FlexVolumeSource, path *field.Path) field.ErrorList {
	return append(requiredText(f.Driver, path.Child("driver")), validateFlexOptions(f.Options, path.Child("options"))...)
}

func validateAzureFile(a *corev1.AzureFileVolumeSource, path *field.Path) field.ErrorList {
	return append(requiredText(a.SecretName, path.Child("secretName")), requiredText(a.ShareName, path.Child("shareName"))...)
}

func validateVsphere(v *corev1.VsphereVirtualDiskVolumeSource, path *field.Path) field.ErrorList {
	return requiredText(v.VolumePath, path.Child("volumePath"))
}

func validatePhoton(p *corev1.PhotonPersistentDiskVolumeSource, path *field.Path) field.ErrorList {
	return requiredText(p.PdID, path.Child("pdID"))
}

func validatePortworx(p *corev1.PortworxVolumeSource, path *field.Path) field.ErrorList {
	return requiredText(p.VolumeID, path.Child("volumeID"))
}

func validateScaleIOVolume(s *corev1.ScaleIOVolumeSource, path *field.Path) field.ErrorList {
	return validateScaleIO(s.Gateway, s.System, s.VolumeName, path)
}

func validateStorageOSVolume(s *corev1.StorageOSVolumeSource, path *field.Path) field.ErrorList {
	errs := validateStorageOS(s.VolumeName, s.VolumeNamespace, path)
	if s.SecretRef != nil {
		errs = append(errs, requiredText(s.SecretRef.Name, path.Child("secretRef", "name"))...)
	}
	return errs
}

func validateCSI(c *corev1.CSIVolumeSource, path *field.Path) field.ErrorList {
	errs := validateDriverName(c.Driver, path.Child("driver"))
	if ref := c.NodePublishSecretRef; ref != nil {
		if ref.Name == "" {
			errs = append(errs, field.Required(path.Child("nodePublishSecretRef", "name"), ""))
		} else {
			errs = append(errs, subdomain(ref.Name, path.Child("name"))...)
		}
	}
	return errs
}
