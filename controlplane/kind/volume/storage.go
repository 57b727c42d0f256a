package volume

import (
	"net"
	"path"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// MaxDriverName is how long the name of a CSI driver may be.
const MaxDriverName = 63

// ValidateDriverName checks a driver's name where it is no object's name.
func ValidateDriverName(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	var errs field.ErrorList
	if len(name) > MaxDriverName {
		errs = append(errs, field.TooLong(path, "" /* not shown */, MaxDriverName))
	}
	return append(errs, validate.Each(path, name, validation.IsDNS1123Subdomain(strings.ToLower(name)))...)
}

// The rules of the volume sources that name a storage system, as far as a pod's volumes and persistent volumes share
// them.

const (
	// maxPartition and maxLUN bound what one byte addresses.
	maxPartition = 255
	maxLUN       = 255
	// maxQuobyteTenant is how long a tenant's UUID may be.
	maxQuobyteTenant = 64
)

// iscsiNames are the forms of the names of initiators and targets by what they start with.
var iscsiNames = map[string]*regexp.Regexp{
	"iqn": regexp.MustCompile(`iqn\.\d{4}-\d{2}\.([[:alnum:]-.]+)(:[^,;*&$|\s]+)$`),
	"eui": regexp.MustCompile(`^eui.[[:alnum:]]{16}$`),
	"naa": regexp.MustCompile(`^naa.[[:alnum:]]{32}$`),
}

// validateISCSIName checks the name of a target or an initiator; unknown is what is said of one of no known form.
func validateISCSIName(name, unknown string, path *field.Path) field.ErrorList {
	form := iscsiNames[name[:min(len(name), 3)]]
	switch {
	case form == nil:
		return field.ErrorList{field.Invalid(path, name, unknown)}
	case !form.MatchString(name):
		return field.ErrorList{field.Invalid(path, name, "must be valid format")}
	}
	return nil
}

func validateLUN(lun int32, path *field.Path) field.ErrorList {
	if lun < 0 || lun > maxLUN {
		return field.ErrorList{field.Invalid(path, lun, validation.InclusiveRangeError(0, maxLUN))}
	}
	return nil
}

// validateDiskPartition checks a disk of a cloud: its name, and a partition of it, of which 0 is the whole disk, though the
// message does not say so.
func validateDiskPartition(disk string, partition int32, diskPath, partitionPath *field.Path) field.ErrorList {
	errs := validate.Required(disk, diskPath)
	if partition < 0 || partition > maxPartition {
		errs = append(errs, field.Invalid(partitionPath, partition, validation.InclusiveRangeError(1, maxPartition)))
	}
	return errs
}

func validateFibreChannel(s *corev1.FCVolumeSource, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := path.Child("targetWWNs")
	if len(s.TargetWWNs) == 0 && len(s.WWIDs) == 0 {
		errs = append(errs, field.Required(names, "must specify either targetWWNs or wwids, but not both"))
	}
	if len(s.TargetWWNs) > 0 && len(s.WWIDs) > 0 {
		errs = append(errs, field.Invalid(names, s.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously"))
	}
	if len(s.TargetWWNs) > 0 {
		if s.Lun == nil {
			errs = append(errs, field.Required(path.Child("lun"), "lun is required if targetWWNs is specified"))
		} else {
			errs = append(errs, validateLUN(*s.Lun, path.Child("lun"))...)
		}
	}
	return errs
}

func validateQuobyte(s *corev1.QuobyteVolumeSource, path *field.Path) field.ErrorList {
	const pairs = "must be a host:port pair or multiple pairs separated by commas"
	var errs field.ErrorList
	registry := path.Child("registry")
	switch {
	case s.Registry == "":
		errs = append(errs, field.Required(registry, pairs))
	case len(s.Tenant) > maxQuobyteTenant:
		errs = append(errs, field.Required(path.Child("tenant"), "must be a UUID and may not exceed a length of 64 characters"))
	default:
		for pair := range strings.SplitSeq(s.Registry, ",") {
			if _, _, err := net.SplitHostPort(pair); err != nil {
				errs = append(errs, field.Invalid(registry, s.Registry, pairs))
			}
		}
	}
	return append(errs, validate.Required(s.Volume, path.Child("volume"))...)
}

func validateFlocker(s *corev1.FlockerVolumeSource, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.DatasetName == "" && s.DatasetUUID == "" {
		errs = append(errs, field.Required(path, "one of datasetName and datasetUUID is required"))
	}
	if s.DatasetName != "" && s.DatasetUUID != "" {
		errs = append(errs, field.Invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously"))
	}
	if strings.Contains(s.DatasetName, "/") {
		errs = append(errs, field.Invalid(path.Child("datasetName"), s.DatasetName, "must not contain '/'"))
	}
	return errs
}

// validateFlexOptions keeps the names that Kubernetes itself passes to drivers out of what users pass.
func validateFlexOptions(options map[string]string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for name := range options {
		domain, _, _ := strings.Cut(name, "/")
		if domain = "." + strings.ToLower(domain); strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io") {
			errs = append(errs, field.Invalid(path.Key(name), name, "kubernetes.io and k8s.io namespaces are reserved"))
		}
	}
	return errs
}

func validateAzureDisk(s *corev1.AzureDiskVolumeSource, path *field.Path) field.ErrorList {
	errs := validate.Required(s.DiskName, path.Child("diskName"))
	uri := path.Child("diskURI")
	errs = append(errs, validate.Required(s.DataDiskURI, uri)...)
	if m := s.CachingMode; m != nil {
		errs = append(errs, validate.Supported(*m, path.Child("cachingMode"), corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite)...)
	}
	if s.Kind == nil {
		return errs
	}
	errs = append(errs, validate.Supported(*s.Kind, path.Child("kind"), corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk, corev1.AzureSharedBlobDisk)...)
	// each kind of disk has addresses of its own form
	prefix, form := "https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
	if *s.Kind == corev1.AzureManagedDisk {
		prefix, form = "/subscriptions/", "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
	}
	if !strings.HasPrefix(s.DataDiskURI, prefix) {
		errs = append(errs, field.NotSupported(uri, s.DataDiskURI, []string{form}))
	}
	return errs
}

func validateScaleIO(gateway, system, volume string, path *field.Path) field.ErrorList {
	errs := validate.Required(gateway, path.Child("gateway"))
	errs = append(errs, validate.Required(system, path.Child("system"))...)
	return append(errs, validate.Required(volume, path.Child("volumeName"))...)
}

func validateStorageOS(volume, namespace string, path *field.Path) field.ErrorList {
	at := path.Child("volumeName")
	errs := validate.Required(volume, at)
	if volume != "" {
		errs = append(errs, validate.DNSLabel(volume, at)...)
	}
	if namespace != "" {
		errs = append(errs, validate.DNSLabel(namespace, path.Child("volumeNamespace"))...)
	}
	return errs
}

func validateHostPath(h *corev1.HostPathVolumeSource, path *field.Path) field.ErrorList {
	if h.Path == "" {
		return field.ErrorList{field.Required(path.Child("path"), "")}
	}
	errs := validate.NoBacksteps(h.Path, path.Child("path"))
	if h.Type != nil {
		errs = append(errs, validate.Supported(*h.Type, path.Child("type"), corev1.HostPathUnset, corev1.HostPathBlockDev, corev1.HostPathCharDev, corev1.HostPathDirectory,
			corev1.HostPathDirectoryOrCreate, corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket)...)
	}
	return errs
}

func validateNFS(n *corev1.NFSVolumeSource, at *field.Path) field.ErrorList {
	errs := validate.Required(n.Server, at.Child("server"))
	errs = append(errs, validate.Required(n.Path, at.Child("path"))...)
	if !path.IsAbs(n.Path) {
		errs = append(errs, field.Invalid(at.Child("path"), n.Path, "must be an absolute path"))
	}
	return errs
}
