package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// Config of a manager.
type Config struct {
	// Dir is the manager's own: everything below it may be unmounted and removed.
	Dir string
	// Source is nil for a manager that only tears down.
	Source Source
	// Allocatable says what the node offers, for resourceFieldRefs of containers without limits; nil while it is not known.
	// Without Source it is not called.
	Allocatable func() corev1.ResourceList
	Logger      *slog.Logger
}

// retryEvery is how soon a refresh that failed is tried again; checkEvery how often due tokens are looked for.
const (
	retryEvery = 30 * time.Second
	checkEvery = 30 * time.Second
)

// Volumes is the Manager. It keeps, for each pod that it set up, what is needed to refresh it.
type Volumes struct {
	cfg   Config
	dirty chan struct{} // capacity 1: some pod is due, many wishes are one

	mu   sync.Mutex
	pods map[types.UID]*podVolumes
}

// podVolumes is one pod's.
type podVolumes struct {
	files sync.Mutex // held while the pod's files are written; taken before Volumes.mu

	// These are guarded by files.
	tokens map[tokenKey]heldToken
	late   []error // why tokens could not be renewed, at the last writing

	// These are guarded by Volumes.mu.
	pod       *corev1.Pod
	ready     bool      // Setup has succeeded; until then its caller tries it again
	due       bool      // an object that it mounts changed
	refreshAt time.Time // when a token is due; zero: never
	ending    bool
	gone      bool

	// These are Run's.
	failedSince time.Time // when the refreshes that fail began to; zero: the last one did not
	told        string    // what was logged of them
}

// New returns a manager; Run keeps volumes up to date.
func New(cfg Config) *Volumes {
	v := &Volumes{cfg: cfg, dirty: make(chan struct{}, 1), pods: map[types.UID]*podVolumes{}}
	if cfg.Source != nil {
		cfg.Source.Changed(v.changed)
	}
	return v
}

// Setup implements Manager.
func (v *Volumes) Setup(ctx context.Context, pod *corev1.Pod) (map[string]Mounted, error) {
	pv := v.entry(pod.UID)
	pv.files.Lock()
	defer pv.files.Unlock()
	v.mu.Lock()
	pv.pod, pv.due, pv.refreshAt = pod, false, time.Time{}
	v.mu.Unlock()
	pv.late = nil
	out := make(map[string]Mounted, len(pod.Spec.Volumes))
	for i := range pod.Spec.Volumes {
		m, err := v.setupOne(ctx, pv, pod, &pod.Spec.Volumes[i])
		if err != nil {
			return nil, err
		}
		out[pod.Spec.Volumes[i].Name] = m
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	pv.ready = true
	if pv.due { // since an object was read
		v.wake()
	}
	return out, nil
}

func (v *Volumes) entry(uid types.UID) *podVolumes {
	v.mu.Lock()
	defer v.mu.Unlock()
	pv := v.pods[uid]
	if pv == nil {
		pv = &podVolumes{tokens: map[tokenKey]heldToken{}}
		v.pods[uid] = pv
	}
	return pv
}

func (v *Volumes) setupOne(ctx context.Context, pv *podVolumes, pod *corev1.Pod, vol *corev1.Volume) (Mounted, error) {
	dir := filepath.Join(v.cfg.Dir, string(pod.UID), vol.Name)
	gid := fsGroup(pod)
	switch s := &vol.VolumeSource; {
	case s.HostPath != nil:
		return Mounted{HostPath: s.HostPath.Path}, checkHostPath(s.HostPath)
	case s.EmptyDir != nil:
		return Mounted{HostPath: dir}, setupEmptyDir(dir, s.EmptyDir, gid)
	case s.ConfigMap != nil, s.Secret != nil, s.DownwardAPI != nil, s.Projected != nil:
		return Mounted{HostPath: dir, ReadOnly: true}, v.write(ctx, pv, pod, vol, dir, gid)
	default:
		return Mounted{}, fmt.Errorf("cannot set up volume %s: this node has emptyDir, hostPath, configMap, secret, downwardAPI and projected volumes only", vol.Name)
	}
}

// write makes the files of a volume with API contents. All of them lie on a tmpfs: secrets and tokens must not
// reach the disk, and the others are small.
func (v *Volumes) write(ctx context.Context, pv *podVolumes, pod *corev1.Pod, vol *corev1.Volume, dir string, gid *int64) error {
	c := &content{ctx: ctx, source: v.cfg.Source, pod: pod, volume: vol.Name, alloc: v.cfg.Allocatable(), tokens: pv.tokens, files: map[string]file{}}
	var err error
	switch s := &vol.VolumeSource; {
	case s.ConfigMap != nil:
		err = c.configMap(s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional, modeOf(s.ConfigMap.DefaultMode))
	case s.Secret != nil:
		err = c.secret(s.Secret.SecretName, s.Secret.Items, s.Secret.Optional, modeOf(s.Secret.DefaultMode))
	case s.DownwardAPI != nil:
		err = c.downward(s.DownwardAPI.Items, modeOf(s.DownwardAPI.DefaultMode))
	case s.Projected != nil:
		err = c.projected(s.Projected)
	}
	if err != nil {
		return err
	}
	if c.late != nil {
		pv.late = append(pv.late, c.late)
		c.refreshAt = time.Now().Add(retryEvery)
	}
	v.schedule(pv, c.refreshAt)
	if err := mountTmpfs(dir, 0, 0o755); err != nil {
		return err
	}
	_, err = writeAtomically(dir, c.files, gid)
	return err
}

// schedule has the pod's volumes refreshed at that time, unless they are to be earlier; a zero time is never.
func (v *Volumes) schedule(pv *podVolumes, at time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !at.IsZero() && (pv.refreshAt.IsZero() || at.Before(pv.refreshAt)) {
		pv.refreshAt = at
	}
}

func fsGroup(pod *corev1.Pod) *int64 {
	if s := pod.Spec.SecurityContext; s != nil {
		return s.FSGroup
	}
	return nil
}

// Update implements Manager.
func (v *Volumes) Update(pod *corev1.Pod) {
	v.mu.Lock()
	defer v.mu.Unlock()
	pv := v.pods[pod.UID]
	if pv == nil || pv.pod == nil {
		return // Setup comes with this pod or a later one
	}
	pv.pod = pod
	if describesItself(pod) {
		pv.due = true
		v.wake()
	}
}

// describesItself says whether a volume of the pod shows the pod's own fields.
func describesItself(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		switch s := &pod.Spec.Volumes[i].VolumeSource; {
		case s.DownwardAPI != nil:
			return true
		case s.Projected != nil && slices.ContainsFunc(s.Projected.Sources, func(p corev1.VolumeProjection) bool { return p.DownwardAPI != nil }):
			return true
		}
	}
	return false
}

// Ending implements Manager.
func (v *Volumes) Ending(uid types.UID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if pv := v.pods[uid]; pv != nil {
		pv.ending = true
	}
}

// Teardown implements Manager.
func (v *Volumes) Teardown(_ context.Context, uid types.UID) error {
	pv := v.entry(uid)
	pv.files.Lock()
	defer pv.files.Unlock()
	if err := removeTree(filepath.Join(v.cfg.Dir, string(uid))); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	pv.gone = true
	delete(v.pods, uid)
	return nil
}

// Pods implements Manager.
func (v *Volumes) Pods() ([]types.UID, error) {
	entries, err := os.ReadDir(v.cfg.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list volumes: %w", err)
	}
	var out []types.UID
	for _, e := range entries {
		out = append(out, types.UID(e.Name()))
	}
	return out, nil
}

// RemoveAll removes a manager's directory with the volumes of all pods. It needs no manager and can be repeated.
func RemoveAll(dir string) error { return removeTree(dir) }

// changed marks the pods that mount the object.
func (v *Volumes) changed(namespace, name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	any := false
	for _, pv := range v.pods {
		// Which of its volumes name the object does not matter: those that did not change are not written.
		if pv.pod != nil && pv.pod.Namespace == namespace && mentions(pv.pod, name) {
			pv.due, any = true, true
		}
	}
	if any {
		v.wake()
	}
}

func (v *Volumes) wake() {
	select {
	case v.dirty <- struct{}{}:
	default:
	}
}

func mentions(pod *corev1.Pod, name string) bool {
	for i := range pod.Spec.Volumes {
		switch s := &pod.Spec.Volumes[i].VolumeSource; {
		case s.ConfigMap != nil && s.ConfigMap.Name == name, s.Secret != nil && s.Secret.SecretName == name:
			return true
		case s.Projected != nil:
			for _, p := range s.Projected.Sources {
				if p.ConfigMap != nil && p.ConfigMap.Name == name || p.Secret != nil && p.Secret.Name == name {
					return true
				}
			}
		}
	}
	return false
}

// Run refreshes volumes whose objects changed and tokens that are about to end, until ctx ends.
func (v *Volumes) Run(ctx context.Context) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		for _, pv := range v.duePods(time.Now()) {
			if err := v.refresh(ctx, pv); ctx.Err() == nil {
				v.tell(pv, err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-v.dirty:
		}
	}
}

// tell logs that a refresh failed, once for each reason. What a pod mounts often goes just before the pod does, as with their
// namespace: that something is missing is worth a word only when it still is at the next try, and of a pod that ends, nothing is.
func (v *Volumes) tell(pv *podVolumes, err error) {
	now := time.Now()
	if err == nil {
		pv.failedSince, pv.told = time.Time{}, ""
		return
	}
	if pv.failedSince.IsZero() {
		pv.failedSince = now
	}
	v.mu.Lock()
	quiet := pv.ending || pv.gone
	v.mu.Unlock()
	// A node may not read what no pod of its own names any more.
	missing := apierrors.IsNotFound(err) || apierrors.IsForbidden(err)
	if quiet || missing && now.Sub(pv.failedSince) < retryEvery || pv.told == err.Error() {
		return
	}
	pv.told = err.Error()
	v.cfg.Logger.Warn("cannot refresh volumes; trying again", "err", err)
}

func (v *Volumes) duePods(now time.Time) []*podVolumes {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []*podVolumes
	for _, pv := range v.pods {
		if pv.ready && (pv.due || !pv.refreshAt.IsZero() && now.After(pv.refreshAt)) {
			pv.due = false
			out = append(out, pv)
		}
	}
	return out
}

func (v *Volumes) refresh(ctx context.Context, pv *podVolumes) error {
	pv.files.Lock()
	defer pv.files.Unlock()
	v.mu.Lock()
	pod, gone := pv.pod, pv.gone
	pv.refreshAt = time.Time{}
	v.mu.Unlock()
	pv.late = nil
	if gone {
		return nil
	}
	var errs []error
	for i := range pod.Spec.Volumes {
		vol := &pod.Spec.Volumes[i]
		if vol.HostPath == nil && vol.EmptyDir == nil {
			_, err := v.setupOne(ctx, pv, pod, vol)
			errs = append(errs, err)
		}
	}
	if err := errors.Join(append(errs, pv.late...)...); err != nil {
		v.schedule(pv, time.Now().Add(retryEvery))
		return fmt.Errorf("cannot refresh volumes of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}
