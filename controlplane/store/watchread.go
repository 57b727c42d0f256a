package store

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Next waits for what the watch has to say and returns all that is ready; the batch is the caller's until the next call. It
// returns nil when the watch is over: by Stop, by its context, by the end of the store, or because it fell behind;
// Err says which. A watch has one reader: Next must not be called twice at once.
func (w *Watch) Next(ctx context.Context) (batch []Event) {
	defer func() {
		if cause := recover(); cause != nil {
			batch = nil
			w.panicked(cause)
		}
	}()
	if w.start != nil {
		if batch := w.initial(); len(batch) > 0 {
			if !w.alive(ctx) {
				return nil
			}
			return batch
		}
	}
	for {
		if batch := w.fill(); len(batch) > 0 {
			return batch
		}
		select {
		case <-w.wake:
		case <-w.bookmarks():
			w.bookmark.Reset(w.query.BookmarkEvery)
			// What came meanwhile goes first: the bookmark vouches for it.
			w.batch = append(w.fill(), Event{Type: Bookmark, Revision: w.sent})
			return w.batch
		case <-w.ended:
			return nil
		case <-ctx.Done():
			w.end(nil)
			return nil
		case <-w.cache.store.done:
			w.end(stopped())
			return nil
		}
	}
}

// panicked makes a panic, which only the query's own functions can cause, the end of this watch and of nothing else.
func (w *Watch) panicked(cause any) {
	w.cache.store.log.Error("watch panicked", "resource", w.cache.name, "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
	w.end(apierrors.NewInternalError(errors.New("the watch was ended by a defect of the server")))
}

// alive ends the watch when its reader or the store is gone.
func (w *Watch) alive(ctx context.Context) bool {
	select {
	case <-w.ended:
		return false
	case <-ctx.Done():
		w.end(nil)
		return false
	case <-w.cache.store.done:
		w.end(stopped())
		return false
	default:
		return true
	}
}

// bookmarks fires when a bookmark is due; nil, never, for watches without.
func (w *Watch) bookmarks() <-chan time.Time {
	if !w.query.AllowBookmarks {
		return nil
	}
	if w.bookmark == nil {
		w.bookmark = time.NewTimer(w.query.BookmarkEvery)
	}
	return w.bookmark.C
}

// initial returns the next of the objects that the watch begins with. The last batch may be empty.
func (w *Watch) initial() []Event {
	var batch []Event
	prefix := w.cache.prefixOf(w.query.Namespace)
	more := false
	w.start.AscendGreaterOrEqual(&Item{key: max(prefix, w.position)}, func(it *Item) bool {
		if !strings.HasPrefix(it.key, prefix) {
			return false
		}
		if len(batch) == initialBatch {
			w.position, more = it.key, true
			return false
		}
		if w.sees(it) {
			batch = append(batch, Event{Type: Added, Item: it, Revision: it.Revision})
		}
		return true
	})
	if more {
		return batch
	}
	w.start = nil
	if w.query.SendInitialEvents && w.query.AllowBookmarks {
		batch = append(batch, Event{Type: Bookmark, Revision: w.sent, InitialEventsEnd: true})
	}
	return batch
}

// fill returns what is queued and brings sent to the revision that this is complete up to: progress is read before
// the queue is, and the feed fills queues before it sets progress.
func (w *Watch) fill() []Event {
	clear(w.batch)
	if cap(w.batch) > keptEvents {
		w.batch = nil
	}
	batch := w.batch[:0]
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
	w.sent, w.batch = max(w.sent, complete), batch
	return batch
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
