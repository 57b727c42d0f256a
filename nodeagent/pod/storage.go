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

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/volume"
)

// Local storage is limited by volume (emptyDir's sizeLimit), by container (its writable layer and its logs) and by pod (the
// sum of its containers' limits, for them and the volumes on disk). Nothing in the kernel does that: what is used is measured,
// and a pod that is beyond a limit is evicted, as kubelets do.

// limitStorage has pods with limits measured.
func (m *Manager) limitStorage() {
	for _, w := range m.all() {
		if w.limitsStorage() {
			w.post(w.measureStorage)
		}
	}
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
	s := w.storage()
	var beyond string
	var err error
	ctx := w.activeCtx
	w.operate(func() {
		var use storageUse
		if use, err = s.measure(ctx); err == nil {
			beyond = use.beyond(s.pod)
		}
	}, func() {
		w.measuring = false
		if err != nil && ctx.Err() == nil {
			w.log.Warn("cannot measure pod's storage", "error", err)
		}
		if beyond != "" && w.rec.Stage == stageActive {
			w.evict(beyond, nil)
		}
	})
}

// evict ends the pod for good. The annotations are the event's.
func (w *worker) evict(message string, annotations map[string]string) {
	w.rec.Failed, w.rec.Evicted, w.rec.Reason, w.rec.Message = true, true, reasonEvicted, message
	w.m.cfg.Recorder.AnnotatedEventf(podRef(w.pod), annotations, corev1.EventTypeWarning, reasonEvicted, "%s", message)
	w.beginStop(metav1.NewTime(w.now().Add(evictionGrace)), "evicted")
}

// evictionGrace is what an evicted pod gets to end, as from a kubelet.
const evictionGrace = time.Second

// reasonEvicted is the status's reason of a pod that its node has evicted, or refused for want of resources.
const reasonEvicted = "Evicted"

// storage is what is to be measured of a pod. It reads nothing of the worker's that changes.
type storage struct {
	rt     *container.Runtime
	pod    *corev1.Pod
	mounts map[string]volume.Mounted
	logDir string
	ids    map[string]string // containers' identifiers by name
}

func (w *worker) storage() *storage {
	s := &storage{rt: w.m.cfg.Runtime, pod: w.pod, logDir: w.logDir, ids: map[string]string{}}
	if w.prep != nil && w.prep.done {
		s.mounts = w.prep.mounts
	}
	for name, rec := range w.rec.Containers {
		if rec.ID != "" {
			s.ids[name] = rec.ID
		}
	}
	return s
}

// diskUse is what something takes of a file system.
type diskUse struct{ bytes, inodes int64 }

func (d diskUse) plus(o diskUse) diskUse { return diskUse{d.bytes + o.bytes, d.inodes + o.inodes} }

// storageUse is one measurement of a pod: its volumes on disk by their names, layers and logs by containers'.
type storageUse struct{ volumes, layers, logs map[string]diskUse }

func (s *storage) measure(ctx context.Context) (storageUse, error) {
	use := storageUse{map[string]diskUse{}, map[string]diskUse{}, map[string]diskUse{}}
	var err error
	for i := range s.pod.Spec.Volumes {
		v := &s.pod.Spec.Volumes[i]
		if m, ok := s.mounts[v.Name]; ok && onDisk(v) {
			if use.volumes[v.Name], err = diskUsage(m.HostPath); err != nil {
				return use, err
			}
		}
	}
	for _, c := range allContainers(&s.pod.Spec) {
		if use.logs[c.Name], err = diskUsage(filepath.Join(s.logDir, c.Name)); err != nil {
			return use, err
		}
		if id := s.ids[c.Name]; id != "" {
			size, inodes, err := s.rt.LayerUsage(ctx, id)
			if err != nil {
				return use, err
			}
			use.layers[c.Name] = diskUse{size, inodes}
		}
	}
	return use, nil
}

// beyond says which limit the pod is beyond, or nothing.
func (u storageUse) beyond(pod *corev1.Pod) string {
	var total int64
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		used := u.volumes[v.Name].bytes
		if limit := sizeLimit(v); limit > 0 && used > limit {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, v.EmptyDir.SizeLimit)
		}
		total += used
	}
	var beyond string
	for _, c := range allContainers(&pod.Spec) {
		used := u.logs[c.Name].bytes + u.layers[c.Name].bytes
		if limit := c.Resources.Limits.StorageEphemeral(); !limit.IsZero() && used > limit.Value() && beyond == "" {
			beyond = fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", c.Name, limit)
		}
		total += used
	}
	limits := resource.PodLimits(pod, resource.PodResourcesOptions{})
	if limit := limits.StorageEphemeral(); !limit.IsZero() && total > limit.Value() {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", limit)
	}
	return beyond
}

// diskUsage is what the files of a directory take on its disk, without other file systems mounted in it. What vanishes
// meanwhile counts nothing.
func diskUsage(root string) (diskUse, error) {
	var total diskUse
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
			device = st.Dev
		case st.Dev != device && e.IsDir():
			return fs.SkipDir
		case st.Dev != device, seen[st.Ino]:
			return nil
		}
		if st.Nlink > 1 && !e.IsDir() {
			seen[st.Ino] = true
		}
		total = total.plus(diskUse{st.Blocks * 512, 1})
		return nil
	})
	if err != nil {
		return diskUse{}, fmt.Errorf("cannot measure %s: %w", root, err)
	}
	return total, nil
}
