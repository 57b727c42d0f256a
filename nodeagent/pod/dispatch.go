package pod

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
)

// compareInterval is how often everything is compared with containerd and the API, for what an event missed.
const compareInterval = time.Minute

func (m *Manager) dispatchEvents(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-m.cfg.Runtime.Events():
			if e.ContainerID == "" {
				m.compareRuntime(ctx)
				continue
			}
			m.mu.Lock()
			w := m.container[e.ContainerID]
			m.mu.Unlock()
			if w != nil && !e.OOM { // an OOM kill is read from the cgroup when the container ends
				w.post(func() { w.exited(e.ContainerID) })
			}
		}
	}
}

func (m *Manager) dispatchProbes(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r, ok := <-m.cfg.Prober.Results():
			if !ok {
				return
			}
			if w := m.worker(r.Pod); w != nil {
				w.post(func() { w.probed(r) })
			}
		}
	}
}

func (m *Manager) compareForever(ctx context.Context) {
	m.every(ctx, compareInterval, func() {
		m.compareRuntime(ctx)
		m.compareAPI()
		m.removeOrphans(ctx)
	})
}

// every calls f until ctx ends, with a pause of interval before each call.
func (m *Manager) every(ctx context.Context, interval time.Duration, f func()) {
	t := m.cfg.Clock.NewTimer(interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C():
			f()
			t.Reset(interval)
		}
	}
}

// compareRuntime finds exits of which no event came.
func (m *Manager) compareRuntime(ctx context.Context) {
	asOf := m.cfg.Clock.Now() // before the list: what starts in between must not look gone
	list, err := m.cfg.Runtime.List(ctx)
	if err != nil {
		if ctx.Err() == nil {
			m.cfg.Logger.Warn("cannot compare containers", "error", err)
		}
		return
	}
	states := make(map[string]container.State, len(list))
	for _, c := range list {
		states[c.ID] = c.State
	}
	for _, w := range m.all() {
		w.post(func() { w.compare(states, asOf) })
	}
}

// compareAPI finds pods that vanished from the API while nobody watched.
func (m *Manager) compareAPI() {
	workers := m.all() // before the list: a pod that comes in between must not look gone
	known := map[types.UID]bool{}
	for _, o := range m.cfg.Informer.GetStore().List() {
		if p, ok := o.(*corev1.Pod); ok {
			known[p.UID] = true
		}
	}
	for _, w := range workers {
		if !known[w.uid] {
			w.post(func() { w.vanish(nil) })
		}
	}
}
