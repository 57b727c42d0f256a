package pod

import (
	"context"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
)

// adoptFromRuntime takes up a pod of which there is no checkpoint.
func (w *worker) adoptFromRuntime(ctx context.Context) {
	all, err := w.m.cfg.Runtime.List(ctx)
	if err != nil {
		w.log.Warn("cannot list containers of the pod", "error", err)
	}
	var own []container.Info
	for _, c := range all {
		if c.PodUID == w.uid {
			own = append(own, c)
		}
	}
	w.adopt(ctx, own)
}

// adopt joins what the record says with what containerd has, before the worker runs. A container that still runs keeps
// its state, readiness included: that this process is new is no evidence against it.
func (w *worker) adopt(ctx context.Context, found []container.Info) {
	byID := map[string]container.Info{}
	for _, c := range found {
		byID[c.ID] = c
	}
	for name, rec := range w.rec.Containers {
		l := w.liveOf(name)
		l.id = rec.ID
		if !rec.running() {
			continue
		}
		info, ok := byID[rec.ID]
		if !ok || info.State.Status != container.Running {
			l.exited = true
			close(l.ended)
			continue
		}
		delete(byID, rec.ID)
		if rec.LogPath == "" {
			rec.LogPath = info.LogPath
		}
		if err := w.m.cfg.Runtime.Adopt(ctx, rec.ID); err != nil {
			w.log.Error("cannot take up container's output", "container", name, "error", err)
		}
		if spec := findContainer(&w.pod.Spec, name); spec != nil && w.rec.Stage == stageActive {
			w.queue = append(w.queue, func() { w.startProbes(spec, rec, l) })
		}
	}
	for id, info := range byID {
		// Half made, or ended and on record: the record stands, and the pod's container is made again if it is to run.
		if rec := w.rec.Containers[info.Name]; rec.running() && rec.ID == id {
			continue // its exit status is still to be taken
		}
		if err := w.m.cfg.Runtime.Remove(ctx, id, w.uid); err != nil {
			w.log.Warn("cannot remove container of an earlier process", "container", info.Name, "error", err)
		}
	}
}
