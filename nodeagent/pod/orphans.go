package pod

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// traces lists the pods that have anything on this host besides containers.
func (m *Manager) traces() ([]types.UID, error) {
	seen := map[types.UID]bool{}
	boxes, err1 := m.cfg.Runtime.Sandboxes()
	volumes, err2 := m.cfg.Volumes.Pods()
	dirs, err3 := checkpoints(m.podsDir())
	for _, list := range [][]types.UID{boxes, volumes, dirs} {
		for _, uid := range list {
			seen[uid] = true
		}
	}
	for uid := range m.cfg.Network.Attached() {
		seen[uid] = true
	}
	out := make([]types.UID, 0, len(seen))
	for uid := range seen {
		out = append(out, uid)
	}
	return out, errors.Join(err1, err2, err3)
}

// removeOrphans removes what belongs to pods that the API no longer has. It is called only after the API's list has been
// read: a server that does not answer must not cost a pod.
func (m *Manager) removeOrphans(ctx context.Context) {
	list, err := m.cfg.Runtime.List(ctx)
	if err != nil {
		if ctx.Err() == nil {
			m.cfg.Logger.Warn("cannot look for orphans", "error", err)
		}
		return
	}
	left := map[types.UID]bool{}
	for _, c := range list {
		if m.worker(c.PodUID) != nil {
			continue
		}
		left[c.PodUID] = true
		m.cfg.Logger.Info("removing container of a pod that is gone", "pod", c.PodNamespace+"/"+c.PodName, "container", c.Name)
		if err := m.cfg.Runtime.Remove(ctx, c.ID, c.PodUID); err != nil {
			m.cfg.Logger.Warn("cannot remove orphan", "container", c.ID, "error", err)
		}
	}
	if err := m.cfg.Runtime.RemoveStaleRootFS(ctx, m.claimed); err != nil && ctx.Err() == nil {
		m.cfg.Logger.Warn("cannot remove root file systems of containers that are gone", "error", err)
	}
	traces, err := m.traces()
	if err != nil {
		m.cfg.Logger.Warn("cannot look for orphans", "error", err)
	}
	for _, uid := range traces {
		left[uid] = true
	}
	for uid := range left {
		if m.worker(uid) != nil {
			continue
		}
		if err := m.releaseAll(ctx, uid); err != nil && ctx.Err() == nil {
			m.cfg.Logger.Warn("cannot remove what is left of a pod", "pod", uid, "error", err)
		}
	}
}

// releaseAll removes what a pod without containers has on the host, its logs and at last its checkpoint, by which the rest
// would be found again.
func (m *Manager) releaseAll(ctx context.Context, uid types.UID) error {
	if err := m.releaseResources(ctx, uid); err != nil {
		return err
	}
	logs, err := filepath.Glob(filepath.Join(m.cfg.LogDir, "*_"+string(uid)))
	if err != nil {
		return fmt.Errorf("cannot find logs of pod %s: %w", uid, err)
	}
	for _, dir := range logs {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("cannot remove logs of pod %s: %w", uid, err)
		}
	}
	return removeUnmounted(filepath.Join(m.podsDir(), string(uid)))
}

// releaseResources gives back what a pod that has ended needs no more: its address, namespaces, volumes, cgroups. Each is tried,
// whatever became of the others.
func (m *Manager) releaseResources(ctx context.Context, uid types.UID) error {
	return errors.Join(
		m.cfg.Network.Detach(ctx, uid),
		m.cfg.Runtime.RemoveSandbox(ctx, uid),
		m.cfg.Volumes.Teardown(ctx, uid),
		m.cfg.Runtime.RemovePodResources(uid),
	)
}

// removeUnmounted removes a directory, unmounting first what is mounted below it: what a mount shows is not ours to
// delete.
func removeUnmounted(dir string) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("cannot list mounts: %w", err)
	}
	var mounts []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			mounts = append(mounts, f[4])
		}
	}
	slices.Reverse(mounts)
	for _, path := range mounts {
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("cannot unmount %s: %w", path, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove %s: %w", dir, err)
	}
	return nil
}

// Cleanup removes everything that pods have on this host: containers, namespaces, addresses, volumes, cgroups, logs,
// checkpoints, and at last the images. It needs Runtime, Network, Volumes and DataDir alone, and Run must not be running.
func (m *Manager) Cleanup(ctx context.Context) error {
	var errs []error
	list, err := m.cfg.Runtime.List(ctx)
	if err != nil {
		return err
	}
	uids := map[types.UID]bool{}
	var wg sync.WaitGroup
	var mu sync.Mutex
	slots := semaphore.NewWeighted(int64(m.cfg.Parallel))
	for _, c := range list {
		uids[c.PodUID] = true
		if err := slots.Acquire(ctx, 1); err != nil {
			return err
		}
		wg.Go(func() {
			defer slots.Release(1)
			if err := m.cfg.Runtime.Remove(ctx, c.ID, c.PodUID); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	more, err := m.traces()
	errs = append(errs, err)
	for _, uid := range more {
		uids[uid] = true
	}
	for uid := range uids {
		errs = append(errs, m.releaseAll(ctx, uid))
	}
	errs = append(errs, m.cfg.Runtime.RemoveStaleRootFS(ctx, func(string) bool { return false }))
	if err := errors.Join(errs...); err != nil {
		return err // what is in use is not pulled from under its users
	}
	return m.cfg.Runtime.Purge(ctx)
}
