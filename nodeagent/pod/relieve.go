package pod

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/pressure"
)

// A node that is short of memory, disk or process ids helps itself, as kubelets do: first it removes what nobody needs, then it
// evicts one pod after the other until there is enough. While there is, a look is all that it costs: what pods use is measured
// only when one of them has to go.

// housekeeping is the pause between two looks at what pods and node use. It comes after an evicted pod's end as well: some
// file systems give back room only a while after their files are gone.
const housekeeping = 10 * time.Second

// evictionTimeout bounds the wait for an evicted pod's end: its grace, and what containerd needs to kill it and to
// remove what it had. What takes longer is not waited for, and the next pod's turn comes.
const evictionTimeout = evictionGrace + 29*time.Second

// keepHouse holds limits of storage and relieves the node until ctx ends.
func (m *Manager) keepHouse(ctx context.Context) {
	m.every(ctx, housekeeping, func() {
		m.limitStorage()
		if m.cfg.Pressure != nil {
			m.relieve(ctx)
		}
	})
}

// relieve looks at what the node is short of and does something about it: it evicts one pod at most.
func (m *Manager) relieve(ctx context.Context) {
	short := m.cfg.Pressure.Look()
	m.reportPressure()
	for _, s := range short {
		m.cfg.Logger.Debug("node is short of something", "signal", s.Signal, "available", s.Available, "threshold", s.Threshold)
		m.nodeEvent(corev1.EventTypeWarning, "EvictionThresholdMet", "Attempting to reclaim %s", s.Resource)
	}
	for _, s := range m.reclaim(ctx, short) {
		if m.evictOne(ctx, s) {
			return
		}
	}
}

// pressureEvents are what a kubelet says of a condition that has changed, with pressure and without.
var pressureEvents = map[corev1.NodeConditionType][2]string{
	corev1.NodeMemoryPressure: {"NodeHasInsufficientMemory", "NodeHasSufficientMemory"},
	corev1.NodeDiskPressure:   {"NodeHasDiskPressure", "NodeHasNoDiskPressure"},
	corev1.NodePIDPressure:    {"NodeHasInsufficientPID", "NodeHasSufficientPID"},
}

// reportPressure tells of conditions that are others than at the last look.
func (m *Manager) reportPressure() {
	for _, c := range m.cfg.Pressure.Conditions() {
		if c.Under == m.under[c.Type] {
			continue
		}
		m.under[c.Type] = c.Under
		event := pressureEvents[c.Type][1]
		if c.Under {
			event = pressureEvents[c.Type][0]
			m.cfg.Logger.Warn("node is under pressure", "condition", c.Type, "why", c.Message)
		} else {
			m.cfg.Logger.Info("node is under pressure no more", "condition", c.Type)
		}
		m.nodeEvent(corev1.EventTypeNormal, event, "Node %s status is now: %s", m.cfg.NodeName, event)
	}
}

// reclaim removes what no pod needs from disks that are short: what is left of dead containers, images, and at last the
// logs of pods that have ended. It returns what is short then.
func (m *Manager) reclaim(ctx context.Context, short []pressure.Shortage) []pressure.Shortage {
	for _, step := range []struct {
		path string // what it removes is on this disk
		do   func(context.Context) error
	}{
		{m.cfg.Pressure.ImageFS(), m.removeDead},
		{m.cfg.Pressure.ImageFS(), m.removeImages},
		{m.cfg.LogDir, m.removeOldLogs},
	} {
		if !affects(short, step.path) {
			continue
		}
		if err := step.do(ctx); err != nil && ctx.Err() == nil {
			m.cfg.Logger.Warn("cannot make room", "error", err)
		}
		short = m.cfg.Pressure.Look()
	}
	return short
}

// affects says whether room on the path's file system helps.
func affects(short []pressure.Shortage, path string) bool {
	for _, s := range short {
		if s.Path != "" && sameDisk(s.Path, path) {
			return true
		}
	}
	return false
}

func sameDisk(a, b string) bool {
	var x, y unix.Stat_t
	return a != "" && b != "" && unix.Stat(a, &x) == nil && unix.Stat(b, &y) == nil && x.Dev == y.Dev
}

// removeDead removes containers that have ended and are still there, because their removal failed when they did.
func (m *Manager) removeDead(ctx context.Context) error {
	list, err := m.cfg.Runtime.List(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range list {
		if c.State.Status == container.Stopped && m.worker(c.PodUID) != nil && !m.claimed(c.ID) {
			errs = append(errs, m.cfg.Runtime.Remove(ctx, c.ID, c.PodUID))
		}
	}
	return errors.Join(errs...)
}

func (m *Manager) removeImages(ctx context.Context) error {
	_, err := m.cfg.Images.RemoveUnused(ctx, m.images(func(p *corev1.Pod) bool { return !terminal(p.Status.Phase) }))
	return err
}

// removeOldLogs removes the logs of pods that have ended. Those that run keep that of an earlier instance: it says why
// they were started again.
func (m *Manager) removeOldLogs(context.Context) error {
	var errs []error
	for _, w := range m.all() {
		select {
		case <-w.ended:
			if err := os.RemoveAll(w.logDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, fmt.Errorf("cannot remove logs: %w", err))
			}
		default:
		}
	}
	return errors.Join(errs...)
}

// evictOne evicts the pod that is the first to go, and waits until it has ended. It returns false when none may be evicted.
func (m *Manager) evictOne(ctx context.Context, s pressure.Shortage) bool {
	list := m.candidates(ctx, s)
	rank(list, s.Resource)
	for _, c := range list {
		if critical(c.pod) {
			continue
		}
		message, annotations := c.explain(s)
		c.w.log.Warn("evicting pod", "signal", s.Signal, "used", c.used)
		c.w.post(func() {
			if c.w.evictable() {
				c.w.evict(message, annotations)
			}
		})
		t := m.cfg.Clock.NewTimer(evictionTimeout)
		defer t.Stop()
		select {
		case <-c.w.ended:
		case <-ctx.Done():
		case <-t.C():
			c.w.log.Warn("evicted pod has not ended yet; going on without it")
		}
		return true
	}
	m.cfg.Logger.Debug("no pod can be evicted", "signal", s.Signal)
	return false
}

// evictable says whether the pod's end can be brought about or forward.
func (w *worker) evictable() bool {
	return !w.rec.Failed && (w.rec.Stage == stageActive || w.rec.Stage == stageStopping && w.pod.DeletionTimestamp != nil)
}

// candidates are the pods that could be evicted, with what they take of what is short.
func (m *Manager) candidates(ctx context.Context, s pressure.Shortage) []candidate {
	var out []candidate
	for _, w := range m.all() {
		asked := make(chan *storage, 1)
		w.post(func() {
			if w.evictable() {
				asked <- w.storage()
			}
			close(asked)
		})
		var st *storage
		select {
		case st = <-asked:
		case <-w.ended:
		case <-ctx.Done():
		}
		if st == nil {
			continue
		}
		c := candidate{w: w, pod: st.pod, containers: map[string]int64{}}
		err := c.measure(ctx, s, st, m.cfg.Pressure.ImageFS())
		if err != nil && ctx.Err() == nil {
			w.log.Warn("cannot measure pod", "error", err)
		}
		c.known = err == nil
		out = append(out, c)
	}
	return out
}

// measure finds out what the pod takes of what is short. Of a disk, only what is on it counts.
func (c *candidate) measure(ctx context.Context, s pressure.Shortage, st *storage, imageFS string) (err error) {
	switch s.Resource {
	case corev1.ResourceMemory:
		for name, id := range st.ids {
			if c.containers[name], err = st.rt.WorkingSet(c.pod.UID, id); err != nil {
				return err
			}
		}
		c.used, err = st.rt.WorkingSet(c.pod.UID, "")
		return err
	case pressure.PIDs:
		c.used, err = st.rt.Processes(c.pod.UID)
		return err
	}
	use, err := st.measure(ctx)
	if err != nil {
		return err
	}
	var total diskUse
	for name, u := range use.volumes {
		if sameDisk(s.Path, st.mounts[name].HostPath) {
			total = total.plus(u)
		}
	}
	logs, layers := sameDisk(s.Path, filepath.Dir(st.logDir)), sameDisk(s.Path, imageFS)
	for _, spec := range allContainers(&c.pod.Spec) {
		var u diskUse
		if logs {
			u = u.plus(use.logs[spec.Name])
		}
		if layers {
			u = u.plus(use.layers[spec.Name])
		}
		total = total.plus(u)
		c.containers[spec.Name] = u.bytes
	}
	c.used = total.bytes
	if s.Resource == pressure.Inodes {
		c.used, c.containers = total.inodes, nil
	}
	return nil
}
