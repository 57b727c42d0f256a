// Package scheduler gives pods their nodes. It keeps what it knows of the cluster up to date from watches, so
// that placing a pod costs the nodes it looks at and not the pods that there are; decides one pod at a time, as
// each decision is the next one's ground; and binds many at once, assuming meanwhile that it will succeed.
//
//	watch -> queue -> filter -> score -> assume -> bind
//	           ^        | nothing fits               | failed
//	           +--------+ condition, event, park     +-> forget, try again
package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/event"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const (
	// binders is how many bindings are written at once.
	binders = 32
	// enoughNodes is how many nodes that fit are scored: more cost time and gain little. Below it all are.
	enoughNodes = 100
	// staleCheck is how often pods are looked for that have waited for too long.
	staleCheck = 30 * time.Second
)

// Config of a Scheduler. Client is required.
type Config struct {
	Client client.Client
	// Recorder writes events; Run makes and runs one of its own when it is nil.
	Recorder *event.Recorder
	// Logger is slog.Default() when nil.
	Logger *slog.Logger
}

// Scheduler places the pods whose schedulerName is "default-scheduler". It may be run again after Run returned.
type Scheduler struct {
	client client.Client
	events *event.Recorder
	own    bool // events is this scheduler's to run
	log    *slog.Logger
	now    func() time.Time

	mu      sync.Mutex
	cluster *cluster
	queue   *queue
	next    int // node to begin with, so that all get their turn
	news    news

	wake chan struct{} // capacity 1: something may be ready; never closed
}

// New returns a scheduler. Nothing is read before Run.
func New(c Config) *Scheduler {
	s := &Scheduler{client: c.Client, events: c.Recorder.For(corev1.DefaultSchedulerName), log: c.Logger, now: time.Now, wake: make(chan struct{}, 1)}
	if s.log == nil {
		s.log = slog.Default()
	}
	if c.Recorder == nil {
		s.events, s.own = event.New(c.Client, corev1.DefaultSchedulerName, s.log), true
	}
	return s
}

// Run schedules until ctx ends and returns nil then, with nothing left running. It is to be called on the
// leader only. An error says that a watch broke, and that Run may be called again.
func (s *Scheduler) Run(ctx context.Context) error {
	s.mu.Lock()
	s.cluster, s.queue, s.news = newCluster(), newQueue(), newNews()
	s.mu.Unlock()

	g, gctx := errgroup.WithContext(ctx)
	if s.own {
		g.Go(func() error { return s.events.Run(gctx) })
	}
	watches := map[*kind.Kind]func(client.Event){
		kind.Of[*corev1.Pod]():       s.podChanged,
		kind.Of[*corev1.Node]():      s.nodeChanged,
		kind.Of[*corev1.Service]():   s.serviceChanged,
		kind.Of[*corev1.Namespace](): s.namespaceChanged,

		kind.Of[*policyv1.PodDisruptionBudget](): s.budgetChanged,
	}
	var synced []chan struct{}
	for k, handle := range watches {
		done := make(chan struct{})
		synced = append(synced, done)
		g.Go(func() error {
			if err := s.client.Watch(gctx, k, done, handle); gctx.Err() == nil {
				return fmt.Errorf("cannot watch %s: %w", k.Plural, err)
			}
			return nil
		})
	}
	g.Go(func() error {
		for _, done := range synced {
			select {
			case <-done:
			case <-gctx.Done():
				return nil
			}
		}
		s.loop(gctx)
		return nil
	})
	g.Go(func() error {
		s.tell(gctx)
		return nil
	})
	err := g.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// loop places pods until ctx ends, and then waits for what it is still writing.
func (s *Scheduler) loop(ctx context.Context) {
	var writes errgroup.Group
	writes.SetLimit(binders)
	defer func() { _ = writes.Wait() }() // they return no errors
	stale := time.NewTicker(staleCheck)
	defer stale.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		write, wait, ok := s.step()
		if write != nil {
			writes.Go(func() error {
				write(ctx)
				return nil
			})
		}
		if ok {
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-timer.C:
		case <-stale.C:
			s.mu.Lock()
			s.queue.unpark(s.now())
			s.mu.Unlock()
		}
	}
}

// step decides about one pod and returns the write that follows from it, if any; false means that none is
// ready, and wait when one may be.
func (s *Scheduler) step() (write func(context.Context), wait time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	e := s.queue.pop(now)
	if e == nil {
		if wait, ok := s.queue.wait(now); ok {
			return nil, wait, false
		}
		return nil, time.Hour, false
	}
	pod := e.pod
	if e.nominated != "" {
		s.cluster.removePod(pod.UID)
	}
	node, refused := s.place(e.podInfo)
	if node == "" {
		s.queue.park(e, refused.causes)
		s.news.add(pod.UID, refused.message())
		return s.makeRoom(e, refused), 0, true
	}
	e.nominated = ""
	s.cluster.setPod(e.podInfo, node)
	return func(ctx context.Context) { s.bind(ctx, pod, node) }, 0, true
}

// makeRoom returns the write that takes less important pods away for one that fits nowhere, if that helps, and
// keeps for it the room that it makes.
func (s *Scheduler) makeRoom(e *entry, refused refusals) func(context.Context) {
	if e.nominated != "" && s.cluster.leaving(e.nominated, e.podInfo) {
		s.cluster.setPod(e.podInfo, e.nominated)
		return nil
	}
	e.nominated = ""
	if refused.causes&causeResources == 0 {
		return nil
	}
	cost, ok := s.cluster.preempt(e.podInfo)
	if !ok {
		return nil
	}
	e.nominated = cost.node.name
	s.cluster.setPod(e.podInfo, e.nominated)
	pod := e.pod
	return func(ctx context.Context) { s.evictFor(ctx, pod, cost) }
}

// place returns the node that suits p best, or why there is none.
func (s *Scheduler) place(p *podInfo) (string, refusals) {
	nodes := s.cluster.list
	if len(nodes) == 0 {
		return "", refusals{causes: causeNode}
	}
	t := s.cluster.topologyOf(p)
	fits := make([]*nodeInfo, 0, min(len(nodes), enoughNodes))
	var refused refusals
	var scratch []refusal
	start := s.next % len(nodes)
	for i := range nodes {
		n := nodes[(start+i)%len(nodes)]
		s.next = start + i + 1
		if scratch = filter(p, n, t, scratch[:0]); len(scratch) > 0 {
			refused.add(scratch)
			continue
		}
		if fits = append(fits, n); len(fits) == enoughNodes {
			break
		}
	}
	if len(fits) == 0 {
		refused.nodes = len(nodes)
		return "", refused
	}
	return best(fits, s.cluster.score(p, fits)).name, refused
}

// best returns the node with the highest score, any of several.
func best(nodes []*nodeInfo, scores []int64) *nodeInfo {
	at, ties := 0, 1
	for i := 1; i < len(scores); i++ {
		switch {
		case scores[i] > scores[at]:
			at, ties = i, 1
		case scores[i] == scores[at]:
			if ties++; rand.IntN(ties) == 0 {
				at = i
			}
		}
	}
	return nodes[at]
}

func (s *Scheduler) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
