package loop

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// errKindGone says that a watch ended since its kind is served no more.
var errKindGone = errors.New("cannot watch: the kind is served no more")

// everything watches kinds that are defined while controllers run, for those that look at all kinds. One watch
// serves all of them, and it outlasts changes of the definition.
type everything struct {
	client  client.Client
	kinds   *kind.Table
	runners []*runner
	ended   chan struct{} // capacity 1: a watch ended, so its kind may have been defined anew

	mu      sync.Mutex
	watched map[schema.GroupResource]bool
}

// add is called before begin. There is one table in a process.
func (w *everything) add(kinds *kind.Table, r *runner) {
	w.kinds = kinds
	w.runners = append(w.runners, r)
}

// begin adds the sources of the kinds that there are.
func (w *everything) begin(sources map[*kind.Kind][]func(client.Event)) {
	w.watched, w.ended = map[schema.GroupResource]bool{}, make(chan struct{}, 1)
	if w.kinds == nil {
		return
	}
	for _, k := range w.kinds.Kinds() {
		w.watched[k.GroupResource()] = true
		sources[k] = append(sources[k], w.handlers(k)...)
	}
}

func (w *everything) handlers(k *kind.Kind) []func(client.Event) {
	var out []func(client.Event)
	for _, r := range w.runners {
		if keys := r.Each.Keys(k); keys != nil {
			out = append(out, r.handler(keys))
		}
	}
	return out
}

// defined adds the keys that a new kind concerns.
func (w *everything) defined(k *kind.Kind) {
	for _, r := range w.runners {
		if r.Each.Defined == nil {
			continue
		}
		for _, key := range r.Each.Defined(k) {
			r.queue.add(key)
		}
	}
}

// run watches what is defined from now on, until ctx ends.
func (w *everything) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for ctx.Err() == nil {
		changed := w.kinds.Changed()
		for _, k := range w.kinds.Kinds() {
			if w.claim(k) {
				w.defined(k)
				g.Go(func() error {
					err := follow(ctx, w.client, k, nil, w.handlers(k))
					if errors.Is(err, errKindGone) && w.over(k) {
						return nil
					}
					return err
				})
			}
		}
		select {
		case <-changed:
		case <-w.ended:
		case <-ctx.Done():
		}
	}
	return g.Wait()
}

// claim says whether the caller is to watch a kind.
func (w *everything) claim(k *kind.Kind) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watched[k.GroupResource()] {
		return false
	}
	w.watched[k.GroupResource()] = true
	return true
}

// over notes that the watch of a kind ended with it, and says whether that is as it should be.
func (w *everything) over(k *kind.Kind) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.watched[k.GroupResource()] {
		return false
	}
	delete(w.watched, k.GroupResource())
	select {
	case w.ended <- struct{}{}:
	default:
	}
	return true
}
