package api

import (
	"context"
	"time"
)

// readyEvery is between two looks at what readiness is made of, none of which has an event of its own.
const readyEvery = 5 * time.Millisecond

// AwaitReady returns when /readyz says ok, or with ctx's error.
func (s *Server) AwaitReady(ctx context.Context) error {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for s.notReady() != "" {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
