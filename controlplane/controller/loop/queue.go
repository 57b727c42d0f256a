package loop

import (
	"sync"
	"time"
)

// Bounds of the delay before a key that failed is tried again; it doubles with every failure in a row.
const (
	firstBackOff = 5 * time.Millisecond
	lastBackOff  = time.Minute
)

// queue hands keys to workers: a key is with one worker at a time, a key that is added while it waits is there
// once, and one that is added while it is worked on is handed out again afterwards.
//
//	add -> dirty -> (get) -> busy -> (done) -> gone, or dirty again when it was added meanwhile
type queue struct {
	mu       sync.Mutex
	cond     *sync.Cond
	ready    []Key
	dirty    map[Key]struct{}
	busy     map[Key]struct{}
	failures map[Key]int
	timers   map[Key]*timer
	closed   bool
}

type timer struct {
	*time.Timer
	at time.Time
}

func newQueue() *queue {
	q := &queue{
		dirty:    map[Key]struct{}{},
		busy:     map[Key]struct{}{},
		failures: map[Key]int{},
		timers:   map[Key]*timer{},
	}
	q.cond = sync.NewCond(&q.mu)
	return q
}

func (q *queue) add(key Key) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.addLocked(key)
}

func (q *queue) addLocked(key Key) {
	if q.closed {
		return
	}
	if _, ok := q.dirty[key]; ok {
		return
	}
	q.dirty[key] = struct{}{}
	if _, ok := q.busy[key]; !ok {
		q.ready = append(q.ready, key)
		q.cond.Signal()
	}
}

// addAfter adds key once d has passed. Of several delays of one key the shortest counts.
func (q *queue) addAfter(key Key, d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	at := time.Now().Add(d)
	if t := q.timers[key]; t != nil {
		if !at.Before(t.at) {
			return
		}
		t.Stop()
	}
	t := &timer{at: at}
	t.Timer = time.AfterFunc(d, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.timers[key] == t {
			delete(q.timers, key)
			q.addLocked(key)
		}
	})
	q.timers[key] = t
}

// get waits for a key; false means that the queue is closed.
func (q *queue) get() (Key, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.ready) == 0 && !q.closed {
		q.cond.Wait()
	}
	if q.closed {
		return Key{}, false
	}
	key := q.ready[0]
	q.ready = q.ready[1:]
	delete(q.dirty, key)
	q.busy[key] = struct{}{}
	return key, true
}

func (q *queue) done(key Key) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.busy, key)
	if _, ok := q.dirty[key]; ok && !q.closed {
		q.ready = append(q.ready, key)
		q.cond.Signal()
	}
}

// failed adds key again after its back-off, which it returns.
func (q *queue) failed(key Key) time.Duration {
	q.mu.Lock()
	n := q.failures[key]
	q.failures[key] = n + 1
	q.mu.Unlock()
	d := backOff(n)
	q.addAfter(key, d)
	return d
}

func (q *queue) succeeded(key Key) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.failures, key)
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for key, t := range q.timers {
		t.Stop()
		delete(q.timers, key)
	}
	q.cond.Broadcast()
}

func backOff(failures int) time.Duration {
	if failures >= 16 {
		return lastBackOff
	}
	return min(firstBackOff<<failures, lastBackOff)
}
