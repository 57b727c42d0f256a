package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/host"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// Timeouts. An apply of one host is bounded by the sum of what it is made of.
const (
	// checkTimeout covers questions to a host that is busy: a few commands.
	checkTimeout = 60 * time.Second
	// uploadTimeout covers a binary of 150 MB over a line of 2 Mbit a second.
	uploadTimeout = 10 * time.Minute
	// serverTimeout covers a start with an etcd that has to be recovered, on a slow disk.
	serverTimeout = 2 * time.Minute
	// nodeTimeout covers joining, containerd's start and the first status of a node.
	nodeTimeout = 3 * time.Minute
	// cleanupTimeout covers the grace periods of the pods that are ended.
	cleanupTimeout = 3 * time.Minute
)

// phase is a step of a host. It looks first whether there is anything to do, so that it can be run again after
// an interruption anywhere, and changes nothing when it is run twice.
type phase struct {
	name    string // a verb and an object: "install packages"
	timeout time.Duration
	// done says whether the host is as the phase leaves it; nil when do looks itself.
	done func(context.Context) (bool, error)
	do   func(context.Context) error
}

// PhaseError is a phase that failed on a host. What it wraps tells whether trying again helps: a phase can always
// be run again.
type PhaseError struct {
	Host, Phase string
	Err         error
}

func (e *PhaseError) Error() string {
	return fmt.Sprintf("cannot %s on %s: %v", e.Phase, e.Host, e.Err)
}
func (e *PhaseError) Unwrap() error { return e.Err }

// target is a host that is worked on. It is used by one goroutine, besides what runTogether runs.
type target struct {
	conn      ssh.Conn
	progress  Progress
	facts     *host.Facts
	services  host.ServiceManager
	installed *Installed
}

func newTarget(c ssh.Conn, p Progress) *target {
	if p == nil {
		p = func(string, string) {}
	}
	return &target{conn: c, progress: p, installed: &Installed{}}
}

// run runs the phases in order, up to the first that fails.
func (t *target) run(ctx context.Context, phases ...phase) error {
	for _, p := range phases {
		if err := t.runOne(ctx, p); err != nil {
			return &PhaseError{t.conn.Host(), p.name, err}
		}
	}
	return nil
}

// runTogether runs phases that do not touch the same things, at once. One that fails does not cut off the others:
// a package manager had better come to its end.
func (t *target) runTogether(ctx context.Context, phases ...phase) error {
	errs := make([]error, len(phases))
	var wg sync.WaitGroup
	for i, p := range phases {
		wg.Go(func() { errs[i] = t.run(ctx, p) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (t *target) runOne(ctx context.Context, p phase) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, fmt.Errorf("no end after %v", p.timeout))
	defer cancel()
	if p.done != nil {
		done, err := p.done(ctx)
		if err != nil || done {
			return err
		}
	}
	t.progress(t.conn.Host(), p.name)
	return p.do(ctx)
}

// look gathers facts and what is installed.
func (t *target) look(ctx context.Context) (err error) {
	if t.facts, err = host.Gather(ctx, t.conn, allPorts); err != nil {
		return err
	}
	t.services = host.Services(t.conn, t.facts.Init)
	if !t.facts.Root {
		return nil // nothing more can be asked; the check of the facts says so
	}
	t.installed, err = inspect(ctx, t.conn)
	return err
}

// lookAsRoot is look for work that cannot begin without root.
func (t *target) lookAsRoot(ctx context.Context) error {
	if err := t.look(ctx); err != nil {
		return err
	}
	switch {
	case t.facts.Root:
		return nil
	case t.facts.NoRoot != nil:
		return t.facts.NoRoot
	default:
		return errors.New("the user is not root")
	}
}
