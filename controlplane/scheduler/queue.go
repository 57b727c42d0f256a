package scheduler

import (
	"container/heap"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	firstBackOff = time.Second
	lastBackOff  = 10 * time.Second
	// staleAfter is when a pod that does not fit is tried again although nothing happened that should help it.
	staleAfter = 5 * time.Minute
)

// entry is a pod that waits for a node.
//
//	active -> (pop) in work -> bound: gone
//	   ^                    -> refused: parked
//	   +-- delayed <- an event that may help, or staleAfter -+
type entry struct {
	*podInfo
	attempts int
	added    time.Time // first came into the queue
	last     time.Time // of the last attempt
	causes   cause
	place    place
	at       int // in its heap
	until    time.Time
	// nominated is the node that pods are leaving for this one; what it needs is kept free for it there.
	nominated string
}

type place int

const (
	inWork place = iota
	active
	delayed
	parked
)

// queue orders pods by priority and age. It is not safe for concurrent use.
type queue struct {
	pods    map[types.UID]*entry
	parked  map[types.UID]*entry
	active  entries
	delayed entries
}

func newQueue() *queue {
	return &queue{
		pods:    map[types.UID]*entry{},
		parked:  map[types.UID]*entry{},
		active:  entries{before: comesBefore},
		delayed: entries{before: func(a, b *entry) bool { return a.until.Before(b.until) }},
	}
}

func comesBefore(a, b *entry) bool {
	if x, y := a.priority(), b.priority(); x != y {
		return x > y
	}
	return a.added.Before(b.added)
}

// set takes a pod that is new, or changed while it waits; a change may be what lets it fit.
func (q *queue) set(p *podInfo, now time.Time) {
	e := q.pods[p.pod.UID]
	if e == nil {
		e = &entry{podInfo: p, added: now}
		q.pods[p.pod.UID] = e
		q.activate(e)
		return
	}
	changed := p.pod.Generation != e.pod.Generation
	e.podInfo = p
	if changed && e.place == parked {
		q.release(e, now)
	}
}

func (q *queue) remove(uid types.UID) {
	if e := q.pods[uid]; e != nil {
		q.take(e)
		delete(q.pods, uid)
	}
}

// pop returns the pod to try next, nil when none is ready.
func (q *queue) pop(now time.Time) *entry {
	for q.delayed.Len() > 0 && !q.delayed.list[0].until.After(now) {
		e := q.delayed.list[0]
		q.take(e)
		q.activate(e)
	}
	if q.active.Len() == 0 {
		return nil
	}
	e := q.active.list[0]
	q.take(e)
	e.attempts++
	e.last = now
	return e
}

// wait returns how long it is until a delayed pod is ready; false when there is none.
func (q *queue) wait(now time.Time) (time.Duration, bool) {
	if q.delayed.Len() == 0 {
		return 0, false
	}
	return max(0, q.delayed.list[0].until.Sub(now)), true
}

// park sets aside a pod that fits nowhere, until one of causes changes.
func (q *queue) park(e *entry, causes cause) {
	if q.pods[e.pod.UID] != e {
		return
	}
	e.causes = causes
	e.place = parked
	q.parked[e.pod.UID] = e
}

// retry tries a pod again after its back-off: what failed was not its place.
func (q *queue) retry(uid types.UID, now time.Time) {
	if e := q.pods[uid]; e != nil && e.place == inWork {
		q.release(e, now)
	}
}

// happened lets the pods go on that an event may help.
func (q *queue) happened(c cause, now time.Time) {
	for _, e := range q.parked {
		if e.causes&c != 0 {
			q.release(e, now)
		}
	}
}

// unpark lets pods go on that have waited for too long.
func (q *queue) unpark(now time.Time) {
	for _, e := range q.parked {
		if now.Sub(e.last) >= staleAfter {
			q.release(e, now)
		}
	}
}

// release moves a pod towards another try, not before its back-off is over.
func (q *queue) release(e *entry, now time.Time) {
	q.take(e)
	e.until = e.last.Add(backOff(e.attempts))
	if !e.until.After(now) {
		q.activate(e)
		return
	}
	e.place = delayed
	heap.Push(&q.delayed, e)
}

func backOff(attempts int) time.Duration {
	d := firstBackOff
	for i := 1; i < attempts && d < lastBackOff; i++ {
		d *= 2
	}
	return min(d, lastBackOff)
}

func (q *queue) activate(e *entry) {
	e.place = active
	heap.Push(&q.active, e)
}

// take removes e from where it waits.
func (q *queue) take(e *entry) {
	switch e.place {
	case active:
		heap.Remove(&q.active, e.at)
	case delayed:
		heap.Remove(&q.delayed, e.at)
	case parked:
		delete(q.parked, e.pod.UID)
	}
	e.place = inWork
}

// entries is a heap.
type entries struct {
	list   []*entry
	before func(a, b *entry) bool
}

func (h *entries) Len() int           { return len(h.list) }
func (h *entries) Less(i, j int) bool { return h.before(h.list[i], h.list[j]) }
func (h *entries) Swap(i, j int) {
	h.list[i], h.list[j] = h.list[j], h.list[i]
	h.list[i].at, h.list[j].at = i, j
}

// Push implements heap.Interface.
func (h *entries) Push(x any) {
	e := x.(*entry)
	e.at = len(h.list)
	h.list = append(h.list, e)
}

// Pop implements heap.Interface.
func (h *entries) Pop() any {
	last := h.list[len(h.list)-1]
	h.list[len(h.list)-1] = nil
	h.list = h.list[:len(h.list)-1]
	return last
}
