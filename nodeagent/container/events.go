package container

import (
	"context"
	"fmt"
	"time"

	apievents "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/typeurl/v2"
)

// Event is what containerd told of a container.
type Event struct {
	// ContainerID is empty when events may have been missed: everything is to be compared then.
	ContainerID string
	// OOM says that the kernel killed one of its processes for memory; otherwise its first process has ended.
	OOM bool
}

// Events is read by one reader while Run runs. It holds 256 events; a reader that stops stops Run, not containerd.
func (r *Runtime) Events() <-chan Event { return r.events }

// Run passes on containerd's events until ctx ends. When the connection is lost it tries again, and sends an event without
// a container once it is back.
func (r *Runtime) Run(ctx context.Context) error {
	lost := false
	for {
		ch, errs := r.client.Subscribe(ctx, r.filter("/tasks/exit"), r.filter("/tasks/oom"))
		// Subscribing does not wait for an answer; a served health check behind it on the same connection does.
		ok, err := r.client.IsServing(ctx)
		select { // the health check waits for a daemon that is starting, the subscription does not
		case err = <-errs:
			ok = false
		default:
		}
		if err == nil && ok {
			if !r.send(ctx, Event{}) {
				return nil
			}
			if lost {
				r.opt.Logger.Info("containerd is back")
				lost = false
			}
			err = r.forward(ctx, ch, errs)
		}
		if ctx.Err() != nil {
			return nil
		}
		if !lost {
			r.opt.Logger.Warn("connection to containerd lost", "error", err)
			lost = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond): // it may be starting
		}
	}
}

func (r *Runtime) filter(topic string) string {
	return fmt.Sprintf("namespace==%q,topic==%q", r.opt.Namespace, topic)
}

func (r *Runtime) forward(ctx context.Context, ch <-chan *events.Envelope, errs <-chan error) error {
	for {
		select {
		case e := <-ch:
			if ev, ok := decode(e); ok && !r.send(ctx, ev) {
				return nil
			}
		case err := <-errs:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

func decode(e *events.Envelope) (Event, bool) {
	v, err := typeurl.UnmarshalAny(e.Event)
	if err != nil {
		return Event{}, false
	}
	switch t := v.(type) {
	case *apievents.TaskExit:
		return Event{ContainerID: t.ContainerID}, t.ID == t.ContainerID // others are of exec
	case *apievents.TaskOOM:
		return Event{ContainerID: t.ContainerID, OOM: true}, true
	}
	return Event{}, false
}

func (r *Runtime) send(ctx context.Context, e Event) bool {
	select {
	case r.events <- e:
		return true
	case <-ctx.Done():
		return false
	}
}
