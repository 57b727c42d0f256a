package container

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Update gives a container that runs the processor and memory limits of res instead of those that it has. Of what it asks
// for, only the share of the processor is the container's; memory that is requested limits nothing.
func (r *Runtime) Update(ctx context.Context, id string, uid types.UID, res corev1.ResourceRequirements) error {
	limits, err := typeurl.MarshalAnyToProto(r.limits(res, uid))
	if err != nil {
		return fmt.Errorf("cannot encode container's resources: %w", err)
	}
	if _, err := r.tasks().Update(ctx, &tasks.UpdateTaskRequest{ContainerID: id, Resources: limits}); err != nil {
		return fmt.Errorf("cannot update container's resources: %w", errgrpc.ToNative(err))
	}
	return nil
}

// MemoryUsage returns what a container of a pod uses, in bytes, as the kernel counts it against the container's limit.
func (r *Runtime) MemoryUsage(uid types.UID, id string) (int64, error) {
	c := r.cgroup
	file := filepath.Join(c.dirs[""], r.cgroupOf(uid, id), "memory.current")
	if !c.v2 {
		file = filepath.Join(c.dirs["memory"], r.cgroupOf(uid, id), "memory.usage_in_bytes")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("cannot read container's memory: %w", err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("cannot read container's memory: %w", err)
	}
	return n, nil
}

// LayerUsage returns what a container has written above its image, in bytes; nothing for one that is gone.
func (r *Runtime) LayerUsage(ctx context.Context, id string) (int64, error) {
	u, err := r.snapshots().Usage(ctx, id)
	if err != nil && !errdefs.IsNotFound(err) {
		return 0, fmt.Errorf("cannot measure root file system: %w", err)
	}
	return u.Size, nil
}
