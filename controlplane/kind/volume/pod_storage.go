package volume

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
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
	errs := validate.Required(s.TargetPortal, path.Child("targetPortal"))
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
	return append(validate.Required(g.EndpointsName, path.Child("endpoints")), validate.Required(g.Path, path.Child("path"))...)
}

func validateRBD(r *corev1.RBDVolumeSource, path *field.Path) field.ErrorList {
	return append(validate.RequiredList(r.CephMonitors, path.Child("monitors")), validate.Required(r.RBDImage, path.Child("image"))...)
}

func validateCephFS(c *corev1.CephFSVolumeSource, path *field.Path) field.ErrorList {
	return validate.RequiredList(c.Monitors, path.Child("monitors"))
}

func validateCinder(c *corev1.CinderVolumeSource, path *field.Path) field.ErrorList {
	errs := validate.Required(c.VolumeID, path.Child("volumeID"))
	if c.SecretRef != nil {
		errs = append(errs, validate.Required(c.SecretRef.Name, path.Child("secretRef", "name"))...)
	}
	return errs
}

func validateFlexVolume(f *corev1.FlexVolumeSource, path *field.Path) field.ErrorList {
	return append(validate.Required(f.Driver, path.Child("driver")), validateFlexOptions(f.Options, path.Child("options"))...)
}

func validateAzureFile(a *corev1.AzureFileVolumeSource, path *field.Path) field.ErrorList {
	return append(validate.Required(a.SecretName, path.Child("secretName")), validate.Required(a.ShareName, path.Child("shareName"))...)
}

func validateVsphere(v *corev1.VsphereVirtualDiskVolumeSource, path *field.Path) field.ErrorList {
	return validate.Required(v.VolumePath, path.Child("volumePath"))
}

func validatePhoton(p *corev1.PhotonPersistentDiskVolumeSource, path *field.Path) field.ErrorList {
	return validate.Required(p.PdID, path.Child("pdID"))
}

func validatePortworx(p *corev1.PortworxVolumeSource, path *field.Path) field.ErrorList {
	return validate.Required(p.VolumeID, path.Child("volumeID"))
}

func validateScaleIOVolume(s *corev1.ScaleIOVolumeSource, path *field.Path) field.ErrorList {
	return validateScaleIO(s.Gateway, s.System, s.VolumeName, path)
}

func validateStorageOSVolume(s *corev1.StorageOSVolumeSource, path *field.Path) field.ErrorList {
	errs := validateStorageOS(s.VolumeName, s.VolumeNamespace, path)
	if s.SecretRef != nil {
		errs = append(errs, validate.Required(s.SecretRef.Name, path.Child("secretRef", "name"))...)
	}
	return errs
}

func validateCSI(c *corev1.CSIVolumeSource, path *field.Path) field.ErrorList {
	errs := ValidateDriverName(c.Driver, path.Child("driver"))
	if ref := c.NodePublishSecretRef; ref != nil {
		if ref.Name == "" {
			errs = append(errs, field.Required(path.Child("nodePublishSecretRef", "name"), ""))
		} else {
			errs = append(errs, validate.Subdomain(ref.Name, path.Child("name"))...)
		}
	}
	return errs
}
