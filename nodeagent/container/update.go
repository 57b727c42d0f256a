package container

import (
	"context"
	"fmt"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
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
