// Package volume makes a pod's volumes on the host (emptyDir, hostPath, configMap, secret, downwardAPI,
// projected) and keeps those with API contents up to date while the pod runs.
package volume

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Mounted is a volume that is ready on the host.
type Mounted struct {
	HostPath string
	ReadOnly bool // whatever the container's mount says
}

// Manager makes volumes. Implementations are safe for concurrent use, one call at a time for each pod.
type Manager interface {
	// Setup makes all volumes of the pod and returns them by volume name. It is idempotent. An error that wraps
	// *WaitError says that an object a volume needs is not there yet; the caller reports it and tries again.
	Setup(ctx context.Context, pod *corev1.Pod) (map[string]Mounted, error)
	// Update has the volumes of a pod that was set up say what the pod, whose labels, annotations or resources changed, now
	// has. It does not wait for that.
	Update(pod *corev1.Pod)
	// Ending says that the pod begins to end: what it mounts may be gone before it from now on.
	Ending(uid types.UID)
	// Teardown removes the pod's volumes: mounts first, and files only below the agent's own directory.
	Teardown(ctx context.Context, uid types.UID) error
	// Pods returns the pods that have volumes here, so that those that are gone can be torn down.
	Pods() ([]types.UID, error)
}

// Source reads what pods mount, from the agent's watch. A missing object is an apierrors NotFound.
type Source interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	// Token requests a bound service account token for the pod, and says how long it lives: that may be less than asked for.
	Token(ctx context.Context, pod *corev1.Pod, audience string, expirationSeconds int64) (token string, life time.Duration, err error)
	// Changed registers fn to be called after a config map or secret in use changed. fn must be quick.
	Changed(fn func(namespace, name string))
}

// WaitError says which object a volume waits for.
type WaitError struct {
	Volume, Kind, Namespace, Name string
	Err                           error
}

func (e *WaitError) Error() string {
	return "cannot set up volume " + e.Volume + ": " + e.Kind + " " + e.Namespace + "/" + e.Name + ": " + e.Err.Error()
}

func (e *WaitError) Unwrap() error { return e.Err }
