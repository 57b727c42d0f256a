package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/hostfile"
)

// MemoryUsage returns what a container of a pod uses, in bytes, as the kernel counts it against the container's limit.
func (r *Runtime) MemoryUsage(uid types.UID, id string) (int64, error) {
	return r.cgroup.memoryUsage(r.cgroupOf(uid, id))
}

// WorkingSet returns what a container of a pod uses, in bytes, without what was read from files and not used for long: the
// kernel can do without that. No id means the whole pod. What has no cgroup uses nothing.
func (r *Runtime) WorkingSet(uid types.UID, id string) (int64, error) {
	return r.cgroup.workingSet(r.cgroupOf(uid, id))
}

// Processes returns how many process ids the pod has, one for each thread.
func (r *Runtime) Processes(uid types.UID) (int64, error) {
	c := r.cgroup
	file := filepath.Join(c.dirs[""], c.pod(uid), "pids.current")
	if !c.v2 {
		file = filepath.Join(c.dirs["pids"], c.pod(uid), "pids.current")
	}
	n, err := hostfile.Number(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("cannot count pod's processes: %w", err)
	}
	return n, nil
}

func (c *cgroups) memoryUsage(cgroup string) (int64, error) {
	file := filepath.Join(c.dirs[""], cgroup, "memory.current")
	if !c.v2 {
		file = filepath.Join(c.dirs["memory"], cgroup, "memory.usage_in_bytes")
	}
	n, err := hostfile.Number(file)
	if err != nil {
		return 0, fmt.Errorf("cannot read container's memory: %w", err)
	}
	return n, nil
}

func (c *cgroups) workingSet(cgroup string) (int64, error) {
	used, err := c.memoryUsage(cgroup)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return 0, nil
		}
		return 0, err
	}
	dir, field := filepath.Join(c.dirs[""], cgroup), "inactive_file "
	if !c.v2 {
		dir, field = filepath.Join(c.dirs["memory"], cgroup), "total_inactive_file "
	}
	data, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("cannot read container's memory: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, field); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("cannot read container's memory: %w", err)
			}
			return max(0, used-n), nil
		}
	}
	return used, nil
}

// LayerUsage returns what a container has written above its image, in bytes and in files; nothing for one that is gone.
func (r *Runtime) LayerUsage(ctx context.Context, id string) (size, inodes int64, err error) {
	u, err := r.snapshots().Usage(ctx, id)
	if err != nil && !errdefs.IsNotFound(err) {
		return 0, 0, fmt.Errorf("cannot measure root file system: %w", err)
	}
	return u.Size, u.Inodes, nil
}
