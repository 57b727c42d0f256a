package pod

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/probe"
)

// What others tell a worker: each of these runs in the worker's goroutine.

// update takes a new version of the pod.
func (w *worker) update(pod *corev1.Pod) {
	w.observe(pod)
	w.gone = false
	w.writer.observe(pod)
	if pod.DeletionTimestamp != nil {
		w.beginDelete(pod)
	}
}

func (w *worker) beginDelete(pod *corev1.Pod) {
	by := metav1.NewTime(pod.DeletionTimestamp.Time)
	if g := pod.DeletionGracePeriodSeconds; g != nil && *g == 0 {
		by = metav1.NewTime(w.now().Add(time.Second))
	}
	w.beginStop(by, "")
}

// vanish notes that the API has the pod no more: it was deleted by force, or while nobody watched.
func (w *worker) vanish(last *corev1.Pod) {
	if w.gone {
		return
	}
	w.gone = true
	grace := graceOf(w.pod)
	if last != nil && last.DeletionGracePeriodSeconds != nil {
		grace = time.Duration(max(*last.DeletionGracePeriodSeconds, 1)) * time.Second
	}
	w.beginStop(metav1.NewTime(w.now().Add(grace)), "")
}

func graceOf(pod *corev1.Pod) time.Duration {
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return 30 * time.Second
}

// beginStop moves the pod to stopping, or makes it hurry when it stops already.
func (w *worker) beginStop(by metav1.Time, reason string) {
	switch w.rec.Stage {
	case stageNew, stageActive:
		w.rec.Stage = stageStopping
		w.m.cfg.Volumes.Ending(w.uid)
		w.rec.StopBy = &by
		if w.deactive != nil {
			w.deactive()
		}
		w.log.Info("pod stops", "by", by.Time, "reason", reason)
	case stageStopping:
		if w.rec.StopBy == nil || by.Time.Before(w.rec.StopBy.Time) {
			w.rec.StopBy = &by
			for _, l := range w.live {
				if l.kill != nil {
					l.kill.hurry(by.Time)
				}
			}
		}
	}
}

func (w *worker) liveOf(name string) *live {
	l := w.live[name]
	if l == nil {
		l = &live{ended: make(chan struct{})}
		w.live[name] = l
	}
	return l
}

func (w *worker) recOf(name string) *containerRecord {
	c := w.rec.Containers[name]
	if c == nil {
		c = &containerRecord{}
		w.rec.Containers[name] = c
	}
	return c
}

func (w *worker) byID(id string) (string, *containerRecord) {
	for name, c := range w.rec.Containers {
		if c.ID == id {
			return name, c
		}
	}
	return "", nil
}

// exited takes the news of a container's end, which may come before its start is on record.
func (w *worker) exited(id string) {
	for _, l := range w.live {
		if l.id == id && !l.exited {
			l.exited = true
			close(l.ended)
		}
	}
}

// compare looks for an end of which no news came, in what containerd had at or after the time asOf. Containers that
// are being made are left alone, and so are those that were made since: the list may not know them yet.
func (w *worker) compare(states map[string]container.State, asOf time.Time) {
	for name, c := range w.rec.Containers {
		l := w.liveOf(name)
		if !c.running() || l.op == opStart || !l.since.Before(asOf) {
			continue
		}
		if st, ok := states[c.ID]; !ok || st.Status == container.Stopped || st.Status == container.Missing {
			w.exited(c.ID)
		}
	}
	if w.rec.Stage == stageFinished && !w.rec.Released {
		delete(w.retry, "release")
	}
}

// probed takes a probe's verdict. The attempts that led to it are the prober's to report.
func (w *worker) probed(r probe.Result) {
	name, c := w.byID(r.ContainerID)
	if c == nil || !c.running() || w.rec.Stage != stageActive {
		return
	}
	spec := findContainer(&w.pod.Spec, name)
	if spec == nil {
		return
	}
	switch r.Kind {
	case probe.Readiness:
		c.Ready = r.OK && c.Started
		if !r.OK {
			return
		}
	case probe.Startup:
		if r.OK {
			c.Started = true
			c.Ready = spec.ReadinessProbe == nil
			return
		}
		w.restartContainer(spec, "Container %s failed startup probe, will be restarted", spec.StartupProbe)
	case probe.Liveness:
		if !r.OK {
			w.restartContainer(spec, "Container %s failed liveness probe, will be restarted", spec.LivenessProbe)
		}
	}
}

// restartContainer stops a container whose probe failed, to be started again unless its policy is never to do so.
func (w *worker) restartContainer(spec *corev1.Container, format string, p *corev1.Probe) {
	grace := graceOf(w.pod)
	if p != nil && p.TerminationGracePeriodSeconds != nil {
		grace = time.Duration(*p.TerminationGracePeriodSeconds) * time.Second
	}
	if w.kill(spec, w.now().Add(grace), format) && w.policy(spec) != corev1.RestartPolicyNever {
		w.rec.Containers[spec.Name].Again = causeProbe
	}
}
