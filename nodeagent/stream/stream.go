// Package stream serves the agent's own HTTPS API on the paths of a kubelet: containerLogs, exec, attach,
// portForward, pods, stats and metrics, for the API server's client certificate alone.
package stream

import (
	"context"
	"io"

	corev1 "k8s.io/api/core/v1"
)

// Size is a terminal's.
type Size struct{ Width, Height uint16 }

// Streams of an exec or attach; nil ones are not wanted. Resize is closed by the caller.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer // with TTY all output goes to Stdout
	TTY            bool
	Resize         <-chan Size
}

// Runtime is what the server needs of the pods on this node. Errors are apierrors where the caller is to see a
// status (NotFound for an unknown pod or container, BadRequest for a container that does not run).
type Runtime interface {
	// Exec runs cmd in a container and returns its exit code; it ends the process when ctx ends.
	Exec(ctx context.Context, namespace, pod, container string, cmd []string, s Streams) (exitCode int, err error)
	// Attach connects to a running container's own streams and returns when it exits or ctx ends.
	Attach(ctx context.Context, namespace, pod, container string, s Streams) error
	// PortForward copies between rw and a TCP port inside the pod's network namespace until either side ends.
	PortForward(ctx context.Context, namespace, pod string, port uint16, rw io.ReadWriteCloser) error
	// Logs writes a container's log as the options ask, following it when they say so.
	Logs(ctx context.Context, namespace, pod, container string, opts *corev1.PodLogOptions, w io.Writer) error
	// Pods returns the pods with the status as the agent sees it.
	Pods() []*corev1.Pod
}
