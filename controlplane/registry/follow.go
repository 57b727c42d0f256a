package registry

import (
	"context"
	"time"
)

// watchRetry is how long a watch that could not be opened waits before it is tried again.
const watchRetry = 200 * time.Millisecond

// failed waits before the next attempt to open a watch; it returns the context's error when that ends.
func (f *follower) failed(ctx context.Context, r *Registry, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.log.Warn("cannot open watch", "kind", f.kind.Kind, "error", err)
	timer := time.NewTimer(watchRetry)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
