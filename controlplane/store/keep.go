package store

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// keep drops what is old: events and snapshots in the caches, and history in etcd. Several servers on one etcd
// each ask for their compactions, which does no harm: the later ones find the work done.
func (s *Store) keep(ctx context.Context) {
	age := time.NewTicker(ageEvery)
	defer age.Stop()
	var compact <-chan time.Time
	if s.compact > 0 {
		t := time.NewTicker(s.compact)
		defer t.Stop()
		compact = t.C
	}
	var before int64 // the revision when the last round came
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-age.C:
			for _, c := range s.caches.Load().byPath {
				c.age(now)
			}
			// What the watch has passed will not be asked for: it was read by a load instead.
			s.own.forget(s.progress.revision())
		case <-compact:
			now := s.progress.revision()
			if before > 0 && now > before {
				s.compactTo(ctx, before)
			}
			before = now
		}
	}
}

func (s *Store) compactTo(ctx context.Context, rev int64) {
	_, err := s.client.Compact(ctx, rev)
	if err != nil && ctx.Err() == nil && !errors.Is(err, rpctypes.ErrCompacted) {
		s.log.Warn("cannot compact etcd", "revision", rev, "error", err)
	}
}
