package pod

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/stream"
)

var _ stream.Runtime = (*Manager)(nil)

// target is a container that a request names.
type target struct {
	w    *worker
	pod  *corev1.Pod
	spec *corev1.Container
}

// target finds a container; without a name it is the pod's only, or default, one.
func (m *Manager) target(namespace, name, containerName string) (target, error) {
	w := m.byName(namespace, name)
	if w == nil {
		return target{}, apierrors.NewNotFound(corev1.Resource("pods"), name)
	}
	t := target{w: w, pod: w.snapshot()}
	if containerName == "" {
		if containerName = t.pod.Annotations["kubectl.kubernetes.io/default-container"]; containerName == "" {
			containerName = t.pod.Spec.Containers[0].Name
		}
	}
	if t.spec = findContainer(&t.pod.Spec, containerName); t.spec == nil {
		return target{}, apierrors.NewNotFound(corev1.Resource("containers"), containerName)
	}
	return t, nil
}

func (t target) status() *corev1.ContainerStatus {
	s := &t.pod.Status
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		if i := slices.IndexFunc(list, func(c corev1.ContainerStatus) bool { return c.Name == t.spec.Name }); i >= 0 {
			return &list[i]
		}
	}
	return &corev1.ContainerStatus{}
}

func (t target) runningID() (string, error) {
	cs := t.status()
	if cs.State.Running == nil {
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is not running", t.spec.Name, t.pod.Name))
	}
	return trimID(cs.ContainerID), nil
}

// Exec implements stream.Runtime.
func (m *Manager) Exec(ctx context.Context, namespace, pod, name string, cmd []string, s stream.Streams) (int, error) {
	t, err := m.target(namespace, pod, name)
	if err != nil {
		return 0, err
	}
	id, err := t.runningID()
	if err != nil {
		return 0, err
	}
	return m.cfg.Runtime.Exec(ctx, id, cmd, s)
}

// Attach implements stream.Runtime.
func (m *Manager) Attach(ctx context.Context, namespace, pod, name string, s stream.Streams) error {
	t, err := m.target(namespace, pod, name)
	if err != nil {
		return err
	}
	id, err := t.runningID()
	if err != nil {
		return err
	}
	return m.cfg.Runtime.Attach(ctx, id, s, t.spec.StdinOnce)
}

// PortForward implements stream.Runtime.
func (m *Manager) PortForward(ctx context.Context, namespace, pod string, port uint16, rw io.ReadWriteCloser) error {
	t, err := m.target(namespace, pod, "")
	if err != nil {
		return err
	}
	if t.pod.Status.PodIP == "" && !t.pod.Spec.HostNetwork {
		return apierrors.NewBadRequest(fmt.Sprintf("pod %q has no address", pod))
	}
	netns := ""
	if !t.pod.Spec.HostNetwork {
		netns = m.cfg.Runtime.NetNS(t.pod.UID)
	}
	conn, err := dialIn(ctx, netns, port)
	if err != nil {
		return fmt.Errorf("cannot forward to port %d of pod %s/%s: %w", port, namespace, pod, err)
	}
	return splice(ctx, conn, rw)
}

// dialTimeout bounds a connection to a port inside the pod.
const dialTimeout = 10 * time.Second

// dialIn connects to localhost inside a network namespace, or the host's for "". The socket is made on a thread that is
// inside; afterwards it belongs to that namespace wherever it is used.
func dialIn(ctx context.Context, netns string, port uint16) (conn net.Conn, err error) {
	container.OnThread(func() {
		if netns != "" {
			if err = enter(netns); err != nil {
				return
			}
		}
		d := net.Dialer{Timeout: dialTimeout}
		// One literal address at a time, so that the dialer makes the socket on this very thread.
		for _, host := range []string{"127.0.0.1", "::1"} {
			if conn, err = d.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port)))); err == nil {
				return
			}
		}
	})
	return conn, err
}

func enter(netns string) error {
	fd, err := unix.Open(netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot open network namespace: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("cannot enter network namespace: %w", err)
	}
	return nil
}

// splice copies both ways. When one side has no more to say the other is told so; it ends when both have, or ctx does.
func splice(ctx context.Context, conn net.Conn, rw io.ReadWriteCloser) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close(); _ = rw.Close() })
	defer stop()
	sent := make(chan error, 1) // one send
	go func() {
		_, err := io.Copy(conn, rw)
		if c, ok := conn.(*net.TCPConn); ok {
			_ = c.CloseWrite()
		}
		sent <- err
	}()
	_, err := io.Copy(rw, conn)
	_ = conn.Close()
	_ = rw.Close()
	if serr := <-sent; err == nil && !errors.Is(serr, net.ErrClosed) && !errors.Is(serr, io.ErrClosedPipe) {
		err = serr
	}
	if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Logs implements stream.Runtime.
func (m *Manager) Logs(ctx context.Context, namespace, pod, containerName string, opts *corev1.PodLogOptions, w io.Writer) error {
	t, err := m.target(namespace, pod, containerName)
	if err != nil {
		return err
	}
	path, id, err := t.log(opts.Previous)
	if err != nil {
		return err
	}
	var follow func() (<-chan struct{}, bool)
	if opts.Follow && id != "" {
		follow = func() (<-chan struct{}, bool) { return m.cfg.Runtime.LogChanged(id) }
	}
	err = readLog(ctx, path, opts, w, follow)
	if opts.Follow && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// log finds the file of the container's instance, and its identifier while that runs.
func (t target) log(previous bool) (path, id string, err error) {
	cs := t.status()
	attempt := cs.RestartCount
	switch {
	case previous && cs.State.Waiting == nil:
		if cs.LastTerminationState.Terminated == nil {
			return "", "", apierrors.NewBadRequest(fmt.Sprintf("previous terminated container %q in pod %q not found", t.spec.Name, t.pod.Name))
		}
		attempt--
	case cs.ContainerID == "":
		reason := "ContainerCreating"
		if cs.State.Waiting != nil && cs.State.Waiting.Reason != "" {
			reason = cs.State.Waiting.Reason
		}
		return "", "", apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is waiting to start: %s", t.spec.Name, t.pod.Name, reason))
	}
	if cs.State.Running != nil && !previous {
		id = trimID(cs.ContainerID)
	}
	return t.w.logPath(t.spec.Name, attempt), id, nil
}
