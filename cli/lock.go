package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"sync"
	"syscall"
	"time"
)

// inheritEvery is between two tries to take over the lock of who started us: a run that dies leaves it to what it
// has started.
const inheritEvery = 50 * time.Millisecond

// lockHost takes the lock under which one run at a time changes this host, until release is called. Where inherit
// says that the run that has it started this process, it goes on under that run's lock, and takes it when that run ends.
func lockHost(ctx context.Context, file, operation string, inherit bool) (release func(), err error) {
	f, err := tryLock(file)
	if err == nil {
		if err := note(f, operation); err != nil {
			unlock(f)
			return nil, fmt.Errorf("cannot lock this host: %w", err)
		}
		return func() { unlock(f) }, nil
	}
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("cannot lock this host: %w", err)
	}
	if !inherit {
		holder, _ := os.ReadFile(file) // who has it is a help, no more
		return nil, fmt.Errorf("cannot lock this host: another run is changing it: %s", strings.TrimSpace(string(holder)))
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(inheritEvery)
		defer tick.Stop()
		for f == nil {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				f, _ = tryLock(file)
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
		if f != nil {
			unlock(f)
		}
	}, nil
}

// tryLock locks the file, which it makes; EWOULDBLOCK when another has it. The lock is the kernel's, on the file that
// has the name: one that its holder removed meanwhile does not count.
func tryLock(file string) (*os.File, error) {
	for {
		f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			_ = f.Close()
			return nil, err
		}
		mine, err := f.Stat()
		if named, nerr := os.Stat(file); err == nil && nerr == nil && os.SameFile(mine, named) {
			return f, nil
		}
		_ = f.Close()
		if err != nil {
			return nil, err
		}
	}
}

// note writes down who has the lock, as a run of Terraform does.
func note(f *os.File, operation string) error {
	name := "root"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintf(f, "%s@%s, process %d, %s; since %s UTC\n", name, host, os.Getpid(), operation, time.Now().UTC().Format(time.DateTime))
	}
	return err
}

// unlock removes the file while it is locked, so that nobody else's goes.
func unlock(f *os.File) {
	_ = os.Remove(f.Name())
	_ = f.Close()
}
