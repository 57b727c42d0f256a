package api

import (
	"context"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// How many requests may be under way at once, for each processor. Reads cost processor time alone, so more at
// once make none of them quicker; writes wait for the disk, and are put on it together.
const (
	readsPerProcessor  = 16
	writesPerProcessor = 32
	// systemShare is the part of these that is set aside, beside them, for the cluster's own parts.
	systemShare = 0.5
	// maxWaiting is how many requests of one user wait, and maxWait how long: a client's own timeout is a few
	// times that.
	maxWaiting = 128
	maxWait    = 10 * time.Second
	// maxWrite is how long an answer that is being written keeps its seat, and maxUnread how many of one user may take longer.
	maxWrite  = time.Second
	maxUnread = 128
	// retrySeconds is what a client is told to wait that is refused.
	retrySeconds = 1
)

// limits shares the server out: each request needs a seat, and seats that become free go to the user who has
// fewest, so a noisy client cannot starve the others, nor can one that does not take its answers. What Kubernetes does
// with priority levels and flows, in its simplest form: two levels for reads and two for writes, a flow for each user.
//
//	exempt    watches and streams, which cost little and stay long; administrators, who mend what goes wrong
//	system    nodes, and the accounts of kube-system and system:kube-…
//	workload  everybody else
//
// The server's own loops do not come by HTTP and need no seat.
type limits struct {
	pools [2][2]*pool // by level, and by reading or writing
}

const (
	system = iota
	workload
)

const (
	reading = iota
	writing
)

// The levels' and kinds' names in metrics.
var (
	levelNames = [2]string{"system", "workload"}
	kindNames  = [2]string{"readOnly", "mutating"}
)

func newLimits(reads, writes int) *limits {
	l := &limits{}
	for i, seats := range [2]int{reads, writes} {
		if seats <= 0 {
			seats = [2]int{readsPerProcessor, writesPerProcessor}[i] * max(2, runtime.GOMAXPROCS(0))
		}
		l.pools[workload][i] = newPool(seats)
		l.pools[system][i] = newPool(max(1, int(float64(seats)*systemShare)))
	}
	return l
}

// levelOf tells the cluster's parts from its users.
func levelOf(r *request) int {
	u := r.user
	if slices.Contains(u.Groups, groupNodes) || slices.Contains(u.Groups, groupServiceAccounts+":kube-system") || strings.HasPrefix(u.Name, "system:kube-") {
		return system
	}
	return workload
}

// enter takes a seat, and waits for one if it must; the caller leaves it. A request that needs none has a nil one.
func (l *limits) enter(r *request) (*seat, error) {
	if r.long() || isAdmin(r.user) {
		return nil, nil
	}
	kind := writing
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		kind = reading
	}
	return l.pools[levelOf(r)][kind].enter(r.Context(), r.user.Name)
}

// pool is a number of seats and those who wait for one.
type pool struct {
	mu    sync.Mutex
	seats int
	taken int
	flows map[string]*flow
	// order has the flows in which somebody waits, in the order in which they began to.
	order    []*flow
	waiting  int
	rejected int64
}

// flow is what one user has and wants.
type flow struct {
	user    string
	taken   int
	unread  int // answers that are being written
	waiting []*waiter
}

// seat is one request's. A nil seat is that of a request that needs none.
type seat struct {
	pool *pool
	flow *flow
	// handOn runs once the answer is being written, until it is.
	handOn *time.Timer
	// left, under the pool's lock, says that somebody else may have the seat.
	left bool
}

// answer is called once, when the answer is there. A client that takes longer than a moment to read it does not keep others
// from the seat.
func (s *seat) answer() {
	if s != nil {
		s.handOn = time.AfterFunc(maxWrite, s.standUp)
	}
}

func (s *seat) standUp() {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	if !s.left {
		s.left = true
		s.flow.unread++
		s.pool.free(s.flow)
	}
}

// leave is called once, at the end.
func (s *seat) leave() {
	if s == nil {
		return
	}
	if s.handOn != nil {
		s.handOn.Stop()
	}
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	if s.left {
		s.flow.unread--
		s.pool.forget(s.flow)
	} else {
		s.left = true // for a timer that could not be stopped any more
		s.pool.free(s.flow)
	}
}

// waiter is one request that waits.
type waiter struct {
	// seated is closed by the pool, with the seat given, under its lock.
	seated chan struct{}
}

func newPool(seats int) *pool { return &pool{seats: seats, flows: map[string]*flow{}} }

func (p *pool) enter(ctx context.Context, user string) (*seat, error) {
	p.mu.Lock()
	f := p.flows[user]
	if f == nil {
		f = &flow{user: user}
		p.flows[user] = f
	}
	if f.unread >= maxUnread || p.taken >= p.seats && len(f.waiting) >= maxWaiting {
		p.rejected++
		p.mu.Unlock()
		return nil, errTooMany()
	}
	given := &seat{pool: p, flow: f}
	if p.taken < p.seats {
		p.taken++
		f.taken++
		p.mu.Unlock()
		return given, nil
	}
	w := &waiter{seated: make(chan struct{})}
	if len(f.waiting) == 0 {
		p.order = append(p.order, f)
	}
	f.waiting = append(f.waiting, w)
	p.waiting++
	p.mu.Unlock()
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case <-w.seated:
		return given, nil
	case <-ctx.Done():
		return nil, p.giveUp(f, w, ctx.Err())
	case <-timer.C:
		return nil, p.giveUp(f, w, errTooMany())
	}
}

func errTooMany() error {
	return apierrors.NewTooManyRequests("Too many requests, please try again later.", retrySeconds)
}

// giveUp takes a waiter away; one that has got its seat meanwhile hands it on.
func (p *pool) giveUp(f *flow, w *waiter, cause error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if apierrors.IsTooManyRequests(cause) {
		p.rejected++
	}
	at := slices.Index(f.waiting, w)
	if at < 0 {
		p.free(f)
		return cause
	}
	f.waiting = slices.Delete(f.waiting, at, at+1)
	p.waiting--
	if len(f.waiting) == 0 {
		p.order = slices.DeleteFunc(p.order, func(o *flow) bool { return o == f })
		p.forget(f)
	}
	return cause
}

// free gives a seat that f had to the waiting user who has fewest, of several to whom waits longest. The caller
// holds the lock.
func (p *pool) free(f *flow) {
	p.taken--
	f.taken--
	if len(p.order) > 0 {
		at := 0
		for i, o := range p.order {
			if o.taken < p.order[at].taken {
				at = i
			}
		}
		next := p.order[at]
		w := next.waiting[0]
		next.waiting = next.waiting[1:]
		p.waiting--
		p.order = slices.Delete(p.order, at, at+1)
		if len(next.waiting) > 0 {
			p.order = append(p.order, next)
		}
		p.taken++
		next.taken++
		close(w.seated)
	}
	p.forget(f)
}

// forget drops a user of whom nothing is left. The caller holds the lock.
func (p *pool) forget(f *flow) {
	if f.taken == 0 && f.unread == 0 && len(f.waiting) == 0 {
		delete(p.flows, f.user)
	}
}

// figures of a pool for metrics.
func (p *pool) figures() (taken, waiting int, rejected int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken, p.waiting, p.rejected
}
