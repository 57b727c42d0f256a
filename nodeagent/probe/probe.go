// Package probe runs liveness, readiness and startup probes: http, tcp, exec and grpc, with the thresholds and
// periods of the API.
package probe

import (
	"context"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Kind is which of a container's probes a result is of.
type Kind string

// The kinds of probes.
const (
	Liveness  Kind = "liveness"
	Readiness Kind = "readiness"
	Startup   Kind = "startup"
)

// Outcome is how one attempt of a probe ended.
type Outcome int

// The outcomes of attempts. Unknown is one that could not be made, as while containerd restarts: it says nothing of the
// container and counts towards no threshold (API reference, container probes).
const (
	Passed Outcome = iota
	Failed
	Unknown
)

// Result is a change of a probe's verdict, after thresholds.
type Result struct {
	Pod         types.UID
	Container   string
	ContainerID string
	Kind        Kind
	OK          bool
	Message     string // of the last attempt
}

// Target is a started container to be probed.
type Target struct {
	Pod         *corev1.Pod
	Container   corev1.Container
	ContainerID string
	Address     netip.Addr // of the pod (of the node for hostNetwork)
}

// Executor runs a command in a container, for exec probes; the exit code is 0 for success. The error is
// context.DeadlineExceeded only when the command ran and took too long.
type Executor interface {
	ExecSync(ctx context.Context, containerID string, cmd []string) (exitCode int, output []byte, err error)
}

// Prober runs probes. Results come on one channel of its own, in order for each container; the prober closes
// nothing. Start and Stop may be called at any time and are idempotent by ContainerID.
type Prober interface {
	Start(t Target)
	Stop(containerID string)
	// Results is read by one reader for as long as the prober runs.
	Results() <-chan Result
}
