package kind

import (
	"net"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The volumes of this file are of storage systems. Nodes mount few of them, but an object that names one is checked all the same.

func validateGCEDisk(d *corev1.GCEPersistentDiskVolumeSource, path *field.Path) field.ErrorList {
	return append(requiredText(d.PDName, path.Child("pdName")), validatePartition(d.Partition, path.Child("partition"))...)
}

func validateEBS(d *corev1.AWSElasticBlockStoreVolumeSource, path *field.Path) field.ErrorList {
	return append(requiredText(d.VolumeID, path.Child("volumeID")), validatePartition(d.Partition, path.Child("partition"))...)
}

// validatePartition accepts 0 too, which is the whole disk, though the message does not say so.
func validatePartition(n int32, path *field.Path) field.ErrorList {
	if n < 0 || n > 255 {
		return field.ErrorList{field.Invalid(path, n, validation.InclusiveRangeError(1, 255))}
	}
	return nil
}

// Names in iSCSI, by their first three letters.
var iscsiNames = map[string]*regexp.Regexp{
	"iqn": regexp.MustCompile(`iqn\.\d{4}-\d{2}\.([[:alnum:]-.]+)(:[^,;*&$|\s]+)$`),
	"eui": regexp.MustCompile(`^eui.[[:alnum:]]{16}$`),
	"naa": regexp.MustCompile(`^naa.[[:alnum:]]{32}$`),
}

const (
	// maxISCSIName bounds the name of a volume and its portal together.
	maxISCSIName = 64
	maxLUN       = 255
)

func validateISCSI(s *corev1.ISCSIVolumeSource, path *field.Path) field.ErrorList {
	errs := requiredText(s.TargetPortal, path.Child("targetPortal"))
	if s.IQN == "" {
		errs = append(errs, field.Required(path.Child("iqn"), ""))
	} else {
		errs = append(errs, validateISCSIName(s.IQN, path.Child("iqn"))...)
	}
	if s.Lun < 0 || s.Lun > maxLUN {
		errs = append(errs, field.Invalid(path.Child("lun"), s.Lun, validation.InclusiveRangeError(0, maxLUN)))
	}
	if (s.DiscoveryCHAPAuth || s.SessionCHAPAuth) && s.SecretRef == nil {
		errs = append(errs, field.Required(path.Child("secretRef"), ""))
	}
	if s.InitiatorName != nil {
		errs = append(errs, validateISCSIName(*s.InitiatorName, path.Child("initiatorname"))...)
	}
	return errs
}

func validateISCSIName(name string, path *field.Path) field.ErrorList {
	format := iscsiNames[name[:min(3, len(name))]]
	switch {
	case format == nil:
		return field.ErrorList{field.Invalid(path, name, "must be valid format starting with iqn, eui, or naa")}
	case !format.MatchString(name):
		return field.ErrorList{field.Invalid(path, name, "must be valid format")}
	}
	return nil
}

func validateFC(f *corev1.FCVolumeSource, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	at := path.Child("targetWWNs")
	if len(f.TargetWWNs) == 0 && len(f.WWIDs) == 0 {
		errs = append(errs, field.Required(at, "must specify either targetWWNs or wwids, but not both"))
	}
	if len(f.TargetWWNs) == 0 {
		return errs
	}
	if len(f.WWIDs) > 0 {
		errs = append(errs, field.Invalid(at, f.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously"))
	}
	if f.Lun == nil {
		errs = append(errs, field.Required(path.Child("lun"), "lun is required if targetWWNs is specified"))
	} else if *f.Lun < 0 || *f.Lun > maxLUN {
		errs = append(errs, field.Invalid(path.Child("lun"), *f.Lun, validation.InclusiveRangeError(0, maxLUN)))
	}
	return errs
}

func validateGlusterfs(g *corev1.GlusterfsVolumeSource, path *field.Path) field.ErrorList {
	return append(requiredText(g.EndpointsName, path.Child("endpoints")), requiredText(g.Path, path.Child("path"))...)
}

func validateFlocker(f *corev1.FlockerVolumeSource, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if f.DatasetName == "" && f.DatasetUUID == "" {
		errs = append(errs, field.Required(path, "one of datasetName and datasetUUID is required"))
	}
	if f.DatasetName != "" && f.DatasetUUID != "" {
		errs = append(errs, field.Invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously"))
	}
	if strings.Contains(f.DatasetName, "/") {
		errs = append(errs, field.Invalid(path.Child("datasetName"), f.DatasetName, "must not contain '/'"))
	}
	return errs
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

// maxQuobyteTenant is the length of a tenant's name that is too long already.
const maxQuobyteTenant = 65

func validateQuobyte(q *corev1.QuobyteVolumeSource, path *field.Path) field.ErrorList {
	const pairs = "must be a host:port pair or multiple pairs separated by commas"
	var errs field.ErrorList
	switch {
	case q.Registry == "":
		errs = append(errs, field.Required(path.Child("registry"), pairs))
	case len(q.Tenant) >= maxQuobyteTenant:
		errs = append(errs, field.Required(path.Child("tenant"), "must be a UUID and may not exceed a length of 64 characters"))
	default:
		for pair := range strings.SplitSeq(q.Registry, ",") {
			if _, _, err := net.SplitHostPort(pair); err != nil {
				errs = append(errs, field.Invalid(path.Child("registry"), q.Registry, pairs))
			}
		}
	}
	return append(errs, requiredText(q.Volume, path.Child("volume"))...)
}

func validateFlexVolume(f *corev1.FlexVolumeSource, path *field.Path) field.ErrorList {
	errs := requiredText(f.Driver, path.Child("driver"))
	for key := range f.Options {
		domain, _, _ := strings.Cut(key, "/")
		domain = "." + strings.ToLower(domain)
		if strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io") {
			errs = append(errs, field.Invalid(path.Child("options").Key(key), key, "kubernetes.io and k8s.io namespaces are reserved"))
		}
	}
	return errs
}

func validateAzureFile(a *corev1.AzureFileVolumeSource, path *field.Path) field.ErrorList {
	return append(requiredText(a.SecretName, path.Child("secretName")), requiredText(a.ShareName, path.Child("shareName"))...)
}

func validateAzureDisk(a *corev1.AzureDiskVolumeSource, path *field.Path) field.ErrorList {
	errs := requiredText(a.DiskName, path.Child("diskName"))
	errs = append(errs, requiredText(a.DataDiskURI, path.Child("diskURI"))...)
	if m := a.CachingMode; m != nil {
		errs = append(errs, supported(*m, path.Child("cachingMode"), corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite)...)
	}
	if a.Kind == nil {
		return errs
	}
	errs = append(errs, supported(*a.Kind, path.Child("kind"), corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk, corev1.AzureSharedBlobDisk)...)
	prefix, form := "https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
	if *a.Kind == corev1.AzureManagedDisk {
		prefix, form = "/subscriptions/", "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
	}
	if !strings.HasPrefix(a.DataDiskURI, prefix) {
		errs = append(errs, field.NotSupported(path.Child("diskURI"), a.DataDiskURI, []string{form}))
	}
	return errs
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

func validateScaleIO(s *corev1.ScaleIOVolumeSource, path *field.Path) field.ErrorList {
	errs := requiredText(s.Gateway, path.Child("gateway"))
	errs = append(errs, requiredText(s.System, path.Child("system"))...)
	return append(errs, requiredText(s.VolumeName, path.Child("volumeName"))...)
}

func validateStorageOS(s *corev1.StorageOSVolumeSource, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.VolumeName == "" {
		errs = append(errs, field.Required(path.Child("volumeName"), ""))
	} else {
		errs = append(errs, dnsLabel(s.VolumeName, path.Child("volumeName"))...)
	}
	if s.VolumeNamespace != "" {
		errs = append(errs, dnsLabel(s.VolumeNamespace, path.Child("volumeNamespace"))...)
	}
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
