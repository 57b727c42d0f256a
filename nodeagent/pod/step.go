package pod

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// step does what is to be done next. It never waits: it starts operations and says when it wants to be called again.
func (w *worker) step() {
	w.reapEnded()
	switch w.rec.Stage {
	case stageNew:
		w.stepNew()
	case stageActive:
		w.stepActive()
	case stageStopping:
		w.stepStopping()
	case stageFinished:
		w.stepFinished()
	}
}

func (w *worker) stepNew() {
	if w.gone {
		w.rec.Stage = stageStopping
		w.stepStopping()
		return
	}
	if w.rec.StartTime == nil {
		now := metav1.NewTime(w.now().Truncate(time.Second))
		w.rec.StartTime = &now
	}
	if reason, message := w.admit(); reason != "" {
		w.event(nil, corev1.EventTypeWarning, reason, "%s", message)
		w.rec.Failed, w.rec.Reason, w.rec.Message = true, reason, "Pod was rejected: "+message
		w.rec.Stage = stageStopping
		w.stepStopping()
		return
	}
	w.rec.Stage = stageActive
	w.stepActive()
}

func (w *worker) stepActive() {
	if w.pod.DeletionTimestamp != nil {
		w.beginDelete(w.pod)
		w.stepStopping()
		return
	}
	if d := w.pod.Spec.ActiveDeadlineSeconds; d != nil && w.rec.StartTime != nil {
		end := w.rec.StartTime.Add(time.Duration(*d) * time.Second)
		if !w.now().Before(end) {
			w.rec.Failed, w.rec.Reason = true, "DeadlineExceeded"
			w.rec.Message = "Pod was active on the node longer than the specified deadline"
			w.event(nil, corev1.EventTypeNormal, "DeadlineExceeded", "%s", w.rec.Message)
			w.beginStop(metav1.NewTime(w.now().Add(graceOf(w.pod))), "deadline")
			w.stepStopping()
			return
		}
		w.at(end)
	}
	w.ensurePrepared()
	w.resize()
	if w.completed() {
		w.beginStop(metav1.NewTime(w.now().Add(graceOf(w.pod))), "completed")
		w.stepStopping()
		return
	}
	if !w.prep.done && len(w.rec.Containers) > 0 {
		return // whether what ran before still counts is known once it is clear whether the sandbox is the same
	}
	if w.stepInit() {
		for i := range w.pod.Spec.Containers {
			w.ensureRunning(&w.pod.Spec.Containers[i])
		}
	}
	for i := range w.pod.Spec.EphemeralContainers {
		e := &w.pod.Spec.EphemeralContainers[i]
		c := (*corev1.Container)(&e.EphemeralContainerCommon)
		if w.rec.SandboxUp && w.rec.Containers[c.Name] == nil && w.liveOf(c.Name).op == opNone {
			w.startContainer(c, 0)
		}
	}
}

// stepInit brings the init containers forward, one after the other, and says whether they are done. Sidecars count as
// done once they have started, and are kept running.
func (w *worker) stepInit() bool {
	for i := range w.pod.Spec.InitContainers {
		c := &w.pod.Spec.InitContainers[i]
		rec := w.rec.Containers[c.Name]
		if isSidecar(c) {
			w.ensureRunning(c)
			if !w.pastInit(i) && !(rec.running() && rec.Started) {
				return false
			}
			continue
		}
		if w.initDone(c) || w.pastInit(i) {
			continue
		}
		w.ensureRunning(c)
		return false
	}
	return true
}

func (w *worker) initDone(c *corev1.Container) bool {
	rec := w.rec.Containers[c.Name]
	return rec.succeeded() && rec.Generation == w.rec.Generation
}

// pastInit says that a container after the init container i has run in this sandbox already: then the earlier ones had
// done their work, whatever became of them since.
func (w *worker) pastInit(i int) bool {
	later := func(c *corev1.Container) bool {
		rec := w.rec.Containers[c.Name]
		return rec != nil && rec.ID != "" && rec.Generation == w.rec.Generation
	}
	for j := range w.pod.Spec.Containers {
		if later(&w.pod.Spec.Containers[j]) {
			return true
		}
	}
	for j := i + 1; j < len(w.pod.Spec.InitContainers); j++ {
		if later(&w.pod.Spec.InitContainers[j]) {
			return true
		}
	}
	return false
}

// ensureRunning starts a container that is not there, and restarts one that has ended when its policy says so, after
// the delay that its failures earned it.
func (w *worker) ensureRunning(c *corev1.Container) {
	l, rec := w.liveOf(c.Name), w.rec.Containers[c.Name]
	if l.op != opNone || l.kill != nil || !rec.running() && w.awaitsSharedPID(c) {
		return
	}
	if l.absent != "" && l.absent != c.Image { // which has not failed yet
		l.absent, l.look, l.blocked, l.pull = "", time.Time{}, time.Time{}, backoff{}
	}
	switch {
	case rec.running():
		if rec.SpecImage != "" && rec.SpecImage != c.Image {
			w.replace(c, "Container %s definition changed, will be restarted")
		}
		return
	case w.now().Before(l.blocked):
		w.lookForImage(c, l)
		w.at(l.blocked)
		return
	case rec == nil || rec.ID == "":
		w.startContainer(c, 0)
		return
	case rec.State.Terminated == nil: // an instance of which nothing is known any more
		w.startContainer(c, rec.Attempt+1)
		return
	case rec.Generation == w.rec.Generation && !w.restarts(c, rec):
		return
	}
	failed := rec.State.Terminated.FinishedAt.Time
	if rec.Again == causeChange {
		w.startContainer(c, rec.Attempt+1)
		return
	}
	if until := rec.Crash.until(failed); w.now().Before(until) {
		if l.waiting == nil || l.waiting.Reason != "CrashLoopBackOff" {
			w.crashLoop(c, l, rec)
		}
		w.at(until)
		return
	}
	l.waiting = nil
	rec.Crash.next(failed, w.now())
	w.startContainer(c, rec.Attempt+1)
}

// replace ends a container whose definition has changed, to start it by the new one.
func (w *worker) replace(c *corev1.Container, format string) {
	if w.kill(c, w.now().Add(graceOf(w.pod)), format) {
		w.rec.Containers[c.Name].Again = causeChange
	}
}

func (w *worker) crashLoop(c *corev1.Container, l *live, rec *containerRecord) {
	who := w.pod.Name + "_" + w.pod.Namespace + "(" + string(w.uid) + ")"
	l.waiting = &corev1.ContainerStateWaiting{
		Reason:  "CrashLoopBackOff",
		Message: "back-off " + rec.Crash.Delay.String() + " restarting failed container=" + c.Name + " pod=" + who,
	}
	w.event(c, corev1.EventTypeWarning, "BackOff", "Back-off restarting failed container %s in pod %s", c.Name, who)
}

// restarts says whether a container that has ended is to be started again.
func (w *worker) restarts(c *corev1.Container, rec *containerRecord) bool {
	if rec.Again != "" {
		return true
	}
	code := rec.State.Terminated.ExitCode
	for _, rule := range c.RestartPolicyRules {
		if e := rule.ExitCodes; e != nil && rule.Action == corev1.ContainerRestartRuleActionRestart {
			in := slices.Contains(e.Values, code)
			if in == (e.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
				return true
			}
		}
	}
	switch policy := w.policy(c); {
	case policy == corev1.RestartPolicyNever:
		return false
	case policy == corev1.RestartPolicyOnFailure, isInit(w.pod, c.Name) && !isSidecar(c):
		return code != 0
	default:
		return true
	}
}

// policy is the container's own, or else the pod's.
func (w *worker) policy(c *corev1.Container) corev1.RestartPolicy {
	if c.RestartPolicy != nil {
		return corev1.RestartPolicy(*c.RestartPolicy)
	}
	return w.pod.Spec.RestartPolicy
}

// completed says that no container of the pod will run again by itself: all main ones are done, or an init container has
// failed for good.
func (w *worker) completed() bool {
	for i := range w.pod.Spec.InitContainers {
		c := &w.pod.Spec.InitContainers[i]
		rec := w.rec.Containers[c.Name]
		if !isSidecar(c) && rec.terminated() && rec.Generation == w.rec.Generation &&
			rec.State.Terminated.ExitCode != 0 && w.liveOf(c.Name).op == opNone && !w.restarts(c, rec) {
			return true
		}
	}
	for i := range w.pod.Spec.Containers {
		c := &w.pod.Spec.Containers[i]
		rec := w.rec.Containers[c.Name]
		if !rec.terminated() || w.liveOf(c.Name).op != opNone || rec.Generation != w.rec.Generation || w.restarts(c, rec) {
			return false
		}
	}
	return true
}

// stepStopping ends what runs: sidecars only after all others, and of those the last first.
func (w *worker) stepStopping() {
	if w.rec.StopBy == nil {
		now := metav1.NewTime(w.now().Add(graceOf(w.pod)))
		w.rec.StopBy = &now
	}
	busy := w.prep != nil && w.prep.running
	others := false
	for _, c := range allContainers(&w.pod.Spec) {
		if w.alive(c) {
			busy = true
			if !isSidecar(c) || !isInit(w.pod, c.Name) {
				others = true
				w.kill(c, w.rec.StopBy.Time, "Stopping container %s")
			}
		}
	}
	for i := len(w.pod.Spec.InitContainers) - 1; i >= 0 && !others; i-- {
		if c := &w.pod.Spec.InitContainers[i]; isSidecar(c) && w.alive(c) {
			w.kill(c, w.rec.StopBy.Time, "Stopping container %s")
			break
		}
	}
	if !busy {
		w.rec.Stage = stageFinished
		w.stepFinished()
	}
}

func (w *worker) alive(c *corev1.Container) bool {
	return w.rec.Containers[c.Name].running() || w.liveOf(c.Name).op != opNone
}

// stepFinished gives back what the pod holds and, when that is wanted, sees it deleted from the API.
func (w *worker) stepFinished() {
	if !w.rec.Released {
		w.release()
		return
	}
	switch {
	case w.gone:
		w.bury()
	case w.pod.DeletionTimestamp != nil:
		w.confirmDelete()
	}
}
