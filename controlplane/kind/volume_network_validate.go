package kind

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The volumes of this file are of storage systems. Nodes mount few of them, but an object that names one is checked all the same.

func validateGCEDisk(d *corev1.GCEPersistentDiskVolumeSource, path *field.Path) field.ErrorList {
	return append(requiredText(d.PDName, path.Child("pdName")), validateDiskPart(d.Partition, path.Child("partition"))...)
}

func validateEBS(d *corev1.AWSElasticBlockStoreVolumeSource, path *field.Path) field.ErrorList {
	return append(requiredText(d.VolumeID, path.Child("volumeID")), validateDiskPart(d.Partition, path.Child("partition"))...)
}

// validateDiskPart accepts 0 too, which is the whole disk, though the message does not say so.
func validateDiskPart(n int32, path *field.Path) field.ErrorList {
	if n < 0 || n > 255 {
		return field.ErrorList{field.Invalid(path, n, validation.InclusiveRangeError(1, 255))}
	}
	return nil
}

// maxISCSIName bounds the name of a volume and its portal together.
const maxISCSIName = 64

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
	return append(validateMonitors(r.CephMonitors, path.Child("monitors")), requiredText(r.RBDImage, path.Child("image"))...)
}

func validateCephFS(c *corev1.CephFSVolumeSource, path *field.Path) field.ErrorList {
	return validateMonitors(c.Monitors, path.Child("monitors"))
}

func validateMonitors(monitors []string, path *field.Path) field.ErrorList {
	if len(monitors) == 0 {
		return field.ErrorList{field.Required(path, "")}
	}
	return nil
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
	var errs field.ErrorList
	at := path.Child("driver")
	if c.Driver == "" {
		errs = append(errs, field.Required(at, ""))
	} else {
		if len(c.Driver) > maxDriverName {
			errs = append(errs, field.TooLong(at, "", maxDriverName))
		}
		errs = append(errs, invalidEach(at, c.Driver, validation.IsDNS1123Subdomain(strings.ToLower(c.Driver)))...)
	}
	if ref := c.NodePublishSecretRef; ref != nil {
		if ref.Name == "" {
			errs = append(errs, field.Required(path.Child("nodePublishSecretRef", "name"), ""))
		} else {
			errs = append(errs, subdomain(ref.Name, path.Child("name"))...)
		}
	}
	return errs
}
