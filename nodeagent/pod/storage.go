package pod

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/resource"
)

// Local storage is limited by volume (emptyDir's sizeLimit), by container (its writable layer and its logs) and by pod (the
// sum of its containers' limits, for them and the volumes on disk). Nothing in the kernel does that: what is used is measured,
// and a pod that is beyond a limit is evicted, as kubelets do.

// storageInterval is the pause between two measurements.
const storageInterval = 10 * time.Second

// limitStorage has pods with limits measured until ctx ends.
func (m *Manager) limitStorage(ctx context.Context) {
	m.every(ctx, storageInterval, func() {
		for _, w := range m.all() {
			if w.limitsStorage() {
				w.post(w.measureStorage)
			}
		}
	})
}

// limitsStorage says whether the pod has a limit to hold.
func (w *worker) limitsStorage() bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	spec := &w.published.Spec
	for i := range spec.Volumes {
		if sizeLimit(&spec.Volumes[i]) > 0 {
			return true
		}
	}
	for _, c := range allContainers(spec) {
		if !c.Resources.Limits.StorageEphemeral().IsZero() {
			return true
		}
	}
	return false
}

// sizeLimit is what a volume on disk may hold in bytes, 0 for what is not limited or is no such volume. One in memory is
// limited by its file system.
func sizeLimit(v *corev1.Volume) int64 {
	if onDisk(v) && v.EmptyDir.SizeLimit != nil {
		return v.EmptyDir.SizeLimit.Value()
	}
	return 0
}

func onDisk(v *corev1.Volume) bool {
	return v.EmptyDir != nil && v.EmptyDir.Medium != corev1.StorageMediumMemory
}

// measureStorage measures the pod beside the worker, and evicts it when it is beyond a limit.
func (w *worker) measureStorage() {
	if w.rec.Stage != stageActive || w.measuring || w.prep == nil || !w.prep.done {
		return
	}
	w.measuring = true
	s := &storage{w: w, pod: w.pod, prep: w.prep, ids: map[string]string{}}
	for name, rec := range w.rec.Containers {
		if rec.ID != "" {
			s.ids[name] = rec.ID
		}
	}
	var beyond string
	var err error
	ctx := w.activeCtx
	w.operate(func() { beyond, err = s.measure(ctx) }, func() {
		w.measuring = false
		if err != nil && ctx.Err() == nil {
			w.log.Warn("cannot measure pod's storage", "error", err)
		}
		if beyond != "" && w.rec.Stage == stageActive {
			w.evict(beyond)
		}
	})
}

// evict ends the pod for good.
func (w *worker) evict(message string) {
	w.rec.Failed, w.rec.Reason, w.rec.Message = true, reasonEvicted, message
	w.event(nil, corev1.EventTypeWarning, reasonEvicted, "%s", message)
	w.beginStop(metav1.NewTime(w.now().Add(time.Second)), "evicted")
}

// reasonEvicted is the status's reason of a pod that its node has evicted.
const reasonEvicted = "Evicted"

// storage is one measurement, which reads nothing of the worker's that changes.
type storage struct {
	w    *worker
	pod  *corev1.Pod
	prep *preparation
	ids  map[string]string // containers' identifiers by name
}

// measure says which limit the pod is beyond, or nothing.
func (s *storage) measure(ctx context.Context) (string, error) {
	var total int64
	for i := range s.pod.Spec.Volumes {
		v := &s.pod.Spec.Volumes[i]
		if !onDisk(v) {
			continue
		}
		used, err := diskUsage(s.prep.mounts[v.Name].HostPath)
		if err != nil {
			return "", err
		}
		if limit := sizeLimit(v); limit > 0 && used > limit {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, v.EmptyDir.SizeLimit), nil
		}
		total += used
	}
	var beyond string
	for _, c := range allContainers(&s.pod.Spec) {
		used, err := s.container(ctx, c.Name)
		if err != nil {
			return "", err
		}
		if limit := c.Resources.Limits.StorageEphemeral(); !limit.IsZero() && used > limit.Value() && beyond == "" {
			beyond = fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", c.Name, limit)
		}
		total += used
	}
	limits := resource.PodLimits(s.pod, resource.PodResourcesOptions{})
	if limit := limits.StorageEphemeral(); !limit.IsZero() && total > limit.Value() {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", limit), nil
	}
	return beyond, nil
}

// container is what a container's writable layer and logs take.
func (s *storage) container(ctx context.Context, name string) (int64, error) {
	logs, err := diskUsage(filepath.Join(s.w.logDir, name))
	if err != nil || s.ids[name] == "" {
		return logs, err
	}
	layer, err := s.w.m.cfg.Runtime.LayerUsage(ctx, s.ids[name])
	return logs + layer, err
}

// diskUsage is what the files of a directory take on its disk, in bytes, without other file systems mounted in it. What
// vanishes meanwhile counts nothing.
func diskUsage(root string) (int64, error) {
	var total int64
	var device uint64
	seen := map[uint64]bool{} // files with several names
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil {
			info, err = e.Info()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		switch {
		case path == root:
			device = uint64(st.Dev)
		case uint64(st.Dev) != device && e.IsDir():
			return fs.SkipDir
		case uint64(st.Dev) != device, seen[st.Ino]:
			return nil
		}
		if st.Nlink > 1 && !e.IsDir() {
			seen[st.Ino] = true
		}
		total += st.Blocks * 512
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("cannot measure %s: %w", root, err)
	}
	return total, nil
}
