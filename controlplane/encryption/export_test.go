package encryption

import "time"

// SetNow gives a keeper another clock.
func (k *Keeper) SetNow(now func() time.Time) { k.now = now }
