package cli

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"syscall"
	"time"
)

// lockHost takes the lock under which one run at a time changes this host, until release is called.
func lockHost(file, operation string) (release func(), err error) {
	f, err := tryLock(file)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder, _ := os.ReadFile(file) // who has it is a help, no more
		return nil, fmt.Errorf("cannot lock this host: another run is changing it: %s", strings.TrimSpace(string(holder)))
	}
	if err == nil {
		if err = note(f, operation); err != nil {
			unlock(f)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lock this host: %w", err)
	}
	return func() { unlock(f) }, nil
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
