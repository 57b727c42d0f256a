// Package loop runs controllers. A controller says which objects it looks at, which keys their changes
// concern, and how one key is reconciled; the machinery has the rest: one watch a kind however many controllers
// share it, a queue a controller with one worker a key, back-off on errors, periodic resync, panics caught.
package loop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const (
	// reconcileTimeout bounds one call of Reconcile: the largest is a few thousand writes of a few milliseconds.
	reconcileTimeout = 5 * time.Minute
	defaultResync    = 10 * time.Minute
)

// Key is what a controller works on: mostly the name of an object.
type Key = types.NamespacedName

// KeyOf returns the key that names obj.
func KeyOf(obj kind.Object) Key {
	return Key{Namespace: obj.GetNamespace(), Name: obj.GetName()}
}

// Source maps changes of one kind to the keys that they concern.
type Source struct {
	Kind *kind.Kind
	// Keys is called for each event in order, from one goroutine, before and after start; it must be quick and
	// must not write. It may keep state of the controller, under the controller's own lock.
	Keys func(client.Event) []Key
}

// Each maps changes of all kinds of a table to the keys that they concern.
type Each struct {
	Kinds *kind.Table
	// Keys returns a Source's Keys for a kind, nil when the kind does not matter. It may be called from several
	// goroutines at once, and so may what it returns for different kinds.
	Keys func(*kind.Kind) func(client.Event) []Key
	// Defined returns the keys that a kind concerns from when on it is defined, which may be called as Keys may be; nil:
	// none. It is not called for kinds that were there at the start.
	Defined func(*kind.Kind) []Key
}

// Result says what a successful Reconcile wants further.
type Result struct {
	// After asks for another call for the same key after that time; 0 asks for none.
	After time.Duration
}

// Controller is one control loop.
type Controller struct {
	Name string
	// For is the kind whose objects are the keys; nil when keys are not objects of one kind.
	For *kind.Kind
	// Also are further kinds whose changes matter.
	Also []Source
	// Each is set when every kind of a table matters, those that are yet to be defined among them.
	Each *Each
	// Initial keys are added at the start: for controllers that do one thing over and over.
	Initial []Key
	// Workers is how many keys are reconciled at once; 0 means 1.
	Workers int
	// Resync is how often all objects of For are looked at without a change; 0 means 10 minutes.
	Resync time.Duration
	// Reconcile brings one key to where it should be. It is not called at once for one key, and only after all
	// watches have delivered what existed. An error makes it run again after a back-off.
	Reconcile func(ctx context.Context, key Key) (Result, error)
}

// Run runs controllers until ctx ends, and returns nil then; it returns early, with everything stopped, only
// when a watch broke for good. Nothing of it runs any more when it has returned.
func Run(ctx context.Context, c client.Client, log *slog.Logger, controllers ...Controller) error {
	if log == nil {
		log = slog.Default()
	}
	g, gctx := errgroup.WithContext(ctx)
	runners := make([]*runner, len(controllers))
	sources := map[*kind.Kind][]func(client.Event){}
	all := &everything{client: c}
	for i, ctl := range controllers {
		r := &runner{Controller: ctl, client: c, queue: newQueue(), log: log.With("controller", ctl.Name)}
		runners[i] = r
		if ctl.For != nil {
			sources[ctl.For] = append(sources[ctl.For], func(e client.Event) { r.queue.add(KeyOf(e.Object)) })
		}
		for _, s := range ctl.Also {
			sources[s.Kind] = append(sources[s.Kind], r.handler(s.Keys))
		}
		if ctl.Each != nil {
			all.add(ctl.Each.Kinds, r)
		}
	}
	all.begin(sources)
	synced := make([]chan struct{}, 0, len(sources))
	for k, handlers := range sources {
		done := make(chan struct{})
		synced = append(synced, done)
		g.Go(func() error {
			err := follow(gctx, c, k, done, handlers)
			if errors.Is(err, errKindGone) && all.over(k) {
				return nil
			}
			return err
		})
	}
	if all.kinds != nil {
		g.Go(func() error { return all.run(gctx) })
	}
	g.Go(func() error {
		for _, done := range synced {
			select {
			case <-done:
			case <-gctx.Done():
				return nil
			}
		}
		for _, r := range runners {
			r.start(gctx, g)
		}
		return nil
	})
	g.Go(func() error {
		<-gctx.Done()
		for _, r := range runners {
			r.queue.close()
		}
		return nil
	})
	err := g.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// handler returns what puts the keys of an event into the controller's queue.
func (r *runner) handler(keys func(client.Event) []Key) func(client.Event) {
	return func(e client.Event) {
		for _, key := range keys(e) {
			r.queue.add(key)
		}
	}
}

func follow(ctx context.Context, c client.Client, k *kind.Kind, synced chan struct{}, handlers []func(client.Event)) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("cannot handle event of %s: panic: %v\n%s", k.Plural, p, debug.Stack())
		}
	}()
	err = c.Watch(ctx, k, synced, func(e client.Event) {
		for _, handle := range handlers {
			handle(e)
		}
	})
	switch {
	case ctx.Err() != nil:
		return nil
	case err == nil:
		return errKindGone
	default:
		return fmt.Errorf("cannot watch %s: %w", k.Plural, err)
	}
}

type runner struct {
	Controller
	client client.Client
	queue  *queue
	log    *slog.Logger
}

func (r *runner) start(ctx context.Context, g *errgroup.Group) {
	for _, key := range r.Initial {
		r.queue.add(key)
	}
	for range max(r.Workers, 1) {
		g.Go(func() error {
			for {
				key, ok := r.queue.get()
				if !ok {
					return nil
				}
				r.work(ctx, key)
			}
		})
	}
	if r.For != nil {
		g.Go(func() error {
			r.resync(ctx)
			return nil
		})
	}
}

func (r *runner) resync(ctx context.Context) {
	every := r.Resync
	if every == 0 {
		every = defaultResync
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		objs, err := r.client.List(ctx, r.For, client.Query{})
		if err != nil && ctx.Err() == nil {
			r.log.Warn("cannot list for resync", "kind", r.For.Plural, "error", err)
		}
		for _, obj := range objs {
			r.queue.add(KeyOf(obj))
		}
	}
}

// work reconciles one key and never fails: an error is logged and tried again.
func (r *runner) work(ctx context.Context, key Key) {
	defer r.queue.done(key)
	result, err := r.reconcile(ctx, key)
	if err == nil {
		r.queue.succeeded(key)
		if result.After > 0 {
			r.queue.addAfter(key, result.After)
		}
		return
	}
	if ctx.Err() != nil {
		return
	}
	delay := r.queue.failed(key)
	level := slog.LevelWarn
	if expected(err) {
		level = slog.LevelDebug
	}
	r.log.Log(ctx, level, "cannot reconcile, will try again", "key", key.String(), "error", err, "after", delay)
}

func (r *runner) reconcile(ctx context.Context, key Key) (result Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, reconcileTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("panic in controller", "key", key.String(), "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("cannot reconcile %s: panic: %v", key, p)
		}
	}()
	return r.Reconcile(ctx, key)
}

// expected tells the errors that a busy cluster has all the time: someone else wrote first.
func expected(err error) bool {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		for _, e := range joined.Unwrap() {
			if !expected(e) {
				return false
			}
		}
		return true
	}
	return apierrors.IsConflict(err) || apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, "NamespaceTerminating")
}
