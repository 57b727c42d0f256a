package probe

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Config of a prober.
type Config struct {
	Executor Executor
	// NotPassed, when set, is told of every attempt that did not pass, before thresholds, for events. It must be quick.
	NotPassed func(t Target, k Kind, o Outcome, message string)
	Logger    *slog.Logger
}

// Workers is the Prober: one worker for each container, which runs the startup probe first and the other two
// beside each other after it.
type Workers struct {
	cfg     Config
	ctx     context.Context
	cancel  context.CancelFunc
	results chan Result // unbuffered: a verdict waits for its reader and is never lost; nobody closes it
	wg      sync.WaitGroup

	mu      sync.Mutex
	running map[string]context.CancelFunc // by container ID
}

// New returns a prober that is running; Close ends it.
func New(cfg Config) *Workers {
	ctx, cancel := context.WithCancel(context.Background())
	return &Workers{cfg: cfg, ctx: ctx, cancel: cancel, results: make(chan Result), running: map[string]context.CancelFunc{}}
}

// Close ends all probes and returns when they have ended.
func (w *Workers) Close() {
	w.mu.Lock()
	w.cancel()
	w.mu.Unlock()
	w.wg.Wait()
}

// Results implements Prober.
func (w *Workers) Results() <-chan Result { return w.results }

// Start implements Prober.
func (w *Workers) Start(t Target) {
	c := &t.Container
	if c.LivenessProbe == nil && c.ReadinessProbe == nil && c.StartupProbe == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.running[t.ContainerID]; ok || w.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithCancel(w.ctx)
	w.running[t.ContainerID] = cancel
	w.wg.Add(1)
	go func() {
		defer w.wg.Done()
		w.probeContainer(ctx, t)
	}()
}

// Stop implements Prober. It does not wait: a verdict that is under way may still come.
func (w *Workers) Stop(containerID string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if cancel, ok := w.running[containerID]; ok {
		cancel()
		delete(w.running, containerID)
	}
}

func (w *Workers) probeContainer(ctx context.Context, t Target) {
	started := time.Now()
	if p := t.Container.StartupProbe; p != nil {
		if !w.run(ctx, t, Startup, p, started) {
			return
		}
	}
	var wg sync.WaitGroup
	for k, p := range map[Kind]*corev1.Probe{Liveness: t.Container.LivenessProbe, Readiness: t.Container.ReadinessProbe} {
		if p != nil {
			wg.Go(func() { w.run(ctx, t, k, p, started) })
		}
	}
	wg.Wait()
}

// run probes until ctx ends or the verdict is final: a startup probe's success (returns true), a startup or
// liveness probe's failure, after which the container is to be killed.
func (w *Workers) run(ctx context.Context, t Target, k Kind, p *corev1.Probe, started time.Time) bool {
	if !sleepUntil(ctx, started.Add(seconds(p.InitialDelaySeconds))) {
		return false
	}
	j := newJudge(k, p)
	period := seconds(max(1, p.PeriodSeconds))
	next, early := time.Now(), eagerFirst
	for {
		o, message := w.attempt(ctx, t, p)
		if ctx.Err() != nil {
			return false
		}
		// Between the attempts of its period, a container that was not ready yet is tried again soon. Such an
		// attempt counts only when it passes: it must neither make events nor use up a threshold.
		extra, ok := time.Now().Before(next), o == Passed
		if !ok && !extra && w.cfg.NotPassed != nil {
			w.cfg.NotPassed(t, k, o, message)
		}
		if changed := (ok || !extra && o == Failed) && j.count(ok); changed {
			r := Result{Pod: t.Pod.UID, Container: t.Container.Name, ContainerID: t.ContainerID, Kind: k, OK: ok, Message: message}
			select {
			case w.results <- r:
			case <-ctx.Done():
				return false
			}
			if k == Startup || k == Liveness && !ok {
				return ok
			}
		}
		if !extra {
			// Attempts begin a period apart; one that took longer is followed by the next at once.
			if next = next.Add(period); next.Before(time.Now()) {
				next = time.Now()
			}
		}
		wait := next
		if k == Readiness && j.never() && early < period {
			wait, early = earlier(next, time.Now().Add(early)), early*2
		}
		if !sleepUntil(ctx, wait) {
			return false
		}
	}
}

// eagerFirst is the pause after the first failed attempt of a readiness probe; it doubles up to the period. The
// API allows attempts off the period to make a container ready faster.
const eagerFirst = 100 * time.Millisecond

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func sleepUntil(ctx context.Context, at time.Time) bool {
	d := time.Until(at)
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }

// judge turns attempts into verdicts: a verdict changes after as many equal attempts in a row as its threshold
// says. Before the first verdict readiness counts as failed and liveness as passed, and only the other is news.
type judge struct {
	success, failure int32
	verdict          *bool
	last             bool
	inRow            int32
}

func newJudge(k Kind, p *corev1.Probe) *judge {
	j := &judge{success: max(1, p.SuccessThreshold), failure: max(1, p.FailureThreshold)}
	if k == Liveness {
		j.verdict = new(bool)
		*j.verdict = true
	}
	return j
}

// never says that no attempt has passed as often as it must.
func (j *judge) never() bool { return j.verdict == nil || !*j.verdict }

// count takes one attempt and says whether the verdict is now another: ok.
func (j *judge) count(ok bool) (changed bool) {
	if j.inRow == 0 || ok != j.last {
		j.last, j.inRow = ok, 0
	}
	j.inRow++
	threshold := j.failure
	if ok {
		threshold = j.success
	}
	if j.inRow < threshold || j.verdict != nil && *j.verdict == ok {
		return false
	}
	j.verdict = &ok
	return true
}
