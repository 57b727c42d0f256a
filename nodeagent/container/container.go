package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	apitypes "github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"
	"k8s.io/apimachinery/pkg/types"
)

// drainTimeout bounds how long the last output of a container that ended is waited for.
const drainTimeout = 2 * time.Second

// PrepareRootFS makes the writable layer of a container above its image. The layer is kept until Remove, whatever
// containerd's garbage collector finds.
func (r *Runtime) PrepareRootFS(ctx context.Context, id string, uid types.UID, chainID string) ([]mount.Mount, error) {
	m, err := r.snapshots().Prepare(ctx, id, chainID, snapshots.WithLabels(map[string]string{
		"containerd.io/gc.root": time.Now().UTC().Format(time.RFC3339),
		LabelPodUID:             string(uid),
	}))
	if err != nil {
		return nil, fmt.Errorf("cannot prepare root file system: %w", err)
	}
	return m, nil
}

// Create makes a container and its first process, stopped before its first instruction. What it made is removed
// again when it fails, the root file system included.
func (r *Runtime) Create(ctx context.Context, c *Config) (err error) {
	defer r.lockPod(c.PodUID)()
	defer func() {
		if err != nil {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			err = errors.Join(err, r.remove(undo, c.ID))
		}
	}()
	spec, binds, err := r.buildSpec(ctx, c)
	if err != nil {
		return err
	}
	defer unmountBinds(binds)
	specAny, err := typeurl.MarshalAny(spec)
	if err != nil {
		return fmt.Errorf("cannot encode container: %w", err)
	}
	runc := &options.Options{IoUid: spec.Process.User.UID, IoGid: spec.Process.User.GID}
	runcAny, err := typeurl.MarshalAny(runc)
	if err != nil {
		return fmt.Errorf("cannot encode container: %w", err)
	}
	if _, err = r.client.ContainerService().Create(ctx, containers.Container{
		ID: c.ID, Labels: labels(c, spec.Linux.CgroupsPath), Image: c.Image.Name, Spec: specAny,
		Runtime:     containers.RuntimeInfo{Name: runtimeName, Options: runcAny},
		SnapshotKey: c.ID, Snapshotter: r.opt.Snapshotter,
	}); err != nil {
		return fmt.Errorf("cannot create container: %w", err)
	}
	s, err := openStreams(r.ioDir(c.ID), c.LogPath, c.Container.TTY, c.Container.Stdin, &r.opt)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.containers[c.ID] = s
	r.mu.Unlock()
	return r.createTask(ctx, c, typeurl.MarshalProto(runcAny))
}

func labels(c *Config, cgroup string) map[string]string {
	return map[string]string{
		LabelPodUID: string(c.PodUID), LabelPodNamespace: c.PodNamespace, LabelPodName: c.PodName,
		LabelContainer: c.Container.Name, LabelAttempt: strconv.Itoa(int(c.Attempt)), LabelLogPath: c.LogPath,
		LabelTTY: strconv.FormatBool(c.Container.TTY), LabelStdin: strconv.FormatBool(c.Container.Stdin),
		LabelCgroup: cgroup,
	}
}

func (r *Runtime) createTask(ctx context.Context, c *Config, runc *anypb.Any) error {
	in, out, errPath := fifoPaths(r.ioDir(c.ID), c.Container.TTY, c.Container.Stdin)
	req := &tasks.CreateTaskRequest{
		ContainerID: c.ID, Stdin: in, Stdout: out, Stderr: errPath, Terminal: c.Container.TTY, Options: runc,
	}
	for _, m := range c.RootFS {
		req.Rootfs = append(req.Rootfs, &apitypes.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	if _, err := r.tasks().Create(ctx, req); err != nil {
		return fmt.Errorf("cannot create container: %w", errgrpc.ToNative(err))
	}
	return nil
}

// Start lets the container's process run.
func (r *Runtime) Start(ctx context.Context, id string) error {
	if _, err := r.tasks().Start(ctx, &tasks.StartRequest{ContainerID: id}); err != nil {
		return fmt.Errorf("cannot start container: %w", errgrpc.ToNative(err))
	}
	return nil
}

// Signal sends a signal to the container's first process. A container that has ended is no error.
func (r *Runtime) Signal(ctx context.Context, id string, sig syscall.Signal) error {
	_, err := r.tasks().Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(sig)})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("cannot signal container: %w", err)
	}
	return nil
}

// Status is a container's state as containerd reports it.
type Status string

// A container is Created between Create and Start; Missing when containerd knows it but has no process for it, as after a
// reboot, or does not know it.
const (
	Created Status = "created"
	Running Status = "running"
	Stopped Status = "stopped"
	Missing Status = "missing"
)

// State is a container's state; code and time mean something once it has stopped.
type State struct {
	Status   Status
	PID      uint32
	ExitCode int32
	ExitedAt time.Time
}

// Inspect asks containerd for a container's state. An error says nothing of the container, only that containerd did
// not answer.
func (r *Runtime) Inspect(ctx context.Context, id string) (State, error) {
	resp, err := r.tasks().Get(ctx, &tasks.GetRequest{ContainerID: id})
	if err != nil {
		if err = errgrpc.ToNative(err); errdefs.IsNotFound(err) {
			return State{Status: Missing}, nil
		}
		return State{}, fmt.Errorf("cannot inspect container: %w", err)
	}
	return stateOf(resp.Process), nil
}

func stateOf(p *tasktypes.Process) State {
	s := State{PID: p.Pid, ExitCode: int32(p.ExitStatus), ExitedAt: p.ExitedAt.AsTime()}
	switch p.Status {
	case tasktypes.Status_CREATED:
		s.Status = Created
	case tasktypes.Status_RUNNING, tasktypes.Status_PAUSED, tasktypes.Status_PAUSING:
		s.Status = Running
	case tasktypes.Status_STOPPED:
		s.Status = Stopped
	default:
		s.Status = Missing
	}
	return s
}

// Exit is how a container ended.
type Exit struct {
	Code      int32
	At        time.Time
	OOMKilled bool
	// Unknown says that nobody saw it end: the host was rebooted, or its shim was killed.
	Unknown bool
}

// unknownExitCode is reported where the real one is lost, as CRI implementations do.
const unknownExitCode = 255

// Reap takes the exit status of a container that has stopped and writes its last output to the log. The container stays
// until Remove, so that its end can be written down before containerd forgets it. It is an error to reap a container
// that runs.
func (r *Runtime) Reap(ctx context.Context, id string, uid types.UID) (Exit, error) {
	st, err := r.Inspect(ctx, id)
	if err != nil {
		return Exit{}, err
	}
	exit := Exit{Code: st.ExitCode, At: st.ExitedAt}
	switch st.Status {
	case Missing:
		exit = Exit{Code: unknownExitCode, At: time.Now(), Unknown: true}
	case Stopped:
		exit.OOMKilled = exit.Code != 0 && r.cgroup.oomKills(r.cgroupOf(uid, id)) > 0
	default:
		return Exit{}, fmt.Errorf("cannot reap container %s: it is %s", id, st.Status)
	}
	r.drain(ctx, id)
	return exit, nil
}

// drain copies what is left of a container's output and closes its log. Until then those who follow the log find its streams:
// without them they would take it for complete.
func (r *Runtime) drain(ctx context.Context, id string) {
	s := r.streamsOf(id)
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	s.finish(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.containers[id] == s {
		delete(r.containers, id)
	}
}

func (r *Runtime) deleteTask(ctx context.Context, id string) error {
	_, err := r.tasks().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
		// A shim may end before it answers: it was killed, or containerd ends it for an earlier removal of its last container
		// whose caller is gone. containerd then forgets the task and reports the connection's end nevertheless.
		if st, inspectErr := r.Inspect(ctx, id); inspectErr != nil || st.Status != Missing {
			return fmt.Errorf("cannot delete task of container: %w", err)
		}
	}
	r.drain(ctx, id)
	return nil
}

// Remove deletes a container that does not run, with its root file system; one that runs is killed. It is idempotent.
func (r *Runtime) Remove(ctx context.Context, id string, uid types.UID) error {
	defer r.lockPod(uid)()
	return r.remove(ctx, id)
}

func (r *Runtime) remove(ctx context.Context, id string) error {
	if err := r.ensureDead(ctx, id); err != nil {
		return err
	}
	if err := r.deleteTask(ctx, id); err != nil {
		return err
	}
	if err := r.client.ContainerService().Delete(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("cannot delete container: %w", err)
	}
	if err := r.snapshots().Remove(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("cannot remove root file system: %w", err)
	}
	if err := os.RemoveAll(r.ioDir(id)); err != nil {
		return fmt.Errorf("cannot remove container streams: %w", err)
	}
	return nil
}

// ensureDead kills a container's process where there is one and waits for its end.
func (r *Runtime) ensureDead(ctx context.Context, id string) error {
	st, err := r.Inspect(ctx, id)
	if err != nil {
		return err
	}
	if st.Status == Missing || st.Status == Stopped {
		return nil
	}
	if err := r.Signal(ctx, id, syscall.SIGKILL); err != nil {
		return err
	}
	_, err = r.tasks().Wait(ctx, &tasks.WaitRequest{ContainerID: id})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("cannot wait for container: %w", err)
	}
	return nil
}
