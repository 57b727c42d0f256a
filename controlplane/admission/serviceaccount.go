package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/authz"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const (
	defaultServiceAccount = "default"
	// tokenMountPath is where every pod finds its identity.
	tokenMountPath    = "/var/run/secrets/kubernetes.io/serviceaccount"
	tokenVolumePrefix = "kube-api-access-"
	// rootCAConfigMap is in each namespace and has the certificate of the cluster's authority.
	rootCAConfigMap = "kube-root-ca.crt"
	// tokenSeconds is an hour and a few seconds by which Kubernetes marks the tokens that it mounts by itself.
	tokenSeconds = 3607
	// defaultAccountWait is how long a pod waits for the account of a namespace that was made this moment.
	defaultAccountWait = time.Second
	defaultAccountPoll = 20 * time.Millisecond
)

// serviceAccount gives pods their identity: the account, the volume with its token, and its pull secrets.
type serviceAccount struct {
	client Reader
}

// Validate keeps identities out of pods that a node runs on its own, and secrets out of those whose account does not list
// them where it is asked for.
func (p *serviceAccount) Validate(ctx context.Context, r *Request) error {
	pod := podOf(r)
	if pod == nil || r.Verb != kind.Create && r.Subresource != "ephemeralcontainers" {
		return nil
	}
	uses := ephemeralSecrets
	if r.Subresource == "" {
		if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
			return mirrorIdentity(r, pod)
		}
		uses = podSecrets
	}
	account, err := p.account(ctx, r, pod.Spec.ServiceAccountName)
	if err != nil {
		return err
	}
	return limitSecrets(r, pod, account, uses)
}

func mirrorIdentity(r *Request, pod *corev1.Pod) error {
	if pod.Spec.ServiceAccountName != "" {
		return forbidden(r, errors.New("a mirror pod may not reference service accounts"))
	}
	if authz.RefersToSecret(pod) {
		return forbidden(r, errors.New("a mirror pod may not reference secrets"))
	}
	for _, v := range pod.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, source := range v.Projected.Sources {
			if source.ServiceAccountToken != nil {
				return forbidden(r, errors.New("a mirror pod may not use ServiceAccountToken volume projections"))
			}
		}
	}
	return nil
}

func (*serviceAccount) Name() string { return "ServiceAccount" }

func (p *serviceAccount) Admit(ctx context.Context, r *Request) error {
	pod := podOf(r)
	if pod == nil || r.Verb != kind.Create {
		return nil
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return mirrorIdentity(r, pod) // which nothing is added to either: its node would not know it again
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = defaultServiceAccount
		pod.Spec.DeprecatedServiceAccount = defaultServiceAccount
	}
	account, err := p.account(ctx, r, pod.Spec.ServiceAccountName)
	if err != nil {
		return err
	}
	if automount(pod, account) {
		mountToken(pod)
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, account.ImagePullSecrets...)
	}
	return limitSecrets(r, pod, account, podSecrets)
}

// account looks the account up, and refuses the request without it.
func (p *serviceAccount) account(ctx context.Context, r *Request, name string) (*corev1.ServiceAccount, error) {
	account, err := p.awaitAccount(ctx, r.Namespace, name)
	if apierrors.IsNotFound(err) {
		err = apierrors.NewNotFound(corev1.Resource("serviceaccount"), name)
	}
	if err != nil {
		return nil, forbidden(r, fmt.Errorf("error looking up service account %s/%s: %w", r.Namespace, name, err))
	}
	return account, nil
}

// awaitAccount waits for the account of a new namespace, which is made by a controller a moment after it.
func (p *serviceAccount) awaitAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	account, err := client.Get[*corev1.ServiceAccount](ctx, p.client(), namespace, name)
	if !apierrors.IsNotFound(err) || name != defaultServiceAccount {
		return account, err
	}
	// the last answer of the lookup says more than that the time is over
	_ = wait.PollUntilContextTimeout(ctx, defaultAccountPoll, defaultAccountWait, false, func(ctx context.Context) (bool, error) {
		account, err = client.Get[*corev1.ServiceAccount](ctx, p.client(), namespace, name)
		return !apierrors.IsNotFound(err), nil
	})
	return account, err
}

func automount(pod *corev1.Pod, account *corev1.ServiceAccount) bool {
	if own := pod.Spec.AutomountServiceAccountToken; own != nil {
		return *own
	}
	if its := account.AutomountServiceAccountToken; its != nil {
		return *its
	}
	return true
}

// mountToken mounts the token into each container that has nothing at its place.
func mountToken(pod *corev1.Pod) {
	name := ""
	exists := false
	for _, v := range pod.Spec.Volumes {
		if strings.HasPrefix(v.Name, tokenVolumePrefix) && v.Projected != nil {
			name, exists = v.Name, true
		}
	}
	if name == "" {
		name = tokenVolumePrefix + rand.String(5)
	}
	needed := false
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			if c := &containers[i]; !mounts(c, tokenMountPath) {
				c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: tokenMountPath})
				needed = true
			}
		}
	}
	if needed && !exists {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: tokenVolume()})
	}
}

func mounts(c *corev1.Container, path string) bool {
	for _, m := range c.VolumeMounts {
		if m.MountPath == path {
			return true
		}
	}
	return false
}

func tokenVolume() corev1.VolumeSource {
	seconds, mode := int64(tokenSeconds), corev1.ProjectedVolumeSourceDefaultMode
	return corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: &mode,
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &seconds}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: rootCAConfigMap},
				Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
				Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
			}}}},
		},
	}}
}
