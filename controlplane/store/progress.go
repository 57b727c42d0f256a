package store

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// progress is the revision up to which all caches are current, and who waits for it to grow.
type progress struct {
	mu      sync.Mutex
	rev     int64
	waiters map[*progressWaiter]struct{}
}

type progressWaiter struct {
	rev     int64
	reached chan struct{} // closed by set
}

func (p *progress) revision() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rev
}

// set moves the revision on; it never goes back.
func (p *progress) set(rev int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if rev <= p.rev {
		return
	}
	p.rev = rev
	for w := range p.waiters {
		if w.rev <= rev {
			close(w.reached)
			delete(p.waiters, w)
		}
	}
}

// wait returns once rev is reached, or why it was not: ctx or done ended.
func (p *progress) wait(ctx context.Context, done <-chan struct{}, rev int64) error {
	p.mu.Lock()
	if p.rev >= rev {
		p.mu.Unlock()
		return nil
	}
	w := &progressWaiter{rev: rev, reached: make(chan struct{})}
	if p.waiters == nil {
		p.waiters = map[*progressWaiter]struct{}{}
	}
	p.waiters[w] = struct{}{}
	p.mu.Unlock()
	select {
	case <-w.reached:
		return nil
	case <-done:
	case <-ctx.Done():
	}
	p.mu.Lock()
	delete(p.waiters, w)
	p.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return apiError("wait for", "the cache", err)
	}
	return stopped()
}

const (
	// catchUp is how long a read waits for the caches to come to etcd's revision.
	catchUp = 5 * time.Second
	// futureWait is how long a read waits for a resourceVersion that a client names.
	futureWait = 3 * time.Second
)

// fresh returns once the caches are as current as etcd was when it was called.
func (s *Store) fresh(ctx context.Context) error {
	if err := s.waitReady(ctx); err != nil {
		return err
	}
	rev, err := s.current.get(ctx)
	if err != nil {
		return apiError("read", "the current revision", err)
	}
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	return s.progress.wait(ctx, s.done, rev)
}

// atLeast returns once the caches hold a revision that a client named.
func (s *Store) atLeast(ctx context.Context, rev int64) error {
	if err := s.waitReady(ctx); err != nil {
		return err
	}
	if s.progress.revision() >= rev {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, futureWait)
	defer cancel()
	err := s.progress.wait(wait, s.done, rev)
	if err != nil && ctx.Err() == nil && apierrors.IsTimeout(err) {
		return tooLarge(rev, s.progress.revision())
	}
	return err
}

func (s *Store) waitReady(ctx context.Context) error {
	select {
	case <-s.done:
		return stopped()
	default:
	}
	select {
	case <-s.ready:
		return nil
	case <-s.done:
		return stopped()
	case <-ctx.Done():
		return apiError("wait for", "the first fill of the cache", ctx.Err())
	}
}

// currentRevision asks etcd for its revision. Callers that come while one question is under way share the
// next, since the answer to the one under way may be older than they are.
type currentRevision struct {
	client *clientv3.Client

	mu    sync.Mutex
	asked bool      // a question is under way
	next  *question // those who wait for the next
}

type question struct {
	turn chan struct{} // capacity 1: one of those who wait is woken to ask
	done chan struct{} // closed when rev and err are set
	rev  int64
	err  error
}

func (c *currentRevision) get(ctx context.Context) (int64, error) {
	c.mu.Lock()
	if !c.asked {
		c.asked = true
		c.mu.Unlock()
		return c.ask(ctx, nil)
	}
	if c.next == nil {
		c.next = &question{turn: make(chan struct{}, 1), done: make(chan struct{})}
	}
	q := c.next
	c.mu.Unlock()
	select {
	case <-q.done:
		return q.rev, q.err
	case <-q.turn:
		c.mu.Lock()
		c.next = nil
		c.mu.Unlock()
		return c.ask(ctx, q)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// ask puts the question for q (nil: for the caller alone) and passes the turn on. It must not end early with
// the context of the one caller who happens to ask for all.
func (c *currentRevision) ask(ctx context.Context, q *question) (int64, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), catchUp)
	defer cancel()
	// The key 0x00 is never written; a read of it costs etcd a read index and a look into its tree.
	resp, err := c.client.Get(ctx, "\x00", clientv3.WithCountOnly())
	var rev int64
	if err == nil {
		rev = resp.Header.Revision
	}
	if q != nil {
		q.rev, q.err = rev, err
		close(q.done)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == nil {
		c.asked = false
		return rev, err
	}
	c.next.turn <- struct{}{}
	return rev, err
}
