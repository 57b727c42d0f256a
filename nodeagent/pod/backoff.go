package pod

import "time"

// Delays between attempts to run a container or to pull an image: 10 s, doubled each time, at most 5 minutes; forgotten
// after 10 minutes of success.
const (
	backoffInitial = 10 * time.Second
	backoffMax     = 5 * time.Minute
	backoffForget  = 2 * backoffMax
)

// backoff counts failures of one thing. Its zero value has seen none. It is part of the checkpoint.
type backoff struct {
	Delay time.Duration `json:"delay,omitempty"`
	// Last is when the delay was last raised.
	Last time.Time `json:"last,omitzero"`
}

// until returns when the next attempt may be made after a failure at the given time.
func (b *backoff) until(failed time.Time) time.Time {
	if b.Delay == 0 || failed.Sub(b.Last) > backoffForget {
		return failed
	}
	return failed.Add(b.Delay)
}

// next notes that an attempt is made after a failure at the given time.
func (b *backoff) next(failed, now time.Time) {
	switch {
	case b.Delay == 0 || failed.Sub(b.Last) > backoffForget:
		b.Delay = backoffInitial
	default:
		b.Delay = min(2*b.Delay, backoffMax)
	}
	b.Last = now
}
