package admission

import (
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// enforceMountableSecrets is the annotation of a service account whose pods may use the secrets that it lists alone. It is
// deprecated, and still honoured by Kubernetes.
const enforceMountableSecrets = "kubernetes.io/enforce-mountable-secrets"

// limitSecrets holds a pod to its account's secrets where the account asks for it. Uses lists what the request is about.
func limitSecrets(r *Request, pod *corev1.Pod, account *corev1.ServiceAccount, uses func(*corev1.Pod) []secretUse) error {
	if enforced, err := strconv.ParseBool(account.Annotations[enforceMountableSecrets]); err != nil || !enforced {
		return nil
	}
	for _, use := range uses(pod) {
		if !slices.ContainsFunc(account.Secrets, func(s corev1.ObjectReference) bool { return s.Name == use.name }) {
			return forbidden(r, fmt.Errorf("%s secret.secretName=\"%s\" is not allowed because service account %s does not reference that secret", use.where, use.name, account.Name))
		}
	}
	if r.Subresource != "" {
		return nil
	}
	for i, s := range pod.Spec.ImagePullSecrets {
		if !slices.Contains(account.ImagePullSecrets, s) {
			return forbidden(r, fmt.Errorf("imagePullSecrets[%d].name=\"%s\" is not allowed because service account %s does not reference that imagePullSecret", i, s.Name, account.Name))
		}
	}
	return nil
}

// secretUse is a place of a pod that names a secret.
type secretUse struct{ where, name string }

func podSecrets(pod *corev1.Pod) []secretUse {
	var uses []secretUse
	for i := range pod.Spec.Volumes {
		if s := pod.Spec.Volumes[i].Secret; s != nil {
			uses = append(uses, secretUse{"volume with", s.SecretName})
		}
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		uses = append(uses, environmentSecrets("init container "+c.Name, c.Env, c.EnvFrom)...)
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		uses = append(uses, environmentSecrets("container "+c.Name, c.Env, c.EnvFrom)...)
	}
	return uses
}

func ephemeralSecrets(pod *corev1.Pod) []secretUse {
	var uses []secretUse
	for i := range pod.Spec.EphemeralContainers {
		c := &pod.Spec.EphemeralContainers[i]
		uses = append(uses, environmentSecrets("ephemeral container "+c.Name, c.Env, c.EnvFrom)...)
	}
	return uses
}

func environmentSecrets(container string, env []corev1.EnvVar, from []corev1.EnvFromSource) []secretUse {
	var uses []secretUse
	for _, e := range env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			uses = append(uses, secretUse{fmt.Sprintf("%s with envVar %s referencing", container, e.Name), e.ValueFrom.SecretKeyRef.Name})
		}
	}
	for _, f := range from {
		if f.SecretRef != nil {
			uses = append(uses, secretUse{container + " with envFrom referencing", f.SecretRef.Name})
		}
	}
	return uses
}
