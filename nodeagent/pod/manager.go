// Package pod brings the node's pods to the state that the API asks for, and reports what became of them.
//
// Each pod has a worker of its own that alone decides about it; containerd's events, probes' verdicts and the API's
// watch are messages to it. What a worker knows is on disk before anybody else hears of it, so that a new process goes on
// where the last one stopped. A container runs on while nobody looks after it.
package pod

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sync/semaphore"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/image"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/network"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/pressure"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/probe"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/volume"
)

// Config is what a Manager works with. Fields without a default must be set.
type Config struct {
	NodeName string
	// NodeIP is the node's address in the cluster.
	NodeIP netip.Addr
	Client kubernetes.Interface
	// Informer watches this node's pods; the assembly runs it. Nil: the manager runs one of its own.
	Informer cache.SharedIndexInformer
	// Services returns the services of a namespace for the variables that name them; nil: none.
	Services func(namespace string) []*corev1.Service
	// Node returns the node's object for admission (allocatable resources, labels); nil, or a nil result: pods are
	// admitted without looking.
	Node func() *corev1.Node
	// Objects reads config maps and secrets.
	Objects  volume.Source
	Runtime  *container.Runtime
	Images   *image.Manager
	Network  network.Network
	Volumes  volume.Manager
	Prober   probe.Prober
	Recorder record.EventRecorder
	DNS      DNS
	// Pressure says what the node is short of; nil: of nothing.
	Pressure *pressure.Monitor

	DataDir string // /var/lib/fairlead/agent
	LogDir  string // /var/log/pods
	// Parallel is how many containers are created at once.
	Parallel int // twice the processors
	Clock    clock.WithTicker
	Logger   *slog.Logger
}

func (c *Config) setDefaults() {
	if c.DataDir == "" {
		c.DataDir = config.DefaultAgentDir
	}
	if c.LogDir == "" {
		c.LogDir = "/var/log/pods"
	}
	if c.Parallel == 0 {
		c.Parallel = 2 * runtime.NumCPU()
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.DNS.Address == "" {
		c.DNS.Address = config.DefaultDNSAddress
	}
	if c.DNS.Domain == "" {
		c.DNS.Domain = config.DefaultDomain
	}
}

// Manager runs the pods of a node. It implements stream.Runtime.
type Manager struct {
	cfg   Config
	start *semaphore.Weighted // containers being created
	room  sync.Mutex          // held while a resize is decided and published, so that two do not get the same room
	// under are the pressures that an event has told of; keepHouse alone uses it.
	under map[corev1.NodeConditionType]bool

	mu        sync.Mutex
	workers   map[types.UID]*worker
	container map[string]*worker // by container id
	running   sync.WaitGroup     // workers
	ctx       context.Context    // Run's; workers live within it
}

// New returns a manager; nothing happens before Run.
func New(cfg Config) *Manager {
	cfg.setDefaults()
	m := &Manager{
		cfg: cfg, start: semaphore.NewWeighted(int64(cfg.Parallel)),
		under: map[corev1.NodeConditionType]bool{}, workers: map[types.UID]*worker{}, container: map[string]*worker{},
	}
	return m
}

func newInformer(cfg *Config) cache.SharedIndexInformer {
	factory := informers.NewSharedInformerFactoryWithOptions(cfg.Client, 0,
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", cfg.NodeName).String()
		}))
	return factory.Core().V1().Pods().Informer()
}

func (m *Manager) podsDir() string { return filepath.Join(m.cfg.DataDir, "pods") }

// Run looks after the node's pods until ctx ends. It returns when all its goroutines have; containers run on.
func (m *Manager) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer func() {
		cancel()
		m.running.Wait()
		wg.Wait()
	}()
	m.ctx = ctx
	own := m.cfg.Informer == nil
	if own {
		m.cfg.Informer = newInformer(&m.cfg)
	}
	if err := m.restore(ctx); err != nil {
		return err
	}
	reg, err := m.cfg.Informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { m.observe(o) },
		UpdateFunc: func(_, o any) { m.observe(o) },
		DeleteFunc: func(o any) { m.forget(o) },
	})
	if err != nil {
		return fmt.Errorf("cannot watch pods: %w", err)
	}
	defer func() { _ = m.cfg.Informer.RemoveEventHandler(reg) }()
	wg.Go(func() {
		if err := m.cfg.Runtime.Run(ctx); err != nil {
			m.cfg.Logger.Error("cannot read containerd's events", "error", err)
		}
	})
	m.cfg.Objects.Changed(func(namespace, _ string) {
		for _, w := range m.all() {
			if w.namespace == namespace {
				w.post(w.objectChanged)
			}
		}
	})
	wg.Go(func() { m.dispatchEvents(ctx) })
	wg.Go(func() { m.dispatchProbes(ctx) })
	wg.Go(func() { m.keepHouse(ctx) })
	wg.Go(func() {
		m.cfg.Images.Run(ctx, func() []string { return m.images(func(*corev1.Pod) bool { return true }) })
	})
	if own {
		wg.Go(func() { m.cfg.Informer.Run(ctx.Done()) })
	}
	if cache.WaitForCacheSync(ctx.Done(), reg.HasSynced) {
		m.compareAPI()
		m.removeOrphans(ctx)
		m.compareForever(ctx)
	}
	return nil
}

// restore takes up the pods of the checkpoints, with the containers that still run.
func (m *Manager) restore(ctx context.Context) error {
	uids, err := checkpoints(m.podsDir())
	if err != nil {
		return err
	}
	found := map[types.UID][]container.Info{}
	if len(uids) > 0 {
		list, err := m.cfg.Runtime.List(ctx)
		if err != nil {
			return err
		}
		for _, c := range list {
			found[c.PodUID] = append(found[c.PodUID], c)
		}
	}
	for _, uid := range uids {
		cp := &checkpoint{dir: filepath.Join(m.podsDir(), string(uid))}
		pod, rec, err := cp.load()
		if err != nil {
			m.cfg.Logger.Warn("pod's checkpoint is of no use", "pod", uid, "error", err)
			continue // the API's list decides whether it is an orphan
		}
		w := newWorker(m, pod, rec, cp)
		w.adopt(ctx, found[uid])
		m.launch(w)
	}
	return nil
}

// launch starts a worker, which must be in no map yet.
func (m *Manager) launch(w *worker) {
	m.mu.Lock()
	m.workers[w.uid] = w
	for _, c := range w.rec.Containers {
		if c.ID != "" && !c.terminated() {
			m.container[c.ID] = w
		}
	}
	m.mu.Unlock()
	m.running.Go(func() { w.run(m.ctx) })
}

// observe takes a pod from the watch.
func (m *Manager) observe(o any) {
	pod, ok := o.(*corev1.Pod)
	if !ok || pod.Spec.NodeName != m.cfg.NodeName {
		return
	}
	m.mu.Lock()
	w := m.workers[pod.UID]
	m.mu.Unlock()
	if w != nil {
		w.post(func() { w.update(pod) })
		return
	}
	if m.ctx.Err() != nil {
		return
	}
	cp := &checkpoint{dir: filepath.Join(m.podsDir(), string(pod.UID))}
	rec := recordFromStatus(&pod.Status)
	if terminal(pod.Status.Phase) {
		rec.Stage, rec.Failed = stageStopping, pod.Status.Reason != ""
		rec.Reason, rec.Message = pod.Status.Reason, pod.Status.Message
	}
	w = newWorker(m, pod, rec, cp)
	w.writer.observe(pod)
	if rec.Stage != stageNew {
		w.adoptFromRuntime(m.ctx)
	}
	m.launch(w)
}

func terminal(p corev1.PodPhase) bool { return p == corev1.PodSucceeded || p == corev1.PodFailed }

// forget takes a pod's disappearance from the watch.
func (m *Manager) forget(o any) {
	if t, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = t.Obj
	}
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	if w := m.worker(pod.UID); w != nil {
		w.post(func() { w.vanish(pod) })
	}
}

func (m *Manager) worker(uid types.UID) *worker {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.workers[uid]
}

func (m *Manager) all() []*worker {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]*worker, 0, len(m.workers))
	for _, w := range m.workers {
		out = append(out, w)
	}
	return out
}

// drop removes a worker that has ended.
func (m *Manager) drop(w *worker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.workers, w.uid)
	for id, other := range m.container {
		if other == w {
			delete(m.container, id)
		}
	}
}

func (m *Manager) claim(id string, w *worker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.container[id] = w
}

func (m *Manager) claimed(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.container[id] != nil
}

func (m *Manager) release(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.container, id)
}

// images are the names of the images that the wanted pods use.
func (m *Manager) images(wanted func(*corev1.Pod) bool) []string {
	var names []string
	for _, w := range m.all() {
		pod := w.snapshot()
		if !wanted(pod) {
			continue
		}
		for _, c := range allContainers(&pod.Spec) {
			names = append(names, c.Image)
		}
	}
	return names
}

// Pods returns the pods with the status as this node sees it. They are copies.
func (m *Manager) Pods() []*corev1.Pod {
	all := m.all()
	out := make([]*corev1.Pod, 0, len(all))
	for _, w := range all {
		out = append(out, w.snapshot())
	}
	return out
}

// Pod returns the pod of this name, or nil. Of two with the same name it is the one that is not being deleted.
func (m *Manager) Pod(namespace, name string) *corev1.Pod {
	if w := m.byName(namespace, name); w != nil {
		return w.snapshot()
	}
	return nil
}

func (m *Manager) byName(namespace, name string) *worker {
	var found *worker
	for _, w := range m.all() {
		pod := w.snapshot()
		if pod.Namespace == namespace && pod.Name == name && (found == nil || pod.DeletionTimestamp == nil) {
			found = w
		}
	}
	return found
}
