package api

import (
	"net/http"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Defaults of how many requests may be under way at once.
const (
	defaultReads  = 800
	defaultWrites = 400
	// userShare is the part of a limit that one user may take, so that one noisy client cannot starve the others.
	userShare = 0.6
)

// limits bounds requests under way by verb class and user. Watches and streams are not counted: they cost
// little and stay long. The cluster's administrators are never refused, so that they can mend what goes wrong.
type limits struct {
	mu     sync.Mutex
	reads  class
	writes class
}

type class struct {
	max, perUser, now int
	users             map[string]int
}

func newLimits(reads, writes int) *limits {
	return &limits{reads: newClass(reads, defaultReads), writes: newClass(writes, defaultWrites)}
}

func newClass(max, fallback int) class {
	if max <= 0 {
		max = fallback
	}
	return class{max: max, perUser: int(float64(max)*userShare) + 1, users: map[string]int{}}
}

// enter takes a place; the caller releases it.
func (l *limits) enter(r *request) (release func(), err error) {
	if r.long() || isAdmin(r.user) {
		return func() {}, nil
	}
	c := &l.writes
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		c = &l.reads
	}
	user := r.user.Name
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.now >= c.max || c.users[user] >= c.perUser {
		return nil, apierrors.NewTooManyRequests("too many requests, please try again later.", 1)
	}
	c.now++
	c.users[user]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		c.now--
		if c.users[user]--; c.users[user] == 0 {
			delete(c.users, user)
		}
	}, nil
}
