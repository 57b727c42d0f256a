package store

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// Objects that expire share leases, since a lease costs etcd more than a key: an object lives up to
	// leaseWindow longer than asked. leaseObjects bounds what one expiry deletes in one transaction.
	leaseWindow  = time.Minute
	leaseObjects = 500
)

// leases hands out leases of etcd by time to live.
type leases struct {
	client *clientv3.Client

	mu    sync.Mutex
	byTTL map[time.Duration]*sharedLease
}

type sharedLease struct {
	id     clientv3.LeaseID
	until  time.Time // when it has too little left for a new object
	spared int       // objects that it may still take
}

func newLeases(client *clientv3.Client) *leases {
	return &leases{client: client, byTTL: map[time.Duration]*sharedLease{}}
}

// get returns a lease with at least ttl left; with renew a new one. The lock is held while one is granted, so
// that many who need one do not each grant their own.
func (l *leases) get(ctx context.Context, ttl time.Duration, renew bool) (clientv3.LeaseID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if have := l.byTTL[ttl]; have != nil && !renew && have.spared > 0 && time.Now().Before(have.until) {
		have.spared--
		return have.id, nil
	}
	window := min(leaseWindow, ttl)
	start := time.Now()
	resp, err := l.client.Grant(ctx, int64((ttl+window+time.Second-1)/time.Second))
	if err != nil {
		return 0, err
	}
	l.byTTL[ttl] = &sharedLease{id: resp.ID, until: start.Add(window), spared: leaseObjects - 1}
	return resp.ID, nil
}
