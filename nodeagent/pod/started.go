package pod

import (
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/image"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/probe"
)

// configRetry is the pause before a container is tried again whose configuration could not be resolved, while nothing
// says that what it refers to has appeared: that ends the pause at once.
const configRetry = time.Minute

const configReason = "CreateContainerConfigError"

// objectChanged is told that a config map or secret of the pod's namespace came or changed: what waited for it goes on.
func (w *worker) objectChanged() {
	w.objects++
	for _, l := range w.live {
		if l.waiting != nil && l.waiting.Reason == configReason {
			l.blocked = time.Time{}
		}
	}
	if w.prep != nil && w.prep.awaits {
		delete(w.retry, "prepare")
	}
}

// imageLook is the pause between looks at whether an image has come that could not be pulled, by an import or by another
// pod's pull: it is how often a kubelet, too, looks while it does not pull.
const imageLook = 10 * time.Second

// unavailableRetry is the pause while containerd does not answer.
const unavailableRetry = time.Second

// pullReported is how long a failed pull shows as such before it shows as backed off.
const pullReported = time.Second

// started takes the result of an attempt.
func (w *worker) started(s *starting) {
	l := w.liveOf(s.spec.Name)
	l.op = opNone
	if s.err != nil {
		w.m.release(s.id)
		w.startFailed(s, l)
		return
	}
	rec := w.recOf(s.spec.Name)
	if rec.terminated() {
		rec.Last = corev1.ContainerState{Terminated: rec.State.Terminated}
	}
	rec.ID, rec.Attempt, rec.Generation = s.id, s.attempt, w.rec.Generation
	rec.SpecImage, rec.Image, rec.ImageID, rec.LogPath = s.spec.Image, s.image.Name, s.image.ID, s.log
	rec.Resources, rec.Again = s.spec.Resources.DeepCopy(), ""
	l.since = w.now()
	rec.StopSignal = s.image.Config.StopSignal
	rec.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(s.at.Truncate(time.Second))}}
	rec.Started = s.spec.StartupProbe == nil
	rec.Ready = rec.Started && s.spec.ReadinessProbe == nil
	l.waiting, l.blocked, l.pull, l.absent, l.look = nil, time.Time{}, backoff{}, "", time.Time{}
	w.event(s.spec, corev1.EventTypeNormal, "Started", "Container started")
	w.startProbes(s.spec, rec, l)
	if s.spec.Lifecycle != nil && s.spec.Lifecycle.PostStart != nil && w.rec.Stage == stageActive {
		w.postStart(s, rec.ID)
	}
}

func (w *worker) startFailed(s *starting, l *live) {
	if w.activeCtx.Err() != nil {
		return
	}
	w.log.Warn("cannot start container", "container", s.spec.Name, "reason", s.reason, "error", s.err)
	if s.image != nil {
		l.absent, l.look = "", time.Time{}
	}
	if errdefs.IsUnavailable(s.err) || s.reason == "" {
		l.blocked = w.now().Add(unavailableRetry)
		return
	}
	l.waiting = &corev1.ContainerStateWaiting{Reason: s.reason, Message: s.err.Error()}
	switch s.reason {
	case image.ReasonErrImagePull, image.ReasonErrImageNeverPull, image.ReasonInvalidImageName, image.ReasonInspectError:
		w.pullFailed(s, l)
	case "RunContainerError":
		w.runFailed(s)
	default:
		if w.objects == s.objects { // else something came while this was tried
			l.blocked = w.now().Add(configRetry)
		}
		w.event(s.spec, corev1.EventTypeWarning, "Failed", "Error: %v", s.err)
	}
}

func (w *worker) pullFailed(s *starting, l *live) {
	l.pull.next(w.now(), w.now())
	l.blocked = w.now().Add(l.pull.Delay)
	l.absent, l.look = s.spec.Image, time.Time{}
	if s.spec.ImagePullPolicy != corev1.PullAlways && s.reason != image.ReasonInvalidImageName {
		l.look = w.now().Add(imageLook)
	}
	switch s.reason {
	case image.ReasonErrImagePull:
		w.event(s.spec, corev1.EventTypeWarning, "Failed", "Failed to pull image %q: %v", s.spec.Image, s.err)
		w.operate(func() { w.wait(pullReported) }, func() { w.pullBackedOff(s, l) })
	case image.ReasonErrImageNeverPull:
		w.event(s.spec, corev1.EventTypeWarning, s.reason, "%v", s.err)
	default:
		w.event(s.spec, corev1.EventTypeWarning, "InspectFailed", "%v", s.err)
	}
	w.event(s.spec, corev1.EventTypeWarning, "Failed", "Error: %s", s.reason)
}

// lookForImage ends the pause before the next pull when the image is there.
func (w *worker) lookForImage(c *corev1.Container, l *live) {
	if l.look.IsZero() {
		return
	}
	if w.now().Before(l.look) {
		w.at(l.look)
		return
	}
	l.look = time.Time{}
	ctx, name, pause := w.activeCtx, c.Image, l.blocked
	var img *image.Image
	w.operate(func() { img, _ = w.m.cfg.Images.Lookup(ctx, name) }, func() { // an error counts as not there: the next pull tells it
		if l.absent != name || l.blocked != pause { // another pull was made meanwhile
			return
		}
		if l.look = w.now().Add(imageLook); img != nil {
			l.blocked = time.Time{}
		}
	})
}

// wait is a pause that ends with the pod's active life.
func (w *worker) wait(d time.Duration) {
	t := w.m.cfg.Clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C():
	case <-w.activeCtx.Done():
	}
}

func (w *worker) pullBackedOff(s *starting, l *live) {
	if l.waiting == nil || l.waiting.Reason != image.ReasonErrImagePull || l.op != opNone {
		return
	}
	l.waiting = &corev1.ContainerStateWaiting{
		Reason:  image.ReasonImagePullBackOff,
		Message: fmt.Sprintf("Back-off pulling image %q: %s: %v", s.spec.Image, image.ReasonErrImagePull, s.err),
	}
	w.event(s.spec, corev1.EventTypeNormal, "BackOff", "Back-off pulling image %q", s.spec.Image)
	w.event(s.spec, corev1.EventTypeWarning, "Failed", "Error: %s", image.ReasonImagePullBackOff)
}

// startErrorCode is the exit code of a container whose process could not be started.
const startErrorCode = 128

// runFailed counts a container that could not be started as one that ended at once, so that its restart policy and
// back-off apply.
func (w *worker) runFailed(s *starting) {
	w.event(s.spec, corev1.EventTypeWarning, "Failed", "Error: %v", s.err)
	rec := w.recOf(s.spec.Name)
	if rec.terminated() {
		rec.Last = corev1.ContainerState{Terminated: rec.State.Terminated}
	}
	rec.ID, rec.Attempt, rec.Generation = s.id, s.attempt, w.rec.Generation
	rec.SpecImage, rec.Image, rec.ImageID, rec.LogPath = s.spec.Image, s.image.Name, s.image.ID, s.log
	rec.Started, rec.Ready = false, false
	rec.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: startErrorCode, Reason: "StartError", Message: s.err.Error(), ContainerID: statusID(s.id),
		StartedAt: metav1.NewTime(time.Unix(0, 0)), FinishedAt: metav1.NewTime(w.now().Truncate(time.Second)),
	}}
}

func (w *worker) startProbes(c *corev1.Container, rec *containerRecord, l *live) {
	if l.probing || c.LivenessProbe == nil && c.ReadinessProbe == nil && c.StartupProbe == nil || !rec.running() {
		return
	}
	l.probing = true
	t := probe.Target{Pod: w.pod, Container: *c, ContainerID: rec.ID}
	if rec.Started {
		t.Container.StartupProbe = nil // it has passed, for an earlier process
	}
	if ips := w.addresses(); len(ips) > 0 {
		t.Address = ips[0]
	}
	w.m.cfg.Prober.Start(t)
}

func (w *worker) stopProbes(name string, l *live) {
	if l.probing {
		l.probing = false
		w.m.cfg.Prober.Stop(w.rec.Containers[name].ID)
	}
}
