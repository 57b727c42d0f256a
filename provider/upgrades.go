package provider

import (
	"fmt"
	"sync"
)

// upgrades lets the software of one node change at a time, so that the next host's turn comes when the one before is
// healthy. A program that one host was not healthy with is kept from the others of its cluster for the rest of the run.
// It is safe for concurrent use; its zero value is ready.
type upgrades struct {
	mu     sync.Mutex        // held during a node's turn
	failed map[string]string // by control-plane host, the first host of its cluster that was not healthy
}

// begin waits for the node's turn, which lasts until the caller calls end.
func (u *upgrades) begin() (end func()) {
	u.mu.Lock()
	return u.mu.Unlock
}

// allowed is an error when a host of the cluster, which is named by its control-plane host, was not healthy after its upgrade. It is called during a turn.
func (u *upgrades) allowed(control string) error {
	if host, failed := u.failed[control]; failed {
		return fmt.Errorf("not upgraded, since the upgrade of %s failed: this host runs what it ran before", host)
	}
	return nil
}

// fail notes that a host is not healthy after its upgrade. It is called during a turn; the first host is the one that is named.
func (u *upgrades) fail(control, host string) {
	if u.failed == nil {
		u.failed = map[string]string{}
	}
	if _, failed := u.failed[control]; !failed {
		u.failed[control] = host
	}
}
