package pod

import (
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// worker looks after one pod. Its goroutine alone reads and changes the fields below "owned"; whatever takes time runs
// in an operation, a goroutine that gets copies and posts its result back.
//
//	         refused
//	new ──────────────────────────────┐
//	 │ admitted                       │
//	 v                                │
//	active ◀─┐ containers started,    │
//	 │       │ restarted, probed;     │
//	 │       │ a lost sandbox is made │
//	 ├───────┘ anew                   │
//	 │ deleted, past its deadline,    │
//	 │ or all containers are done     │
//	 v                                v
//	stopping: hooks, signals, SIGKILL; sidecars after the others, the last first
//	 │ nothing runs
//	 v
//	finished: address, namespaces, volumes and cgroups given back; final status
//	 │ the API wants it deleted and knows the final status: DELETE is sent; or it is gone there
//	 v
//	(ended) logs and checkpoint removed
//
// commit is the one function through which a change leaves the worker: it writes the checkpoint, then publishes the
// status. A stage is never left backwards.
type worker struct {
	m   *Manager
	uid types.UID
	// namespace is the pod's.
	namespace string
	log       *slog.Logger
	dir       string // of its checkpoint and files
	cp        *checkpoint
	// logDir holds a directory for each container with a file for each of its instances.
	logDir string

	inbox   sync.Mutex
	queue   []func()
	wake    chan struct{} // capacity 1: a pending wake-up is enough; never closed
	ops     sync.WaitGroup
	writer  *statusWriter
	ended   chan struct{} // closed by the worker when the pod has ended and holds nothing on the host, or the worker ends
	nextRun time.Time     // earliest time that something is due; zero: nothing

	// owned
	pod       *corev1.Pod // with the resources that this node has allocated to it
	wanted    *corev1.Pod // as the API has it, while it asks for other resources; else nil
	rec       *podRecord
	live      map[string]*live
	ctx       context.Context // Run's
	activeCtx context.Context // ends when the pod begins to stop
	deactive  context.CancelFunc
	prep      *preparation
	gone      bool // the API has it no more
	deleting  bool // DELETE is under way
	releasing bool
	dead      bool // nothing is left to do
	burying   bool // its checkpoint is being removed
	over      bool // ended is closed
	retry     map[string]time.Time
	objects   int  // how often objectChanged was called
	measuring bool // its storage
	resizing  bool
	deferral  string // why the resources that are wanted are not allocated
	resizeErr string // why those that are allocated are not set

	mu        sync.RWMutex // guards what others read
	published *corev1.Pod
	deferred  atomic.Bool // resources are wanted that are not allocated
}

// live is what is known of a container only while this process runs.
type live struct {
	op      opKind
	id      string        // of the instance, from the moment at which it is being made
	exited  bool          // an exit was seen while an operation was under way
	ended   chan struct{} // closed when the instance's end was seen; made with each instance
	since   time.Time     // when its start was known to have succeeded
	kill    *killOrder
	waiting *corev1.ContainerStateWaiting // why it does not start
	pull    backoff
	absent  string    // the image that could not be had
	look    time.Time // when to see whether it has come meanwhile; zero: that is no way, or under way
	blocked time.Time // not to be started before
	probing bool
}

type opKind int

const (
	opNone opKind = iota
	opStart
	opReap
	opHook // postStart, beside a running container
)

// retryPause is the pause before what failed while a pod is given back is tried again.
const retryPause = 2 * time.Second

func newWorker(m *Manager, pod *corev1.Pod, rec *podRecord, cp *checkpoint) *worker {
	w := &worker{
		m: m, uid: pod.UID, namespace: pod.Namespace, cp: cp, pod: pod, rec: rec,
		log:    m.cfg.Logger.With("pod", pod.Namespace+"/"+pod.Name),
		dir:    filepath.Join(m.podsDir(), string(pod.UID)),
		logDir: filepath.Join(m.cfg.LogDir, pod.Namespace+"_"+pod.Name+"_"+string(pod.UID)),
		wake:   make(chan struct{}, 1), ended: make(chan struct{}), live: map[string]*live{}, retry: map[string]time.Time{},
	}
	if rec.Containers == nil {
		rec.Containers = map[string]*containerRecord{}
	}
	w.writer = newStatusWriter(m, pod)
	w.publish(w.status())
	return w
}

// post queues a message; it never blocks. After the worker has ended messages are dropped.
func (w *worker) post(f func()) {
	w.inbox.Lock()
	w.queue = append(w.queue, f)
	w.inbox.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) take() []func() {
	w.inbox.Lock()
	defer w.inbox.Unlock()
	q := w.queue
	w.queue = nil
	return q
}

// run is the worker's goroutine.
func (w *worker) run(ctx context.Context) {
	w.ctx = ctx
	w.activeCtx, w.deactive = context.WithCancel(ctx)
	writing := make(chan struct{})
	go func() { w.writer.run(ctx); close(writing) }()
	defer func() {
		w.deactive()
		for name, l := range w.live {
			w.stopProbes(name, l)
		}
		w.writer.stop() // first: an operation may be waiting for it
		w.ops.Wait()
		<-writing
		w.end()
		if w.dead {
			w.m.drop(w)
		}
	}()
	for {
		for _, f := range w.take() {
			f()
		}
		w.nextRun = time.Time{}
		if ctx.Err() != nil {
			w.commit()
			return
		}
		w.step()
		w.commit()
		if w.dead {
			return
		}
		w.sleep(ctx)
	}
}

func (w *worker) sleep(ctx context.Context) {
	var due <-chan time.Time
	if !w.nextRun.IsZero() {
		t := w.m.cfg.Clock.NewTimer(max(0, w.nextRun.Sub(w.now())))
		defer t.Stop()
		due = t.C()
		if !w.now().Before(w.nextRun) { // the clock went on before the timer was there
			return
		}
	}
	select {
	case <-ctx.Done():
	case <-w.wake:
	case <-due:
	}
}

func (w *worker) now() time.Time { return w.m.cfg.Clock.Now() }

// at asks to be run again at a time, or earlier.
func (w *worker) at(t time.Time) {
	if w.nextRun.IsZero() || t.Before(w.nextRun) {
		w.nextRun = t
	}
}

// due says whether something that failed may be tried again; pause puts it off.
func (w *worker) due(what string) bool {
	t, ok := w.retry[what]
	if ok && w.now().Before(t) {
		w.at(t)
		return false
	}
	return true
}

func (w *worker) pause(what string, d time.Duration) { w.retry[what] = w.now().Add(d) }

// operate runs something that takes time beside the worker; done runs in the worker afterwards.
func (w *worker) operate(do func(), done func()) {
	w.ops.Go(func() {
		do()
		w.post(done)
	})
}

// end tells those who wait that nothing of the pod is left to wait for.
func (w *worker) end() {
	if !w.over {
		w.over = true
		close(w.ended)
	}
}

// commit makes the worker's state durable and then visible.
func (w *worker) commit() {
	if w.dead {
		return
	}
	status := w.status()
	w.rec.Conditions = status.Conditions
	if !w.burying { // what is being removed must not come back
		if err := w.cp.save(w.pod, w.rec); err != nil && w.due("checkpoint") {
			// What others see goes on: a full disk must not stop the node from telling so.
			w.log.Error("cannot save pod's state", "error", err)
			w.pause("checkpoint", time.Minute)
		}
	}
	w.publish(status)
	if w.rec.Released {
		w.end()
	}
}

func (w *worker) publish(status *corev1.PodStatus) {
	pod := w.pod.DeepCopy()
	pod.Status = *status
	w.mu.Lock()
	before := w.published
	w.published = pod
	w.mu.Unlock()
	w.deferred.Store(w.wanted != nil)
	if before != nil && terminal(status.Phase) && !terminal(before.Status.Phase) {
		w.m.retryResizes()
	}
	if !w.gone {
		w.writer.set(status)
	}
}

// snapshot is the pod with the status as the worker sees it.
func (w *worker) snapshot() *corev1.Pod {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.published.DeepCopy()
}

func (w *worker) addresses() []netip.Addr {
	if w.pod.Spec.HostNetwork {
		return []netip.Addr{w.m.cfg.NodeIP}
	}
	return w.rec.IPs
}

// allContainers are the pod's containers of all sorts.
func allContainers(spec *corev1.PodSpec) []*corev1.Container {
	var out []*corev1.Container
	for i := range spec.InitContainers {
		out = append(out, &spec.InitContainers[i])
	}
	for i := range spec.Containers {
		out = append(out, &spec.Containers[i])
	}
	for i := range spec.EphemeralContainers {
		out = append(out, (*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	return out
}

func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func isInit(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == name })
}

func isEphemeral(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == name })
}
