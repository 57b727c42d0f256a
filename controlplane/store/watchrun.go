package store

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// run delivers until the watch ends. start is what the watch begins with, nil when it resumes; rev the revision
// that it begins at.
func (w *Watch) run(ctx context.Context, start *tree, rev int64) {
	defer close(w.events)
	defer w.cache.unregister(w)
	defer w.survive()
	if start != nil && !w.sendInitial(ctx, start, rev) {
		return
	}
	var bookmark <-chan time.Time
	if w.query.AllowBookmarks {
		t := time.NewTicker(w.query.BookmarkEvery)
		defer t.Stop()
		bookmark = t.C
	}
	sent := rev // revision up to which everything is in batch or delivered
	batch := w.fill(nil, &sent)
	for {
		var out chan<- []Event
		if len(batch) > 0 {
			out = w.events
		}
		select {
		case out <- batch:
			batch = nil
			w.hold(0)
		case <-w.wake:
			batch = w.fill(batch, &sent)
		case <-bookmark:
			batch = w.fill(batch, &sent)
			// A reader that is away for long finds one bookmark, not many.
			if n := len(batch); n == 0 || batch[n-1].Type != Bookmark {
				batch = append(batch, Event{})
			}
			batch[len(batch)-1] = Event{Type: Bookmark, Revision: sent}
		case <-w.ended:
			return
		case <-ctx.Done():
			w.end(nil)
			return
		case <-w.cache.store.done:
			w.end(stopped())
			return
		}
	}
}

// survive makes a panic, which only the query's own functions can cause, the end of this watch and of nothing else.
func (w *Watch) survive() {
	if cause := recover(); cause != nil {
		w.cache.store.log.Error("watch panicked", "resource", w.cache.name, "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
		w.end(apierrors.NewInternalError(errors.New("the watch was ended by a defect of the server")))
	}
}

// sendInitial delivers the objects of start.
func (w *Watch) sendInitial(ctx context.Context, start *tree, rev int64) bool {
	var batch []Event
	ok := true
	prefix := w.cache.prefixOf(w.query.Namespace)
	start.AscendGreaterOrEqual(&Item{key: prefix}, func(it *Item) bool {
		if prefix != "" && (len(it.key) < len(prefix) || it.key[:len(prefix)] != prefix) {
			return false
		}
		if !w.sees(it) {
			return true
		}
		batch = append(batch, Event{Type: Added, Item: it, Revision: it.Revision})
		if len(batch) == initialBatch {
			ok = w.send(ctx, batch)
			batch = nil
		}
		return ok
	})
	if ok && w.query.SendInitialEvents && w.query.AllowBookmarks {
		batch = append(batch, Event{Type: Bookmark, Revision: rev, InitialEventsEnd: true})
	}
	return ok && (len(batch) == 0 || w.send(ctx, batch))
}

func (w *Watch) send(ctx context.Context, batch []Event) bool {
	select {
	case w.events <- batch:
		return true
	case <-w.ended:
	case <-ctx.Done():
		w.end(nil)
	case <-w.cache.store.done:
		w.end(stopped())
	}
	return false
}

// fill appends what is queued. *sent grows to the revision that batch then is complete up to: progress is read
// before the queue is, and the feed fills queues before it sets progress.
func (w *Watch) fill(batch []Event, sent *int64) []Event {
	complete := w.cache.store.progress.revision()
	for _, ch := range w.take() {
		// The client may know events already that the cache had yet to see when the watch began.
		if ch.rev <= w.from {
			continue
		}
		if ev, ok := w.see(ch); ok {
			batch = append(batch, ev)
		}
		complete = max(complete, ch.rev)
	}
	*sent = max(*sent, complete)
	w.hold(len(batch))
	return batch
}

// hold says how many events run holds back.
func (w *Watch) hold(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = n
}

// see returns a change as the watch's filter shows it.
func (w *Watch) see(ch *change) (Event, bool) {
	now, before := ch.item != nil && w.sees(ch.item), ch.prev != nil && w.sees(ch.prev)
	switch {
	case now && before:
		return Event{Type: Modified, Item: ch.item, Prev: ch.prev, Revision: ch.rev}, true
	case now:
		return Event{Type: Added, Item: ch.item, Revision: ch.rev}, true
	case before:
		return Event{Type: Deleted, Item: ch.last(), Prev: ch.prev, Revision: ch.rev}, true
	}
	return Event{}, false
}

// sees says whether the watch's filter lets an object through; the cheap conditions come first.
func (w *Watch) sees(it *Item) bool {
	q := &w.query
	if q.Namespace != "" && w.cache.kind.Namespaced && it.Object.GetNamespace() != q.Namespace {
		return false
	}
	if q.Name != "" && it.Object.GetName() != q.Name {
		return false
	}
	if w.values != nil && !slices.Contains(w.values(it.Object), q.Value) {
		return false
	}
	return q.Match == nil || q.Match(it.Object)
}
