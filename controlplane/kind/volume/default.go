package volume

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
)

// serviceAccountTokenSeconds is how long a projected token lives when its volume does not say.
const serviceAccountTokenSeconds = 3600

// Default sets the defaults of a pod's volume.
func Default(v *corev1.Volume) {
	if v.VolumeSource == (corev1.VolumeSource{}) {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	s := &v.VolumeSource
	if s.Secret != nil {
		defaults.Pointer(&s.Secret.DefaultMode, corev1.SecretVolumeSourceDefaultMode)
	}
	if s.ConfigMap != nil {
		defaults.Pointer(&s.ConfigMap.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode)
	}
	if s.DownwardAPI != nil {
		defaults.Pointer(&s.DownwardAPI.DefaultMode, corev1.DownwardAPIVolumeSourceDefaultMode)
		defaultDownwardFiles(s.DownwardAPI.Items)
	}
	if s.Projected != nil {
		defaultProjected(s.Projected)
	}
	if s.Image != nil && s.Image.PullPolicy == "" {
		s.Image.PullPolicy = defaults.PullPolicy(s.Image.Reference)
	}
	if s.Ephemeral != nil && s.Ephemeral.VolumeClaimTemplate != nil {
		defaults.Pointer(&s.Ephemeral.VolumeClaimTemplate.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	}
	defaultStorageSource(s)
}

func defaultDownwardFiles(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		defaults.FieldRef(items[i].FieldRef)
	}
}

func defaultProjected(p *corev1.ProjectedVolumeSource) {
	defaults.Pointer(&p.DefaultMode, corev1.ProjectedVolumeSourceDefaultMode)
	for i := range p.Sources {
		s := &p.Sources[i]
		if s.DownwardAPI != nil {
			defaultDownwardFiles(s.DownwardAPI.Items)
		}
		if s.ServiceAccountToken != nil {
			defaults.Pointer(&s.ServiceAccountToken.ExpirationSeconds, serviceAccountTokenSeconds)
		}
	}
}

// defaultStorageSource sets the defaults of the volume sources that name a storage system.
func defaultStorageSource(s *corev1.VolumeSource) {
	if s.HostPath != nil {
		defaults.Pointer(&s.HostPath.Type, corev1.HostPathUnset)
	}
	if s.ISCSI != nil {
		defaults.Value(&s.ISCSI.ISCSIInterface, defaultISCSIInterface)
	}
	if r := s.RBD; r != nil {
		defaultRBD(&r.RBDPool, &r.RadosUser, &r.Keyring)
	}
	if s.AzureDisk != nil {
		defaultAzureDisk(s.AzureDisk)
	}
	if i := s.ScaleIO; i != nil {
		defaultScaleIO(&i.StorageMode, &i.FSType)
	}
}

// DefaultPersistent sets the defaults of a persistent volume's source.
func DefaultPersistent(s *corev1.PersistentVolumeSource) {
	defaultStorageSource(&corev1.VolumeSource{HostPath: s.HostPath, AzureDisk: s.AzureDisk}) // which have the same types
	if s.ISCSI != nil {
		defaults.Value(&s.ISCSI.ISCSIInterface, defaultISCSIInterface)
	}
	if r := s.RBD; r != nil {
		defaultRBD(&r.RBDPool, &r.RadosUser, &r.Keyring)
	}
	if i := s.ScaleIO; i != nil {
		defaultScaleIO(&i.StorageMode, &i.FSType)
	}
}

const defaultISCSIInterface = "default"

func defaultRBD(pool, user, keyring *string) {
	defaults.Value(pool, "rbd")
	defaults.Value(user, "admin")
	defaults.Value(keyring, "/etc/ceph/keyring")
}

func defaultScaleIO(mode, fsType *string) {
	defaults.Value(mode, "ThinProvisioned")
	defaults.Value(fsType, "xfs")
}

func defaultAzureDisk(d *corev1.AzureDiskVolumeSource) {
	defaults.Pointer(&d.CachingMode, corev1.AzureDataDiskCachingReadWrite)
	defaults.Pointer(&d.Kind, corev1.AzureSharedBlobDisk)
	defaults.Pointer(&d.FSType, "ext4")
	defaults.Pointer(&d.ReadOnly, false)
}
