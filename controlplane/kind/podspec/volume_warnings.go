package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// volumes tells of sources that are gone from Kubernetes, and of files that overlap.
func (w *warnings) volumes(volumes []corev1.Volume, path *field.Path) {
	for i := range volumes {
		v, at := &volumes[i], path.Index(i)
		old := func(name string, set bool, message string) {
			if set {
				w.add(at.Child(name), message)
			}
		}
		old("photonPersistentDisk", v.PhotonPersistentDisk != nil, "deprecated in v1.11, non-functional in v1.16+")
		old("gitRepo", v.GitRepo != nil, "deprecated in v1.11, and disabled by default in v1.33+")
		old("scaleIO", v.ScaleIO != nil, "deprecated in v1.16, non-functional in v1.22+")
		old("flocker", v.Flocker != nil, "deprecated in v1.22, non-functional in v1.25+")
		old("storageOS", v.StorageOS != nil, "deprecated in v1.22, non-functional in v1.25+")
		old("quobyte", v.Quobyte != nil, "deprecated in v1.22, non-functional in v1.25+")
		old("glusterfs", v.Glusterfs != nil, "deprecated in v1.25, non-functional in v1.26+")
		if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
			r, at := &v.Ephemeral.VolumeClaimTemplate.Spec.Resources, at.Child("ephemeral", "volumeClaimTemplate", "spec", "resources")
			w.fraction(r.Requests[corev1.ResourceStorage], at.Child("requests").Key("storage"))
			w.fraction(r.Limits[corev1.ResourceStorage], at.Child("limits").Key("storage"))
		}
		old("cephfs", v.CephFS != nil, "deprecated in v1.28, non-functional in v1.31+")
		old("rbd", v.RBD != nil, "deprecated in v1.28, non-functional in v1.31+")
	}
	for i := range volumes {
		w.overlaps(&volumes[i])
	}
}

// volumeFile is a file of a volume and what it is made from, "" when the volume has one source.
type volumeFile struct{ path, source string }

func (f volumeFile) String() string {
	if f.source == "" {
		return fmt.Sprintf("%q", f.path)
	}
	return fmt.Sprintf("%q (%s)", f.path, f.source)
}

// covers says whether one of the files would be where the other is, or a directory of it.
func (f volumeFile) covers(other volumeFile) bool {
	return f.path != "" && other.path != "" &&
		(strings.HasPrefix(f.path+"/", other.path+"/") || strings.HasPrefix(other.path+"/", f.path+"/"))
}

func keyFiles(items []corev1.KeyToPath, source string) []volumeFile {
	files := make([]volumeFile, len(items))
	for i := range items {
		files[i] = volumeFile{items[i].Path, source}
	}
	return files
}

func downwardFiles(items []corev1.DownwardAPIVolumeFile, source string) []volumeFile {
	files := make([]volumeFile, len(items))
	for i := range items {
		files[i] = volumeFile{items[i].Path, source}
	}
	return files
}

func (w *warnings) overlaps(v *corev1.Volume) {
	check := func(what string, files []volumeFile) {
		for i := range files {
			files[i].path = strings.TrimRight(files[i].path, "/")
			for _, other := range files[:i] {
				if files[i].covers(other) {
					w.texts = append(w.texts, fmt.Sprintf("volume %q (%s): overlapping paths: %s with %s", v.Name, what, files[i], other))
				}
			}
		}
	}
	switch {
	case v.ConfigMap != nil:
		check(fmt.Sprintf("ConfigMap %q", v.ConfigMap.Name), keyFiles(v.ConfigMap.Items, ""))
	case v.Secret != nil:
		check(fmt.Sprintf("Secret %q", v.Secret.SecretName), keyFiles(v.Secret.Items, ""))
	case v.DownwardAPI != nil:
		check("DownwardAPI", downwardFiles(v.DownwardAPI.Items, ""))
	case v.Projected != nil:
		var files []volumeFile
		for i := range v.Projected.Sources {
			if v.Projected.Sources[i] == (corev1.VolumeProjection{}) {
				w.texts = append(w.texts, fmt.Sprintf("volume %q (Projected) has no sources provided", v.Name))
			}
			files = append(files, projectedFiles(&v.Projected.Sources[i])...)
		}
		check("Projected", files)
	}
}

func projectedFiles(s *corev1.VolumeProjection) []volumeFile {
	switch {
	case s.ConfigMap != nil && s.ConfigMap.Items != nil:
		return keyFiles(s.ConfigMap.Items, fmt.Sprintf("ConfigMap %q", s.ConfigMap.Name))
	case s.Secret != nil && s.Secret.Items != nil:
		return keyFiles(s.Secret.Items, fmt.Sprintf("Secret %q", s.Secret.Name))
	case s.DownwardAPI != nil && s.DownwardAPI.Items != nil:
		return downwardFiles(s.DownwardAPI.Items, "DownwardAPI")
	case s.ServiceAccountToken != nil:
		return []volumeFile{{s.ServiceAccountToken.Path, "ServiceAccountToken"}}
	case s.ClusterTrustBundle != nil:
		name := ptr.Deref(s.ClusterTrustBundle.Name, ptr.Deref(s.ClusterTrustBundle.SignerName, ""))
		return []volumeFile{{s.ClusterTrustBundle.Path, fmt.Sprintf("ClusterTrustBundle %q", name)}}
	case s.PodCertificate != nil:
		return []volumeFile{
			{s.PodCertificate.CertificateChainPath, "PodCertificate chain"}, {s.PodCertificate.KeyPath, "PodCertificate key"},
			{s.PodCertificate.CredentialBundlePath, "PodCertificate credential bundle"},
		}
	}
	return nil
}
