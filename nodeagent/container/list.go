package container

import (
	"context"
	"fmt"
	"strconv"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"k8s.io/apimachinery/pkg/types"
)

// Info is a container that containerd knows.
type Info struct {
	ID                    string
	PodUID                types.UID
	PodNamespace, PodName string
	Name                  string
	Attempt               int32
	LogPath               string
	Image                 string
	State                 State
}

// List returns all containers of pods with their states. Containers that others put into the namespace, without a
// pod's labels, are left out.
func (r *Runtime) List(ctx context.Context) ([]Info, error) {
	all, err := r.client.ContainerService().List(ctx, fmt.Sprintf("labels.%q", LabelPodUID))
	if err != nil {
		return nil, fmt.Errorf("cannot list containers: %w", err)
	}
	resp, err := r.tasks().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return nil, fmt.Errorf("cannot list tasks: %w", errgrpc.ToNative(err))
	}
	states := make(map[string]State, len(resp.Tasks))
	for _, t := range resp.Tasks {
		states[t.ID] = stateOf(t)
	}
	out := make([]Info, 0, len(all))
	for _, c := range all {
		i := infoOf(c)
		if st, ok := states[c.ID]; ok {
			i.State = st
		} else {
			i.State.Status = Missing
		}
		out = append(out, i)
	}
	return out, nil
}

func infoOf(c containers.Container) Info {
	attempt, _ := strconv.ParseInt(c.Labels[LabelAttempt], 10, 32)
	return Info{
		ID: c.ID, PodUID: types.UID(c.Labels[LabelPodUID]), PodNamespace: c.Labels[LabelPodNamespace],
		PodName: c.Labels[LabelPodName], Name: c.Labels[LabelContainer], Attempt: int32(attempt),
		LogPath: c.Labels[LabelLogPath], Image: c.Image,
	}
}

// Adopt takes up the output of a container that an earlier process started. It is idempotent, and no error for a
// container that is gone.
func (r *Runtime) Adopt(ctx context.Context, id string) error {
	if r.streamsOf(id) != nil {
		return nil
	}
	c, err := r.client.ContainerService().Get(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot adopt container: %w", err)
	}
	s, err := openStreams(r.ioDir(id), c.Labels[LabelLogPath],
		c.Labels[LabelTTY] == "true", c.Labels[LabelStdin] == "true", &r.opt)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.containers[id] = s
	return nil
}

// RemoveStaleRootFS removes writable layers that belong to no container: a crash between the two leaves one. known
// says which containers are being made.
func (r *Runtime) RemoveStaleRootFS(ctx context.Context, known func(id string) bool) error {
	all, err := r.client.ContainerService().List(ctx)
	if err != nil {
		return fmt.Errorf("cannot list containers: %w", err)
	}
	used := make(map[string]bool, len(all))
	for _, c := range all {
		used[c.SnapshotKey] = true
	}
	var stale []string
	err = r.snapshots().Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		if i.Labels[LabelPodUID] != "" && !used[i.Name] && !known(i.Name) {
			stale = append(stale, i.Name)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot list root file systems: %w", err)
	}
	for _, name := range stale {
		if err := r.snapshots().Remove(ctx, name); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("cannot remove root file system %s: %w", name, err)
		}
	}
	return nil
}

// LogChanged returns a channel that is closed when the container's log grows or ends; ended says that nothing more
// will be written to it by this process.
func (r *Runtime) LogChanged(id string) (changed <-chan struct{}, ended bool) {
	s := r.streamsOf(id)
	if s == nil {
		return nil, true
	}
	return s.log.wait()
}

// ListPod returns the identifiers of a pod's containers.
func (r *Runtime) ListPod(ctx context.Context, uid types.UID) ([]string, error) {
	all, err := r.client.ContainerService().List(ctx, fmt.Sprintf("labels.%q==%q", LabelPodUID, string(uid)))
	if err != nil {
		return nil, fmt.Errorf("cannot list containers of pod: %w", err)
	}
	ids := make([]string, len(all))
	for i, c := range all {
		ids[i] = c.ID
	}
	return ids, nil
}
