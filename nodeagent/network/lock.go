package network

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// keyedLock orders work on one pod and lets different pods go at once.
type keyedLock struct {
	mu   sync.Mutex
	held map[types.UID]*podLock
}

type podLock struct {
	mu   sync.Mutex
	refs int // holders and waiters; guarded by keyedLock.mu
}

// lock waits for the pod and returns the function that releases it.
func (k *keyedLock) lock(uid types.UID) (unlock func()) {
	k.mu.Lock()
	l := k.held[uid]
	if l == nil {
		l = &podLock{}
		k.held[uid] = l
	}
	l.refs++
	k.mu.Unlock()
	l.mu.Lock()
	return func() {
		l.mu.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if l.refs--; l.refs == 0 {
			delete(k.held, uid)
		}
	}
}
