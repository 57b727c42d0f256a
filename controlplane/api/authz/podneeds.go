package authz

import (
	corev1 "k8s.io/api/core/v1"
)

// needsOf lists what a pod mounts and refers to, and itself. A mirror pod, which its own node makes, gives the node
// nothing beyond the pod: it could ask for any secret otherwise.
func needsOf(pod *corev1.Pod) []need {
	needs := []need{{"pods", pod.Namespace, pod.Name}}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return needs
	}
	set := map[need]bool{}
	references(pod, func(resource, name string) {
		if n := (need{resource, pod.Namespace, name}); name != "" && !set[n] {
			set[n] = true
			needs = append(needs, n)
		}
	})
	return needs
}

// Reference names the resource of an object of the API that the pod cannot run without, empty when there is none. It is
// what the pod's author may read through it, so a node may not be the author.
func Reference(pod *corev1.Pod) string {
	found := ""
	references(pod, func(resource, _ string) {
		if found == "" {
			found = resource
		}
	})
	for i := range pod.Spec.Volumes {
		if found != "" {
			break
		}
		found = furtherReference(&pod.Spec.Volumes[i])
	}
	if found == "" && len(pod.Spec.ResourceClaims) > 0 {
		found = "resourceclaims"
	}
	return found
}

// RefersToSecret says whether the pod names a secret anywhere: to pull images, in a container's environment, or to mount.
func RefersToSecret(pod *corev1.Pod) bool {
	found := false
	references(pod, func(resource, name string) { found = found || resource == "secrets" && name != "" })
	return found
}

// references calls add for each object of the pod's namespace that the pod refers to.
func references(pod *corev1.Pod, add func(resource, name string)) {
	if pod.Spec.ServiceAccountName != "" {
		add("serviceaccounts", pod.Spec.ServiceAccountName)
	}
	for _, s := range pod.Spec.ImagePullSecrets {
		add("secrets", s.Name)
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			envReferences(list[i].EnvFrom, list[i].Env, add)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		c := &pod.Spec.EphemeralContainers[i]
		envReferences(c.EnvFrom, c.Env, add)
	}
	for i := range pod.Spec.Volumes {
		volumeReferences(pod, &pod.Spec.Volumes[i], add)
	}
}

func envReferences(from []corev1.EnvFromSource, env []corev1.EnvVar, add func(resource, name string)) {
	for _, f := range from {
		if f.SecretRef != nil {
			add("secrets", f.SecretRef.Name)
		}
		if f.ConfigMapRef != nil {
			add("configmaps", f.ConfigMapRef.Name)
		}
	}
	for _, e := range env {
		if e.ValueFrom == nil {
			continue
		}
		if e.ValueFrom.SecretKeyRef != nil {
			add("secrets", e.ValueFrom.SecretKeyRef.Name)
		}
		if e.ValueFrom.ConfigMapKeyRef != nil {
			add("configmaps", e.ValueFrom.ConfigMapKeyRef.Name)
		}
	}
}

func volumeReferences(pod *corev1.Pod, v *corev1.Volume, add func(resource, name string)) {
	switch {
	case v.Secret != nil:
		add("secrets", v.Secret.SecretName)
	case v.ConfigMap != nil:
		add("configmaps", v.ConfigMap.Name)
	case v.PersistentVolumeClaim != nil:
		add("persistentvolumeclaims", v.PersistentVolumeClaim.ClaimName)
	case v.Ephemeral != nil:
		add("persistentvolumeclaims", pod.Name+"-"+v.Name)
	case v.AzureFile != nil:
		add("secrets", v.AzureFile.SecretName)
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if s.Secret != nil {
				add("secrets", s.Secret.Name)
			}
			if s.ConfigMap != nil {
				add("configmaps", s.ConfigMap.Name)
			}
		}
	default:
		if ref := volumeSecret(v); ref != nil {
			add("secrets", ref.Name)
		}
	}
}

// volumeSecret is the secret that the node mounts the volume with.
func volumeSecret(v *corev1.Volume) *corev1.LocalObjectReference {
	switch {
	case v.CephFS != nil:
		return v.CephFS.SecretRef
	case v.Cinder != nil:
		return v.Cinder.SecretRef
	case v.FlexVolume != nil:
		return v.FlexVolume.SecretRef
	case v.RBD != nil:
		return v.RBD.SecretRef
	case v.ScaleIO != nil:
		return v.ScaleIO.SecretRef
	case v.ISCSI != nil:
		return v.ISCSI.SecretRef
	case v.StorageOS != nil:
		return v.StorageOS.SecretRef
	case v.CSI != nil:
		return v.CSI.NodePublishSecretRef
	}
	return nil
}

// furtherReference is what a volume needs of the API beside the objects of its pod's namespace.
func furtherReference(v *corev1.Volume) string {
	switch {
	case v.CSI != nil:
		return "csidrivers"
	case v.Glusterfs != nil:
		return "endpoints"
	case v.Projected == nil:
		return ""
	}
	for _, s := range v.Projected.Sources {
		switch {
		case s.ServiceAccountToken != nil:
			return "serviceaccounts"
		case s.ClusterTrustBundle != nil:
			return "clustertrustbundles"
		case s.PodCertificate != nil:
			return "podcertificates"
		}
	}
	return ""
}

// mountSecrets are the secrets that a node mounts the volume with. Where the volume names no namespace it is that of the
// claim.
func mountSecrets(volume *corev1.PersistentVolume) []corev1.SecretReference {
	var found []corev1.SecretReference
	add := func(ref *corev1.SecretReference) {
		if ref == nil || ref.Name == "" {
			return
		}
		at := *ref
		if at.Namespace == "" && volume.Spec.ClaimRef != nil {
			at.Namespace = volume.Spec.ClaimRef.Namespace
		}
		found = append(found, at)
	}
	switch s := &volume.Spec.PersistentVolumeSource; {
	case s.AzureFile != nil:
		ref := corev1.SecretReference{Name: s.AzureFile.SecretName}
		if s.AzureFile.SecretNamespace != nil {
			ref.Namespace = *s.AzureFile.SecretNamespace
		}
		add(&ref)
	case s.CephFS != nil:
		add(s.CephFS.SecretRef)
	case s.Cinder != nil:
		add(s.Cinder.SecretRef)
	case s.FlexVolume != nil:
		add(s.FlexVolume.SecretRef)
	case s.RBD != nil:
		add(s.RBD.SecretRef)
	case s.ScaleIO != nil:
		add(s.ScaleIO.SecretRef)
	case s.ISCSI != nil:
		add(s.ISCSI.SecretRef)
	case s.StorageOS != nil && s.StorageOS.SecretRef != nil:
		add(&corev1.SecretReference{Namespace: s.StorageOS.SecretRef.Namespace, Name: s.StorageOS.SecretRef.Name})
	case s.CSI != nil:
		add(s.CSI.NodePublishSecretRef)
		add(s.CSI.NodeStageSecretRef)
		add(s.CSI.NodeExpandSecretRef)
	}
	return found
}
