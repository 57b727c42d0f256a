package pod

import (
	"context"
	"os"
	"strings"
	"syscall"
	"time"

	mobysignal "github.com/moby/sys/signal"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
)

// minStop is what a container gets to end after its preStop hook, however long that took.
const minStop = 2 * time.Second

// killAgain is the pause before SIGKILL is sent again to what did not end by it, as when containerd was away.
const killAgain = 5 * time.Second

// killOrder is a container's end under way. Its deadline can be moved forward.
type killOrder struct {
	by      time.Time
	sooner  chan time.Time // capacity 1: the newest deadline; never closed
	ended   <-chan struct{}
	id      string
	spec    *corev1.Container
	pod     *corev1.Pod
	signal  syscall.Signal
	address string
}

func (k *killOrder) hurry(by time.Time) {
	select {
	case <-k.sooner: // an earlier message that nobody has read
	default:
	}
	k.sooner <- by
}

// kill begins to end a container that runs; format has one verb, for its name. It says whether it did: it does not when
// the container ends already, or another operation on it is under way.
func (w *worker) kill(c *corev1.Container, by time.Time, format string) bool {
	l, rec := w.liveOf(c.Name), w.rec.Containers[c.Name]
	if !rec.running() || l.kill != nil || l.op != opNone || l.exited {
		return false
	}
	w.stopProbes(c.Name, l)
	w.event(c, corev1.EventTypeNormal, "Killing", format, c.Name)
	k := &killOrder{
		by: by, sooner: make(chan time.Time, 1), ended: l.ended, id: rec.ID, spec: c, pod: w.pod,
		signal: stopSignal(c, rec.StopSignal),
	}
	if ips := w.addresses(); len(ips) > 0 {
		k.address = ips[0].String()
	}
	l.kill = k
	w.operate(func() { w.carryOut(k) }, func() { l.kill = nil })
	return true
}

// stopSignal is the container's own choice, the image's, or SIGTERM.
func stopSignal(c *corev1.Container, image string) syscall.Signal {
	name := image
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		name = string(*c.Lifecycle.StopSignal)
	}
	if name != "" {
		if s, err := mobysignal.ParseSignal(name); err == nil {
			return s
		}
	}
	return syscall.SIGTERM
}

// carryOut runs the hook, sends the signal, and SIGKILL when the time is over. It returns when the container has ended, or
// this process ends: the next one goes on.
func (w *worker) carryOut(k *killOrder) {
	ctx, clk := w.ctx, w.m.cfg.Clock
	if k.spec.Lifecycle != nil && k.spec.Lifecycle.PreStop != nil && k.by.After(clk.Now()) {
		hctx, cancel := context.WithTimeout(ctx, k.by.Sub(clk.Now()))
		err := w.runHook(hctx, k.pod, k.spec, k.id, k.address, k.spec.Lifecycle.PreStop)
		cancel()
		if err != nil && ctx.Err() == nil {
			w.eventFor(k.pod, k.spec, corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed: %v", err)
		}
		if least := clk.Now().Add(minStop); k.by.Before(least) {
			k.by = least
		}
	}
	w.signal(ctx, k, k.signal)
	if w.awaitEnd(ctx, clk, k) {
		return
	}
	for {
		w.signal(ctx, k, syscall.SIGKILL)
		t := clk.NewTimer(killAgain)
		select {
		case <-k.ended:
			t.Stop()
			return
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C():
		}
		if st, err := w.m.cfg.Runtime.Inspect(ctx, k.id); err == nil && (st.Status == container.Stopped || st.Status == container.Missing) {
			id := k.id
			w.post(func() { w.exited(id) }) // the event was lost
		}
	}
}

func (w *worker) signal(ctx context.Context, k *killOrder, sig syscall.Signal) {
	if err := w.m.cfg.Runtime.Signal(ctx, k.id, sig); err != nil && ctx.Err() == nil {
		w.log.Warn("cannot signal container", "container", k.spec.Name, "signal", sig, "error", err)
	}
}

// awaitEnd waits for the container's end or the deadline, and says whether it has ended or nobody cares any more.
func (w *worker) awaitEnd(ctx context.Context, clk clock.WithTicker, k *killOrder) bool {
	for {
		t := clk.NewTimer(max(0, k.by.Sub(clk.Now())))
		select {
		case <-k.ended:
			t.Stop()
			return true
		case <-ctx.Done():
			t.Stop()
			return true
		case k.by = <-k.sooner:
			t.Stop()
		case <-t.C():
			return false
		}
	}
}

// reapEnded takes up containers whose end was seen: first their status is read and written down, then they are removed.
func (w *worker) reapEnded() {
	for name, l := range w.live {
		rec := w.rec.Containers[name]
		if !l.exited || l.op != opNone || !rec.running() || !w.due("reap "+name) {
			continue
		}
		w.reap(name, l, rec)
	}
}

func (w *worker) reap(name string, l *live, rec *containerRecord) {
	l.op = opReap
	w.stopProbes(name, l)
	var exit container.Exit
	var err error
	id, spec := rec.ID, findContainer(&w.pod.Spec, name)
	w.operate(func() { exit, err = w.m.cfg.Runtime.Reap(w.ctx, id, w.uid) }, func() {
		l.op = opNone
		if err != nil {
			if w.ctx.Err() == nil {
				w.log.Warn("cannot take container's exit status", "container", name, "error", err)
			}
			w.pause("reap "+name, retryPause/4)
			return
		}
		rec.State = corev1.ContainerState{Terminated: w.terminated(rec, exit, w.lastWords(name, spec, rec, exit))}
		rec.Ready, rec.Started = false, false
		w.removeInstance(name, l, id)
	})
}

// removeInstance removes a container whose end is on record. It is an operation, so that the container is not started
// again before the old instance has left the shim. What can not be removed is left to the search for orphans.
func (w *worker) removeInstance(name string, l *live, id string) {
	l.op = opReap
	w.m.release(id)
	w.commit() // before containerd forgets it
	var err error
	w.operate(func() { err = w.m.cfg.Runtime.Remove(w.ctx, id, w.uid) }, func() {
		l.op = opNone
		if err != nil && w.ctx.Err() == nil {
			w.log.Warn("cannot remove container", "container", name, "error", err)
		}
	})
}

func (w *worker) terminated(rec *containerRecord, exit container.Exit, message string) *corev1.ContainerStateTerminated {
	at := exit.At
	if now := w.now(); at.After(now) { // a clock was set back: a delay counted from the future would never end
		at = now
	}
	t := &corev1.ContainerStateTerminated{
		ExitCode: exit.Code, FinishedAt: metav1.NewTime(at.Truncate(time.Second)), ContainerID: statusID(rec.ID), Message: message,
	}
	if rec.State.Running != nil {
		t.StartedAt = rec.State.Running.StartedAt
	}
	switch {
	case exit.Unknown:
		t.Reason = "Unknown"
	case exit.OOMKilled:
		t.Reason = "OOMKilled"
	case exit.Code == 0:
		t.Reason = "Completed"
	default:
		t.Reason = "Error"
	}
	return t
}

// Limits of a termination message: in all, and of the log that stands in for it.
const (
	maxTerminationMessage = 4096
	maxTerminationLog     = 2048
	maxTerminationLines   = 80
)

// lastWords is what the container left as its termination message, or the end of its log where it asks for that.
func (w *worker) lastWords(name string, spec *corev1.Container, rec *containerRecord, exit container.Exit) string {
	if data, err := readLimited(w.terminationFile(name), maxTerminationMessage); err == nil && len(data) > 0 {
		return strings.ToValidUTF8(string(data), "")
	}
	if spec == nil || spec.TerminationMessagePolicy != corev1.TerminationMessageFallbackToLogsOnError || exit.Code == 0 {
		return ""
	}
	lines := int64(maxTerminationLines)
	var out tailBuffer
	if err := readLog(w.ctx, rec.LogPath, &corev1.PodLogOptions{TailLines: &lines}, &out, nil); err != nil {
		return ""
	}
	return strings.ToValidUTF8(string(out.last(maxTerminationLog)), "")
}

func readLimited(path string, limit int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, limit)
	n, err := f.Read(buf)
	return buf[:n], err
}

type tailBuffer struct{ buf []byte }

func (b *tailBuffer) Write(p []byte) (int, error) {
	b.buf = append(b.buf, p...)
	return len(p), nil
}

func (b *tailBuffer) last(n int) []byte { return b.buf[max(0, len(b.buf)-n):] }

// confirmDelete tells the API that the pod may go, once it knows the final status.
func (w *worker) confirmDelete() {
	if w.deleting || !w.due("delete") {
		return
	}
	w.deleting = true
	status, pod := w.status(), w.pod
	var err error
	w.operate(func() {
		if err = w.writer.flush(w.ctx, status); err == nil {
			zero := int64(0)
			err = w.m.cfg.Client.CoreV1().Pods(pod.Namespace).Delete(w.ctx, pod.Name, metav1.DeleteOptions{
				GracePeriodSeconds: &zero, Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
			})
		}
	}, func() {
		w.deleting = false
		switch {
		case err == nil, apierrors.IsNotFound(err), apierrors.IsConflict(err):
			// A finalizer may keep the object; then there is nothing more to do until it goes.
			w.pause("delete", time.Minute)
		default:
			if w.ctx.Err() == nil {
				w.log.Warn("cannot delete pod from the API", "error", err)
			}
			w.pause("delete", retryPause)
		}
	})
}

// bury removes the last that is left of the pod on this host.
func (w *worker) bury() {
	if w.releasing || !w.due("bury") {
		return
	}
	w.releasing, w.burying = true, true
	var err error
	w.operate(func() { err = w.m.releaseAll(w.ctx, w.uid) }, func() {
		w.releasing = false
		if err != nil {
			w.burying = false
			if w.ctx.Err() == nil {
				w.log.Warn("cannot remove what is left of the pod", "error", err)
			}
			w.pause("bury", retryPause)
			return
		}
		w.dead = true
		w.log.Info("pod is gone")
	})
}
